"""Looks for reasons why a plan cannot be carried out here; finds all of them before anything is done."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from installer.changes import Changes
from installer.core.errors import Problem, RefusedError
from installer.core.manifest import Manifest
from installer.deploy.files import parent
from installer.layout import Layout
from installer.system import Space, System
from installer.units import size_text

MIB = 1024 * 1024
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
        """Gives it as a JSON object."""
        return asdict(self)


def refuse_platform(platform: str, manifest: Manifest, where: str = "") -> None:
    """Refuses a release that is not for a host like this.

    Raises:
        RefusedError: It is not.
    """
    if platform not in manifest.platforms:
        raise RefusedError(
            f"the bundle is for {', '.join(manifest.platforms)}, this host is {platform}",
            where=where,
            hint="ask for a bundle that was created for this platform",
        )


def needs(system: System, layout: Layout, changes: Changes, journal: int) -> list[Need]:
    """Counts what a plan needs on each file system.

    Args:
        system: The host.
        layout: Where this product's things lie.
        changes: What will be written; old files stay until the end, so all of it is needed on top.
        journal: Bytes of journal and records.
    """
    spaces: dict[str, Space] = {}
    sums: dict[int, list[Any]] = {}

    def count(directory: str, size: int, inodes: int) -> None:
        if directory not in spaces:
            spaces[directory] = system.space(directory)
        space = spaces[directory]
        row = sums.setdefault(space.device, [directory, SLACK, 16, space])
        row[1] += -(-size // space.block) * space.block
        row[2] += inodes

    count(layout.base, journal, 16)
    for change in changes.changes:
        if change.verb in ("add", "replace", "restore", "make"):
            count(parent(change.path), change.size, 1)
    return [Need(row[0], row[1], row[2], max(row[3].bytes, 0), row[3].inodes) for row in sums.values()]


def space_problems(found: list[Need]) -> list[Problem]:
    """Says where there is too little room, with numbers."""
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


def place_problems(system: System, changes: Changes) -> list[Problem]:
    """Says where we may not write, and where programs would come to a place that runs none."""
    problems: dict[str, Problem] = {}
    spaces: dict[str, Space] = {}
    executable = {item.path for item in changes.installed if item.kind == "file" and item.mode & 0o111}
    nearest: dict[str, str] = {}
    for change in changes.changes:
        holder = directory = parent(change.path)
        if holder not in nearest:
            while not system.is_dir(directory):
                directory = parent(directory)
            nearest[holder] = directory
        directory = nearest[holder]
        if directory not in spaces:
            spaces[directory] = system.space(directory)
            if spaces[directory].readonly:
                problems[directory] = Problem(directory, "is mounted read-only", "mount it for writing")
            elif not system.writable(directory):
                problems[directory] = Problem(directory, "cannot be written by this user", "run as root")
        if change.path in executable and spaces[directory].noexec and directory not in problems:
            problems[directory] = Problem(
                directory, f"is mounted noexec, and {change.path} is a program", "mount it with exec"
            )
    return list(problems.values())
