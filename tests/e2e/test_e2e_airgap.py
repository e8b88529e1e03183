"""A real server on an air-gapped host with systemd: no Python, no Docker, no network, only the stick."""

from __future__ import annotations

from tests.rig.desk import BAD, BETTER, GOOD, PRODUCT

UNIT = "lan-chat.service"
PLACES = ("/opt", "/etc/lan-chat", "/etc/systemd/system")


def unit(site, *names: str) -> dict[str, str]:
    lines = site.host.check(f"systemctl show {UNIT} {' '.join(f'-p {name}' for name in names)}").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_release_runs_as_an_enabled_unit_and_answers(clean, desk):
    said = clean.apply(desk.release(GOOD))
    assert "threshold    1 of 1 required" in said
    assert unit(clean, "ActiveState", "UnitFileState") == {
        "ActiveState": "active",
        "UnitFileState": "enabled",
    }
    assert clean.serving() == GOOD
    assert clean.version() == GOOD


def test_second_install_of_the_same_bundle_does_nothing(clean, desk):
    clean.apply(desk.release(GOOD))
    pid = unit(clean, "MainPID")
    assert "nothing to do" in clean.apply(desk.release(GOOD))
    assert unit(clean, "MainPID") == pid


def test_upgrade_replaces_the_release_and_history_tells_it(clean, desk):
    clean.apply(desk.release(GOOD))
    clean.apply(desk.release(BETTER))
    assert clean.serving() == BETTER
    assert clean.version() == BETTER
    assert {kept["version"] for kept in clean.status()["retained"]} == {GOOD, BETTER}
    events = clean.document("history")["events"]
    assert [(event["verb"], event["outcome"]) for event in events] == [("apply", "done"), ("apply", "done")]


def test_bad_upgrade_exits_20_and_the_old_release_serves_on(clean, desk):
    clean.apply(desk.release(GOOD))
    before = clean.tree(*PLACES)
    said = clean.apply(desk.release(BAD), exit_code=20)
    assert "healthz" in said
    assert clean.serving() == GOOD
    assert clean.version() == GOOD
    assert clean.tree(*PLACES) == before
    assert clean.document("history")["events"][-1]["outcome"] == "rolled back"


def test_rollback_returns_to_the_release_before_without_the_stick(clean, desk):
    clean.apply(desk.release(GOOD))
    before = clean.tree(*PLACES)
    clean.apply(desk.release(BETTER))
    for bundle in clean.host.media.glob("*.tar"):
        bundle.unlink()
    clean.install("rollback --yes")
    assert clean.serving() == GOOD
    assert clean.version() == GOOD
    assert clean.tree(*PLACES) == before


def test_release_survives_a_reboot(clean, desk):
    clean.apply(desk.release(GOOD))
    clean.host.reboot()
    assert clean.serving() == GOOD
    assert clean.version() == GOOD


def test_remove_leaves_nothing_behind(clean, desk):
    before = clean.tree(*PLACES)
    clean.apply(desk.release(GOOD))
    clean.apply(desk.release(BETTER))
    removal = clean.document(f"remove {PRODUCT} --yes")["removal"]
    assert removal["left"] == []
    assert (removal["counts"]["unit"], removal["counts"]["release"]) == (1, 2)
    assert clean.tree(*PLACES) == before
    assert clean.version() is None
    assert unit(clean, "LoadState", "ActiveState") == {"LoadState": "not-found", "ActiveState": "inactive"}
    assert clean.serving() == ""
