"""The operation that installs and removes files, links and directories.

An entry says what is to be at a path: a file, a link, a directory, or nothing. One operation holds up to 256
entries, so that a tree of thousands of files does not wait thousands of times for the disk; every entry is
undone by itself. What was at a path is kept under a second name until the transaction ends, so that undoing
is a rename and needs no disk space.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress

from installer.core.digest import hash_pieces
from installer.core.errors import Problem
from installer.deploy.operation import Handler, Json, Op, StepError, ThirdStateError
from installer.host.context import Context
from installer.host.directories import make_directory, parent, sync_directories
from installer.host.system import Seen, System

BATCH = 256
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
"""What link(2) fails with where the file system has no hard links, or no more of them for this file."""


def matches(seen: Seen, entry: Json) -> bool:
    """Return whether what was seen is what the entry wants. An owner of -1 stands for any."""
    if seen.kind != entry["kind"]:
        return False
    if seen.kind == "link":
        return bool(seen.target == entry["target"])
    if seen.kind == "absent":
        return True
    if seen.kind == "file" and seen.sha256 != entry["sha256"]:
        return False
    # Without root rights owners are left as they are: a release that was installed so says -1.
    owners = ((seen.uid, entry["uid"]), (seen.gid, entry["gid"]))
    return seen.mode == entry["mode"] and all(want in (-1, have) for have, want in owners)


def batches(entries: Iterable[Json], name: str, label: str = "") -> Iterator[Op]:
    """Yield operations of up to `BATCH` entries each; name and number make the names of backups unique."""
    rows = list(entries)
    for number, start in enumerate(range(0, len(rows), BATCH)):
        cut = rows[start : start + BATCH]
        more = f" ({start + 1}–{start + len(cut)} of {len(rows)})" if len(rows) > BATCH else ""
        args = {"batch": f"{name}-{number}", "entries": cut}
        yield Op("files.change", args, "switch", f"{label or name}{more}")


class _Names:
    """The names that one operation uses next to the paths themselves. All are known before it begins."""

    def __init__(self, preimage: Json) -> None:
        self.directory: str = preimage["directory"]
        self._tag: str = preimage["tag"]

    def new(self, path: str, index: int) -> str:
        # In the same directory, because rename(2) is atomic within one file system only.
        return f"{parent(path).rstrip('/')}/.waybill-{self._tag}-{index}.new"

    def backup(self, index: int) -> str:
        return f"{self.directory}/{index}"

    # Used when the backup directory is on another file system, to which link(2) cannot reach.
    def sibling(self, path: str, index: int) -> str:
        return f"{parent(path).rstrip('/')}/.waybill-{self._tag}-{index}.old"

    def backups(self, path: str, index: int) -> tuple[str, str]:
        return self.backup(index), self.sibling(path, index)


class ChangeFiles(Handler):
    """`files.change`: makes every path what its entry says."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return what is at every path, and the names of the backups."""
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
        """Return the directories that hold the entries."""
        return {parent(entry["path"]) for entry in args["entries"]}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Back up, write next to the target, rename into place, remove; sync each stage before the next."""
        with context.system.hold_directories():
            self._do(context.system, args, preimage)

    def _do(self, system: System, args: Json, preimage: Json) -> None:
        names = _Names(preimage)
        work = [
            (index, entry, before)
            for index, (entry, before) in enumerate(zip(args["entries"], _before(preimage), strict=True))
            if not matches(before, entry)
        ]
        # All refusals come before the first change, so that they leave nothing to undo.
        for _, entry, before in work:
            _refuse_impossible(entry, before)
        make_directory(system, names.directory)
        touched: set[str] = {names.directory}
        for index, entry, before in work:
            if before.kind in ("file", "link"):
                touched.add(_back_up(system, names, index, entry["path"]))
        # Backups are on the disk before the first path changes: after a power cut they are all there is.
        sync_directories(system, touched)
        self._clear_paths(system, names, work)
        fresh = list(self._write(system, names, work))
        if fresh:
            # Content before name: after a power cut a renamed file that was not synced can be empty.
            system.sync_files(fresh)
        touched = set()
        for index, entry, _ in work:
            if entry["kind"] in ("file", "link"):
                system.rename(names.new(entry["path"], index), entry["path"])
            elif entry["kind"] == "dir":
                touched.add(entry["path"])  # syncing the parent does not sync its mode
            touched.add(parent(entry["path"]))
        sync_directories(system, touched)

    def _clear_paths(self, system: System, names: _Names, work: list[tuple[int, Json, Seen]]) -> None:
        """Remove what goes and make directories, in order: what was a link may become a directory."""
        for index, entry, before in work:
            if entry["kind"] == "absent" and before.kind == "dir":
                _set_aside(system, entry, names.sibling(entry["path"], index))
            elif entry["kind"] == "absent":
                # Recovery may run this again after a crash: what is gone already is no error.
                with suppress(FileNotFoundError):
                    system.unlink(entry["path"])
            elif entry["kind"] == "dir":
                if system.observe(entry["path"], digest=False).kind != "dir":
                    system.mkdir(entry["path"], 0o700)  # closed until its owner is set
                system.set_owner_mode(entry["path"], entry["mode"], entry["uid"], entry["gid"])

    def _write(self, system: System, names: _Names, work: list[tuple[int, Json, Seen]]) -> Iterator[str]:
        for index, entry, _ in work:
            new = names.new(entry["path"], index)
            if entry["kind"] not in ("file", "link"):
                continue
            if system.observe(new, digest=False).kind != "absent":
                system.unlink(new)  # of an earlier attempt, perhaps a partial write
            if entry["kind"] == "link":
                system.symlink(entry["target"], new)
                continue
            digest = hashlib.sha256()
            chunks = hash_pieces(system.chunks(entry["source"]), digest)
            system.write_new(new, chunks, entry["mode"], entry["uid"], entry["gid"], sync=False)
            # Checked again while it is copied: the staged file may have changed since it was verified.
            if digest.hexdigest() != entry["sha256"]:
                raise StepError(
                    "differs from what was verified",
                    where=entry["source"],
                    hint="it was changed after the verification, or the disk lost data",
                )
            yield new

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Restore each entry, the last one first. Leave and report what is in a third state."""
        with context.system.hold_directories():
            self._undo(context, args, preimage)

    def _undo(self, context: Context, args: Json, preimage: Json) -> None:
        system, names = context.system, _Names(preimage)
        changed: list[Problem] = []
        touched: set[str] = set()
        rows = list(enumerate(zip(args["entries"], _before(preimage), strict=True)))
        # In reverse, so that a directory is empty again before it is removed itself.
        for index, (entry, before) in reversed(rows):
            path = entry["path"]
            if entry["kind"] in ("file", "link") and _remove(system, names.new(path, index)):
                touched.add(parent(path))
            # It was as wanted before: `do` left it alone, and whatever is there now is not its work.
            if matches(before, entry):
                continue
            now = system.observe(path)
            if now != before:
                touched |= {parent(path), path} if entry["kind"] == "dir" else {parent(path)}
                problem = self._restore(context, (entry, before, now), names.backups(path, index))
                if problem:
                    changed.append(problem)
                    continue
            if before.kind in ("file", "link") and _remove(system, names.sibling(path, index)):
                touched.add(parent(path))
        sync_directories(system, touched)
        if changed:
            raise ThirdStateError(
                "was changed by somebody else while the release was applied", problems=changed
            )

    def _restore(
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
            return Problem(path, "was removed by somebody else", "create it again")
        # Neither the preimage nor the release: overwriting it could destroy somebody's work.
        if now.kind != "absent" and not matches(now, entry):
            return Problem(
                path, "was changed by somebody else: it matches neither its old content nor the new release"
            )
        if before.kind == "absent":
            _remove(system, path)
            return None
        for backup in backups:
            # Compared by digest, mode and owner: a backup that was changed must not come back as the
            # original.
            if system.observe(backup) == before:
                system.rename(backup, path)
                return None
        return Problem(path, "cannot be restored: its backup has changed", f"check {backups[0]}")

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Move replaced files that the operator keeps; remove other backups and empty directories."""
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
        # Only empty directories: files of others in them keep them.
        for path in args.get("prune", []):
            if _remove_empty(system, path):
                touched.add(parent(path))
        sync_directories(system, touched)


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
        what, where=entry["path"], hint="it was created after the plan was made: check it and try again"
    )


def _back_up(system: System, names: _Names, index: int, path: str) -> str:
    """Give what is at `path` a second name, or copy it. Return the directory that has to be synced."""
    for backup in names.backups(path, index):
        if system.observe(backup, digest=False).kind != "absent":
            return parent(backup)
        try:
            system.link(path, backup)
        except OSError as error:
            if error.errno == errno.EXDEV:
                continue  # the backup directory is on another file system: try next to the file
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
    """Rename a directory that makes room, with everything in it; refuse if it has more in it than planned."""
    if system.observe(aside, digest=False).kind == "dir":
        return
    # Checked again just before: a file that came after the plan must not vanish with the directory.
    if system.tree(entry["path"]) != entry["tree"]:
        raise StepError(
            "contains something that was not there when the plan was made",
            where=entry["path"],
            hint="check it and try again",
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
            # Under another name first: a copy that a crash interrupted must not pass for the operator's file.
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
