"""Who could change a path: root alone, or other users as well."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from installer.core.errors import Problem
from installer.host.system import System

_OTHERS_WRITE, _STICKY = 0o022, 0o1000


def unsafe_part(system: System, path: str) -> Problem | None:
    """Return the directory of a path that other users could change, itself or what is in it; None for none.

    Args:
        system: The host.
        path: A host path of an existing directory, without links.

    Raises:
        OSError: It cannot be examined.
    """
    parts = [*reversed([str(above) for above in Path(path).parents]), path]
    # Whoever can rename a directory above can put another one in its place between two steps.
    for part in dict.fromkeys(parts):
        status = Path(system.real(part)).stat()
        if status.st_uid not in (0, os.geteuid()):
            what = f"{part} belongs to user {status.st_uid}, who could change the files in it"
            return Problem(path, what, "choose a directory that belongs to root: mkdir -m 700 DIR")
        group_is_ours = status.st_gid == 0 and not status.st_mode & 0o002
        if status.st_mode & _OTHERS_WRITE and not status.st_mode & _STICKY and not group_is_ours:
            what = f"{part} is writable by other users (mode {stat.S_IMODE(status.st_mode):04o})"
            return Problem(path, what, f"chmod go-w {part}, or choose another directory")
    return None
