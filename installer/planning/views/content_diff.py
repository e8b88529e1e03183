"""How files on the host differ from what a release has: one form for plan, install, rollback and status.

The first line stands for the file on the host, the second one for the release. A file that cannot be shown
gets a note with the reason, never an empty content, which would look like a deleted file.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from installer.core.errors import Problem
from installer.core.format.manifest import FileEntry, Manifest
from installer.deploy.file_checks import matches
from installer.host.context import Context
from installer.host.directories import parent
from installer.host.file_systems import FileSystems
from installer.host.host import A_KIND
from installer.host.system import Seen, System
from installer.planning.changes import Changes
from installer.planning.desired_state import Desired, destination
from installer.planning.drift import Drifted, entry_of
from installer.shared.secrecy.redaction import LIMIT, Diff, diff
from installer.shared.terminal.listing import ALL, FIRST, more
from installer.state.release import Installed, Release

TOTAL = 16 * LIMIT
"""Bytes of edited files that one command compares line by line; of further ones it only says that they
differ. A product may have 250,000 files, and somebody may have edited them all."""
LONGEST = 200
"""Lines of one difference that are shown."""
_TOO_MANY = "differs; not shown, because too many files were edited"


@dataclass(slots=True)
class _Budget:
    left: int = TOTAL

    def take(self, size: int) -> bool:
        """Return whether content of this size may be compared, too."""
        self.left -= size
        return self.left >= 0


def planned_diffs(
    context: Context, changes: Changes, wanted: Desired, release: Release | None
) -> tuple[Diff, ...]:
    """Return how files on the host will change: rendered ones, and those that somebody edited.

    Args:
        context: The host, and what is secret on it.
        changes: What will be done to files.
        wanted: What the release wants.
        release: The release; None where none comes.
    """
    if release is None:
        return ()
    items = {item.path: item for item in wanted.items if item.kind == "file"}
    written = {each.path for each in changes.changes if each.verb in ("add", "replace", "restore")}
    drifted = {each.path: each for each in changes.drifted}
    found = [
        _compared(context, *_as_now(items[path], changes, _beside(drifted.get(path))), data)
        for path, data in wanted.rendered.items()
        if path in items and (path in written or path in drifted)
    ]
    budget = _Budget()
    for path in sorted(drifted.keys() & items.keys() - wanted.rendered.keys()):
        source = release.now(drifted[path].origin)
        found.append(_of_file(context, items[path], source, budget, _beside(drifted[path])))
    return tuple(found)


def _as_now(item: Installed, changes: Changes, beside: str) -> tuple[Installed, str]:
    """Return what an item is compared with, and what the diff leads to where that is another path."""
    before = changes.instead_of.get(item.path, item.path)
    return (item, beside) if before == item.path else (replace(item, path=before), item.path)


def drift_diffs(
    context: Context, installed: Iterable[Installed], drifted: Sequence[Problem], kept: Sequence[Drifted]
) -> tuple[Diff, ...]:
    """Return how files on the host differ from what the running release installed.

    Args:
        context: The host, and what is secret on it.
        installed: What the release installed.
        drifted: Where the host differs.
        kept: Files that were edited and are kept by policy.
    """
    wanted = {each.where for each in drifted} | {each.path for each in kept if each.kind == "file"}
    items = {item.path: item for item in installed if item.kind == "file" and item.path in wanted}
    budget = _Budget()
    found = (_of_file(context, items[path], items[path].source, budget) for path in sorted(items))
    return tuple(each for each in found if each.text or each.note)


def edited_members(system: System, manifest: Manifest, installed: Iterable[Installed]) -> frozenset[str]:
    """Return the bundle paths of files that were edited on the host, for a plan that stages nothing.

    Only these are kept while a bundle is verified for a plan: their diffs need the content of the release.

    Args:
        system: The host.
        manifest: Of the bundle; its head is trusted.
        installed: What the running release installed; nothing where none runs.
    """
    before, systems = {item.path: item for item in installed}, FileSystems(system)
    found = list[tuple[str, FileEntry, int]]()
    with system.hold_directories():
        for entry in manifest.for_platform(system.platform()):
            path = destination(entry)
            if not path or entry.kind == "template" or entry.size > LIMIT:
                continue
            try:
                seen = system.observe(path)
                old = before.get(path)
                same = old is not None and matches(seen, entry_of(old, systems.poor(parent(path))))
            # The comparison reports it.
            except OSError:
                continue
            if seen.kind == "file" and not same and seen.size <= LIMIT and seen.sha256 != entry.sha256:
                found.append((path, entry, seen.size))
    budget = _Budget()
    # In the order in which the diffs are made, so that both choose the same files.
    return frozenset(
        entry.path for _, entry, size in sorted(found, key=_path) if budget.take(entry.size + size)
    )


def _path(row: tuple[str, FileEntry, int]) -> str:
    return row[0]


def _beside(drifted: Drifted | None) -> str:
    # A file that the operator keeps is not changed: what the diff leads to is written next to it.
    if drifted is None or drifted.treatment != "keep" or not drifted.other:
        return ""
    return f"{drifted.other} (your {drifted.path.rpartition('/')[2]} is not changed)"


def _of_file(context: Context, item: Installed, source: str, budget: _Budget, to: str = "") -> Diff:
    """Compare a file on the host with the content of the release in another file."""
    system = context.system
    try:
        seen = system.observe(item.path)
        if seen.kind != "file" or seen.sha256 == item.sha256:
            return Diff(item.path, "", _condition(seen, item))
        if max(seen.size, item.size) > LIMIT:
            return Diff(item.path, "", f"too large to show ({seen.size} and {item.size} bytes)")
        if not budget.take(seen.size + item.size):
            return Diff(item.path, "", _TOO_MANY)
        try:
            new = system.read(source, LIMIT)
        except FileNotFoundError:  # a plan keeps no more of a bundle than the same limit allows
            return Diff(item.path, "", _TOO_MANY)
    except OSError as error:
        return Diff(item.path, "", _unread(error))
    return _compared(context, item, to, new)


def _compared(context: Context, item: Installed, to: str, new: bytes) -> Diff:
    system = context.system
    try:
        seen = system.observe(item.path, digest=False)
        if seen.kind not in ("file", "absent"):
            # Never the content of what a link leads to: whoever may write here could show any file of root.
            return Diff(item.path, "", _condition(seen, item))
        if seen.kind == "file" and max(seen.size, len(new)) > LIMIT:
            return Diff(item.path, "", f"too large to show ({seen.size} and {len(new)} bytes)")
        old = system.read(item.path, LIMIT) if seen.kind == "file" else b""
    except OSError as error:
        return Diff(item.path, "", _unread(error))
    if seen.kind == "file" and old == new:
        return Diff(item.path, "", _condition(seen, item))
    return diff(item.path, old, new, to, context.secrets)


def _unread(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "differs; run as root to see how"
    return f"differs; cannot be shown: {error.strerror}"


def _condition(seen: Seen, item: Installed) -> str:
    """Return in words what differs where it is not the content of a file; empty for nothing."""
    if seen.kind == "absent":
        return ""
    if seen.kind == "link":
        return f"is a link to {seen.target}, not a file"
    if seen.kind != "file":
        return f"is {A_KIND[seen.kind]}, not a file"
    changes = [f"mode {seen.mode:04o} → {item.mode:04o}"] if seen.mode != item.mode else []
    wanted = tuple(old if new == -1 else new for old, new in ((seen.uid, item.uid), (seen.gid, item.gid)))
    if (seen.uid, seen.gid) != wanted:
        changes.append(f"owner {seen.uid}:{seen.gid} → {wanted[0]}:{wanted[1]}")
    return f"{' and '.join(changes)}; the content is the same" if changes else ""


def diff_lines(diffs: Iterable[Diff], *, everything: bool = False) -> Iterator[str]:
    """Yield differences for people, each after an empty line; of many, or of long ones, the first part.

    Args:
        diffs: The differences.
        everything: Whether all of them are shown, however many and long they are.
    """
    shown = [each for each in diffs if each.text or each.note]
    most = len(shown) if everything or len(shown) <= FIRST else FIRST
    for each in shown[:most]:
        yield ""
        lines = each.text.splitlines() if each.text else [f"{each.path}: {each.note}"]
        longest = len(lines) if everything or len(lines) <= LONGEST else LONGEST
        yield from lines[:longest]
        if longest < len(lines):
            yield more(len(lines) - longest, f"lines of {each.path}")
    if most < len(shown):
        yield ""
        yield f"… and {len(shown) - most} more files differ; {ALL} shows how"
