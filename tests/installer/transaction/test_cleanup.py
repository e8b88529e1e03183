"""Housekeeping removes what is ours and not needed any more, and nothing else, however often it is cut."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from installer.commands import status
from installer.commands.carry_out import apply
from installer.commands.recover import exclusive
from installer.commands.rollback import plan_rollback
from installer.core.errors import RolledBackError
from installer.core.format.manifest import Deployment
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from installer.planning.plan_text import text
from installer.planning.planner import plan_remove
from tests.faults.faulty import FaultySystem, Killed, snapshot
from tests.rig.bench import Bench, release
from tests.rig.releases import Member, Notes, ReleaseSpec, context, install, planned

ONE = ReleaseSpec("1.0.0", 1, {"bin/linux-amd64/d": Member(b"one", "/opt/d", 0o755)})
STATE = "var/lib/waybill/lan-chat"


def spec(number: int) -> ReleaseSpec:
    program = Member(f"number {number}".encode(), "/opt/d", 0o755)
    return replace(ONE, version=f"{number}.0.0", sequence=number, members={"bin/linux-amd64/d": program})


@pytest.fixture
def here(tmp_path: Path) -> Context:
    (tmp_path / "opt").mkdir()
    within = context(System(tmp_path))
    install(within, spec(1))
    return within


def kept(here: Context) -> list[str]:
    return [entry.version for entry in status.status(here).kept]


def test_the_operator_says_how_many_releases_are_kept_and_it_stays_so(here: Context) -> None:
    install(here, spec(2), Options(keep=2))
    install(here, spec(3))
    assert kept(here) == ["3.0.0", "2.0.0"]
    install(here, spec(4), Options(keep=4))
    for number in (5, 6):
        install(here, spec(number))
    assert kept(here) == ["6.0.0", "5.0.0", "4.0.0", "3.0.0"]
    with exclusive(here) as (state, _):
        apply(here, plan_rollback(here, state, "3.0.0", Options()))
    assert sorted(kept(here)) == ["3.0.0", "4.0.0", "5.0.0", "6.0.0"]


def test_the_number_alone_is_reason_enough_to_apply_again(here: Context) -> None:
    install(here, spec(2))
    assert install(here, spec(2), Options(keep=1)).changed
    assert kept(here) == ["2.0.0"]
    assert not install(here, spec(2), Options(keep=1)).changed


def test_the_number_survives_a_lost_state(here: Context) -> None:
    install(here, spec(2), Options(keep=2))
    on(here, "state.json").unlink()
    recover(here)
    install(here, spec(3))
    assert kept(here) == ["3.0.0", "2.0.0"]


def test_a_release_that_fails_gives_nothing_up_and_changes_no_number(here: Context) -> None:
    install(here, spec(2))
    script = Member(b"#!/bin/sh\ncase $0 in *a) exit 1;; esac\n", mode=0o755, kind="script")
    bad = replace(
        spec(3),
        deploy=(Deployment("script", {"apply": "deploy/a", "undo": "deploy/b"}),),
        members={"deploy/a": script, "deploy/b": script},
    )
    with pytest.raises(RolledBackError):
        install(here, bad, Options(keep=1, only=frozenset({"script"})))
    install(here, spec(4))
    assert kept(here) == ["4.0.0", "2.0.0", "1.0.0"]


def test_the_plan_names_what_is_given_up_once_it_stands(here: Context) -> None:
    install(here, spec(2))
    with planned(here, spec(3), Options(keep=1)) as plan:
        assert "given up once this stands: 2.0.0, 1.0.0; kept: 1 (--keep N)" in text(plan)
        assert [row["version"] for row in plan.as_json()["gives_up"]] == ["2.0.0", "1.0.0"]
    with planned(here, spec(3)) as plan:
        assert "given up" not in text(plan)
        assert plan.as_json()["gives_up"] == []


def on(here: Context, path: str = "") -> Path:
    return Path(here.system.root, STATE, path)


def said(here: Context) -> str:
    assert isinstance(here.progress, Notes)
    return "\n".join(here.progress.lines)


def recover(here: Context) -> None:
    with exclusive(here):
        pass


@pytest.mark.parametrize("place", ["releases", "rendered", "staging"])
def test_a_directory_of_somebody_else_is_moved_to_kept_and_named(here: Context, place: str) -> None:
    on(here, f"{place}/mine").mkdir(parents=True)
    on(here, f"{place}/mine/work").write_text("a week")
    recover(here)
    assert on(here, f"kept/{place}-1/mine/work").read_text() == "a week"
    assert f"{place}/mine is not ours; it was moved to" in said(here)


@pytest.mark.parametrize("place", ["releases", "rendered", "staging"])
def test_a_link_of_somebody_else_is_moved_and_never_followed(
    here: Context, tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "work").write_text("a week")
    on(here, place).mkdir(exist_ok=True)
    on(here, f"{place}/2-0123456789ab").symlink_to(elsewhere)
    recover(here)
    assert on(here, f"kept/{place}-1/2-0123456789ab").readlink() == elsewhere
    assert (elsewhere / "work").read_text() == "a week"


def test_what_somebody_laid_into_a_release_or_a_record_that_goes_is_kept(here: Context) -> None:
    (release,) = on(here, "releases").iterdir()
    (release / "data.db").write_text("a week")
    on(here, "rendered/000001/notes").write_text("mine")
    for number in (2, 3, 4):
        install(here, spec(number))
    assert not release.exists()
    assert on(here, f"kept/releases-1/{release.name}/data.db").read_text() == "a week"
    assert on(here, "kept/rendered-1/000001/notes").read_text() == "mine"


def test_foreign_names_among_the_journals_are_nobodys_transactions(here: Context) -> None:
    for name in ("notes.log", "notes.done", "notes.backup"):
        on(here, f"txn/{name}").write_text("mine")
    for number in range(2, 15):
        install(here, spec(number))
    assert status.status(here).unfinished == ""
    assert {on(here, f"txn/notes.{each}").read_text() for each in ("log", "done", "backup")} == {"mine"}


@pytest.fixture
def mounted(here: Context) -> Iterator[Path]:
    """A file system that somebody mounted inside of a release that goes."""
    (release_,) = on(here, "releases").iterdir()
    place = release_ / "da ta"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    (place / "work").write_text("a week")
    yield place
    subprocess.run(["umount", place], check=False)


@pytest.mark.needs("root")
def test_what_is_mounted_inside_is_never_emptied_and_the_rest_goes_once_it_is_away(
    here: Context, mounted: Path
) -> None:
    for number in (2, 3, 4):
        install(here, spec(number))
    assert (mounted / "work").read_text() == "a week"
    assert f"is not removed: something is mounted at /{mounted.relative_to(here.system.root)}" in said(here)
    subprocess.run(["umount", mounted], check=True)
    recover(here)
    assert not mounted.parent.exists()


@pytest.mark.needs("root")
def test_a_removal_says_what_a_mount_has_left(here: Context, mounted: Path) -> None:
    with exclusive(here) as (state, _):
        found = apply(here, plan_remove(here, state)).removal
    assert found is not None
    (left,) = found.of("left")
    assert (left.kind, found.exit_code) == ("release", 21)
    assert "something is mounted at" in left.what
    assert (mounted / "work").read_text() == "a week"


@pytest.mark.needs("root")
def test_no_tree_is_removed_with_something_mounted_in_it(here: Context, mounted: Path) -> None:
    with pytest.raises(OSError, match="something is mounted there"):
        here.system.remove_tree(f"/{mounted.parent.relative_to(here.system.root)}")
    assert (mounted / "work").exists()
    assert (mounted.parent / "bundle.json").exists()


def test_a_release_that_a_process_runs_from_waits_for_its_end(here: Context) -> None:
    (release,) = on(here, "releases").iterdir()
    with subprocess.Popen(["sleep", "1000"], cwd=release) as process:
        for number in (2, 3, 4):
            install(here, spec(number))
        assert (release / "bundle.json").exists()
        assert f"is not removed yet: process {process.pid} runs from it" in said(here)
        process.kill()
    recover(here)
    assert not release.exists()


def test_killed_at_every_step_of_clearing_the_next_command_ends_it(here: Context, tmp_path: Path) -> None:
    for number in (2, 3):
        install(here, spec(number))
    (oldest,) = on(here, "releases").glob("1-*")
    (oldest / "data.db").write_text("a week")
    golden = tmp_path.with_name("golden")
    shutil.copytree(here.system.root, golden, symlinks=True)
    steps = 0
    while True:
        steps += 1
        root = tmp_path.with_name(f"cut-{steps}")
        shutil.copytree(golden, root, symlinks=True)

        class Dying(FaultySystem):
            left = -1

            def around(self, name: str, args: tuple[object, ...], call: object) -> object:  # type: ignore[override]
                result = super().around(name, args, call)  # type: ignore[arg-type]
                if any(isinstance(each, bytes) and b'"COMMIT"' in each for each in args):
                    self.left = steps  # noqa: B023
                self.left -= 1
                if self.left == 0:
                    self._die()
                return result

        try:
            install(context(Dying(root)), spec(4))
        except Killed:
            recover(context(System(root)))
        else:
            break
        state = root / STATE
        assert sorted(name.partition("-")[0] for name in os.listdir(state / "releases")) == ["2", "3", "4"]
        assert sorted(os.listdir(state / "rendered")) == ["000002", "000003", "000004"]
        assert [path.read_text() for path in (state / "kept").rglob("data.db")] == ["a week"]
        before = snapshot(root)
        recover(context(System(root)))
        assert snapshot(root) == before
        shutil.rmtree(root)
    assert steps > 15


def test_by_command_line_the_number_is_taken_shown_and_kept(bench: Bench) -> None:
    for number, words in ((1, ["--keep", "2"]), (2, []), (3, [])):
        bundle = str(bench.bundle(release(f"1.{number + 3}.0", 100_040_000_999 + number)))
        if number == 3:
            assert "given up once this stands: 1.4.0; kept: 2 (--keep N)" in bench.text("plan", bundle)[1]
        assert bench.run(bundle, "--yes", *words)[0] == 0
    (product,) = bench.run("status")[1]["products"]
    assert [entry["version"] for entry in product["kept"]] == ["1.6.0", "1.5.0"]
    assert bench.run(bundle, "--yes", "--keep", "0")[0] == 2
