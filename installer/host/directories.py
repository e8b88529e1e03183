"""Directories of the host: made with their parents, and brought to the disk."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from installer.host.layout import STATE
from installer.host.system import System


def parent(path: str) -> str:
    """Return the directory that holds `path`."""
    return path.rpartition("/")[0] or "/"


def make_directory(system: System, path: str) -> None:
    """Make a directory and those above it; one that is there is left as it is.

    What only the installer reads is 0700. A release has to be reached by the services that run from it.

    Raises:
        OSError: It cannot be made.
    """
    if system.observe(path, digest=False).kind == "dir":
        return
    if system.observe(parent(path), digest=False).kind == "absent":
        make_directory(system, parent(path))
    ours = path.startswith(f"{STATE}/") and path.count("/") > STATE.count("/") + 1
    try:
        system.mkdir(path, 0o700 if ours and not path.endswith("/releases") else 0o755)
    except FileExistsError:  # another process was quicker
        if system.observe(path, digest=False).kind != "dir":
            raise
    system.sync_dir(path)
    system.sync_dir(parent(path))


def sync_directories(system: System, directories: Iterable[str]) -> None:
    """Wait until the entries of directories are on the disk; one that is gone is no error.

    Raises:
        OSError: They are not.
    """
    for path in sorted(directories):
        with suppress(FileNotFoundError, NotADirectoryError):
            system.sync_dir(path)
