"""Removal of releases and records that are not needed any more.

What Waybill did not put there is moved to `kept` and reported. What is in use is left for the next command: a
mount, or a process that runs from a release.
"""

from __future__ import annotations

import re
from collections.abc import Set

from installer.host.context import Context
from installer.host.layout import RECORD_FILES
from installer.staging import area
from installer.transaction.leftovers import Leftovers

_RELEASE = re.compile(rf"[0-9]+-[0-9a-f]{{12}}({re.escape(area.GOING)})?")
_RECORD = re.compile(r"[0-9]{6,}")
_IN_RECORD = re.compile(rf"{'|'.join(map(re.escape, RECORD_FILES))}|[0-9]+|snapshot-.+")


def remove_releases(context: Context, wanted: Set[str], left: Leftovers) -> None:
    """Remove the directories of releases that are not retained any more.

    Args:
        context: The host.
        wanted: Names of the retained ones.
        left: Receives those that cannot be removed.
    """
    system, layout, progress = context.system, context.layout, context.progress
    # What an interrupted removal left goes first: the next removal uses the same name.
    names = sorted(system.names(layout.releases), key=lambda name: not name.endswith(area.GOING))
    for name in (name for name in names if name not in wanted):
        path = f"{layout.releases}/{name}"
        with left.collect(path):
            if not _is_free(context, path):
                continue
            if not _RELEASE.fullmatch(name) or system.observe(path, digest=False).kind != "dir":
                area.rescue(system, layout, progress, [path])
            elif name.endswith(area.GOING):
                system.remove_tree(path)
            # A service that still runs from the old release would lose its files.
            elif users := system.users(path):
                progress.warn(f"{path} is not removed yet: process {users[0]} runs from it")
            else:
                area.remove(system, layout, progress, path)


def remove_records(context: Context, wanted: Set[str], left: Leftovers) -> None:
    """Remove the records of transactions that no retained release refers to.

    Args:
        context: The host.
        wanted: Numbers of the transactions whose records stay.
        left: Receives those that cannot be removed.
    """
    system, layout, progress = context.system, context.layout, context.progress
    for name in (name for name in system.names(layout.rendered) if name not in wanted):
        path = f"{layout.rendered}/{name}"
        with left.collect(path):
            if not _is_free(context, path):
                continue
            if not _RECORD.fullmatch(name) or system.observe(path, digest=False).kind != "dir":
                area.rescue(system, layout, progress, [path])
                continue
            # Files that an operator put into the record are moved, not deleted.
            strange = [each for each in system.names(path) if not _IN_RECORD.fullmatch(each)]
            area.rescue(system, layout, progress, [f"{path}/{each}" for each in strange])
            system.remove_tree(path)


def _is_free(context: Context, path: str) -> bool:
    # Removing through a mount would delete the data of another file system.
    mounted = context.system.mounts(path)
    if mounted:
        context.progress.warn(f"{path} is not removed: something is mounted at {mounted[0]}")
    return not mounted
