"""Steps that cannot be undone: what the plan says, what a failure leaves, and which ways lead on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.audit import log as audit_log
from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.history import events
from installer.commands.metrics import of_host, of_product
from installer.commands.metrics import text as metrics_text
from installer.commands.rollback import plan_rollback
from installer.commands.status import product_status
from installer.core.errors import HostNotReadyError, IncompleteError, RolledBackError
from installer.host.context import Context
from installer.planning.plan import Options
from installer.planning.plan_text import plan_text
from installer.planning.planner import plan_remove
from installer.shared.terminal import interrupts
from tests.rig.releases import install, roll_back
from tests.rig.steps import (
    DATA,
    FORWARD,
    LATER,
    MIGRATE,
    ONE,
    ONLY,
    SAVED,
    SCRIPT,
    UNDO,
    WHY,
    install_steps,
    lines,
    plan_steps,
    stepped,
    unhealthy,
)

pytestmark = pytest.mark.host(ONE, options=ONLY, files=DATA)


def metric(within: Context, name: str) -> list[str]:
    found = metrics_text([*of_product(within), *of_host(within.system)]).decode().splitlines()
    return [line for line in found if line.startswith(f"waybill_{name}")]


# -- roll-forward-only -------------------------------------------------------------------------------


def test_the_plan_says_beforehand_where_there_is_no_way_back_and_why(host: Context) -> None:
    found = plan_steps(host, stepped("2.0.0", 2, FORWARD))
    shown = plan_text(found)
    assert "POINT OF NO RETURN: run deploy/migrate.sh" in shown
    assert WHY in shown
    assert found.as_json()["point_of_no_return"] == ["run deploy/migrate.sh"]
    assert found.as_json()["irreversible"] == [f"deploy/migrate.sh cannot be undone: {WHY}"]


def test_a_plan_without_such_a_step_says_nothing_of_it(host: Context) -> None:
    found = plan_steps(host, stepped("2.0.0", 2, UNDO))
    assert "POINT OF NO RETURN" not in plan_text(found)
    assert (found.as_json()["point_of_no_return"], found.as_json()["irreversible"]) == ([], [])


def test_what_fails_before_the_step_is_undone_as_ever(host: Context) -> None:
    bad = stepped("2.0.0", 2, LATER, FORWARD, later=SCRIPT + b"echo not ready; exit 1\n")
    with pytest.raises(RolledBackError, match="not ready"):
        install_steps(host, bad)
    assert lines(host, "data") == lines(host, "etc/f") == ["1.0.0"]


def test_what_fails_after_the_step_leaves_the_new_release_and_says_so(host: Context) -> None:
    bad = stepped("2.0.0", 2, FORWARD, LATER, later=SCRIPT + b"echo no such unit; exit 1\n")
    with pytest.raises(
        IncompleteError, match=r"2\.0\.0 is INCOMPLETE: committed, but a step failed: .*no such unit"
    ) as caught:
        install_steps(host, bad)
    assert caught.value.exit_code == 21
    assert "install the same bundle again" in caught.value.hint
    assert lines(host, "data") == lines(host, "etc/f") == ["2.0.0"]
    assert lines(host)[-2:] == ["migrate 2.0.0", "later 2.0.0"]


def test_an_unhealthy_release_stays_where_there_was_no_way_back(host: Context) -> None:
    with pytest.raises(IncompleteError, match="not healthy") as caught:
        install_steps(host, unhealthy(stepped("2.0.0", 2, FORWARD)))
    assert any("/bin/false" in problem.where for problem in caught.value.problems)
    assert lines(host, "etc/f") == ["2.0.0"]


def test_the_step_itself_failing_is_not_undone_and_nothing_after_it_is_done(host: Context) -> None:
    bad = stepped("2.0.0", 2, FORWARD, LATER, migrate=MIGRATE + b"echo half done; exit 3\n")
    with pytest.raises(IncompleteError, match="half done"):
        install_steps(host, bad)
    assert lines(host)[-1] == "migrate 2.0.0"


def test_a_signal_is_heard_before_the_step_and_not_from_there_on(host: Context) -> None:
    stop = b"kill -TERM $PPID; sleep 0.2\n"
    with interrupts.handled(), pytest.raises(RolledBackError, match="interrupted by SIGTERM"):
        install_steps(host, stepped("2.0.0", 2, LATER, FORWARD, later=SCRIPT + stop))
    assert lines(host, "data") == ["1.0.0"]
    with interrupts.handled():
        install_steps(host, stepped("2.0.0", 2, FORWARD, LATER, migrate=SCRIPT + stop + MIGRATE))
    assert lines(host, "data") == ["2.0.0"]
    assert lines(host)[-1] == "later 2.0.0"


def test_everything_that_tells_of_a_release_says_that_it_is_not_whole(host: Context) -> None:
    with pytest.raises(IncompleteError):
        install_steps(host, unhealthy(stepped("2.0.0", 2, FORWARD)))
    found = product_status(host)
    assert found.current is not None
    assert "not healthy" in found.current.incomplete
    assert "INCOMPLETE the release is not healthy" in found.text()
    # For `status --check`: nothing has drifted, and the host is not as the release has it all the same.
    assert (found.drift, found.unfinished, found.differs) == ((), "", True)
    last = events(host)[-1]
    assert (last.version, last.outcome) == ("2.0.0", "incomplete")
    assert "not healthy" in last.text()
    assert metric(host, "release_incomplete{") == ['waybill_release_incomplete{product="lan-chat"} 1']
    assert 'waybill_last_attempt_exit_code{product="lan-chat"} 21' in metric(host, "last_attempt_exit_code{")
    assert any('result="incomplete"} 1' in line for line in metric(host, "attempts_total"))


def test_the_audit_log_has_one_end_of_it_with_the_reason(host: Context) -> None:
    with pytest.raises(IncompleteError):
        install_steps(host, unhealthy(stepped("2.0.0", 2, FORWARD)))
    records = audit_log.check(*audit_log.read(host.system)).records
    assert [record.event for record in records[-2:]] == ["begun", "ended"]
    last = records[-1].fields
    assert (last["result"], last["exit"]) == ("incomplete", 21)
    assert "not healthy" in last["reason"]


def test_the_same_bundle_is_installed_again_and_then_whole(host: Context) -> None:
    bad = stepped("2.0.0", 2, FORWARD, LATER, later=SCRIPT + b'test -e "$WAYBILL_ROOT/mended"\n')
    with pytest.raises(IncompleteError):
        install_steps(host, bad)
    (Path(host.system.root) / "mended").touch()
    assert not plan_steps(host, bad).nothing
    install_steps(host, bad)
    assert product_status(host).current.incomplete == ""  # type: ignore[union-attr]
    assert not product_status(host).differs
    assert plan_steps(host, bad).nothing
    assert metric(host, "release_incomplete{") == ['waybill_release_incomplete{product="lan-chat"} 0']


def test_a_newer_release_is_installed_over_one_that_is_not_whole(host: Context) -> None:
    with pytest.raises(IncompleteError):
        install_steps(host, unhealthy(stepped("2.0.0", 2, FORWARD)))
    install_steps(host, stepped("2.0.1", 3, UNDO))
    found = product_status(host).current
    assert found is not None
    assert (found.version, found.incomplete) == ("2.0.1", "")


# -- going back past it ------------------------------------------------------------------------------


def test_rollback_past_the_step_is_refused_with_both_ways_out(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    with pytest.raises(HostNotReadyError) as caught:
        roll_back(host)
    (problem,) = caught.value.problems
    assert problem.where == "2.0.0 ran on this host"
    assert WHY in problem.what
    assert "newer release" in problem.hint
    assert "--data-restored" in problem.hint
    assert lines(host, "etc/f") == ["2.0.0"]


def test_status_says_to_which_kept_releases_the_way_is_not_free(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    install_steps(host, stepped("3.0.0", 3, UNDO))
    assert (
        "retained   2.0.0, 1.0.0 only with --data-restored (`install rollback" in product_status(host).text()
    )


def test_rollback_past_it_goes_when_the_operator_says_that_the_data_fit(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    with exclusive(host) as (state, _):
        found = plan_rollback(host, state, None, Options(data_restored=True))
        assert any(WHY in note and "you confirm that the data was restored" in note for note in found.notes)
        execute_plan(host, found)
    assert lines(host, "etc/f") == ["1.0.0"]


def test_the_audit_log_has_it_that_the_operator_said_so(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    roll_back(host, options=Options(data_restored=True))
    begun = audit_log.check(*audit_log.read(host.system)).records[-2].fields
    assert begun["past"] == [f"2.0.0: deploy/migrate.sh cannot be undone: {WHY}"]
    back_to(host, "2.0.0")
    assert "past" not in audit_log.check(*audit_log.read(host.system)).records[-2].fields


def test_an_irreversible_step_is_remembered_when_a_later_release_does_not_have_it(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    install_steps(host, stepped("3.0.0", 3, UNDO))
    roll_back(host)  # to 2.0.0, which knows the data
    with pytest.raises(HostNotReadyError):
        back_to(host, "1.0.0")


def back_to(within: Context, version: str) -> None:
    with exclusive(within) as (state, _):
        execute_plan(within, plan_rollback(within, state, version, Options()))


def test_the_step_may_run_again_after_a_forced_rollback(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    roll_back(host, options=Options(data_restored=True))
    back_to(host, "2.0.0")
    assert lines(host, "etc/f") == ["2.0.0"]


def test_an_irreversible_step_is_remembered_when_the_release_is_applied_again_without_it(
    host: Context,
) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    install(host, stepped("2.0.0", 2, FORWARD), Options(skip=frozenset({"script"}), keep=5))
    with pytest.raises(HostNotReadyError):
        roll_back(host)


def test_removal_says_that_the_step_stays_done(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    with exclusive(host) as (state, _):
        found = plan_remove(host, state)
        assert "deploy/migrate.sh has no undo script: its changes remain" in plan_text(found)
        execute_plan(host, found)
    assert product_status(host).current is None
    assert lines(host, "data") == ["2.0.0"]


# -- snapshot and restore ----------------------------------------------------------------------------


def test_what_was_saved_is_brought_back_when_the_release_is_undone(host: Context) -> None:
    with pytest.raises(RolledBackError, match="not healthy"):
        install_steps(host, unhealthy(stepped("2.0.0", 2, SAVED)))
    assert lines(host)[1:] == ["undo 1.0.0", "save 2.0.0", "migrate 2.0.0", "restore 2.0.0", "apply 1.0.0"]
    assert lines(host, "data") == lines(host, "etc/f") == ["1.0.0"]


def test_nothing_is_brought_back_over_data_that_were_not_changed(host: Context) -> None:
    with pytest.raises(RolledBackError, match="no room"):
        install_steps(host, stepped("2.0.0", 2, SAVED, save=SCRIPT + b"echo no room; exit 1\n"))
    assert lines(host)[1:] == ["undo 1.0.0", "save 2.0.0", "apply 1.0.0"]


def test_what_was_saved_stays_with_the_release_and_goes_with_it(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, SAVED))
    kept = Path(host.system.root) / f"var/lib/waybill/lan-chat/rendered/{record(host)}"
    saved = kept / "snapshot-deploy-migrate.sh"
    assert (saved / "data").read_text() == "1.0.0\n"
    assert saved.stat().st_mode & 0o777 == 0o700
    with exclusive(host) as (state, _):
        execute_plan(host, plan_remove(host, state))
    assert not kept.exists()


def record(within: Context) -> str:
    current = product_status(within).current
    assert current is not None
    return current.record


def test_what_was_saved_first_is_kept_when_the_release_is_applied_again(host: Context) -> None:
    """A later run would save data that the step has changed already."""
    install_steps(host, stepped("2.0.0", 2, SAVED))
    (Path(host.system.root) / "etc/f").unlink()
    install_steps(host, stepped("2.0.0", 2, SAVED))
    with pytest.raises(HostNotReadyError) as caught:
        roll_back(host)
    said = caught.value.problems[0].what.rpartition(" ")[2]
    assert (Path(host.system.root) / said.lstrip("/") / "data").read_text() == "1.0.0\n"
    with exclusive(host) as (_, recovered):
        assert recovered == []
    assert (Path(host.system.root) / said.lstrip("/")).is_dir()


def test_gone_back_past_it_the_next_time_is_the_first_time(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, SAVED))
    roll_back(host, options=Options(data_restored=True))
    (Path(host.system.root) / "data").write_text("1.0.0, and a night's work\n")
    back_to(host, "2.0.0")
    with pytest.raises(HostNotReadyError) as caught:
        roll_back(host)
    said = caught.value.problems[0].what.rpartition(" ")[2]
    assert (Path(host.system.root) / said.lstrip("/") / "data").read_text() == "1.0.0, and a night's work\n"


def test_going_forward_again_keeps_what_an_older_release_did(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, FORWARD))
    install_steps(host, stepped("3.0.0", 3, UNDO))
    roll_back(host)
    back_to(host, "3.0.0")
    with pytest.raises(HostNotReadyError, match="not ready"):
        back_to(host, "1.0.0")


def test_rollback_past_it_is_refused_and_says_where_the_data_are(host: Context) -> None:
    install_steps(host, stepped("2.0.0", 2, SAVED))
    with pytest.raises(HostNotReadyError) as caught:
        roll_back(host)
    (problem,) = caught.value.problems
    assert f"/rendered/{record(host)}/snapshot-deploy-migrate.sh" in problem.what


def test_a_plan_with_a_snapshot_says_what_brings_the_data_back(host: Context) -> None:
    shown = plan_text(plan_steps(host, stepped("2.0.0", 2, SAVED)))
    assert "run deploy/save.sh to save what the next script changes" in shown
    assert "deploy/restore.sh restores what was saved" in shown
    assert "POINT OF NO RETURN" not in shown


# -- a step that says too little or too much ---------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"apply": "deploy/migrate.sh"},
        {**FORWARD, "undo": "deploy/undo.sh"},
        {"apply": "deploy/migrate.sh", "snapshot": "deploy/save.sh"},
        {**SAVED, "roll_forward_only": WHY},
    ],
    ids=["no inverse", "two answers", "a snapshot and no way to bring it back", "saved, and not"],
)
def test_a_step_that_does_not_say_how_it_is_undone_is_refused(host: Context, options: dict[str, Any]) -> None:
    with pytest.raises(HostNotReadyError) as caught:
        plan_steps(host, stepped("2.0.0", 2, options)).require_ready()
    assert any("has no undo operation" in problem.what for problem in caught.value.problems)


def test_a_snapshot_script_that_is_not_in_the_bundle_is_found_before(host: Context) -> None:
    release = stepped("2.0.0", 2, SAVED)
    lacking = {path: member for path, member in release.members.items() if path != "deploy/save.sh"}
    with pytest.raises(HostNotReadyError) as caught:
        plan_steps(host, replace(release, members=lacking)).require_ready()
    assert [problem.where for problem in caught.value.problems] == ["deploy/save.sh"]
