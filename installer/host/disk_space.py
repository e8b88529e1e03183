"""The space that is needed and free on the file systems of a host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.limits import MIB
from installer.host.system import Space, System
from installer.shared.humanize import size_text

SLACK = 4 * MIB
"""Bytes that are asked for on every file system on top of what was counted."""


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

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Demand:
    """What is needed in one place.

    Attributes:
        path: A directory, which need not be there yet.
        bytes: Needed, without what file systems round up.
        inodes: Needed.
    """

    path: str
    bytes: int
    inodes: int = 1

    def plus(self, size: int) -> Demand:
        """Return it with one more file of `size` bytes."""
        return Demand(self.path, self.bytes + size, self.inodes + 1)


def sum_demands(system: System, demands: Iterable[Demand]) -> list[Need]:
    """Add up what is needed on each file system; every one is named by the first place on it.

    Raises:
        OSError: A file system cannot be asked.
    """
    spaces: dict[str, Space] = {}
    sums: dict[int, list[Any]] = {}
    for demand in demands:
        if demand.path not in spaces:
            spaces[demand.path] = system.space(demand.path)
        space = spaces[demand.path]
        row = sums.setdefault(space.device, [demand.path, SLACK, 16, space])
        # a file takes whole blocks: half a block each on top, on average
        row[1] += -(-(demand.bytes + (demand.inodes - 1) * space.block // 2) // space.block) * space.block
        row[2] += demand.inodes
    return [Need(row[0], row[1], row[2], max(row[3].bytes, 0), row[3].inodes) for row in sums.values()]


def space_problems(found: list[Need]) -> list[Problem]:
    """Return where there is too little room, with numbers."""
    problems = []
    for need in found:
        if need.bytes > need.free:
            problems.append(
                Problem(
                    need.path,
                    f"has {size_text(need.free)} free, and {size_text(need.bytes)} are needed",
                    f"free {size_text(need.bytes - need.free)} there",
                )
            )
        if 0 <= need.free_inodes < need.inodes:
            problems.append(
                Problem(
                    need.path,
                    f"has {need.free_inodes} inodes free, and {need.inodes} are needed",
                    "remove small files there",
                )
            )
    return problems
