"""Plans the files that a release renders into its own directory.

They come with that directory and go with it, so they need no admission, and nobody else's file can be there.
An `apply` replaces the directory, whatever was in it; a rollback finds it as the release left it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from installer.deploy.file_backups import saw
from installer.deploy.file_checks import CLEARED, matches
from installer.host.layout import Layout
from installer.host.system import Seen, System
from installer.planning.changes import Changes, FileChange, Verb
from installer.planning.drift import entry_of
from installer.state.release import Installed


def split(layout: Layout, items: Iterable[Installed]) -> tuple[list[Installed], list[Installed]]:
    """Return the items in the directories of releases, and the others."""
    own, others = list[Installed](), list[Installed]()
    # No manifest can name a place there: only steps have files in the directory of their release.
    inside = f"{layout.releases}/"
    for item in items:
        (own if item.path.startswith(inside) else others).append(item)
    return own, others


def compare(
    system: System,
    changes: Changes,
    old: Sequence[Installed],
    wanted: Sequence[Installed],
    *,
    placed: bool,
) -> None:
    """Add the files of a release's own directory to what changes.

    Args:
        system: The host.
        changes: What changes outside.
        old: Those of the running release; they go with its directory.
        wanted: Those of the release that is to run.
        placed: Whether its directory is placed by this transaction.
    """
    before = {(item.origin, _folder(item.path)): item.path for item in old}
    for item in wanted:
        changes.installed.append(item)
        changes.instead_of[item.path] = before.get((item.origin, _folder(item.path)), item.path)
        entry, seen = entry_of(item), _seen(system, item.path)
        is_right = seen is None or matches(seen, entry)
        if placed:
            # Even a file that is as it should be goes with the directory that is replaced.
            changes.entries.append({**entry, "saw": CLEARED})
        elif seen is not None and not is_right:
            changes.entries.append({**entry, "saw": saw(seen)})
        if not is_right:
            changes.changes.append(FileChange(_verb(seen, item, old), item.path, item.size, item.origin))


def _folder(path: str) -> str:
    """Return the name of the directory that a file is in: two steps may have one template."""
    return path.rsplit("/", 2)[-2]


def _seen(system: System, path: str) -> Seen | None:
    """Return what is at a path; None for what this user may not see."""
    try:
        return system.observe(path)
    except PermissionError:
        return None


def _verb(seen: Seen | None, item: Installed, old: Sequence[Installed]) -> Verb:
    if seen is None or seen.kind != "absent":
        return "replace"
    return "restore" if any(each.path == item.path for each in old) else "add"
