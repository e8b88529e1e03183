"""File locks (flock), which the kernel releases when a process ends, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from installer.core.errors import BusyError
from installer.host.safe_path import open_parent

_PAUSE = 0.02


class Lock:
    """A held lock; ends with the `with` statement, with `release` or with the process."""

    def __init__(self, *fds: int) -> None:
        self._fds = fds

    @classmethod
    def take(cls, root: str, path: str, wait: float = 0.0, *, with_directory: bool = False) -> Self:
        """Take a lock.

        Args:
            root: The directory that represents `/`.
            path: A host path; created if it does not exist.
            wait: Seconds to wait for another process.
            with_directory: Whether its directory is locked too: if somebody removes the file as a stale
                lock, a second process still cannot take it.

        Raises:
            BusyError: Another process holds it.
            OSError: It cannot be opened.
        """
        with open_parent(root, path) as at:
            # Never removed: a lock on a removed file would be a lock on nothing.
            fd = os.open(at.name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=at.fd)
            fds = [fd]
            if with_directory:
                fds.append(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at.fd))
        until = time.monotonic() + wait
        try:
            for each in fds:
                # The file first: two processes that take both in the same order cannot block each other.
                while not _try(each, last=time.monotonic() >= until):
                    time.sleep(_PAUSE)
        except OSError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            _close(fds)
            # Anything else is a fault of the file system, not another process.
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise BusyError(
                f"another install is running (process {holder or 'unknown'})",
                where=path,
                hint="wait until it has finished, then try again",
            ) from None
        # The process id is only for the message above; the lock works without it, also on a full disk.
        with suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        return cls(*fds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock; a second call does nothing."""
        _close(self._fds)
        self._fds = ()


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)


def _try(fd: int, *, last: bool) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if last or error.errno not in (errno.EAGAIN, errno.EACCES):
            raise
        return False
    return True
