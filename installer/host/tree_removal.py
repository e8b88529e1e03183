"""Removes a directory of ours with all that is in it, and nothing that is only mounted there."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from installer.host.system import System


def remove_tree(system: System, path: str) -> None:
    """Removes it; links in it are removed, never followed.

    Raises:
        OSError: Something in it cannot be removed; EBUSY where something is mounted there: then nothing was.
    """
    if mounted := system.mounts(path):
        raise OSError(errno.EBUSY, "something is mounted there, and is not ours to remove", mounted[0])
    with system.steady():
        _remove(system, path)


def _remove(system: System, path: str) -> None:
    seen = system.observe(path, digest=False)
    if seen.kind == "dir":
        for name in system.names(path):
            _remove(system, f"{path}/{name}")
        system.rmdir(path)
    elif seen.kind != "absent":
        system.unlink(path)
