"""Shared blobs: interrupted runs, other disks, the same release again, and hosts with nothing to share."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError
from installer.core.format.manifest import BLOBS, blob_path
from installer.host.system import Seen, System
from installer.staging.area import clear
from installer.staging.preview import previewed
from installer.staging.staged import Staged
from installer.staging.work_dir import work_dir
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.faulty import snapshot
from tests.rig.imagebuild import Built, digest, layer
from tests.rig.imageplan import section
from tests.rig.releases import Notes
from tests.rig.sharedblobs import (
    BASE,
    NEW_IMAGES,
    OLD,
    SHARED,
    UPGRADE,
    inode,
    is_whole,
    other_bytes,
    retain,
    truncated,
    upgrade,
    writable_by_all,
)
from tests.rig.staging import LAYOUT, STAGING, opened, plan, run, tree

# -- interrupted runs, other disks -------------------------------------------------------------------


def test_a_name_that_an_interrupted_run_had_not_checked_is_checked_again(root: Path, old: Path) -> None:
    new = upgrade(root)
    for path in SHARED:
        other_bytes(old / path)  # both names, one file
    before = snapshot(old)
    assert is_whole(upgrade(root))
    assert snapshot(old) == before
    assert all((new / path).stat().st_nlink == 1 for path in SHARED)


def test_a_copy_that_an_interrupted_run_stored_is_not_shared_afterwards(root: Path, old: Path) -> None:
    staged = run(System(root), BytesMedium(UPGRADE.tar()))
    new = root / staged.directory[1:]
    for path in SHARED:
        (new / path).unlink()
        (new / path).write_bytes(NEW_IMAGES.files[path])
        (new / path).chmod(0o644)
    assert is_whole(upgrade(root))
    assert all((new / path).stat().st_nlink == 1 for path in SHARED)


def test_the_mode_of_a_shared_blob_is_never_set(root: Path, old: Path) -> None:
    upgrade(root)
    for path in SHARED:
        (old / path).chmod(0o600)
    assert is_whole(upgrade(root))
    assert {(old / path).stat().st_mode & 0o777 for path in SHARED} == {0o600}


def test_a_work_directory_on_the_same_disk_shares_them(root: Path, old: Path) -> None:
    work = work_dir(System(root), LAYOUT, root / "data")
    staged = run(System(root), BytesMedium(UPGRADE.tar()), work=work)
    area = root / staged.area[1:]
    assert tree(area, "/").keys() == {path for path in NEW_IMAGES.files if path.startswith(BLOBS)}
    assert all(inode(area / path) == inode(old / path) for path in SHARED)
    before = snapshot(old)
    clear(System(root), LAYOUT, Notes())
    assert not list((root / "data").iterdir())
    assert snapshot(old) == before


@pytest.mark.needs("root")
def test_a_work_directory_on_another_disk_gets_copies(root: Path, old: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=755", "none", root / "data"], check=True)
    try:
        notes, work = Notes(), work_dir(System(root), LAYOUT, root / "data")
        with previewed(
            opened(BytesMedium(UPGRADE.tar())), System(root), LAYOUT, Notes(), work=work, apart=True
        ) as (_, planned):
            assert planned.shared == frozenset()
        staged = run(System(root), BytesMedium(UPGRADE.tar()), notes, work)
        found = tree(root, staged.area)
        assert {path: found[path] for path in SHARED} == {path: NEW_IMAGES.files[path] for path in SHARED}
        assert not [line for line in notes.lines if "retained" in line or "shared" in line]
        assert staged.shared == frozenset()
    finally:
        subprocess.run(["umount", root / "data"], check=True)


@pytest.mark.needs("root")
def test_a_blob_that_turns_out_to_be_damaged_needs_space_of_its_own(root: Path) -> None:
    state = root / "var/lib/waybill"
    state.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "none", state], check=True)
    try:
        large = layer("large", 9_000_000)
        images = [section([Built(f"shop/app:{number}", [large])]) for number in (1, 2)]
        bundles = [plan(each.files, f"1.{number}.0", each) for number, each in enumerate(images)]
        old = retain(root, run(System(root), BytesMedium(bundles[0].tar())), 1)
        (state / "ballast").write_bytes(bytes(6_000_000))
        medium = BytesMedium(bundles[1].tar())
        assert run(System(root), medium).shared == {blob_path(digest(large))}
        clear(System(root), LAYOUT, Notes())
        other_bytes(old / blob_path(digest(large)))
        with pytest.raises(HostNotReadyError) as refused:
            run(System(root), BytesMedium(bundles[1].tar()))
        assert "needs" in refused.value.problems[0].what
        assert not list((root / STAGING).iterdir())
    finally:
        subprocess.run(["umount", state], check=True)


# -- the same release again ----------------------------------------------------------------------------


@pytest.fixture
def own(root: Path) -> Path:
    """The directory of the very release that is staged again."""
    return retain(root, run(System(root), BytesMedium(OLD.tar())), OLD.manifest.sequence)


def again(root: Path, system: System | None = None) -> Staged:
    return run(system or System(root), BytesMedium(OLD.tar()))


def test_the_same_release_shares_with_itself_first(root: Path, own: Path) -> None:
    newer = own.parent / f"{OLD.manifest.sequence + 1}-{'b' * 12}"
    subprocess.run(["cp", "-a", own, newer], check=True)
    staged = again(root)
    assert all(inode(root / staged.directory[1:] / path) == inode(own / path) for path in SHARED)
    assert not staged.repairs


@pytest.mark.parametrize("spoil", [other_bytes, truncated, writable_by_all, Path.unlink])
def test_the_same_release_repairs_its_blobs(spoil: Callable[[Path], None], root: Path, own: Path) -> None:
    spoil(own / blob_path(digest(BASE)))
    assert again(root).repairs


def test_a_release_whose_blobs_only_an_engine_has_is_not_repaired(root: Path, own: Path) -> None:
    System(root).remove_tree(f"/{(own / 'images/blobs').relative_to(root)}")
    assert not again(root).repairs


@pytest.mark.parametrize(("number", "repairs"), [(errno.EACCES, False), (errno.EIO, True)])
def test_blobs_that_cannot_be_examined_are_damaged_unless_this_user_may_not(
    number: int, repairs: bool, root: Path, own: Path
) -> None:
    class Failing(System):
        def observe(self, path: str, *, digest: bool = True, attributes: bool | None = None) -> Seen:
            if path.startswith(f"/{own.relative_to(root)}"):
                raise OSError(number, os.strerror(number), path)
            return super().observe(path, digest=digest, attributes=attributes)

    staged = again(root, Failing(root))
    assert (staged.repairs, staged.shared) == (repairs, frozenset())


# -- nothing to share --------------------------------------------------------------------------------


def test_a_first_release_shares_nothing(root: Path) -> None:
    staged = again(root)
    assert (staged.shared, staged.repairs) == (frozenset(), False)


def test_a_release_without_images_shares_nothing(root: Path, old: Path) -> None:
    staged = run(System(root), BytesMedium(plan(build.FILES, "1.5.0").tar()))
    assert (staged.shared, staged.repairs) == (frozenset(), False)


def test_a_release_that_cannot_be_read_stops_no_other(root: Path, old: Path) -> None:
    newest = old.parent / f"2-{'b' * 12}"
    newest.mkdir()
    (newest / "images").symlink_to("images")
    (old.parent / f"3-{'c' * 12}.gone").mkdir()
    new = upgrade(root)
    assert all(inode(new / path) == inode(old / path) for path in SHARED)


def test_a_file_in_place_of_the_releases_stops_no_staging(root: Path) -> None:
    path = root / LAYOUT.releases[1:]
    path.parent.mkdir(parents=True)
    path.touch()
    assert is_whole(upgrade(root))
