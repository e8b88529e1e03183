"""Staging that is cut short goes on where it was; what is there is neither read nor written again."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from installer.commands.common.recovery import exclusive
from installer.core.errors import HostNotReadyError, MediaError, TamperedError
from installer.core.format.archive import BLOCK
from installer.core.oci.section import ImageSection
from installer.host.system import System
from installer.staging.area import clear
from installer.staging.work_dir import area_of, work_dir
from tests.rig import bundlebuild as build
from tests.rig.faulty import FaultySystem, Killed, snapshot
from tests.rig.releases import Notes, context
from tests.rig.staging import FILES, LAYOUT, STAGING, Reads, Writes, opened, plan, run, tree

PLAN = plan()
TAR = PLAN.tar()
IDENTITY = opened(build.BytesMedium(TAR)).bundle.identity


def extent(path: str) -> tuple[int, int]:
    begin = PLAN.offset(path)
    return begin, begin + BLOCK + len(FILES[path])


def complete(root: Path, work: Path) -> set[str]:
    """Which files of the bundle are staged whole, wherever."""
    found = tree(root, f"/{STAGING}/{IDENTITY[:12]}")
    for area in work.glob("*"):
        found |= tree(area, "/")
    return {path for path, data in found.items() if FILES.get(path) == data}


@pytest.mark.parametrize("fault", ["kill before", "kill after", "kill half"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one place", "with a work directory"])
def test_the_next_run_goes_on_wherever_the_first_was_killed(fault: str, apart: bool, tmp_path: Path) -> None:
    def start(name: str) -> tuple[Path, str]:
        root = tmp_path / name
        (root / "data").mkdir(parents=True, mode=0o755)
        return root, work_dir(System(root), LAYOUT, root / "data") if apart else ""

    golden, work = start("golden")
    counting = FaultySystem(golden)
    run(counting, build.BytesMedium(TAR), work=work)
    wanted = complete(golden, golden / "data")
    assert wanted == set(FILES)
    resumed = 0
    for at in range(1, len(counting.trace) + 1):
        root, work = start(f"{at}")
        with suppress(Killed):  # a write that is to be cut in half may be none
            run(FaultySystem(root, at, fault), build.BytesMedium(TAR), work=work)
        there = complete(root, root / "data")
        reads, notes, writing = Reads(TAR), Notes(), Writes(root)
        staged = run(writing, reads.medium(), notes, work)
        assert complete(root, root / "data") == set(FILES), at
        read = {path for path in FILES if reads.touched(*extent(path))}
        # Documents of images are checked again, also where they are staged: they take a few kilobytes.
        assert read == set(FILES) - there | ImageSection(plan().manifest).documents, at
        fresh = {hashlib.sha256(data).digest() for data in writing.written}
        assert not {hashlib.sha256(FILES[path]).digest() for path in there if FILES[path]} & fresh, at
        if there:
            resumed += 1
            assert any(
                f"{len(there)} of {len(FILES)} files are staged already" in line for line in notes.lines
            )
        assert bool(staged.area) == apart
        with exclusive(context(System(root))):
            pass
        assert not list((root / STAGING).iterdir())
        assert not list((root / "data").iterdir())
        shutil.rmtree(root)
    assert resumed > len(FILES)


def test_a_medium_that_was_pulled_is_put_back_and_the_rest_is_read(tmp_path: Path) -> None:
    files = {f"trees/web/{name}": name.encode() * 3_000_000 for name in "abcd"}
    whole = plan(files)
    data, system, notes = whole.tar(), System(tmp_path), Notes()
    pulled = Reads(data, fail=lambda offset: offset > whole.offset("trees/web/c"))
    with pytest.raises(MediaError):
        run(system, pulled.medium(), notes)
    assert "the staged files are kept: run the same command again to continue" in notes.lines[-1]
    there = {path for path in tree(tmp_path, f"/{STAGING}") if path.rpartition("/")[2] in files}
    reads = Reads(data)
    staged = run(system, reads.medium(), notes)
    again = {path for path in files if reads.touched(whole.offset(path), whole.offset(path) + 3_000_512)}
    assert again >= {"trees/web/c", "trees/web/d"}
    assert not again & there
    found = tree(tmp_path, staged.directory)
    assert {path: found[path] for path in files} == files


def test_a_stream_is_read_whole_and_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    run(System(tmp_path), build.BytesMedium(TAR))
    before = snapshot(tmp_path)
    writing = Writes(tmp_path)
    run(writing, build.stream(TAR))
    assert writing.written == []
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_bytes(b"#" * path.stat().st_size),
        lambda path: path.write_bytes(b""),
    ],
    ids=["other bytes", "emptied by a power cut"],
)
def test_what_is_staged_counts_only_as_it_was_signed(tmp_path: Path, spoil: Any) -> None:
    staged = run(System(tmp_path), build.BytesMedium(TAR))
    before = snapshot(tmp_path)
    spoil(tmp_path / staged.directory[1:] / "bin/linux-amd64/chatd")
    reads, notes = Reads(TAR), Notes()
    run(System(tmp_path), reads.medium(), notes)
    assert snapshot(tmp_path) == before
    assert reads.touched(*extent("bin/linux-amd64/chatd"))
    assert not reads.touched(*extent("trees/web/index.html"))


def test_a_mode_that_was_not_set_yet_is_set(tmp_path: Path) -> None:
    staged = run(System(tmp_path), build.BytesMedium(TAR))
    before = snapshot(tmp_path)
    (tmp_path / staged.directory[1:] / "bin/linux-amd64/chatd").chmod(0o600)
    reads = Reads(TAR)
    run(System(tmp_path), reads.medium())
    assert snapshot(tmp_path) == before
    assert not reads.touched(*extent("bin/linux-amd64/chatd"))


def test_another_bundle_and_every_other_command_clear_it(tmp_path: Path) -> None:
    system = System(tmp_path)
    staged = run(system, build.BytesMedium(TAR))
    with exclusive(context(system)):
        assert not (tmp_path / staged.directory[1:]).exists()
    staged = run(system, build.BytesMedium(TAR))
    other = opened(build.BytesMedium(plan(version="1.5.0").tar())).bundle.identity
    clear(system, LAYOUT, Notes(), other)
    assert not (tmp_path / staged.directory[1:]).exists()
    staged = run(system, build.BytesMedium(TAR))
    clear(system, LAYOUT, Notes(), IDENTITY)
    assert (tmp_path / staged.directory[1:]).is_dir()


@pytest.mark.parametrize("fault", ["kill before", "kill after", "EIO"])
def test_what_is_ours_is_ours_wherever_its_removal_was_cut_short(fault: str, tmp_path: Path) -> None:
    (tmp_path / "begin").mkdir()
    run(System(tmp_path / "begin"), build.BytesMedium(TAR))
    counting = FaultySystem(shutil.copytree(tmp_path / "begin", tmp_path / "golden", symlinks=True))
    clear(counting, LAYOUT, Notes())
    for at in range(1, len(counting.trace) + 1):
        root, notes = shutil.copytree(tmp_path / "begin", tmp_path / f"{at}", symlinks=True), Notes()
        with suppress(Killed, OSError):
            clear(FaultySystem(root, at, fault), LAYOUT, Notes())
        run(System(root), build.BytesMedium(TAR), notes)
        clear(System(root), LAYOUT, notes)
        assert not [line for line in notes.lines if "not created by Waybill" in line], at
        assert not list((root / STAGING).iterdir())
        assert not (root / LAYOUT.preserved[1:]).exists()
        shutil.rmtree(root)
    assert len(counting.trace) > len(FILES)


def test_a_tampered_bundle_and_a_host_that_fails_leave_nothing(tmp_path: Path) -> None:
    system = System(tmp_path)
    run(system, build.BytesMedium(TAR))
    (tmp_path / STAGING / IDENTITY[:12] / "docs/CHANGELOG.md").unlink()
    bad = PLAN.changed("docs/CHANGELOG.md", data=b"?" * len(FILES["docs/CHANGELOG.md"])).tar()
    with pytest.raises(TamperedError):
        run(system, build.BytesMedium(bad))
    assert not list((tmp_path / STAGING).iterdir())
    count = len(FaultySystem(tmp_path).trace)
    with pytest.raises(HostNotReadyError, match="cannot stage the release"):
        run(FaultySystem(tmp_path, count + 20, "full"), build.BytesMedium(TAR))
    assert not list((tmp_path / STAGING).iterdir())


@pytest.mark.parametrize("resume", [IDENTITY, ""], ids=["the same bundle", "another command"])
@pytest.mark.parametrize(
    "name", ["notes.txt", "{id}/trees/notes.txt", "{id}/mine/deep.txt", "{id}/docs/CHANGELOG.md/mine"]
)
def test_a_file_that_is_not_ours_is_moved_away_and_named(name: str, resume: str, tmp_path: Path) -> None:
    system, notes = System(tmp_path), Notes()
    run(system, build.BytesMedium(TAR))
    path = tmp_path / STAGING / name.format(id=IDENTITY[:12])
    if path.parent.is_file():
        path.parent.unlink()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"somebody's work")
    clear(system, LAYOUT, notes, resume)
    if resume:
        staged = run(system, build.BytesMedium(TAR), notes)
        found = tree(tmp_path, staged.directory)
        assert {each: found[each] for each in FILES} == FILES
        assert not [each for each in found if (each not in FILES and "mine" in each) or "notes" in each]
    (kept,) = [each for each in (tmp_path / LAYOUT.preserved[1:]).rglob("*") if each.is_file()]
    assert kept.read_bytes() == b"somebody's work"
    line = next(line for line in notes.lines if "not created by Waybill" in line)
    assert line.startswith(f"/{STAGING}/")
    assert str(kept).startswith(f"{tmp_path}{line.rpartition(' to ')[2]}")


def test_a_work_area_is_found_by_whoever_comes_later(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    system, notes = System(tmp_path), Notes()
    staged = run(system, build.BytesMedium(TAR), work="/data")
    assert area_of(system, LAYOUT, IDENTITY) == staged.area
    area = tmp_path / staged.area[1:]
    (area / "mine.txt").write_bytes(b"somebody's work")
    clear(system, LAYOUT, notes)
    assert f"{staged.area}/mine.txt was not created by Waybill" in notes.lines[-1]
    assert (area / "mine.txt").read_bytes() == b"somebody's work"
    assert not list((tmp_path / STAGING).iterdir())


def test_a_link_that_leads_elsewhere_removes_nothing(tmp_path: Path) -> None:
    system, notes = System(tmp_path), Notes()
    run(system, build.BytesMedium(TAR))
    (tmp_path / "precious").mkdir(mode=0o700)
    (tmp_path / "precious/images").write_bytes(b"x")
    (tmp_path / STAGING / f"{IDENTITY[:12]}.work").symlink_to("/precious")
    clear(system, LAYOUT, notes)
    assert (tmp_path / "precious/images").read_bytes() == b"x"
    assert "was not created by Waybill" in notes.lines[-1]
