"""The operation that installs and removes files, links and directories.

An entry says what is to be at a path: a file, a link, a directory, or nothing. One operation holds up to 256
entries, so that a tree of thousands of files does not wait thousands of times for the disk; every entry is
undone by itself. What was at a path is kept under a second name until the transaction ends, so that undoing
is a rename and needs no disk space.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import ClassVar

from installer.core.digest import hash_pieces
from installer.core.errors import Cause, Problem
from installer.deploy.file_backups import (
    Names,
    back_up,
    discard,
    keep,
    remove,
    remove_empty,
    require_tree,
    restore,
    set_aside,
    set_wanted_attributes,
)
from installer.deploy.file_checks import (
    CLEARED,
    matches,
    refuse_impossible,
    require_allowed,
    require_expected,
    require_kept,
    require_replaceable,
    require_still,
)
from installer.deploy.operation import Handler, Json, Op, StepError, ThirdStateError
from installer.host.context import Context
from installer.host.directories import make_directory, parent, sync_directories
from installer.host.file_systems import FileSystems
from installer.host.inodes.attributes import ACL
from installer.host.system import Seen, System

BATCH = 256


def batches(entries: Iterable[Json], name: str, label: str = "") -> Iterator[Op]:
    """Yield operations of up to `BATCH` entries each; name and number make the names of backups unique."""
    rows = list(entries)
    for number, start in enumerate(range(0, len(rows), BATCH)):
        cut = rows[start : start + BATCH]
        more = f" ({start + 1}–{start + len(cut)} of {len(rows)})" if len(rows) > BATCH else ""
        args = {"batch": f"{name}-{number}", "entries": cut}
        yield Op("files.change", args, "switch", f"{label or name}{more}")


LINK = "current"
"""The name of the batch that points `current` to a release."""


class ChangeFiles(Handler):
    """`files.change`: makes every path what its entry says."""

    cause: ClassVar[Cause] = "io"

    def undo_label(self, op: Op) -> str:
        """Return the label; not that of the link, which names the release that failed."""
        is_link = op.args["batch"].startswith(f"{LINK}-")
        return "undo: point `current` back" if is_link else super().undo_label(op)

    def observe(self, context: Context, args: Json) -> Json:
        """Return what is at every path, and the names of the backups."""
        # Random, because the directories of the paths may belong to service accounts: a name that they could
        # foresee they could take first, and the backup would be theirs.
        tag = f"{context.transaction}-{args['batch']}-{secrets.token_hex(8)}".replace(" ", "-")
        return {
            "directory": f"{context.layout.backup(context.transaction)}/{tag}",
            "tag": tag,
            # Tells `undo` that `do` says when it begins to change something; journals of earlier versions do
            # not have it.
            "marked": True,
            "before": self._look(context.system, args["entries"]),
        }

    @staticmethod
    def _look(system: System, entries: list[Json]) -> list[Json]:
        with system.hold_directories():
            return [system.observe(entry["path"]).as_json() for entry in entries]

    def require_unchanged(self, context: Context, args: Json) -> None:
        """Require that every path still is what the plan saw there.

        Raises:
            StepError: Somebody changed one since; all are named, and nothing was done.
        """
        entries = [entry for entry in args["entries"] if entry.get("saw", CLEARED) != CLEARED]
        seen = [Seen(**row) for row in self._look(context.system, entries)]
        require_expected(zip(entries, seen, strict=True))
        with context.system.hold_directories():
            for entry in entries:
                if "tree" in entry:
                    require_tree(context.system, entry)

    def places(self, args: Json) -> set[str]:
        """Return the directories that hold the entries."""
        return {parent(entry["path"]) for entry in args["entries"]}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Back up, write next to the target, rename into place, remove; sync each stage before the next.

        It is always before the point of no return: after an interruption it is undone, never done again.
        """
        with context.system.hold_directories():
            self._do(context, args, preimage)

    def _do(self, context: Context, args: Json, preimage: Json) -> None:
        system = context.system
        names = Names(preimage)
        rows = list(zip(args["entries"], _before(preimage), strict=True))
        # All refusals come before the first change, so that they leave nothing to undo.
        require_expected(rows)
        require_allowed(context, [entry["path"] for entry, _ in rows])
        work = [
            (index, entry, before) for index, (entry, before) in enumerate(rows) if not matches(before, entry)
        ]
        require_replaceable(system, [(entry, before) for _, entry, before in work])
        for _, entry, before in work:
            refuse_impossible(entry, before)
            if entry["kind"] == "absent" and before.kind == "dir":
                require_still(system, entry["path"], before)
                require_tree(system, entry)
        make_directory(system, names.directory)
        touched: set[str] = {names.directory}
        for index, entry, before in work:
            if before.kind in ("file", "link"):
                touched |= back_up(system, names, index, entry["path"], before)
        if work:
            system.write_new(names.begun, b"", 0o600)
        # Backups are on the disk before the first path changes: after a power cut they are all there is.
        sync_directories(system, touched)
        self._clear_paths(system, names, work)
        fresh = list(self._write(system, names, work))
        if fresh:
            # Content before name: after a power cut a renamed file that was not synced can be empty.
            system.sync_files(fresh)
        touched = set()
        for index, entry, before in work:
            if entry["kind"] in ("file", "link"):
                # Writing may have taken minutes, in which an operator saved the file.
                require_still(system, entry["path"], before)
                system.rename(names.new(entry["path"], index), entry["path"])
            elif entry["kind"] == "dir":
                touched.add(entry["path"])  # syncing the parent does not sync its mode
            touched.add(parent(entry["path"]))
        sync_directories(system, touched)

    def _clear_paths(self, system: System, names: Names, work: list[tuple[int, Json, Seen]]) -> None:
        """Remove what goes and make directories, in order: what was a link may become a directory."""
        for index, entry, before in work:
            if entry["kind"] == "absent" and before.kind == "dir":
                set_aside(system, entry, names.sibling(entry["path"], index))
            elif entry["kind"] == "absent":
                # Somebody may have removed it meanwhile: what is gone already is no error.
                with suppress(FileNotFoundError):
                    system.unlink(entry["path"])
            elif entry["kind"] == "dir":
                if system.observe(entry["path"], digest=False).kind != "dir":
                    system.mkdir(entry["path"], 0o700)  # closed until its owner is set
                system.set_owner_mode(entry["path"], entry["mode"], entry["uid"], entry["gid"], keep_acl=True)

    def _write(self, system: System, names: Names, work: list[tuple[int, Json, Seen]]) -> Iterator[str]:
        for index, entry, before in work:
            new = names.new(entry["path"], index)
            if entry["kind"] not in ("file", "link"):
                continue
            if entry["kind"] == "link":
                system.symlink(entry["target"], new)
                continue
            digest = hashlib.sha256()
            chunks = hash_pieces(system.chunks(entry["source"]), digest)
            system.write_new(new, chunks, entry["mode"], entry["uid"], entry["gid"], sync=False)
            set_wanted_attributes(system, new, entry, before)
            require_kept(system, new, entry)
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
        system, names = context.system, Names(preimage)
        changed: list[Problem] = []
        waiting: list[str] = []
        touched: set[str] = set()
        rows = list(enumerate(zip(args["entries"], _before(preimage), strict=True)))
        file_systems = FileSystems(system)
        begun = not preimage.get("marked") or system.observe(names.begun, digest=False).kind != "absent"
        # In reverse, so that a directory is empty again before it is removed itself.
        for index, (args_entry, before) in reversed(rows):
            entry = args_entry
            path, new = entry["path"], names.new(entry["path"], index)
            # Journals of earlier versions do not tell where modes are not kept.
            if file_systems.poor(parent(path)):
                entry = {**entry, "loose": True}
            # It was as wanted before: `do` left it alone, and whatever is there now is not its work.
            if matches(before, entry):
                continue
            is_waiting = (
                entry["kind"] in ("file", "link") and system.observe(new, digest=False).kind != "absent"
            )
            now = system.observe(path) if begun else before
            if now != before and is_waiting:
                # The new content was never renamed into place: somebody else changed the path, not `do`.
                waiting.append(new)
            elif now != before:
                touched |= {parent(path), path} if entry["kind"] == "dir" else {parent(path)}
                problem = self._restore(system, names, index, (entry, before, now))
                if problem:
                    changed.append(problem)
                    continue
            elif is_waiting:
                discard(system, new)
                touched.add(parent(path))
            if before.kind in ("file", "link") and discard(system, names.sibling(path, index)):
                touched.add(parent(path))
        if changed:
            sync_directories(system, touched)
            raise ThirdStateError(
                "was changed by somebody else while the release was applied", problems=changed
            )
        # Last: while they are there, another undo knows that these paths were not changed by `do`.
        for new in waiting:
            discard(system, new)
            touched.add(parent(new))
        sync_directories(system, touched)

    def _restore(
        self, system: System, names: Names, index: int, row: tuple[Json, Seen, Seen]
    ) -> Problem | None:
        entry, before, now = row
        path = entry["path"]
        if entry["kind"] == "dir" and now.kind == "dir":
            if before.kind == "dir":
                system.set_owner_mode(path, before.mode, before.uid, before.gid)
                if before.acl:
                    # Exactly as it was: setting the mode may have widened its mask.
                    attributes = {**system.attributes(path), ACL: bytes.fromhex(before.acl)}
                    system.set_attributes(path, attributes)
            else:
                remove_empty(system, path)
            return None
        if entry["kind"] == "dir" and before.kind == "absent" and now.kind != "absent":
            return None  # `do` makes directories only: somebody else put something else there
        if before.kind == "dir" and now.kind == "absent":
            aside = names.sibling(path, index)
            if system.observe(aside, digest=False).kind == "dir":
                system.rename(aside, path)
                return None
            return Problem(path, "was removed by somebody else", "create it again")
        # Neither the preimage nor the release: overwriting it could destroy somebody's work.
        if now.kind != "absent" and not matches(now, entry):
            return Problem(
                path, "was changed by somebody else: it matches neither its old content nor the new release"
            )
        if before.kind == "absent":
            remove(system, path)
            return None
        if restore(system, names, index, path, before):
            return None
        return Problem(path, "cannot be restored: its backup has changed", f"check {names.backup(index)}")

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Move replaced files that the operator keeps; remove other backups and empty directories."""
        with context.system.hold_directories():
            self._finish(context.system, args, preimage)

    def _finish(self, system: System, args: Json, preimage: Json) -> None:
        names, touched = Names(preimage), set[str]()
        for index, (entry, before) in enumerate(zip(args["entries"], _before(preimage), strict=True)):
            if before.kind == "absent" or matches(before, entry):
                continue
            if entry.get("keep"):
                keep(system, names.backups(entry["path"], index), before, entry["keep"])
            if discard(system, names.sibling(entry["path"], index)):
                touched.add(parent(entry["path"]))
        # Only empty directories: files of others in them keep them.
        for path in args.get("prune", []):
            if remove_empty(system, path):
                touched.add(parent(path))
        sync_directories(system, touched)


def _before(preimage: Json) -> list[Seen]:
    return [Seen(**row) for row in preimage["before"]]
