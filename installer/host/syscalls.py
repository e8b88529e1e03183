"""System calls that Python has no function for."""

from __future__ import annotations

import ctypes
import functools
import os

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE


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
