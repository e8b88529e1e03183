"""Disk space: what a plan needs, and what the file systems of the host have."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.limits import MIB
from installer.host.system import System
from installer.shared.humanize import size_text

SLACK = 4 * MIB
"""Bytes required on every file system in addition to what was counted: directories and metadata."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a plan needs on one file system.

    Attributes:
        path: A directory on it.
        bytes: Needed.
        inodes: Needed.
        free: Bytes that are free; never less than 0.
        free_inodes: Inodes that are free; -1 where they are not counted.
    """

    path: str
    bytes: int
    inodes: int
    free: int
    free_inodes: int


@dataclass(frozen=True, slots=True)
class Demand:
    """The need of one directory.

    Attributes:
        path: A directory, which need not exist yet.
        bytes: Needed, not rounded up to blocks.
        inodes: Needed.
    """

    path: str
    bytes: int
    inodes: int = 1

    def plus(self, size: int) -> Demand:
        """Return the demand with one more file of `size` bytes."""
        return Demand(self.path, self.bytes + size, self.inodes + 1)


def sum_demands(system: System, demands: Iterable[Demand]) -> list[Need]:
    """Add up the demands on each file system; each is named by its first directory.

    Raises:
        OSError: The free space cannot be determined.
    """
    # Asked once per directory: a plan has thousands of files in few directories.
    space_at = functools.cache(system.space)
    sums: dict[int, list[Any]] = {}
    for demand in demands:
        space = space_at(demand.path)
        row = sums.setdefault(space.device, [demand.path, SLACK, 16, space])
        # A file takes whole blocks: on average half a block more than its size.
        row[1] += -(-(demand.bytes + (demand.inodes - 1) * space.block // 2) // space.block) * space.block
        row[2] += demand.inodes
    return [Need(row[0], row[1], row[2], max(row[3].bytes, 0), row[3].inodes) for row in sums.values()]


def space_problems(found: list[Need]) -> list[Problem]:
    """Return the file systems with too little space, with numbers."""
    problems = []
    for need in found:
        if need.bytes > need.free:
            what = f"has {size_text(need.free)} free, needs {size_text(need.bytes)}"
            hint = f"free {size_text(need.bytes - need.free)} there"
            problems.append(Problem(need.path, what, hint))
        # -1: the file system has no fixed number of inodes.
        if 0 <= need.free_inodes < need.inodes:
            what = f"has {need.free_inodes} inodes free, needs {need.inodes}"
            problems.append(Problem(need.path, what, "remove files there: each file uses one inode"))
    return problems
