"""Steps that cannot be undone: what the plan says, what a failure leaves, and which ways lead on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.audit import log as audit_log
from installer.commands.carry_out import apply
from installer.commands.history import history
from installer.commands.metrics import of_host, of_product
from installer.commands.metrics import text as metrics_text
from installer.commands.recover import exclusive
from installer.commands.rollback import plan_rollback
from installer.commands.status import status
from installer.core.errors import HostNotReadyError, IncompleteError, RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options, Plan
from installer.planning.plan_text import text
from installer.planning.planner import plan_remove
from tests.rig.releases import Member, ReleaseSpec, context, planned
from tests.rig.releases import install as install_one

SCRIPT = b"""#!/bin/sh
echo "$(basename "$0" .sh) $WAYBILL_VERSION" >> "$WAYBILL_ROOT/log"
"""
SAVE = SCRIPT + b'cp "$WAYBILL_ROOT/data" "$WAYBILL_SNAPSHOT/data"\n'
MIGRATE = SCRIPT + b'echo "$WAYBILL_VERSION" > "$WAYBILL_ROOT/data"\n'
RESTORE = SCRIPT + b'cp "$WAYBILL_SNAPSHOT/data" "$WAYBILL_ROOT/data"\n'
WHY = "the column users.nick is dropped"
UNDO = {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}
FORWARD = {"apply": "deploy/migrate.sh", "roll_forward_only": WHY}
SAVED = {"apply": "deploy/migrate.sh", "snapshot": "deploy/save.sh", "restore": "deploy/restore.sh"}
LATER = {"apply": "deploy/later.sh", "undo": "deploy/undo.sh"}


def spec(version: str, sequence: int, *steps: dict[str, str], **scripts: bytes) -> ReleaseSpec:
    """Gives a release with some steps; `migrate=b"…"` and so on replaces a script."""
    made = {"migrate": MIGRATE, "save": SAVE, "restore": RESTORE} | scripts
    members = {"config/f": Member(version.encode(), "/etc/f")}
    for options in steps:
        for word in ("apply", "undo", "snapshot", "restore"):
            if path := options.get(word):
                name = path.removeprefix("deploy/").removesuffix(".sh")
                members[path] = Member(made.get(name, SCRIPT), mode=0o755, kind="script")
    return ReleaseSpec(version, sequence, members, deploy=tuple(Deployment("script", s) for s in steps))


ONE = spec("1.0.0", 1, UNDO)
ONLY = Options(only=frozenset({"script"}))


@pytest.fixture
def host(tmp_path: Path) -> Context:
    within = context(System(tmp_path))
    (tmp_path / "data").write_text("1.0.0\n")
    install(within, ONE)
    return within


def install(within: Context, release: ReleaseSpec) -> None:
    install_one(within, release, ONLY)


def plan(within: Context, release: ReleaseSpec) -> Plan:
    with planned(within, release, ONLY) as found:
        return found


def back(within: Context, *, data_fits: bool = False) -> None:
    with exclusive(within) as (state, _):
        apply(within, plan_rollback(within, state, None, Options(data_fits=data_fits)))


def lines(within: Context, name: str = "log") -> list[str]:
    return (Path(within.system.root) / name).read_text().splitlines()


def unhealthy(release: ReleaseSpec) -> ReleaseSpec:
    return replace(release, health=(HealthCheck("command", "", ("/bin/false",), within=0, when="script"),))


def metric(within: Context, name: str) -> list[str]:
    found = metrics_text([*of_product(within), *of_host(within.system)]).decode().splitlines()
    return [line for line in found if line.startswith(f"waybill_{name}")]


# -- roll-forward-only -------------------------------------------------------------------------------


def test_the_plan_says_beforehand_where_there_is_no_way_back_and_why(host: Context) -> None:
    found = plan(host, spec("2.0.0", 2, FORWARD))
    shown = text(found)
    assert "NO WAY BACK once it does this: run deploy/migrate.sh" in shown
    assert WHY in shown
    assert found.as_json()["no_way_back"] == ["run deploy/migrate.sh"]
    assert found.as_json()["irreversible"] == [f"deploy/migrate.sh cannot be undone: {WHY}"]


def test_a_plan_without_such_a_step_says_nothing_of_it(host: Context) -> None:
    found = plan(host, spec("2.0.0", 2, UNDO))
    assert "NO WAY BACK" not in text(found)
    assert (found.as_json()["no_way_back"], found.as_json()["irreversible"]) == ([], [])


def test_what_fails_before_the_step_is_undone_as_ever(host: Context) -> None:
    bad = spec("2.0.0", 2, LATER, FORWARD, later=SCRIPT + b"echo not ready; exit 1\n")
    with pytest.raises(RolledBackError, match="not ready"):
        install(host, bad)
    assert lines(host, "data") == lines(host, "etc/f") == ["1.0.0"]


def test_what_fails_after_the_step_leaves_the_new_release_and_says_so(host: Context) -> None:
    bad = spec("2.0.0", 2, FORWARD, LATER, later=SCRIPT + b"echo no such unit; exit 1\n")
    with pytest.raises(
        IncompleteError, match=r"2\.0\.0 is INCOMPLETE: committed, but a step failed: .*no such unit"
    ) as caught:
        install(host, bad)
    assert caught.value.exit_code == 21
    assert "install the same bundle again" in caught.value.hint
    assert lines(host, "data") == lines(host, "etc/f") == ["2.0.0"]
    assert lines(host)[-2:] == ["migrate 2.0.0", "later 2.0.0"]


def test_an_unhealthy_release_stays_where_there_was_no_way_back(host: Context) -> None:
    with pytest.raises(IncompleteError, match="not healthy") as caught:
        install(host, unhealthy(spec("2.0.0", 2, FORWARD)))
    assert any("/bin/false" in problem.where for problem in caught.value.problems)
    assert lines(host, "etc/f") == ["2.0.0"]


def test_the_step_itself_failing_is_not_undone_and_nothing_after_it_is_done(host: Context) -> None:
    bad = spec("2.0.0", 2, FORWARD, LATER, migrate=MIGRATE + b"echo half done; exit 3\n")
    with pytest.raises(IncompleteError, match="half done"):
        install(host, bad)
    assert lines(host)[-1] == "migrate 2.0.0"


def test_a_signal_is_heard_before_the_step_and_not_from_there_on(host: Context) -> None:
    stop = b"kill -TERM $PPID; sleep 0.2\n"
    with pytest.raises(RolledBackError, match="interrupted by SIGTERM"):
        install(host, spec("2.0.0", 2, LATER, FORWARD, later=SCRIPT + stop))
    assert lines(host, "data") == ["1.0.0"]
    install(host, spec("2.0.0", 2, FORWARD, LATER, migrate=SCRIPT + stop + MIGRATE))
    assert lines(host, "data") == ["2.0.0"]
    assert lines(host)[-1] == "later 2.0.0"


def test_everything_that_tells_of_a_release_says_that_it_is_not_whole(host: Context) -> None:
    with pytest.raises(IncompleteError):
        install(host, unhealthy(spec("2.0.0", 2, FORWARD)))
    found = status(host)
    assert found.current is not None
    assert "not healthy" in found.current.incomplete
    assert "NOT WHOLE  the release is not healthy" in found.text()
    last = history(host)[-1]
    assert (last.version, last.outcome) == ("2.0.0", "incomplete")
    assert "not healthy" in last.text()
    assert metric(host, "release_incomplete{") == ['waybill_release_incomplete{product="lan-chat"} 1']
    assert 'waybill_last_attempt_exit_code{product="lan-chat"} 21' in metric(host, "last_attempt_exit_code{")
    assert any('result="incomplete"} 1' in line for line in metric(host, "attempts_total"))


def test_the_audit_log_has_one_end_of_it_with_the_reason(host: Context) -> None:
    with pytest.raises(IncompleteError):
        install(host, unhealthy(spec("2.0.0", 2, FORWARD)))
    records = audit_log.check(*audit_log.read(host.system)).records
    assert [record.event for record in records[-2:]] == ["begun", "ended"]
    last = records[-1].fields
    assert (last["result"], last["exit"]) == ("incomplete", 21)
    assert "not healthy" in last["reason"]


def test_the_same_bundle_is_installed_again_and_then_whole(host: Context) -> None:
    bad = spec("2.0.0", 2, FORWARD, LATER, later=SCRIPT + b'test -e "$WAYBILL_ROOT/mended"\n')
    with pytest.raises(IncompleteError):
        install(host, bad)
    (Path(host.system.root) / "mended").touch()
    assert not plan(host, bad).nothing
    install(host, bad)
    assert status(host).current.incomplete == ""  # type: ignore[union-attr]
    assert plan(host, bad).nothing
    assert metric(host, "release_incomplete{") == ['waybill_release_incomplete{product="lan-chat"} 0']


def test_a_newer_release_is_installed_over_one_that_is_not_whole(host: Context) -> None:
    with pytest.raises(IncompleteError):
        install(host, unhealthy(spec("2.0.0", 2, FORWARD)))
    install(host, spec("2.0.1", 3, UNDO))
    found = status(host).current
    assert found is not None
    assert (found.version, found.incomplete) == ("2.0.1", "")


# -- going back past it ------------------------------------------------------------------------------


def test_rollback_past_the_step_is_refused_with_both_ways_out(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    with pytest.raises(HostNotReadyError) as caught:
        back(host)
    (problem,) = caught.value.problems
    assert problem.where == "2.0.0 has run"
    assert WHY in problem.what
    assert "newer release" in problem.hint
    assert "--data-fits" in problem.hint
    assert lines(host, "etc/f") == ["2.0.0"]


def test_status_says_to_which_kept_releases_the_way_is_not_free(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    install(host, spec("3.0.0", 3, UNDO))
    assert "kept       2.0.0, 1.0.0 only with --data-fits (install rollback" in status(host).text()


def test_rollback_past_it_goes_when_the_operator_says_that_the_data_fit(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    with exclusive(host) as (state, _):
        found = plan_rollback(host, state, None, Options(data_fits=True))
        assert any(WHY in note and "data were said to fit" in note for note in found.notes)
        apply(host, found)
    assert lines(host, "etc/f") == ["1.0.0"]


def test_the_audit_log_has_it_that_the_operator_said_so(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    back(host, data_fits=True)
    begun = audit_log.check(*audit_log.read(host.system)).records[-2].fields
    assert begun["past"] == [f"2.0.0: deploy/migrate.sh cannot be undone: {WHY}"]
    back_to(host, "2.0.0")
    assert "past" not in audit_log.check(*audit_log.read(host.system)).records[-2].fields


def test_it_is_remembered_when_a_later_release_has_no_such_step(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    install(host, spec("3.0.0", 3, UNDO))
    back(host)  # to 2.0.0, which knows the data
    with pytest.raises(HostNotReadyError):
        back_to(host, "1.0.0")


def back_to(within: Context, version: str) -> None:
    with exclusive(within) as (state, _):
        apply(within, plan_rollback(within, state, version, Options()))


def test_once_gone_back_all_the_same_the_way_forward_is_free_again(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    back(host, data_fits=True)
    back_to(host, "2.0.0")
    assert lines(host, "etc/f") == ["2.0.0"]


def test_it_is_remembered_when_the_release_is_applied_again_without_the_step(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    install_one(host, spec("2.0.0", 2, FORWARD), Options(skip=frozenset({"script"}), keep=5))
    with pytest.raises(HostNotReadyError):
        back(host)


def test_removal_says_that_the_step_stays_done(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    with exclusive(host) as (state, _):
        found = plan_remove(host, state)
        assert "leave what deploy/migrate.sh did: it has no inverse" in text(found)
        apply(host, found)
    assert status(host).current is None
    assert lines(host, "data") == ["2.0.0"]


# -- snapshot and restore ----------------------------------------------------------------------------


def test_what_was_saved_is_brought_back_when_the_release_is_undone(host: Context) -> None:
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, unhealthy(spec("2.0.0", 2, SAVED)))
    assert lines(host)[1:] == ["undo 1.0.0", "save 2.0.0", "migrate 2.0.0", "restore 2.0.0", "apply 1.0.0"]
    assert lines(host, "data") == lines(host, "etc/f") == ["1.0.0"]


def test_nothing_is_brought_back_over_data_that_were_not_changed(host: Context) -> None:
    with pytest.raises(RolledBackError, match="no room"):
        install(host, spec("2.0.0", 2, SAVED, save=SCRIPT + b"echo no room; exit 1\n"))
    assert lines(host)[1:] == ["undo 1.0.0", "save 2.0.0", "apply 1.0.0"]


def test_what_was_saved_stays_with_the_release_and_goes_with_it(host: Context) -> None:
    install(host, spec("2.0.0", 2, SAVED))
    kept = Path(host.system.root) / f"var/lib/waybill/lan-chat/rendered/{record(host)}"
    saved = kept / "snapshot-deploy-migrate.sh"
    assert (saved / "data").read_text() == "1.0.0\n"
    assert saved.stat().st_mode & 0o777 == 0o700
    with exclusive(host) as (state, _):
        apply(host, plan_remove(host, state))
    assert not kept.exists()


def record(within: Context) -> str:
    current = status(within).current
    assert current is not None
    return current.record


def test_what_was_saved_first_is_kept_when_the_release_is_applied_again(host: Context) -> None:
    """A later run would save data that the step has changed already."""
    install(host, spec("2.0.0", 2, SAVED))
    (Path(host.system.root) / "etc/f").unlink()
    install(host, spec("2.0.0", 2, SAVED))
    with pytest.raises(HostNotReadyError) as caught:
        back(host)
    said = caught.value.problems[0].what.rpartition(" ")[2]
    assert (Path(host.system.root) / said.lstrip("/") / "data").read_text() == "1.0.0\n"
    with exclusive(host) as (_, recovered):
        assert recovered == []
    assert (Path(host.system.root) / said.lstrip("/")).is_dir()


def test_gone_back_past_it_the_next_time_is_the_first_time(host: Context) -> None:
    install(host, spec("2.0.0", 2, SAVED))
    back(host, data_fits=True)
    (Path(host.system.root) / "data").write_text("1.0.0, and a night's work\n")
    back_to(host, "2.0.0")
    with pytest.raises(HostNotReadyError) as caught:
        back(host)
    said = caught.value.problems[0].what.rpartition(" ")[2]
    assert (Path(host.system.root) / said.lstrip("/") / "data").read_text() == "1.0.0, and a night's work\n"


def test_going_forward_again_keeps_what_an_older_release_did(host: Context) -> None:
    install(host, spec("2.0.0", 2, FORWARD))
    install(host, spec("3.0.0", 3, UNDO))
    back(host)
    back_to(host, "3.0.0")
    with pytest.raises(HostNotReadyError, match="not ready"):
        back_to(host, "1.0.0")


def test_rollback_past_it_is_refused_and_says_where_the_data_are(host: Context) -> None:
    install(host, spec("2.0.0", 2, SAVED))
    with pytest.raises(HostNotReadyError) as caught:
        back(host)
    (problem,) = caught.value.problems
    assert f"/rendered/{record(host)}/snapshot-deploy-migrate.sh" in problem.what


def test_a_plan_with_a_snapshot_says_what_brings_the_data_back(host: Context) -> None:
    shown = text(plan(host, spec("2.0.0", 2, SAVED)))
    assert "run deploy/save.sh, which saves what comes next changes" in shown
    assert "deploy/restore.sh brings back what was saved" in shown
    assert "NO WAY BACK" not in shown


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
        plan(host, spec("2.0.0", 2, options)).require_ready()
    assert any("does not say how it is undone" in problem.what for problem in caught.value.problems)


def test_a_snapshot_script_that_is_not_in_the_bundle_is_found_before(host: Context) -> None:
    release = spec("2.0.0", 2, SAVED)
    lacking = {path: member for path, member in release.members.items() if path != "deploy/save.sh"}
    with pytest.raises(HostNotReadyError) as caught:
        plan(host, replace(release, members=lacking)).require_ready()
    assert [problem.where for problem in caught.value.problems] == ["deploy/save.sh"]
