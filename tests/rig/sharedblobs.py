"""Two releases that share blobs of images, the first of them retained on a host, and what spoils a blob."""

from __future__ import annotations

from pathlib import Path

from installer.core.format.manifest import blob_path
from installer.host.layout import Layout
from installer.host.system import System
from installer.staging.staged import Staged
from tests.rig import bundlebuild as build
from tests.rig.bundlebuild import BytesMedium
from tests.rig.imagebuild import Built, digest, layer
from tests.rig.imageplan import section
from tests.rig.releases import Notes
from tests.rig.staging import LAYOUT, plan, run

BASE, APP, NEW = layer("base", 9000), layer("app", 5000), layer("new", 7000)
OLD_IMAGES = section([Built("shop/app:1", [BASE, APP])])
NEW_IMAGES = section([Built("shop/app:2", [BASE, NEW]), Built("shop/job:2", [BASE, APP])])
OLD = plan({**build.FILES, **OLD_IMAGES.files}, "1.4.0", OLD_IMAGES)
UPGRADE = plan({**build.FILES, **NEW_IMAGES.files}, "1.5.0", NEW_IMAGES)
SHARED = {blob_path(digest(BASE)), blob_path(digest(APP))}


def retain(root: Path, staged: Staged, sequence: int, layout: Layout = LAYOUT) -> Path:
    """Puts a staged release where retained ones are."""
    to = root / layout.release(f"{sequence}-{staged.identity[:12]}")[1:]
    to.parent.mkdir(parents=True, exist_ok=True)
    (root / staged.directory[1:]).rename(to)
    return to


def retained(root: Path) -> Path:
    """Retains the first release; gives its directory."""
    return retain(root, run(System(root), BytesMedium(OLD.tar())), 1)


def upgrade(root: Path, notes: Notes | None = None, system: System | None = None) -> Path:
    """Stages the new release; gives its directory."""
    return root / run(system or System(root), BytesMedium(UPGRADE.tar()), notes).directory[1:]


def inode(path: Path) -> int:
    """Tells files apart, whatever their names are."""
    return path.lstat().st_ino


def is_whole(new: Path) -> bool:
    """Says whether a directory has all images of the new release."""
    return all((new / path).read_bytes() == data for path, data in NEW_IMAGES.files.items())


def other_bytes(path: Path) -> None:
    """Changes a file without its size."""
    path.write_bytes(path.read_bytes()[::-1])


def truncated(path: Path) -> None:
    """Takes the last byte of a file."""
    path.write_bytes(path.read_bytes()[:-1])


def writable_by_all(path: Path) -> None:
    """Lets everybody write to a file."""
    path.chmod(0o666)
