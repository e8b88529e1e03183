"""Removal of a directory of Waybill with its content, but of nothing that is mounted in it."""

from __future__ import annotations

import errno
from collections.abc import Callable

from installer.host.host import Host


def remove_tree(
    host: Host, path: str, *, rmdir: Callable[[str], None], unlink: Callable[[str], None]
) -> None:
    """Remove a directory; remove links in it, and never follow them.

    Args:
        host: Reads the directory.
        path: The directory, as a host path.
        rmdir: Removes an empty directory.
        unlink: Removes a file or link.

    Raises:
        OSError: Something in it cannot be removed; EBUSY, before any removal, if something is mounted there.
    """
    # A mount may hold the data of the operator: looked for before the first removal.
    if mounted := host.mounts(path):
        raise OSError(errno.EBUSY, "a file system is mounted there; Waybill does not unmount it", mounted[0])

    def remove(path: str) -> None:
        seen = host.observe(path, digest=False)
        if seen.kind == "dir":
            for name in host.names(path):
                remove(f"{path}/{name}")
            # Depth first: an interruption leaves a smaller tree, which the next run removes.
            rmdir(path)
        # A link is removed itself, never what it points to.
        elif seen.kind != "absent":
            unlink(path)

    with host.hold_directories():
        remove(path)
