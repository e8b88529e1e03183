"""Removal of a directory of ours with all that is in it, and of nothing that is only mounted there."""

from __future__ import annotations

import errno
from collections.abc import Callable

from installer.host.host import Host


def remove_tree(
    host: Host, path: str, *, rmdir: Callable[[str], None], unlink: Callable[[str], None]
) -> None:
    """Remove a directory; remove links in it, and never follow them.

    Args:
        host: Looks.
        path: The directory, as a host path.
        rmdir: Removes an empty directory.
        unlink: Removes a file or link.

    Raises:
        OSError: Something in it cannot be removed; EBUSY where something is mounted there: then nothing was.
    """
    if mounted := host.mounts(path):
        raise OSError(errno.EBUSY, "something is mounted there, and is not ours to remove", mounted[0])

    def remove(path: str) -> None:
        seen = host.observe(path, digest=False)
        if seen.kind == "dir":
            for name in host.names(path):
                remove(f"{path}/{name}")
            rmdir(path)
        elif seen.kind != "absent":
            unlink(path)

    with host.hold_directories():
        remove(path)
