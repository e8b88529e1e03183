"""Looks for reasons why a plan cannot be carried out here; finds all of them before anything is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from installer.core.errors import DowngradeError, Problem, RefusedError
from installer.core.format.manifest import Manifest
from installer.core.trust.policy import Destination
from installer.core.trust.verifier import TWINS, twins
from installer.deploy.files import parent
from installer.host.layout import Layout
from installer.host.system import Space, System
from installer.planning.file_changes import Changes
from installer.shared.humanize import size_text
from installer.state.state import State

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


def refuse_downgrade(state: State, manifest: Manifest, identity: str, reset: int = 0) -> None:
    """Refuses a release that is older than what the host has had, but for the one that runs.

    Args:
        state: What stands now.
        manifest: Of the release.
        identity: Of the release: a kept one of the same sequence number has to be the same.
        reset: The number of the last reset of the product by the root, which lets the host forget once.

    Raises:
        DowngradeError: It is.
    """
    current = state.current
    if reset > state.reset:
        return
    name = f"{manifest.product} {manifest.version} (sequence {manifest.sequence})"
    if manifest.sequence < state.highest and (current is None or current.sequence != manifest.sequence):
        runs = f"{current.version} runs" if current else "none runs now"
        raise DowngradeError(
            f"{name} is older than what this host has had (sequence {state.highest}; {runs})",
            hint="to go back to a kept release: install rollback [VERSION]",
        )
    kept = Destination(kept=tuple((entry.sequence, entry.identity) for entry in state.kept))
    if twin := kept.twin(manifest.sequence, identity):
        raise DowngradeError(twins(name, twin), hint=TWINS)


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
        """Gives it with one more file of `size` bytes."""
        return Demand(self.path, self.bytes + size, self.inodes + 1)


def needs(
    system: System, layout: Layout, changes: Changes, journal: int, staging: Sequence[Demand] = ()
) -> list[Need]:
    """Counts what a plan needs on each file system.

    Args:
        system: The host.
        layout: Where this product's things lie.
        changes: What will be written; old files stay until the end, so all of it is needed on top.
        journal: Bytes of journal and records.
        staging: What staging will take, where that is still to be done.
    """
    writes = [
        Demand(parent(change.path), change.size)
        for change in changes.changes
        if change.verb in ("add", "replace", "restore", "make")
    ]
    return weigh(system, [Demand(layout.base, journal, 16), *staging, *writes])


def weigh(system: System, demands: Iterable[Demand]) -> list[Need]:
    """Adds up what is needed on each file system; every one is named by the first place on it.

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


def release_problems(system: System, layout: Layout, manifest: Manifest) -> list[Problem]:
    """Says where programs that stay in the release's directory could not be run."""
    programs = [
        entry.path
        for entry in manifest.for_platform(system.platform())
        if entry.kind == "binary" and not entry.install
    ]
    if not programs or not system.space(layout.releases).noexec:
        return []
    what = f"is mounted noexec, and {programs[0]} is a program that runs from there"
    return [
        Problem(layout.releases, what, "mount it with exec, or ask for a bundle that installs it elsewhere")
    ]
