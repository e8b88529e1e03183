"""Whether an output can be written where it is to be, asked before an hour of work."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from bundler.archive.output_file import unwritable
from installer.core.errors import UnfitInputError
from installer.core.limits import MIB

# A file system that is filled to the last byte breaks other programs.
RESERVE = 16 * MIB
"""Bytes that must stay free on the file system of the bundle."""


def check_space(target: Path, need: int) -> None:
    """Check that the directory of a bundle takes a file of its size.

    Args:
        target: The bundle.
        need: Its bytes at most.

    Raises:
        UnfitInputError: The directory is read-only, or its file system has not enough space.
    """
    parent = target.parent
    # The directory may not exist yet; its parent is on the same file system.
    while not parent.exists():
        parent = parent.parent
    # A read-only file system mostly has no free space either, and none would help.
    if not os.access(parent, os.W_OK):
        is_read_only = os.statvfs(parent).f_flag & os.ST_RDONLY
        number = errno.EROFS if is_read_only else errno.EACCES
        raise unwritable(target, OSError(number, os.strerror(number)), " with -o")
    free = shutil.disk_usage(parent).free
    if free < need + RESERVE:
        raise UnfitInputError(
            f"not enough space: the bundle needs up to {need:,} bytes, {RESERVE:,} more must stay free for"
            f" other programs, and {free:,} are free",
            where=str(parent),
            hint="free some space, or choose another place with -o",
        )
