"""Finds every reason why a plan cannot be executed on this host, before anything is done."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from installer.core.errors import Problem
from installer.core.format.manifest import Manifest
from installer.host.directories import parent
from installer.host.disk_space import Demand, Need, sum_demands
from installer.host.inodes.obstacles import Obstacles
from installer.host.layout import Layout
from installer.host.system import System
from installer.planning.changes import Changes, FileChange

MIB = 1024 * 1024


def needs(
    system: System, layout: Layout, changes: Changes, journal: int, staging: Sequence[Demand] = ()
) -> list[Need]:
    """Return the space that a plan needs on each file system.

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
    return sum_demands(system, [Demand(layout.base, journal, 16), *staging, *writes])


def place_problems(system: System, changes: Changes) -> list[Problem]:
    """Return what cannot be written or replaced, and programs that would be on noexec file systems."""
    problems: dict[str, Problem] = {}
    space, obstacles = functools.cache(system.space), Obstacles(system)
    granted = {item.path for item in changes.installed if item.capabilities}
    executable = {item.path for item in changes.installed if item.kind == "file" and item.mode & 0o111}

    # Both are asked once per directory: a plan has thousands of files in few directories.
    @functools.cache
    def nearest(directory: str) -> str:
        return directory if system.is_dir(directory) else nearest(parent(directory))

    @functools.cache
    def fault(directory: str) -> Problem | None:
        if space(directory).readonly:
            hint = "remount it read-write: `mount -o remount,rw MOUNTPOINT`"
            return Problem(directory, "is mounted read-only", hint)
        if obstacle := obstacles.to_change_in(directory):
            return Problem(*obstacle)
        if system.writable(directory):
            return None
        if not system.privileged:
            return Problem(directory, "is not writable by this user", "run as root")
        hint = "check its file system (a share may squash root), and whether a security module forbids it"
        return Problem(directory, "is not writable, even for root", hint)

    for change in changes.changes:
        directory = nearest(parent(change.path))
        if found := fault(directory):
            problems[directory] = found
        elif found := _in_the_way(obstacles, change):
            problems.setdefault(found.where, found)
        elif change.path in executable and space(directory).noexec:
            what = f"is mounted noexec, and {change.path} is a program"
            hint = "remount it with exec: `mount -o remount,exec MOUNTPOINT`"
            problems.setdefault(directory, Problem(directory, what, hint))
        elif change.path in granted and space(directory).nosuid:
            what = f"is mounted nosuid, so that the capabilities of {change.path} do not count"
            hint = "remount it: `mount -o remount,suid MOUNTPOINT`"
            problems.setdefault(directory, Problem(directory, what, hint))
    return list(problems.values())


def _in_the_way(obstacles: Obstacles, change: FileChange) -> Problem | None:
    """Return why what is at the path of a change cannot be changed; None where nothing is in the way."""
    try:
        # The mode of a mounted directory can be set, but it cannot be replaced.
        ask = obstacles.to_mark if change.verb == "set" else obstacles.to_replace
        obstacle = ask(change.path)
    except OSError:
        return None  # what cannot be examined is reported where files are compared
    return Problem(*obstacle) if obstacle else None


def release_problems(system: System, layout: Layout, manifest: Manifest) -> list[Problem]:
    """Return the releases directory if programs that stay in it could not be run."""
    programs = [
        entry.path
        for entry in manifest.for_platform(system.platform())
        if entry.kind == "binary" and not entry.install
    ]
    # Programs that are copied elsewhere are checked where they go.
    if not programs or not system.space(layout.releases).noexec:
        return []
    what = f"is mounted noexec, and {programs[0]} is a program that runs from there"
    hint = (
        "remount it with exec (`mount -o remount,exec MOUNTPOINT`), or ask for a bundle that "
        "installs the program in another place"
    )
    return [Problem(layout.releases, what, hint)]
