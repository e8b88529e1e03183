"""Creation and sync of directories on the host."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from installer.host.layout import STATE
from installer.host.system import System


def parent(path: str) -> str:
    """Return the directory that holds `path`."""
    return path.rpartition("/")[0] or "/"


def make_directory(system: System, path: str) -> None:
    """Create a directory and its parents; an existing one, or a link of root to one, is not changed.

    Raises:
        OSError: It cannot be created.
    """
    if system.is_dir(path):
        return
    # Each level by itself, so that each is synced into its parent.
    if system.observe(parent(path), digest=False).kind == "absent":
        make_directory(system, parent(path))
    # Only the installer reads its state: 0700. Services run from releases: 0755 for these.
    ours = path.startswith(f"{STATE}/") and path.count("/") > STATE.count("/") + 1
    try:
        system.mkdir(path, 0o700 if ours and not path.endswith("/releases") else 0o755)
    except FileExistsError:  # another process created it meanwhile
        if not system.is_dir(path):
            raise
    # The parent too: without it a power cut can lose the name of the new directory with all that is in it.
    system.sync_dir(path)
    system.sync_dir(parent(path))


def write_mark(system: System, path: str) -> None:
    """Create an empty file, which says that something has begun, and the directories above it.

    Raises:
        OSError: It cannot be created.
    """
    make_directory(system, parent(path))
    with suppress(FileExistsError):
        system.write_new(path, b"", 0o600)
    # On the disk before anything acts: without the mark, undoing would believe that nothing did.
    system.sync_dir(parent(path))


def sync_directories(system: System, directories: Iterable[str]) -> None:
    """Wait until the entries of directories are on the disk; one that no longer exists is skipped.

    Raises:
        OSError: A sync failed.
    """
    for path in sorted(directories):
        with suppress(FileNotFoundError, NotADirectoryError):
            system.sync_dir(path)
