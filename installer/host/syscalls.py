"""System calls that Python has no function for, and those whose errors mean more than they say."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import resource

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


_NO_SYNC = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS)
"""What fsync(2) fails with where a file system does not support it."""


class SyncError(OSError):
    """A failed sync: what was written may not be on the disk, and a later sync will not report it again."""


def fsync(fd: int) -> None:
    """Wait until an open file or directory is on the disk.

    Raises:
        SyncError: What was written may be lost.
        OSError: The file system cannot sync.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        # No write has failed: this file system cannot sync at all, and a reboot would not help.
        if error.errno in _NO_SYNC:
            raise OSError(error.errno, f"fsync is not supported here: {error.strerror}") from error
        # Never tried again: the kernel reports a failed write once and marks the pages clean. A second
        # fsync(2) would succeed although the data is lost.
        raise SyncError(error.errno, error.strerror) from error


def syncfs(fd: int) -> int:
    """Wait until a whole file system is on the disk; return 0 or the errno."""
    return 0 if ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0 else ctypes.get_errno()


def fallocate(fd: int, start: int, size: int) -> int:
    """Allocate space after the end of a file without changing its length; return 0 or the errno."""
    # posix_fallocate of Python would write zeros where the file system cannot reserve, and extend the file.
    done = ctypes.CDLL(None, use_errno=True).fallocate(
        fd, _KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(size)
    )
    return 0 if done == 0 else ctypes.get_errno()


@functools.cache
def version() -> tuple[int, int]:
    """Return the first two numbers of the kernel's version."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def forbid_dumps() -> None:
    """Let this process, and children that it forks, leave no core dump, and be read by no debugger.

    Raises:
        OSError: The kernel refuses.
    """
    # The limit alone does not count where dumps are piped to a program, as systemd-coredump has it; the flag
    # alone would be enough. The hard limit stays: a program that is started may want its own dumps.
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 or libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno() or errno.EPERM
        raise OSError(number, os.strerror(number))
