"""Finds every reason why a plan cannot be executed on this host, before anything is done."""

from __future__ import annotations

from collections.abc import Sequence

from installer.core.errors import Problem
from installer.core.format.manifest import Manifest
from installer.host.directories import parent
from installer.host.disk_space import Demand, Need, sum_demands
from installer.host.layout import Layout
from installer.host.system import Space, System
from installer.planning.file_changes import Changes

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
    """Return places that cannot be written, and programs that would be installed on noexec file systems."""
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
                problems[directory] = Problem(
                    directory, "is mounted read-only", "remount it read-write: mount -o remount,rw MOUNTPOINT"
                )
            elif not system.writable(directory):
                problems[directory] = Problem(directory, "is not writable by this user", "run as root")
        if change.path in executable and spaces[directory].noexec and directory not in problems:
            problems[directory] = Problem(
                directory,
                f"is mounted noexec, and {change.path} is a program",
                "remount it with exec: mount -o remount,exec MOUNTPOINT",
            )
    return list(problems.values())


def release_problems(system: System, layout: Layout, manifest: Manifest) -> list[Problem]:
    """Return the releases directory if programs that stay in it could not be run."""
    programs = [
        entry.path
        for entry in manifest.for_platform(system.platform())
        if entry.kind == "binary" and not entry.install
    ]
    if not programs or not system.space(layout.releases).noexec:
        return []
    what = f"is mounted noexec, and {programs[0]} is a program that runs from there"
    return [
        Problem(
            layout.releases,
            what,
            "remount it with exec (mount -o remount,exec MOUNTPOINT), or ask for a bundle that "
            "installs the program in another place",
        )
    ]
