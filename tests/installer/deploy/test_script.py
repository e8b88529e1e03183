"""The method `script`, with real scripts that write down what they were asked to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.rollback import plan_rollback
from installer.core.errors import NotUndoneError, RolledBackError
from installer.core.format.manifest import Deployment
from installer.deploy.method_registry import handler
from installer.deploy.operation import Op
from installer.host.context import Context
from installer.planning.plan import Options
from installer.planning.plan_text import plan_text
from installer.planning.planner import plan_apply, plan_remove
from tests.rig.faulty import FaultySystem
from tests.rig.releases import Member, context, remove, stage
from tests.rig.scripts import SCRIPT, log, scripted
from tests.rig.steps import install_steps


def test_the_new_script_runs_when_its_files_are_there(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    install_steps(host, scripted("2.0.0", 2))
    assert log(host) == ["apply 1.0.0 with 1.0.0", "apply 2.0.0 with 2.0.0"]
    assert (Path(host.system.root) / "log").read_text().splitlines()[1].split(" after ")[1].startswith("1-")


def test_a_script_that_fails_is_undone_and_the_old_one_runs_again_with_the_old_files(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    with pytest.raises(RolledBackError, match="exit status 4: no database") as caught:
        install_steps(host, scripted("2.0.0", 2, SCRIPT + b"echo first words; echo no database; exit 4\n"))
    assert "first words" in str(caught.value)
    assert log(host)[1:] == ["apply 2.0.0 with 2.0.0", "undo 2.0.0 with 2.0.0", "apply 1.0.0 with 1.0.0"]


def test_scripts_that_never_began_are_not_undone(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    system = FaultySystem(Path(host.system.root))
    broken = scripted("2.0.0", 2)

    class NoFiles(FaultySystem):
        def rename(self, source: str, target: str) -> None:
            if target == "/etc/f" and source.endswith(".new"):
                raise OSError(5, "Input/output error")
            super().rename(source, target)

    del system
    with pytest.raises(RolledBackError):
        install_steps(context(NoFiles(Path(host.system.root))), broken)
    assert log(host) == ["apply 1.0.0 with 1.0.0"]


def test_a_script_whose_undo_fails_too_stops_and_says_so(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    quick = context(FaultySystem(Path(host.system.root)))
    with pytest.raises(NotUndoneError, match="could not be fully undone") as caught:
        install_steps(quick, scripted("2.0.0", 2, SCRIPT + b"exit 4\n", SCRIPT + b"exit 5\n"))
    assert log(host).count("undo 2.0.0 with 2.0.0") == 3
    assert "install recover" in caught.value.hint


def test_remove_runs_the_undo_script(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    with exclusive(host) as (state, _):
        execute_plan(host, plan_remove(host, state))
    assert log(host)[-1] == "undo 1.0.0 with 1.0.0"


def test_a_removal_says_that_the_undo_script_ran_and_not_that_it_is_still_there(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    found = remove(host).removal
    assert found is not None
    (row,) = [row for row in found.rows if row.kind == "script"]
    assert (row.how, row.what) == ("gone", "the undo script ran; Waybill cannot check its result")
    assert not Path(host.system.root, row.name.lstrip("/")).exists()
    assert f"  note    {row.name}: the undo script ran; Waybill cannot check its result\n" in found.text()
    assert "undo.sh" not in str(found.summary()["stays"])


def test_a_release_without_the_script_runs_the_old_undo(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    with exclusive(host) as (state, _):
        staged = stage(Path(host.system.root), replace(scripted("2.0.0", 2), deploy=()))
        execute_plan(host, plan_apply(host, state, staged, Options()))
    assert log(host)[-1] == "undo 1.0.0 with 1.0.0"


def test_a_script_that_cannot_be_run_is_found_before(host: Context) -> None:
    release = scripted("1.0.0", 1)
    members = {**release.members, "deploy/undo.sh": Member(SCRIPT, mode=0o644, kind="script")}
    with exclusive(host) as (state, _):
        staged = stage(Path(host.system.root), replace(release, members=members))
        plan = plan_apply(host, state, staged, Options(only=frozenset({"script"})))
    assert [str(problem.what) for problem in plan.problems] == ["is not executable"]


def test_a_step_is_known_again_when_another_comes_to_stand_before_it(host: Context) -> None:
    """Else undoing would leave what the old one had set up taken down."""
    install_steps(host, scripted("1.0.0", 1))
    first = Deployment("script", {"apply": "deploy/first.sh", "undo": "deploy/undo.sh"})
    release = scripted("2.0.0", 2, SCRIPT + b"exit 4\n")
    members = {**release.members, "deploy/first.sh": Member(SCRIPT, mode=0o755, kind="script")}
    with pytest.raises(RolledBackError):
        install_steps(host, replace(release, members=members, deploy=(first, *release.deploy)))
    assert log(host)[-1] == "apply 1.0.0 with 1.0.0"


def test_a_step_of_another_name_takes_the_place_of_the_old_one(host: Context) -> None:
    install_steps(host, scripted("1.0.0", 1))
    other = {"apply": "deploy/other.sh", "undo": "deploy/undo.sh"}
    release = scripted("2.0.0", 2)
    members = {**release.members, "deploy/other.sh": Member(SCRIPT, mode=0o755, kind="script")}
    install_steps(host, replace(release, members=members, deploy=(Deployment("script", other),)))
    assert log(host) == ["apply 1.0.0 with 1.0.0", "undo 1.0.0 with 1.0.0", "other 2.0.0 with 2.0.0"]


@pytest.mark.parametrize(
    ("kind", "scripts", "said"),
    [
        ("script.apply", {"apply": "apply.sh", "undo": "undo.sh"}, "undo: running deploy/undo.sh"),
        ("script.apply", {"apply": "apply.sh", "restore": "put.sh"}, "undo: running deploy/put.sh"),
        ("script.remove", {"apply": "apply.sh", "undo": "undo.sh"}, "undo: running deploy/apply.sh"),
    ],
)
def test_undoing_names_the_script_that_runs(kind: str, scripts: dict[str, str], said: str) -> None:
    step = {"directory": "/r/1", **{name: f"/r/1/deploy/{path}" for name, path in scripts.items()}}
    op = Op(kind, {"new": step, "old": step}, label=f"run deploy/{scripts['apply']}")
    assert handler(kind).undo_label(op) == said


def noted(host: Context, verb: str) -> list[str]:
    """Returns the notes of a plan that say what runs outside of the root directory."""
    only = Options(only=frozenset({"script"}))
    with exclusive(host) as (state, _):
        if verb == "remove":
            plan = plan_remove(host, state)
        elif verb == "rollback":
            plan = plan_rollback(host, state, None, Options())
        else:
            staged = stage(Path(host.system.root), scripted("3.0.0", 3))
            plan = plan_apply(host, state, staged, only if verb == "named" else Options())
    assert [note for note in plan_text(plan).splitlines() if note.startswith("note: OUTSIDE")] != []
    return [note for note in plan.notes if note.startswith("OUTSIDE")]


@pytest.mark.parametrize("verb", ["named", "persists", "rollback", "remove"])
def test_every_plan_below_a_root_says_that_its_scripts_run_on_this_machine(host: Context, verb: str) -> None:
    install_steps(host, scripted("1.0.0", 1))
    install_steps(host, scripted("2.0.0", 2))
    (note,) = noted(host, verb)
    assert (
        note == f'OUTSIDE {host.system.root}: step "script" runs on this machine; --root does not contain it'
    )


def test_below_a_root_no_script_runs_that_was_not_named(host: Context) -> None:
    with exclusive(host) as (state, _):
        plan = plan_apply(host, state, stage(Path(host.system.root), scripted("1.0.0", 1)), Options())
        assert [note for note in plan.notes if note.startswith("OUTSIDE")] == []
        assert (
            'step "script" is skipped with --root; add --only files,script to run it on this machine'
            in plan.notes
        )
        execute_plan(host, plan)
    assert not Path(host.system.root, "log").exists()
