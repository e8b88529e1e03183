"""The method `script`, with real scripts that write down what they were asked to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands.carry_out import apply
from installer.commands.recover import exclusive
from installer.core.errors import NotUndoneError, RolledBackError
from installer.core.format.manifest import Deployment
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from installer.planning.planner import plan_apply, plan_remove
from tests.faults.faulty import FaultySystem
from tests.rig.releases import Member, ReleaseSpec, context, stage

SCRIPT = b"""#!/bin/sh
# the file of the release that belongs to this step has to be in place
step=$(basename "$0" .sh)
echo "$step $WAYBILL_VERSION with $(cat "$WAYBILL_ROOT/etc/f") after ${WAYBILL_OLD_RELEASE##*/}" \
    >> "$WAYBILL_ROOT/log"
"""


def spec(version: str, sequence: int, apply: bytes = SCRIPT, undo: bytes = SCRIPT) -> ReleaseSpec:
    return ReleaseSpec(
        version,
        sequence,
        {
            "config/f": Member(version.encode(), "/etc/f"),
            "deploy/apply.sh": Member(apply, mode=0o755, kind="script"),
            "deploy/undo.sh": Member(undo, mode=0o755, kind="script"),
        },
        deploy=(Deployment("script", {"apply": "deploy/apply.sh", "undo": "deploy/undo.sh"}),),
    )


@pytest.fixture
def host(tmp_path: Path) -> Context:
    return context(System(tmp_path))


def install(within: Context, release: ReleaseSpec) -> None:
    with exclusive(within) as (state, _):
        staged = stage(Path(within.system.root), release)
        apply(within, plan_apply(within, state, staged, Options(only=frozenset({"script"}))))


def log(within: Context) -> list[str]:
    lines = (Path(within.system.root) / "log").read_text().splitlines()
    return [line.split(" after ")[0] for line in lines]


def test_the_new_script_runs_when_its_files_are_there(host: Context) -> None:
    install(host, spec("1.0.0", 1))
    install(host, spec("2.0.0", 2))
    assert log(host) == ["apply 1.0.0 with 1.0.0", "apply 2.0.0 with 2.0.0"]
    assert (Path(host.system.root) / "log").read_text().splitlines()[1].split(" after ")[1].startswith("1-")


def test_a_script_that_fails_is_undone_and_the_old_one_runs_again_with_the_old_files(host: Context) -> None:
    install(host, spec("1.0.0", 1))
    with pytest.raises(RolledBackError, match="exit status 4: no database") as caught:
        install(host, spec("2.0.0", 2, SCRIPT + b"echo first words; echo no database; exit 4\n"))
    assert "first words" in str(caught.value)
    assert log(host)[1:] == ["apply 2.0.0 with 2.0.0", "undo 2.0.0 with 2.0.0", "apply 1.0.0 with 1.0.0"]


def test_scripts_that_never_began_are_not_undone(host: Context) -> None:
    install(host, spec("1.0.0", 1))
    system = FaultySystem(Path(host.system.root))
    broken = spec("2.0.0", 2)

    class NoFiles(FaultySystem):
        def rename(self, source: str, target: str) -> None:
            if target == "/etc/f" and source.endswith(".new"):
                raise OSError(5, "Input/output error")
            super().rename(source, target)

    del system
    with pytest.raises(RolledBackError):
        install(context(NoFiles(Path(host.system.root))), broken)
    assert log(host) == ["apply 1.0.0 with 1.0.0"]


def test_a_script_whose_undo_fails_too_stops_and_says_so(host: Context) -> None:
    install(host, spec("1.0.0", 1))
    quick = context(FaultySystem(Path(host.system.root)))
    with pytest.raises(NotUndoneError, match="could not be fully undone") as caught:
        install(quick, spec("2.0.0", 2, SCRIPT + b"exit 4\n", SCRIPT + b"exit 5\n"))
    assert log(host).count("undo 2.0.0 with 2.0.0") == 3
    assert "install recover" in caught.value.hint


def test_remove_runs_the_undo_script(host: Context) -> None:
    install(host, spec("1.0.0", 1))
    with exclusive(host) as (state, _):
        apply(host, plan_remove(host, state))
    assert log(host)[-1] == "undo 1.0.0 with 1.0.0"


def test_a_release_without_the_script_runs_the_old_undo(host: Context) -> None:
    install(host, spec("1.0.0", 1))
    with exclusive(host) as (state, _):
        staged = stage(Path(host.system.root), replace(spec("2.0.0", 2), deploy=()))
        apply(host, plan_apply(host, state, staged, Options()))
    assert log(host)[-1] == "undo 1.0.0 with 1.0.0"


def test_a_script_that_cannot_be_run_is_found_before(host: Context) -> None:
    release = spec("1.0.0", 1)
    members = {**release.members, "deploy/undo.sh": Member(SCRIPT, mode=0o644, kind="script")}
    with exclusive(host) as (state, _):
        staged = stage(Path(host.system.root), replace(release, members=members))
        plan = plan_apply(host, state, staged, Options(only=frozenset({"script"})))
    assert [str(problem.what) for problem in plan.problems] == ["is not executable"]


def test_a_step_is_known_again_when_another_comes_to_stand_before_it(host: Context) -> None:
    """Else undoing would leave what the old one had set up taken down."""
    install(host, spec("1.0.0", 1))
    first = Deployment("script", {"apply": "deploy/first.sh", "undo": "deploy/undo.sh"})
    release = spec("2.0.0", 2, SCRIPT + b"exit 4\n")
    members = {**release.members, "deploy/first.sh": Member(SCRIPT, mode=0o755, kind="script")}
    with pytest.raises(RolledBackError):
        install(host, replace(release, members=members, deploy=(first, *release.deploy)))
    assert log(host)[-1] == "apply 1.0.0 with 1.0.0"


def test_a_step_of_another_name_takes_the_place_of_the_old_one(host: Context) -> None:
    install(host, spec("1.0.0", 1))
    other = {"apply": "deploy/other.sh", "undo": "deploy/undo.sh"}
    release = spec("2.0.0", 2)
    members = {**release.members, "deploy/other.sh": Member(SCRIPT, mode=0o755, kind="script")}
    install(host, replace(release, members=members, deploy=(Deployment("script", other),)))
    assert log(host) == ["apply 1.0.0 with 1.0.0", "undo 1.0.0 with 1.0.0", "other 2.0.0 with 2.0.0"]
