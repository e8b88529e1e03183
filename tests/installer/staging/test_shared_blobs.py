"""Image blobs that a retained release has are stored once, and only what is as signed is shared."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.core.errors import HostNotReadyError, TamperedError
from installer.core.format.manifest import BLOBS, blob_path
from installer.host.layout import Layout
from installer.host.system import System
from installer.staging.area import clear
from installer.staging.preview import previewed
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.faulty import FaultySystem, snapshot
from tests.rig.imagebuild import Built, digest, layer
from tests.rig.imageplan import section
from tests.rig.inodes import ACL, acl
from tests.rig.releases import Notes
from tests.rig.sharedblobs import (
    BASE,
    NEW,
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
from tests.rig.staging import LAYOUT, STAGING, Reads, Told, opened, plan, run

NOBODY = 65534


def test_a_blob_of_a_retained_release_gets_a_second_name(root: Path, old: Path) -> None:
    before, notes = snapshot(old), Notes()
    new = upgrade(root, notes)
    assert is_whole(new)
    assert {path for path in NEW_IMAGES.files if (new / path).stat().st_nlink > 1} == SHARED
    assert all(inode(new / path) == inode(old / path) for path in SHARED)
    assert snapshot(old) == before
    assert "2 of 7 image blobs are in retained releases already (30.7 kB): checked, not copied again" in (
        notes.lines
    )


def test_a_release_with_one_new_layer_costs_what_is_new(root: Path) -> None:
    large, base = layer("large", 8_000_000), [layer(name, 3_000_000) for name in "abc"]
    first, second = (section([Built("shop/app:1", [*base, *more])]) for more in ([], [large]))
    retain(root, run(System(root), BytesMedium(plan(first.files, "1.0.0", first).tar())), 1)
    made = plan(second.files, "1.1.0", second)
    with previewed(opened(BytesMedium(made.tar())), System(root), LAYOUT, Notes()) as (_, planned):
        (asked,) = planned.demands
    new = root / run(System(root), BytesMedium(made.tar())).directory[1:]
    fresh = sum(
        len(part.data) for part in made.parts if part.name not in {BLOBS + digest(b)[7:] for b in base}
    )
    kept = sum(each.lstat().st_blocks * 512 for each in new.rglob("*") if each.stat().st_nlink == 1)
    assert kept <= 1.02 * fresh
    assert asked.bytes <= fresh


def test_a_plan_asks_for_the_space_that_staging_takes(root: Path, old: Path) -> None:
    with previewed(opened(BytesMedium(UPGRADE.tar())), System(root), LAYOUT, Notes()) as (_, planned):
        (asked,) = planned.demands
    rest = UPGRADE.manifest.files
    assert asked.bytes == sum(entry.size for entry in rest if entry.path not in SHARED)
    assert planned.shared == run(System(root), BytesMedium(UPGRADE.tar())).shared == SHARED


def test_what_is_read_of_shared_blobs_is_told(root: Path, old: Path) -> None:
    told = Told()
    upgrade(root, told)
    size = sum(len(NEW_IMAGES.files[path]) for path in SHARED)
    assert told.phases[0] == [size, size]
    assert told.ended == 2


def test_shared_blobs_are_not_read_from_the_media(root: Path, old: Path) -> None:
    reads = Reads(UPGRADE.tar())
    run(System(root), reads.medium())
    places = {path: UPGRADE.offset(path) for path in NEW_IMAGES.files}
    read = {path for path, at in places.items() if reads.touched(at, at + len(NEW_IMAGES.files[path]))}
    assert read == NEW_IMAGES.files.keys() - SHARED


def test_a_stream_shares_them_too(root: Path, old: Path) -> None:
    new = root / run(System(root), build.stream(UPGRADE.tar())).directory[1:]
    assert is_whole(new)
    assert all(inode(new / path) == inode(old / path) for path in SHARED)


def test_releases_with_copies_of_their_own_share_with_the_newest(root: Path, old: Path) -> None:
    """What an installer from before this one has left."""
    newest = old.parent / f"2-{'b' * 12}"
    subprocess.run(["cp", "-a", old, newest], check=True)
    assert all(inode(newest / path) != inode(old / path) for path in SHARED)
    new = upgrade(root)
    assert all(inode(new / path) == inode(newest / path) for path in SHARED)


def test_the_removal_of_one_release_leaves_the_blobs_of_the_other(root: Path, old: Path) -> None:
    staged = run(System(root), BytesMedium(UPGRADE.tar()))
    before = snapshot(old)
    clear(System(root), LAYOUT, Notes())
    assert snapshot(old) == before
    assert all((old / path).stat().st_nlink == 1 for path in SHARED)
    new = retain(root, run(System(root), BytesMedium(UPGRADE.tar())), 2)
    System(root).remove_tree(f"/{old.relative_to(root)}")
    assert is_whole(new)
    assert staged.shared == SHARED


# -- what is not shared ------------------------------------------------------------------------------


def writable_by_an_acl(path: Path) -> None:
    os.setxattr(path, ACL, acl(named=6, mask=6))


def of_somebody(path: Path) -> None:
    os.chown(path, NOBODY, NOBODY)


def a_link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


SPOILED = [
    other_bytes, truncated, writable_by_all, writable_by_an_acl, of_somebody, a_link, a_pipe, a_directory,
]  # fmt: skip


@pytest.mark.needs("root")
@pytest.mark.parametrize("spoil", SPOILED, ids=lambda spoil: spoil.__name__.replace("_", " "))
def test_a_blob_that_is_not_as_stored_is_stored_again(
    spoil: Callable[[Path], None], root: Path, old: Path
) -> None:
    path = blob_path(digest(BASE))
    spoil(old / path)
    before = snapshot(old)
    medium = BytesMedium(UPGRADE.tar())
    with previewed(opened(medium), System(root), LAYOUT, Notes()) as (_, planned):
        # The digest is looked at when it is shared.
        assert (path in planned.shared) == (spoil is other_bytes)
    new = upgrade(root)
    assert is_whole(new)
    status = (new / path).lstat()
    assert (status.st_nlink, status.st_uid, status.st_mode & 0o777) == (1, 0, 0o644)
    assert snapshot(old) == before, "nothing is repaired silently"


def test_a_damaged_blob_is_named(root: Path, old: Path) -> None:
    path, notes = old / blob_path(digest(BASE)), Notes()
    other_bytes(path)
    upgrade(root, notes)
    assert (
        f"/{path.relative_to(root)} is damaged (see `install status --verify-retained`); the new release "
        "gets a copy of its own" in notes.lines
    )


def test_a_blob_that_cannot_be_read_is_stored_again(root: Path, old: Path) -> None:
    class Failing(System):
        def chunks(self, path: str, *, follow: bool = False, start: int = 0) -> Iterator[bytes]:
            if path.endswith(blob_path(digest(BASE))):
                raise OSError(errno.EIO, os.strerror(errno.EIO), path)
            return super().chunks(path, follow=follow, start=start)

    new = upgrade(root, system=Failing(root))
    assert is_whole(new)
    assert (new / blob_path(digest(BASE))).stat().st_nlink == 1


def test_where_every_blob_is_damaged_nothing_is_said_to_be_there(root: Path, old: Path) -> None:
    notes = Notes()
    for path in SHARED:
        other_bytes(old / path)
    upgrade(root, notes)
    assert len(notes.lines) == len(SHARED)


@pytest.mark.needs("root")
def test_a_file_that_somebody_puts_in_the_place_of_a_blob_is_not_taken(root: Path, old: Path) -> None:
    """It has the right content when it is checked, and its owner could change it later."""

    class Swapping(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "link":
                path = root / args[0][1:]
                data = path.read_bytes()
                path.unlink()
                path.write_bytes(data)
                os.chown(path, NOBODY, NOBODY)
            return super().around(name, args, call)

    new = upgrade(root, system=Swapping(root))
    assert is_whole(new)
    assert all((new / path).stat().st_uid == 0 for path in NEW_IMAGES.files)
    assert all((new / path).stat().st_nlink == 1 for path in NEW_IMAGES.files)


def test_blobs_of_another_product_are_not_shared(root: Path) -> None:
    staged = run(System(root), BytesMedium(OLD.tar()))
    other = retain(root, staged, 1, Layout("other"))
    new = upgrade(root)
    assert is_whole(new)
    assert all((other / path).stat().st_nlink == 1 for path in SHARED)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSPC])
def test_where_no_link_can_be_made_a_copy_is_stored(number: int, root: Path, old: Path) -> None:
    class Refusing(System):
        def around(self, name: str, args: tuple[Any, ...], call: Callable[[], Any]) -> Any:
            if name == "link":
                raise OSError(number, os.strerror(number), args[0])
            return super().around(name, args, call)

    told = Told()
    new = upgrade(root, told, Refusing(root))
    assert is_whole(new)
    assert all((new / path).stat().st_nlink == 1 for path in SHARED)
    assert sum("cannot be shared" in line for line in told.lines) == len(SHARED)
    assert len(told.phases) == 1, "nothing is checked"


def test_a_disk_that_fails_while_a_blob_is_shared_leaves_nothing(root: Path, old: Path) -> None:
    counting, before = FaultySystem(root), snapshot(old)
    upgrade(root, system=counting)
    clear(System(root), LAYOUT, Notes())
    at = next(place for place, line in enumerate(counting.trace, 1) if line.startswith("link "))
    with pytest.raises(HostNotReadyError, match="cannot stage the release"):
        upgrade(root, system=FaultySystem(root, at, "EIO"))
    assert not list((root / STAGING).iterdir())
    assert snapshot(old) == before


def test_a_blob_that_no_image_has_is_refused_before_anything_is_shared(root: Path, old: Path) -> None:
    more = {blob_path(digest(b"more")): b"more"}
    made = plan({**build.FILES, **NEW_IMAGES.files, **more}, "1.5.0", NEW_IMAGES)
    system = FaultySystem(root)
    with pytest.raises(TamperedError, match="belongs to no image") as refused:
        run(system, BytesMedium(made.tar()))
    assert refused.value.step == 20
    assert not [line for line in system.trace if line.startswith("link ")]


def test_a_manifest_that_lies_about_a_shared_layer_is_refused(root: Path, old: Path) -> None:
    lying = section([Built("shop/app:2", [BASE, NEW])])
    first = lying.images[0].layers[0]
    lying.rename(lying.images[0], layers=(replace(first, media_type=first.media_type + "+zstd"),
                                          *lying.images[0].layers[1:]))  # fmt: skip
    lying.documents()
    made = plan({**build.FILES, **lying.files}, "1.5.0", lying)
    with pytest.raises(TamperedError) as refused:
        run(System(root), BytesMedium(made.tar()))
    assert refused.value.step == 20
    assert not list((root / STAGING).iterdir())
