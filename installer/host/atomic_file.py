"""Replacement of a file of ours: a reader, also after a power cut, finds the old content or the new one."""

from __future__ import annotations

from collections.abc import Iterable

from installer.host.directories import parent
from installer.host.system import System
from installer.shared.terminal import interrupts

SUFFIX = ".new"


def temporary_path(path: str) -> str:
    """Return where the new content of `path` is written before it takes that name."""
    return f"{path}{SUFFIX}"


def replace_file(
    system: System, path: str, data: bytes | Iterable[bytes], mode: int = 0o600, *, durable: bool = True
) -> None:
    """Write a file under a temporary name and rename it over the old one.

    Args:
        system: The host.
        path: The file, as a host path; its directory exists.
        data: The new content, or pieces of it.
        mode: Permission bits, whatever the umask.
        durable: Whether the new content must survive a power cut when this returns.

    Raises:
        OSError: The file cannot be written; the old one is still there.
    """
    new = temporary_path(path)
    # A signal is heard before or after the replacement: it leaves no temporary file.
    with interrupts.deferred():
        remove_present(system, new)  # an interrupted run left it, with content of unknown length
        # Pieces may come from slow media: a signal ends the wait for the next one, and the file goes.
        content = data if isinstance(data, bytes) else interrupts.pieces(data)
        system.write_new(new, content, mode, sync=durable)
        rename_into_place(system, path, durable=durable)


def rename_into_place(system: System, path: str, *, durable: bool = True) -> None:
    """Give the temporary file of `path` its final name.

    Raises:
        OSError: The file cannot be renamed; the old one is still there.
    """
    # The content reached the disk before the rename: without that order a power cut leaves an empty file
    # under the final name. The directory follows, else the old name may come back after the cut.
    system.rename(temporary_path(path), path)
    if durable:
        system.sync_dir(parent(path))


def remove_partial(system: System, path: str) -> None:
    """Remove the temporary file that an interrupted replacement of `path` left, if there is one.

    Raises:
        OSError: The file cannot be removed.
    """
    remove_present(system, temporary_path(path))


def remove_present(system: System, path: str) -> None:
    """Remove a file or link if there is one.

    Raises:
        OSError: It cannot be removed.
    """
    # Look first: on a read-only file system an unlink fails even where nothing is there.
    if system.observe(path, digest=False).kind != "absent":
        system.unlink(path)
