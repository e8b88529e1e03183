"""The installer is killed while it works: the next run ends at one release, and the status never lies."""

from __future__ import annotations

import pytest

from tests.rig.desk import BETTER, GOOD, PRODUCT

PLACES = ("/opt", "/etc/lan-chat", "/etc/systemd/system")


def kill_at(site, bundle, line: str) -> str:
    """Starts an installation and kills it as soon as it has said a line; gives what it had said."""
    site.carry(bundle)
    done = site.host.run(
        f"cd /media/usb; rm -f /tmp/said; ./install {bundle.name} --verify --yes >/tmp/said 2>&1 & pid=$!; "
        f"while kill -0 $pid && ! grep -qs '{line}' /tmp/said; do :; done; kill -9 $pid; "
        "wait $pid; code=$?; cat /tmp/said; exit $code"
    )
    assert done.rc == 137, done
    return done.out


@pytest.fixture(scope="module")
def trees(site, desk) -> dict[str, str]:
    """What the host looks like with each release."""
    found = {}
    for version in (GOOD, BETTER):
        site.apply(desk.release(version))
        found[version] = site.tree(*PLACES)
    site.reset()
    return found


@pytest.mark.parametrize("line", ["verified", "install files", "point .current. to", "health: watching"])
def test_killed_upgrade_is_undone_or_finished_by_the_next_run(clean, desk, trees, line):
    clean.apply(desk.release(GOOD))
    kill_at(clean, desk.release(BETTER), line)
    found = clean.status()
    assert found["installed"]["version"] == GOOD
    clean.install("recover")
    assert clean.version() == GOOD
    assert clean.serving() == GOOD
    assert clean.tree(*PLACES) == trees[GOOD]
    assert "nothing to recover" in clean.install("recover")


def test_killed_upgrade_succeeds_when_it_is_simply_run_again(clean, desk, trees):
    clean.apply(desk.release(GOOD))
    kill_at(clean, desk.release(BETTER), "health: watching")
    assert "was interrupted and is now undone" in clean.apply(desk.release(BETTER))
    assert clean.version() == BETTER
    assert clean.serving() == BETTER
    assert clean.tree(*PLACES) == trees[BETTER]


def test_power_lost_in_mid_apply_ends_with_the_old_release_serving(clean, desk, trees):
    clean.apply(desk.release(GOOD))
    kill_at(clean, desk.release(BETTER), "health: watching")
    clean.host.kill()
    clean.host.start()
    clean.install("recover")
    assert clean.version() == GOOD
    assert clean.serving() == GOOD
    assert clean.tree(*PLACES) == trees[GOOD]


def test_killed_first_install_leaves_nothing(clean, desk):
    before = clean.tree(*PLACES)
    kill_at(clean, desk.release(GOOD), "health: watching")
    clean.install(f"recover --product {PRODUCT}")
    assert clean.version() is None
    assert clean.tree(*PLACES) == before
    assert clean.serving() == ""


def test_unit_that_was_killed_comes_back_and_is_no_drift(clean, desk):
    clean.apply(desk.release(GOOD))
    clean.host.check("systemctl kill -s KILL lan-chat && sleep 3")
    assert clean.serving() == GOOD
    assert clean.version() == GOOD


def test_the_unit_of_setup_recovers_at_boot_without_anybody(clean, desk, trees):
    clean.apply(desk.release(GOOD))
    said = clean.install("setup --recover-at-boot")
    assert "waybill-recover.service recovers interrupted transactions" in said
    host = clean.host
    host.check("systemctl is-enabled waybill-recover.service")
    host.check("systemd-analyze verify /etc/systemd/system/waybill-recover.service")
    try:
        kill_at(clean, desk.release(BETTER), "health: watching")
        host.kill()
        host.start()
        # `start` waits until systemd has started all there is to start
        assert host.check("systemctl show -p Result,ExecMainStatus --value waybill-recover").split() == [
            "success",
            "0",
        ]
        assert "was interrupted and is now undone" in host.check("journalctl -u waybill-recover -o cat")
        assert clean.version() == GOOD
        assert clean.serving() == GOOD
        assert "nothing to recover" in clean.install("recover")
        host.reboot()  # with nothing to do it is not even started
        assert host.check("systemctl show -p ConditionResult --value waybill-recover").strip() == "no"
        assert clean.serving() == GOOD
    finally:
        host.check("systemctl disable waybill-recover; rm -rf /opt/waybill /usr/local/bin/waybill-install")
        host.check("rm /etc/systemd/system/waybill-recover.service && systemctl daemon-reload")


def test_a_second_installer_is_told_that_it_is_busy(clean, desk):
    clean.apply(desk.release(GOOD))
    clean.carry(desk.release(BETTER))
    done = clean.host.run(
        f"cd /media/usb; ./install {desk.release(BETTER).name} --verify --yes >/tmp/first 2>&1 & pid=$!; "
        # held there: however slow the machine is, it has not ended when the others come
        "while ! grep -qs 'health: watching' /tmp/first; do :; done; kill -STOP $pid; "
        "./install recover; echo second=$?; ./install rollback --yes; echo third=$?; "
        "kill -CONT $pid; wait $pid"
    )
    assert done.rc == 0, done
    assert "second=16" in done.out
    assert "third=16" in done.out
    assert "another install is running (process" in done.err
    assert clean.version() == BETTER
