"""What keeps even root from replacing or removing a file: a mount on it, and the marks of `chattr`.

rename(2) fails with EBUSY on a mount point, and with EPERM on what is marked; neither says so in advance.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
import struct
from bisect import bisect_left
from contextlib import suppress
from typing import NamedTuple

from installer.host import kernel
from installer.host.host import READ, Host, opened
from installer.host.safe_path import ParentDir

_LONG = struct.calcsize("l")
_GET_FLAGS = 2 << 30 | _LONG << 16 | ord("f") << 8 | 1  # FS_IOC_GETFLAGS
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20


class Obstacle(NamedTuple):
    """Why something cannot be replaced.

    Attributes:
        path: What is in the way.
        what: Why.
        hint: What to do.
    """

    path: str
    what: str
    hint: str


class Obstacles:
    """Answers for paths of a host; the table of mounts is read once.

    Args:
        host: The host.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        table = kernel.mount_table()
        # A release may have 250,000 files, and a host with containers many mounts.
        self._points = None if table is None else sorted(f"{point.rstrip('/')}/" for point in table)
        self._directories: dict[str, Obstacle | None] = {}

    def to_replace(self, path: str) -> Obstacle | None:
        """Return why what is at a path cannot be replaced, removed or renamed over; None where it can.

        Raises:
            OSError: A directory on the way cannot be examined.
        """
        return self._mount(path) or self.to_mark(path)

    def to_change_in(self, directory: str) -> Obstacle | None:
        """Return why no name in a directory can be replaced; None where it can. Each is asked once.

        Raises:
            OSError: A directory on the way cannot be examined.
        """
        if directory not in self._directories:
            self._directories[directory] = self.to_mark(directory)
        return self._directories[directory]

    def to_mark(self, path: str) -> Obstacle | None:
        """Return why mode and owner of a file or directory cannot be changed; None where they can."""
        marks = self._marks(path)
        shown = shlex.quote(self._typed(path))
        if marks & _IMMUTABLE:
            hint = f"somebody marked it so that nobody changes it: ask why; then run `chattr -i {shown}`"
            return Obstacle(path, "is immutable (chattr +i)", hint)
        if marks & _APPEND_ONLY:
            hint = (
                f"somebody marked it so that nothing in it is removed: ask why; then run `chattr -a {shown}`"
            )
            return Obstacle(path, "is append-only (chattr +a)", hint)
        return None

    def _marks(self, path: str) -> int:
        # What is not there, a link, or closed to this user; file systems without marks.
        with suppress(OSError), self._host.open_parent(path, follow=path == "/") as at:
            kind = os.stat(at.name, dir_fd=at.fd, follow_symlinks=False).st_mode
            # Nothing else is opened: a device may do something when it is.
            if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
                with opened(at, READ) as fd:
                    answer = fcntl.ioctl(fd, _GET_FLAGS, bytes(_LONG))
                    return int(struct.unpack_from("i", answer)[0])
        return 0

    def _mount(self, path: str) -> Obstacle | None:
        with suppress(FileNotFoundError, NotADirectoryError), self._host.open_parent(path) as at:
            real = os.path.join(self._host.root, *at.parts)  # noqa: PTH118  one for each file of a release
            below = self._first_below(f"{real}/")
            if below or (self._points is None and _is_of_another_file_system(at)):
                point = path + below.removeprefix(real).rstrip("/")
                hint = (
                    f"unmount it: `umount {shlex.quote(self._typed(point))}`; if single files are mounted "
                    "into a container, mount their directory instead"
                )
                return Obstacle(point, "is a mount point, which nothing can replace", hint)
        return None

    def _first_below(self, directory: str) -> str:
        """Return the first mount point at or below a directory, both with a slash at the end; "" for none."""
        points = self._points or []
        at = bisect_left(points, directory)
        return points[at] if at < len(points) and points[at].startswith(directory) else ""

    def _typed(self, path: str) -> str:
        return self._host.root.rstrip("/") + path


def _is_of_another_file_system(at: ParentDir) -> bool:
    """Return whether a directory is a mount point, as far as it shows without /proc."""
    seen = os.stat(at.name, dir_fd=at.fd, follow_symlinks=False)
    # Files and links of an overlay have a device number of their own.
    return stat.S_ISDIR(seen.st_mode) and seen.st_dev != os.fstat(at.fd).st_dev
