"""What the kernel can do and Python has no name for."""

from __future__ import annotations

import ctypes
import functools
import os

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE


def syncfs(fd: int) -> int:
    """Wait for a whole file system; gives 0, or what went wrong."""
    return 0 if ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0 else ctypes.get_errno()


def fallocate(fd: int, start: int, size: int) -> int:
    """Keep room behind the end of a file, whose length stays; gives 0, or what went wrong."""
    done = ctypes.CDLL(None, use_errno=True).fallocate(
        fd, _KEEP_SIZE, ctypes.c_int64(start), ctypes.c_int64(size)
    )
    return 0 if done == 0 else ctypes.get_errno()


@functools.cache
def version() -> tuple[int, int]:
    """Return the first two numbers of the kernel's version."""
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)
