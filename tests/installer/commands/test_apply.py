"""Applying, rolling back, removing, recovering: what an operator sees of a transaction."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands import history, status
from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.common.session import Session
from installer.commands.rollback import plan_rollback
from installer.core.errors import BusyError, NotUndoneError, RefusedError, RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.core.timestamps import parse_time
from installer.host.context import Context
from installer.host.system import System
from installer.planning.drift import Policy
from installer.planning.plan import Options
from installer.planning.planner import plan_remove
from installer.shared.terminal import interrupts
from installer.transaction.journal import Journal
from tests.rig.chatd import FOUR, ONE, THREE, TWO, deployed
from tests.rig.faulty import FaultySystem, kill_at, snapshot
from tests.rig.releases import (
    PRODUCT,
    STATE,
    Member,
    Notes,
    ReleaseSpec,
    context,
    install,
    planned,
    roll_back,
    root,
)


def test_a_host_is_installed_upgraded_and_rolled_back(host: Context) -> None:
    assert install(host, ONE).text() == "lan-chat 1.0.0 installed"
    assert "(was 1.0.0)" in install(host, TWO).text()
    assert deployed(host) == "two"
    assert os.readlink(root(host) / STATE / "current").startswith("releases/2-")
    done = roll_back(host)
    assert (done.verb, done.new and done.new.version, deployed(host)) == ("rollback", "1.0.0", "one")


def test_a_release_directory_holds_the_members_and_three_are_kept(host: Context) -> None:
    for spec in (ONE, TWO, THREE, FOUR):
        install(host, spec)
    names = sorted(path.name.split("-")[0] for path in (root(host) / STATE / "releases").iterdir())
    assert names == ["2", "3", "4"]
    assert (root(host) / STATE / "current/bin/linux-amd64/d").read_bytes() == b"four"


def test_a_rollback_goes_back_to_a_named_release(host: Context) -> None:
    for spec in (ONE, TWO, THREE):
        install(host, spec)
    roll_back(host, "v1.0.0")
    assert deployed(host) == "one"
    with pytest.raises(RefusedError, match="is not a retained release") as caught:
        roll_back(host, "0.9.0")
    assert "retained releases: 3.0.0, 2.0.0;" in caught.value.hint
    with pytest.raises(RefusedError, match="is not a retained release") as caught:
        roll_back(host, PRODUCT)
    assert caught.value.hint.startswith(f"name a product by `--product {PRODUCT}`; retained releases: ")


def test_the_first_release_cannot_be_rolled_back(host: Context) -> None:
    install(host, ONE)
    with pytest.raises(RefusedError, match="no previous release"):
        roll_back(host)


def test_a_kept_release_that_was_tampered_with_does_not_come_back(host: Context) -> None:
    install(host, ONE)
    install(host, TWO)
    (kept,) = (root(host) / STATE / "releases").glob("1-*")
    # Of the same size: what only a digest tells.
    (kept / "bin/linux-amd64/d").write_bytes(b"eno")
    before = snapshot(root(host), besides=("var",))
    with pytest.raises(RolledBackError, match="differs from what was verified"):
        roll_back(host)
    assert snapshot(root(host), besides=("var",)) == before
    (kept / "bundle.json").write_bytes(b"{}")
    with pytest.raises(NotUndoneError, match="was changed since it was installed"):
        roll_back(host, "1.0.0")


def test_rendered_configuration_comes_back_as_it_was_then(host: Context) -> None:
    template = Member(b"port: {{ port }}", "/etc/c", 0o644, "template")
    values = {"config/c": template, "config/v.yaml": Member(b"port: 1\n", kind="values")}
    install(host, replace(ONE, members={**ONE.members, **values}, values="config/v.yaml"))
    site = root(host) / "etc/waybill/lan-chat"
    site.mkdir(parents=True)
    (site / "values.yaml").write_text("port: 2\n")
    install(host, replace(TWO, members={**TWO.members, **values}, values="config/v.yaml"))
    assert (root(host) / "etc/c").read_text() == "port: 2"
    roll_back(host)
    assert (root(host) / "etc/c").read_text() == "port: 1"


def test_remove_takes_everything_off_but_the_history(host: Context) -> None:
    install(host, ONE)
    install(host, TWO)
    with exclusive(host) as (state, _):
        execute_plan(host, plan_remove(host, state))
    assert {name for name in snapshot(root(host)) if not name.startswith("var")} == set()
    assert not list((root(host) / STATE / "releases").iterdir())
    assert [event.verb for event in history.events(host)] == ["apply", "apply", "remove"]
    assert status.product_status(host).current is None
    with exclusive(host) as (state, _), pytest.raises(RefusedError, match="not installed"):
        plan_remove(host, state)


def test_the_same_bundle_is_nothing_to_do_after_a_rollback_to_it(host: Context) -> None:
    install(host, ONE)
    install(host, TWO)
    roll_back(host)
    assert not install(host, ONE).changed


def test_a_damaged_kept_release_is_healed_by_installing_it_again(host: Context) -> None:
    install(host, ONE)
    (kept,) = (root(host) / STATE / "releases").glob("1-*")
    (kept / "bin/linux-amd64/d").write_bytes(b"damaged")
    (root(host) / "opt/d").unlink()
    install(host, ONE)
    assert deployed(host) == "one"
    assert (kept / "bin/linux-amd64/d").read_bytes() == b"one"


def test_an_unhealthy_release_is_rolled_back_and_says_why(host: Context) -> None:
    install(host, ONE)
    with socket.socket() as held:  # a port that surely nobody listens on
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        bad = replace(
            TWO,
            deploy=(Deployment("script", {"apply": "deploy/a", "undo": "deploy/a"}),),
            members={**TWO.members, "deploy/a": Member(b"#!/bin/sh\n", mode=0o755, kind="script")},
            health=(HealthCheck("tcp", f"127.0.0.1:{port}", within=0),),
        )
        before = snapshot(root(host), besides=("var",))
        with pytest.raises(
            RolledBackError, match=r"rolled back \(1\.0\.0 is still installed\): the release is not healthy"
        ) as caught:
            install(host, bad, Options(only=frozenset({"script"})))
    assert "Connection refused" in str(caught.value)
    assert snapshot(root(host), besides=("var",)) == before
    assert [(event.outcome, event.version) for event in history.events(host)] == [
        ("done", "1.0.0"),
        ("rolled back", "2.0.0"),
    ]
    assert "not healthy" in history.HistoryResult(tuple(history.events(host)), ()).text()
    assert status.product_status(host).drift == ()


def test_a_termination_signal_is_an_orderly_way_back(host: Context) -> None:
    install(host, ONE)
    hang = Member(b"#!/bin/sh\nkill -TERM $PPID; sleep 20\n", mode=0o755, kind="script")
    spec = replace(
        TWO,
        deploy=(Deployment("script", {"apply": "deploy/a", "undo": "deploy/b"}),),
        members={
            **TWO.members,
            "deploy/a": hang,
            "deploy/b": Member(b"#!/bin/sh\n", mode=0o755, kind="script"),
        },
    )
    handler = signal.getsignal(signal.SIGTERM)
    with interrupts.handled(), pytest.raises(RolledBackError, match="interrupted by SIGTERM"):
        install(host, spec, Options(only=frozenset({"script"})))
    assert deployed(host) == "one"
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_host_without_a_release_has_nothing_to_show_to_every_user(host: Context) -> None:
    with exclusive(host):
        assert host.system.observe(host.layout.public).kind == "absent"


def test_a_killed_install_is_undone_by_the_next_command(host: Context) -> None:
    install(host, ONE)
    before = snapshot(root(host), besides=("var",))
    kill_at(host, TWO, "rename /opt/.waybill")
    assert deployed(host) == "two"
    assert "transaction 000002 (upgrade 1.0.0 → 2.0.0) was interrupted" in status.product_status(host).text()
    with exclusive(host) as (state, recovered):
        assert state.current is not None
        assert state.current.version == "1.0.0"
        assert [(each.transaction, each.outcome) for each in recovered] == [("000002", "undone")]
        assert "undone" in recovered[0].text()
    assert snapshot(root(host), besides=("var",)) == before


def test_a_killed_commit_is_finished_and_the_status_never_lies(host: Context) -> None:
    install(host, ONE)
    kill_at(host, TWO, "write_at /var/lib/waybill/lan-chat/state.json.new")
    assert status.product_status(host).current is not None
    assert status.product_status(host).current.version == "2.0.0"  # type: ignore[union-attr]
    with exclusive(host) as (state, recovered):
        assert recovered[0].outcome == "finished"
        assert state.current is not None
        assert (state.current.version, state.highest) == ("2.0.0", 2)
    assert [event.version for event in history.events(host)] == ["1.0.0", "2.0.0"]


def test_what_an_operator_changed_after_a_crash_is_never_overwritten(host: Context) -> None:
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    (root(host) / "opt/d").write_text("mine")
    for _ in range(2):
        with pytest.raises(NotUndoneError, match="changed by somebody else") as caught, exclusive(host):
            pass
        assert "/opt/d" in str(caught.value)
        assert "install recover" in caught.value.hint
    assert deployed(host) == "mine"
    (root(host) / "opt/d").unlink()
    with exclusive(host) as (_, recovered):
        assert recovered[0].outcome == "undone"
    assert deployed(host) == "one"


def test_a_backup_that_was_tampered_with_is_not_put_back(host: Context) -> None:
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    (backup,) = (root(host) / STATE / "txn").rglob("000002.backup/*/0")
    backup.write_bytes(b"evil")
    with pytest.raises(NotUndoneError, match="changed by somebody else") as caught, exclusive(host):
        pass
    assert "its backup has changed" in str(caught.value)


def test_a_deleted_journal_is_noticed_by_its_backups(host: Context) -> None:
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    (root(host) / STATE / "txn/000002.log").unlink()
    with (
        pytest.raises(NotUndoneError, match="journal of an unfinished transaction is missing") as caught,
        exclusive(host),
    ):
        pass
    # The hint has every step, and the steps work as they are printed.
    steps = re.split(r"; \d\. ", caught.value.hint.partition("1. ")[2].partition(". See")[0])
    assert steps[2] == "`install rollback 1.0.0 --on-drift replace`"
    for step in steps[:2]:
        subprocess.run(["sh", "-c", step.split("`")[1]], check=True)
    roll_back(host, "1.0.0", Options(drift=Policy("replace")))
    assert status.product_status(host).drift == ()


def test_a_deleted_journal_is_noticed_by_the_link(host: Context) -> None:
    install(host, ONE)
    link = root(host) / STATE / "current"
    link.unlink()
    link.symlink_to("releases/9-deadbeefdead")
    with pytest.raises(NotUndoneError, match="9-deadbeefdead") as caught, exclusive(host):
        pass
    assert "ln -sfn" in caught.value.hint
    assert "`install rollback 1.0.0 --on-drift replace`, and `install status`" in caught.value.hint
    assert any(problem.where.endswith("/current") for problem in status.product_status(host).drift)


def test_a_damaged_journal_stops_everything_with_a_guide(host: Context) -> None:
    install(host, ONE)
    kill_at(host, TWO, "rename /opt/.waybill")
    path = root(host) / STATE / "txn/000002.log"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    before = snapshot(root(host))
    with pytest.raises(NotUndoneError, match="is damaged"), exclusive(host):
        pass
    assert snapshot(root(host)) == before


def test_two_installers_do_not_meet(host: Context) -> None:
    with exclusive(host), pytest.raises(BusyError), exclusive(host):
        pass


def test_the_journal_ends_and_says_what_was_done(host: Context) -> None:
    install(host, ONE)
    journal = Journal.open(host.system, "/" + STATE + "/txn/000001.done")
    types = [record.type for record in journal.records]
    assert (types[0], types[-2:]) == ("BEGIN", ["COMMIT", "END"])
    assert types.count("INTENT") == types.count("DONE")


def test_status_names_the_signer_and_what_drifted(host: Context) -> None:
    install(host, ONE)
    found = status.product_status(host)
    assert "signed by  release (cosign 1234abcd)" in found.text()
    assert "drift      none" in found.text()
    (root(host) / "opt/d").chmod(0o700)
    assert "/opt/d has mode 0700, not 0755" in status.product_status(host).text()
    assert Session(host.system).products() == ["lan-chat"]


def test_progress_says_what_is_done(host: Context) -> None:
    install(host, ONE)
    assert isinstance(host.progress, Notes)
    assert host.progress.lines == ["install files", "point `current` to 1.0.0"]


def test_hundreds_of_files_are_few_operations(host: Context) -> None:
    members = {f"trees/w/{n:04}": Member(b"%d" % n, f"/srv/w/{n:04}", kind="tree") for n in range(600)}
    counting = context(FaultySystem(root(host)))
    install(counting, ReleaseSpec("1.0.0", 1, members))
    journal = Journal.open(host.system, "/" + STATE + "/txn/000001.done")
    assert sum(record.type == "INTENT" for record in journal.records) == 5
    assert isinstance(counting.system, FaultySystem)
    assert sum(line.startswith("fsync") for line in counting.system.trace) < 100
    assert len(list((root(host) / "srv/w").iterdir())) == 600


@pytest.mark.needs("root")
def test_everybody_can_install_below_a_root_of_their_own(host: Context, tmp_path: Path) -> None:
    install(host, ONE)  # everything is imported before the rights are given up,
    assert parse_time("2026-11-24T00:00:00Z")  # and what reads times
    mine = tmp_path / "mine"
    mine.mkdir()
    os.chown(mine, 65534, 65534)
    for above in mine.parents[:-1]:
        if not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    if (child := os.fork()) == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            own = context(System(mine))
            install(own, ONE)
            with planned(own, TWO) as plan:
                assert plan.notes == ("not run as root: owners of files are not set",)
                execute_plan(own, plan)
            roll_back(own)
            os._exit(0 if status.product_status(own).drift == () else 2)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert (mine / "opt/d").read_bytes() == b"one"
    assert (mine / "opt/d").stat().st_uid == 65534


def test_a_host_without_its_journal_is_put_right_as_the_guide_says(host: Context) -> None:
    install(host, ONE)
    before = snapshot(root(host), besides=("var",))
    kill_at(host, TWO, "rename /var/lib/waybill/lan-chat/.waybill")
    state = root(host) / STATE
    (state / "txn/000002.log").unlink()
    (state / "txn/000002.backup").rename(root(host).parent / "away")
    (current,) = (path.name for path in (state / "releases").glob("1-*"))
    (state / "current").unlink()
    (state / "current").symlink_to(f"releases/{current}")
    with exclusive(host) as (now, _):
        execute_plan(host, plan_rollback(host, now, "1.0.0", Options(drift=Policy("replace"))))
    assert snapshot(root(host), besides=("var",)) == before
    assert status.product_status(host).drift == ()


def test_what_services_said_is_in_the_journal_and_never_more_than_it_has_room_for(tmp_path: Path) -> None:
    from installer.core.errors import Problem
    from installer.transaction import failures

    said = [Problem("container chat-1", f"{number} " + "ü" * 900) for number in range(500)]
    lines = failures.bounded(said)
    assert lines[-1].startswith("container chat-1: 499 ")
    assert 2 < len(lines) < 500
    assert len("".join(lines).encode("unicode_escape")) <= failures.PROBLEM_BYTES
