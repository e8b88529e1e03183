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
from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.commands.rollback import plan_rollback
from installer.core.errors import RolledBackError
from installer.core.format.manifest import Deployment
from installer.host.context import Context
from installer.host.system import System
from installer.planning.plan import Options
from installer.planning.plan_text import plan_text
from installer.planning.planner import plan_remove
from tests.rig.bench import Bench, release
from tests.rig.chatd import ONE, numbered
from tests.rig.faulty import FaultySystem, Killed, snapshot
from tests.rig.releases import STATE, Member, Notes, context, install, planned

pytestmark = pytest.mark.host(ONE, directories=("opt",))


def kept(host: Context) -> list[str]:
    return [entry.version for entry in status.product_status(host).kept]


def test_the_operator_says_how_many_releases_are_kept_and_it_stays_so(host: Context) -> None:
    install(host, numbered(2), Options(keep=2))
    install(host, numbered(3))
    assert kept(host) == ["3.0.0", "2.0.0"]
    install(host, numbered(4), Options(keep=4))
    for number in (5, 6):
        install(host, numbered(number))
    assert kept(host) == ["6.0.0", "5.0.0", "4.0.0", "3.0.0"]
    with exclusive(host) as (state, _):
        execute_plan(host, plan_rollback(host, state, "3.0.0", Options()))
    assert sorted(kept(host)) == ["3.0.0", "4.0.0", "5.0.0", "6.0.0"]


def test_the_number_alone_is_reason_enough_to_apply_again(host: Context) -> None:
    install(host, numbered(2))
    assert install(host, numbered(2), Options(keep=1)).changed
    assert kept(host) == ["2.0.0"]
    assert not install(host, numbered(2), Options(keep=1)).changed


def test_the_number_survives_a_lost_state(host: Context) -> None:
    install(host, numbered(2), Options(keep=2))
    on(host, "state.json").unlink()
    recover(host)
    install(host, numbered(3))
    assert kept(host) == ["3.0.0", "2.0.0"]


def test_a_release_that_fails_gives_nothing_up_and_changes_no_number(host: Context) -> None:
    install(host, numbered(2))
    script = Member(b"#!/bin/sh\ncase $0 in *a) exit 1;; esac\n", mode=0o755, kind="script")
    bad = replace(
        numbered(3),
        deploy=(Deployment("script", {"apply": "deploy/a", "undo": "deploy/b"}),),
        members={"deploy/a": script, "deploy/b": script},
    )
    with pytest.raises(RolledBackError):
        install(host, bad, Options(keep=1, only=frozenset({"script"})))
    install(host, numbered(4))
    assert kept(host) == ["4.0.0", "2.0.0", "1.0.0"]


def test_the_plan_names_what_is_given_up_once_it_stands(host: Context) -> None:
    install(host, numbered(2))
    with planned(host, numbered(3), Options(keep=1)) as plan:
        assert "releases pruned after the commit: 2.0.0, 1.0.0 (--keep 1)" in plan_text(plan)
        assert [row["version"] for row in plan.as_json()["pruned"]] == ["2.0.0", "1.0.0"]
    with planned(host, numbered(3)) as plan:
        assert "releases deleted" not in plan_text(plan)
        assert plan.as_json()["pruned"] == []


def on(host: Context, path: str = "") -> Path:
    return Path(host.system.root, STATE, path)


def said(host: Context) -> str:
    assert isinstance(host.progress, Notes)
    return "\n".join(host.progress.lines)


def recover(host: Context) -> None:
    with exclusive(host):
        pass


@pytest.mark.parametrize("place", ["releases", "rendered", "staging"])
def test_a_directory_of_somebody_else_is_moved_to_kept_and_named(host: Context, place: str) -> None:
    on(host, f"{place}/mine").mkdir(parents=True)
    on(host, f"{place}/mine/work").write_text("a week")
    recover(host)
    assert on(host, f"kept/{place}-1/mine/work").read_text() == "a week"
    assert f"{place}/mine was not created by Waybill; moved to" in said(host)


@pytest.mark.parametrize("place", ["releases", "rendered", "staging"])
def test_a_link_of_somebody_else_is_moved_and_never_followed(
    host: Context, tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "work").write_text("a week")
    on(host, place).mkdir(exist_ok=True)
    on(host, f"{place}/2-0123456789ab").symlink_to(elsewhere)
    recover(host)
    assert on(host, f"kept/{place}-1/2-0123456789ab").readlink() == elsewhere
    assert (elsewhere / "work").read_text() == "a week"


def test_what_somebody_laid_into_a_release_or_a_record_that_goes_is_kept(host: Context) -> None:
    (release,) = on(host, "releases").iterdir()
    (release / "data.db").write_text("a week")
    on(host, "rendered/000001/notes").write_text("mine")
    for number in (2, 3, 4):
        install(host, numbered(number))
    assert not release.exists()
    assert on(host, f"kept/releases-1/{release.name}/data.db").read_text() == "a week"
    assert on(host, "kept/rendered-1/000001/notes").read_text() == "mine"


def test_foreign_names_among_the_journals_are_nobodys_transactions(host: Context) -> None:
    for name in ("notes.log", "notes.done", "notes.backup"):
        on(host, f"txn/{name}").write_text("mine")
    for number in range(2, 15):
        install(host, numbered(number))
    assert status.product_status(host).unfinished == ""
    assert {on(host, f"txn/notes.{each}").read_text() for each in ("log", "done", "backup")} == {"mine"}


@pytest.fixture
def mounted(host: Context) -> Iterator[Path]:
    """A file system that somebody mounted inside of a release that goes."""
    (release_,) = on(host, "releases").iterdir()
    place = release_ / "da ta"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    (place / "work").write_text("a week")
    yield place
    subprocess.run(["umount", place], check=False)


@pytest.mark.needs("root")
def test_what_is_mounted_inside_is_never_emptied_and_the_rest_goes_once_it_is_away(
    host: Context, mounted: Path
) -> None:
    for number in (2, 3, 4):
        install(host, numbered(number))
    assert (mounted / "work").read_text() == "a week"
    assert f"is not removed: something is mounted at /{mounted.relative_to(host.system.root)}" in said(host)
    subprocess.run(["umount", mounted], check=True)
    recover(host)
    assert not mounted.parent.exists()


@pytest.mark.needs("root")
def test_a_removal_says_what_a_mount_has_left(host: Context, mounted: Path) -> None:
    with exclusive(host) as (state, _):
        found = execute_plan(host, plan_remove(host, state)).removal
    assert found is not None
    (left,) = found.of("left")
    assert (left.kind, found.exit_code) == ("release", 21)
    assert "something is mounted at" in left.what
    assert (mounted / "work").read_text() == "a week"


@pytest.mark.needs("root")
def test_no_tree_is_removed_with_something_mounted_in_it(host: Context, mounted: Path) -> None:
    with pytest.raises(OSError, match="a file system is mounted there"):
        host.system.remove_tree(f"/{mounted.parent.relative_to(host.system.root)}")
    assert (mounted / "work").exists()
    assert (mounted.parent / "bundle.json").exists()


def test_a_release_that_a_process_runs_from_waits_for_its_end(host: Context) -> None:
    (release,) = on(host, "releases").iterdir()
    with subprocess.Popen(["sleep", "1000"], cwd=release) as process:
        for number in (2, 3, 4):
            install(host, numbered(number))
        assert (release / "bundle.json").exists()
        assert f"is not removed yet: process {process.pid} runs from it" in said(host)
        process.kill()
    recover(host)
    assert not release.exists()


def test_the_next_command_ends_a_cleanup_that_was_killed_at_any_step(host: Context, tmp_path: Path) -> None:
    for number in (2, 3):
        install(host, numbered(number))
    (oldest,) = on(host, "releases").glob("1-*")
    (oldest / "data.db").write_text("a week")
    golden = tmp_path.with_name("golden")
    shutil.copytree(host.system.root, golden, symlinks=True)
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
            install(context(Dying(root)), numbered(4))
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


def test_the_command_line_takes_shows_and_keeps_the_number_of_releases(bench: Bench) -> None:
    for number, words in ((1, ["--keep", "2"]), (2, []), (3, [])):
        bundle = str(bench.bundle(release(f"1.{number + 3}.0", 100_040_000_999 + number)))
        if number == 3:
            assert "releases pruned after the commit: 1.4.0 (--keep 2)" in bench.text("plan", bundle)[1]
        assert bench.run(bundle, "--yes", *words)[0] == 0
    (product,) = bench.run("status")[1]["products"]
    assert [entry["version"] for entry in product["retained"]] == ["1.6.0", "1.5.0"]
    assert bench.run(bundle, "--yes", "--keep", "0")[0] == 2
