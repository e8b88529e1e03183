"""The method `files` and the operations that put files, links and directories in place and take them away.

One operation holds up to 256 entries, so that a tree of thousands of files is not thousands of waits for the
disk; every entry is undone by itself. An entry says what is to be at a path: a file, a link, a directory, or
nothing. What was there is kept under a second name until the transaction ends, so that undoing it is a rename
and needs no disk space.
"""

# ruff: noqa: ARG002 - a method takes what the protocol gives it

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress

from installer.core.digest import hash_pieces
from installer.core.errors import Problem
from installer.deploy.method import Target
from installer.deploy.operation import Json, Op, StepError, ThirdStateError
from installer.host.context import Context
from installer.host.directories import make_directory, parent, sync_directories
from installer.host.system import Seen, System

BATCH = 256
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
"""What link(2) answers where the file system knows no hard links, or no more of them."""


def matches(seen: Seen, entry: Json) -> bool:
    """Says whether what was seen is what the entry wants; an owner of -1 is any."""
    if seen.kind != entry["kind"]:
        return False
    if seen.kind == "link":
        return bool(seen.target == entry["target"])
    if seen.kind == "absent":
        return True
    if seen.kind == "file" and seen.sha256 != entry["sha256"]:
        return False
    owners = ((seen.uid, entry["uid"]), (seen.gid, entry["gid"]))
    return seen.mode == entry["mode"] and all(want in (-1, have) for have, want in owners)


def batches(entries: Iterable[Json], label: str) -> Iterator[Op]:
    """Cuts entries into operations; `number` makes the names of an operation's backups its own."""
    rows = list(entries)
    for number, start in enumerate(range(0, len(rows), BATCH)):
        cut = rows[start : start + BATCH]
        more = f" ({start + 1}–{start + len(cut)} of {len(rows)})" if len(rows) > BATCH else ""
        yield Op("files.change", {"batch": f"{label}-{number}", "entries": cut}, "switch", f"{label}{more}")


class _Names:
    """The names that one operation uses beside the paths themselves; known before it begins."""

    def __init__(self, preimage: Json) -> None:
        self.directory: str = preimage["directory"]
        self._tag: str = preimage["tag"]

    def new(self, path: str, index: int) -> str:
        return f"{parent(path).rstrip('/')}/.waybill-{self._tag}-{index}.new"

    def backup(self, index: int) -> str:
        return f"{self.directory}/{index}"

    def sibling(self, path: str, index: int) -> str:
        return f"{parent(path).rstrip('/')}/.waybill-{self._tag}-{index}.old"

    def backups(self, path: str, index: int) -> tuple[str, str]:
        return self.backup(index), self.sibling(path, index)


class ChangeFiles:
    """`files.change`: brings every entry about."""

    def observe(self, context: Context, args: Json) -> Json:
        """Looks at every path, and chooses the names of backups."""
        tag = f"{context.transaction}-{args['batch']}".replace(" ", "-")
        return {
            "directory": f"{context.layout.backup(context.transaction)}/{tag}",
            "tag": tag,
            "before": self._look(context.system, args["entries"]),
        }

    @staticmethod
    def _look(system: System, entries: list[Json]) -> list[Json]:
        with system.hold_directories():
            return [system.observe(entry["path"]).as_json() for entry in entries]

    def places(self, args: Json) -> set[str]:
        """Gives the directories that hold the entries."""
        return {parent(entry["path"]) for entry in args["entries"]}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Backs up, writes beside, renames into place, removes; each stage on the disk before the next."""
        with context.system.hold_directories():
            self._do(context.system, args, preimage)

    def _do(self, system: System, args: Json, preimage: Json) -> None:
        names = _Names(preimage)
        work = [
            (index, entry, before)
            for index, (entry, before) in enumerate(zip(args["entries"], _before(preimage), strict=True))
            if not matches(before, entry)
        ]
        for _, entry, before in work:
            _refuse_impossible(entry, before)
        make_directory(system, names.directory)
        touched: set[str] = {names.directory}
        for index, entry, before in work:
            if before.kind in ("file", "link"):
                touched.add(_back_up(system, names, index, entry["path"]))
        sync_directories(system, touched)
        self._make_room(system, names, work)
        fresh = list(self._write(system, names, work))
        if fresh:
            system.sync_files(fresh)
        touched = set()
        for index, entry, _ in work:
            if entry["kind"] in ("file", "link"):
                system.rename(names.new(entry["path"], index), entry["path"])
            elif entry["kind"] == "dir":
                touched.add(entry["path"])  # its mode is its own
            touched.add(parent(entry["path"]))
        sync_directories(system, touched)

    def _make_room(self, system: System, names: _Names, work: list[tuple[int, Json, Seen]]) -> None:
        """Removes what goes and makes directories, in order: what was a link may become a directory."""
        for index, entry, before in work:
            if entry["kind"] == "absent" and before.kind == "dir":
                _set_aside(system, entry, names.sibling(entry["path"], index))
            elif entry["kind"] == "absent":
                with suppress(FileNotFoundError):
                    system.unlink(entry["path"])
            elif entry["kind"] == "dir":
                if system.observe(entry["path"], digest=False).kind != "dir":
                    system.mkdir(entry["path"], 0o700)
                system.set_owner_mode(entry["path"], entry["mode"], entry["uid"], entry["gid"])

    def _write(self, system: System, names: _Names, work: list[tuple[int, Json, Seen]]) -> Iterator[str]:
        for index, entry, _ in work:
            new = names.new(entry["path"], index)
            if entry["kind"] not in ("file", "link"):
                continue
            if system.observe(new, digest=False).kind != "absent":
                system.unlink(new)
            if entry["kind"] == "link":
                system.symlink(entry["target"], new)
                continue
            digest = hashlib.sha256()
            chunks = hash_pieces(system.chunks(entry["source"]), digest)
            system.write_new(new, chunks, entry["mode"], entry["uid"], entry["gid"], sync=False)
            if digest.hexdigest() != entry["sha256"]:
                raise StepError(
                    "is not what was verified",
                    where=entry["source"],
                    hint="somebody changed it since, or the disk lost data",
                )
            yield new

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Puts back entry by entry, the last one first; what is in a third state is left and reported."""
        with context.system.hold_directories():
            self._undo(context, args, preimage)

    def _undo(self, context: Context, args: Json, preimage: Json) -> None:
        system, names = context.system, _Names(preimage)
        strange: list[Problem] = []
        touched: set[str] = set()
        rows = list(enumerate(zip(args["entries"], _before(preimage), strict=True)))
        for index, (entry, before) in reversed(rows):
            path = entry["path"]
            if entry["kind"] in ("file", "link") and _remove(system, names.new(path, index)):
                touched.add(parent(path))
            if matches(before, entry):
                continue
            now = system.observe(path)
            if now != before:
                touched |= {parent(path), path} if entry["kind"] == "dir" else {parent(path)}
                problem = self._put_back(context, (entry, before, now), names.backups(path, index))
                if problem:
                    strange.append(problem)
                    continue
            if before.kind in ("file", "link") and _remove(system, names.sibling(path, index)):
                touched.add(parent(path))
        sync_directories(system, touched)
        if strange:
            raise ThirdStateError(
                "was changed by somebody else while the release was applied", problems=strange
            )

    def _put_back(
        self, context: Context, row: tuple[Json, Seen, Seen], backups: tuple[str, str]
    ) -> Problem | None:
        system = context.system
        entry, before, now = row
        path = entry["path"]
        if entry["kind"] == "dir" and now.kind == "dir":
            if before.kind == "dir":
                system.set_owner_mode(path, before.mode, before.uid, before.gid)
            else:
                _remove_empty(system, path)
            return None
        if before.kind == "dir" and now.kind == "absent":
            if system.observe(backups[1], digest=False).kind == "dir":
                system.rename(backups[1], path)
                return None
            return Problem(path, "was removed by somebody else", "make it again")
        if now.kind != "absent" and not matches(now, entry):
            return Problem(path, "is neither what it was before nor what the release put there")
        if before.kind == "absent":
            _remove(system, path)
            return None
        for backup in backups:
            if system.observe(backup) == before:
                system.rename(backup, path)
                return None
        return Problem(path, "cannot be put back: its backup is not what it was", f"look at {backups[0]}")

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Moves replaced files that the operator wanted kept, removes other backups and empty directories."""
        with context.system.hold_directories():
            self._finish(context.system, args, preimage)

    def _finish(self, system: System, args: Json, preimage: Json) -> None:
        names, touched = _Names(preimage), set[str]()
        for index, (entry, before) in enumerate(zip(args["entries"], _before(preimage), strict=True)):
            if before.kind == "absent" or matches(before, entry):
                continue
            if entry.get("keep"):
                _keep(system, names.backups(entry["path"], index), before, entry["keep"])
            sibling = names.sibling(entry["path"], index)
            if system.observe(sibling, digest=False).kind != "absent":
                system.remove_tree(sibling)
                touched.add(parent(sibling))
        for path in args.get("prune", []):
            if _remove_empty(system, path):
                touched.add(parent(path))
        sync_directories(system, touched)


class Files:
    """The method `files`, the same for every release; `installer.planning.file_changes` plans it."""

    name = "files"

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Finds nothing: destinations are looked at by the plan."""
        return []

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Says nothing: the plan lists files itself."""
        return []

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Gives nothing: the plan makes the operations on files."""
        return []


def _before(preimage: Json) -> list[Seen]:
    return [Seen(**row) for row in preimage["before"]]


def _owner(system: System, seen: Seen) -> tuple[int, int]:
    return (seen.uid, seen.gid) if system.privileged else (-1, -1)


def _refuse_impossible(entry: Json, before: Seen) -> None:
    wrong = before.kind == "other" or (before.kind == "dir") != (entry["kind"] == "dir")
    if before.kind == "absent" or entry["kind"] == "absent" or not wrong:
        return
    if before.kind == "link" and entry["kind"] == "dir":
        what = "is a link where the release has a directory"
    else:
        what = f"is a {before.kind} where the release has a {entry['kind']}"
    raise StepError(
        what, where=entry["path"], hint="it came up after the plan was made; look at it and try again"
    )


def _back_up(system: System, names: _Names, index: int, path: str) -> str:
    """Gives what is at `path` a second name, or copies it; gives the directory that has to be synced."""
    for backup in names.backups(path, index):
        if system.observe(backup, digest=False).kind != "absent":
            return parent(backup)
        try:
            system.link(path, backup)
        except OSError as error:
            if error.errno == errno.EXDEV:
                continue
            if error.errno not in _NO_LINKS:
                raise
            break
        return parent(backup)
    seen = system.observe(path, digest=False)
    if seen.kind == "link":
        system.symlink(seen.target, names.backup(index))
    else:
        owner = _owner(system, seen)
        system.write_new(names.sibling(path, index), system.chunks(path), seen.mode, *owner)
        return parent(path)
    return names.directory


def _set_aside(system: System, entry: Json, aside: str) -> None:
    """Renames a directory that makes room, with all that is in it; what is not expected in it stops that."""
    if system.observe(aside, digest=False).kind == "dir":
        return
    if system.tree(entry["path"]) != entry["tree"]:
        raise StepError(
            "has something in it that was not there when the plan was made",
            where=entry["path"],
            hint="look at it and try again",
        )
    system.rename(entry["path"], aside)


def _keep(system: System, backups: tuple[str, str], before: Seen, to: str) -> None:
    if system.observe(to, digest=False).kind != "absent":
        return
    for backup in backups:
        if system.observe(backup, digest=False).kind == "absent":
            continue
        make_directory(system, parent(to))
        if before.kind == "link":
            system.symlink(before.target, to)
        else:
            partial = f"{to}.part"
            _remove(system, partial)
            system.write_new(partial, system.chunks(backup), 0o600)
            system.rename(partial, to)
        system.sync_dir(parent(to))
        return


def _remove(system: System, path: str) -> bool:
    if system.observe(path, digest=False).kind == "absent":
        return False
    system.unlink(path)
    return True


def _remove_empty(system: System, path: str) -> bool:
    if system.observe(path, digest=False).kind != "dir" or system.names(path):
        return False
    system.rmdir(path)
    return True


HANDLERS = {"files.change": ChangeFiles()}
METHOD = Files()
