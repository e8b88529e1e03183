"""Staging goes on where an interrupted run of the same bundle stopped, whatever is in its way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from installer.core.format.manifest import BLOBS, DirectoryEntry, LinkEntry
from installer.host.system import System
from installer.staging.area import clear
from installer.staging.stage import demands
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.faulty import FaultySystem
from tests.rig.releases import Notes
from tests.rig.staging import FILES, LAYOUT, STAGING, Reads, Told, opened, plan, run, tree
from tests.rig.tap import Tap, tapped

T = TypeVar("T")
PLAN = plan()
TAR = PLAN.tar()
IDENTITY = opened(BytesMedium(TAR)).bundle.identity
TREES = build.plan(
    directories=(DirectoryEntry("trees/web/hollow", 0o750),),
    links=(LinkEntry("trees/web/link", "index.html"),),
)
HERE = f"{STAGING}/{IDENTITY[:12]}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "host/data").mkdir(parents=True, mode=0o755)
    return tmp_path / "host"


def whole(root: Path, directory: str) -> bool:
    found = tree(root, directory)
    return {path: found.get(path) for path in FILES} == FILES


def kept(root: Path) -> list[bytes]:
    """What was moved away."""
    return [each.read_bytes() for each in (root / LAYOUT.preserved[1:]).rglob("*") if each.is_file()]


def test_all_that_is_read_is_told_once_and_nothing_is_moved(root: Path) -> None:
    told = Told()
    staged = run(System(root), BytesMedium(TAR), told)
    (phase,) = told.phases
    assert phase[0] == phase[1] > 0
    assert (told.ended, told.lines, staged.area) == (1, [], "")
    assert not (root / "images").exists()
    again = Told()
    run(System(root), BytesMedium(TAR), again)
    size = sum(map(len, FILES.values()))
    assert again.phases[0] == [size, size]
    assert again.ended == 2
    assert len(again.lines) == 1


def test_a_staged_release_is_on_the_disk_when_staging_ends(root: Path) -> None:
    system = FaultySystem(root)
    staged = run(system, BytesMedium(TAR), work="/data")
    assert system.trace[-2:] == [f"sync_fs {staged.directory}", f"sync_fs {staged.area}"]


def test_an_interruption_keeps_what_is_staged(root: Path) -> None:
    class Interrupted(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], T]) -> T:
            result = call()
            if name == "write_new" and args[0].endswith("docs/CHANGELOG.md"):
                raise KeyboardInterrupt
            return result

    notes = Notes()
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(root), BytesMedium(TAR), notes)
    assert (root / HERE / "docs/CHANGELOG.md").exists()
    assert "the staged files are kept" in notes.lines[-1]


def test_the_space_that_is_needed_is_that_of_what_is_not_there(root: Path) -> None:
    manifest = opened(BytesMedium(TAR)).bundle.manifest
    blobs = {path for path in FILES if path.startswith(BLOBS)}
    size = {path: len(data) for path, data in FILES.items()}
    (alone,) = demands(manifest, "linux/amd64", "/a", have=frozenset(blobs))
    assert alone.bytes == sum(size[path] for path in FILES.keys() - blobs)
    first, second = demands(manifest, "linux/amd64", "/a", "/b")
    assert (first.bytes, second.bytes) == (alone.bytes, sum(size[path] for path in blobs))


@pytest.mark.parametrize("first", ["", "/data"])
def test_blobs_go_where_this_run_wants_them_and_nowhere_else(root: Path, first: str) -> None:
    second = "/data" if not first else ""
    run(System(root), BytesMedium(TAR), work=first)
    notes = Notes()
    staged = run(System(root), BytesMedium(TAR), notes, second)
    blobs = {path for path in FILES if path.startswith(BLOBS)}
    assert blobs
    below = {path for path in tree(root, staged.directory) if path.startswith(BLOBS)}
    assert below == (set() if second else blobs)
    assert [path.name for path in (root / "data").iterdir()] == (
        [staged.area.rpartition("/")[2]] if second else []
    )
    assert (root / f"{HERE}.work").is_symlink() == bool(second)
    assert kept(root) == []


def test_blobs_are_found_also_where_the_directory_of_the_release_is_gone(root: Path) -> None:
    staged = run(System(root), BytesMedium(TAR), work="/data")
    shutil.rmtree(root / HERE)
    reads = Reads(TAR)
    run(System(root), reads.medium(), work="/data")
    assert {path for path in tree(root, staged.area) if path in FILES}
    layer = max((path for path in FILES if path.startswith(BLOBS)), key=lambda path: len(FILES[path]))
    assert not reads.touched(PLAN.offset(layer), PLAN.offset(layer) + len(FILES[layer]))


@pytest.mark.parametrize("place", [HERE, f"{HERE}/docs", f"{HERE}/SHA256SUMS"])
def test_a_file_in_place_of_a_directory_of_ours_is_moved_away(root: Path, place: str) -> None:
    (root / place).parent.mkdir(parents=True)
    (root / place).write_bytes(b"somebody's work")
    staged = run(System(root), BytesMedium(TAR))
    assert whole(root, staged.directory)
    assert kept(root) == ([b"somebody's work"] if not place.endswith("SUMS") else [])


def test_a_directory_in_place_of_a_file_of_the_head_is_no_obstacle(root: Path) -> None:
    (root / HERE / "bundle.json").mkdir(parents=True)
    staged = run(System(root), BytesMedium(TAR))
    assert (root / staged.directory[1:] / "bundle.json").read_bytes() == opened(
        BytesMedium(TAR)
    ).bundle.manifest_bytes


def test_signatures_that_this_copy_of_the_bundle_does_not_have_go(root: Path) -> None:
    staged = run(System(root), BytesMedium(TAR))
    before = tree(root, staged.directory)
    (root / HERE / "SHA256SUMS.0badc0de.sig").write_bytes(b"of an earlier copy")
    notes = Notes()
    run(System(root), BytesMedium(TAR), notes)
    assert tree(root, staged.directory) == before
    assert kept(root) == []


def test_links_and_directories_of_trees_are_made_right(root: Path) -> None:
    data = TREES.tar()
    staged = run(System(root), BytesMedium(data))
    place = root / staged.directory[1:] / "trees/web"
    whole, written = tree(root, staged.directory), (place / "link").lstat().st_ino
    run(System(root), BytesMedium(data))
    assert (place / "link").lstat().st_ino == written
    (place / "link").unlink()
    (place / "link").symlink_to("elsewhere")
    (place / "hollow").chmod(0o700)
    notes = Notes()
    run(System(root), BytesMedium(data), notes)
    assert os.readlink(place / "link") == "index.html"
    assert (place / "hollow").stat().st_mode & 0o777 == 0o750
    assert not [line for line in notes.lines if "not created by Waybill" in line]
    (place / "link").unlink()
    (place / "link").write_bytes(b"somebody's work")
    (place / "hollow").rmdir()
    (place / "hollow").write_bytes(b"somebody's other work")
    run(System(root), BytesMedium(data))
    assert tree(root, staged.directory) == whole
    assert (place / "hollow").is_dir()
    assert sorted(kept(root)) == [b"somebody's other work", b"somebody's work"]


def test_files_of_another_platform_are_read_to_their_end(root: Path) -> None:
    files = {"bin/linux-arm64/x": b"arm" * 2_000_000}
    entries = {path: {"platform": "linux/arm64"} for path in files}
    made = build.plan(files, entries=entries, platforms=("linux/amd64", "linux/arm64"))
    told = Told()
    run(System(root), BytesMedium(made.tar()), told)
    assert told.phases[0][1] >= 6_000_000


@pytest.mark.parametrize("resumed", [False, True])
def test_whatever_the_power_takes_no_staged_file_counts_as_somebody_elses(
    tmp_path: Path, resumed: bool
) -> None:
    data = build.plan({"docs/a": b"a" * 700, "docs/b": b"b" * 700}).tar()
    root, start = tmp_path / "host", 0
    root.mkdir()
    with tapped(root) as tap:
        run(System(root), BytesMedium(data))
    disk = tap.disk
    if resumed:
        # Killed right before the head was synced: it is in the cache only.
        written = [place for place, change in enumerate(disk.log) if b"docs/a" in change.data][-1]
        start = next(
            place for place, change in enumerate(disk.log) if change.kind == "sync" and place > written
        )
        disk = disk.left(tmp_path / "killed", start)
        with Tap(disk):
            run(System(tmp_path / "killed"), BytesMedium(data))
    tried = 0
    for _, state in disk.cuts(10, start):
        state.write(tmp_path / "cut")
        notes = Notes()
        clear(System(tmp_path / "cut"), LAYOUT, notes)
        assert notes.lines == []
        shutil.rmtree(tmp_path / "cut")
        tried += 1
    assert tried > 10


def test_the_parts_of_a_release_are_private_only_while_they_are_apart(root: Path) -> None:
    staged = run(System(root), BytesMedium(TAR), work="/data")
    assert (root / staged.area[1:] / "images").stat().st_mode & 0o777 == 0o700
    assert replace(staged, area="").directory == staged.directory
