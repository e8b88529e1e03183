"""Backups of what an operation on files replaces.

A backup is a second name of the file itself, so that undoing is a rename and needs no disk space. Where the
backup directory is on another file system, it is next to the file. If somebody else may write there, a second
copy is in the backup directory, which only root can reach.
"""

from __future__ import annotations

import errno

from installer.core.digest import sha256_hex
from installer.core.format.entries import capabilities
from installer.deploy.operation import Json, StepError
from installer.host.directories import make_directory, parent
from installer.host.inodes.attributes import CAPABILITY, kept
from installer.host.system import Seen, System

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
"""What link(2) fails with where the file system has no hard links, or no more of them for this file."""


class Names:
    """The names that one operation uses next to the paths themselves. All are known before it begins."""

    def __init__(self, preimage: Json) -> None:
        self.directory: str = preimage["directory"]
        self._tag: str = preimage["tag"]

    @property
    def begun(self) -> str:
        """The name of an empty file that is there once the operation may have changed something."""
        return f"{self.directory}/begun"

    def new(self, path: str, index: int) -> str:
        """Return the name under which new content is written."""
        # In the same directory, because rename(2) is atomic within one file system only.
        return f"{parent(path).rstrip('/')}/.waybill-{self._tag}-{index}.new"

    def backup(self, index: int) -> str:
        """Return the name of a backup in the backup directory."""
        return f"{self.directory}/{index}"

    def sibling(self, path: str, index: int) -> str:
        """Return the name of a backup next to the path, where link(2) does not reach the directory."""
        return f"{parent(path).rstrip('/')}/.waybill-{self._tag}-{index}.old"

    def backups(self, path: str, index: int) -> tuple[str, str]:
        """Return both names of a backup."""
        return self.backup(index), self.sibling(path, index)


def back_up(system: System, names: Names, index: int, path: str, before: Seen) -> set[str]:
    """Give what is at `path` a second name, or copy it. Return the directories that have to be synced.

    Raises:
        StepError: It is not what it was any more.
    """
    backup = _existing(system, names.backups(path, index), before) or _new(system, names, index, path)
    # Only now it is certain what the backup is: the path could be changed until it had its second name.
    if system.observe(backup) != before:
        raise StepError("was changed while it was backed up", where=path, hint="run the same command again")
    if backup == names.backup(index):
        return {names.directory}
    if not _is_safe(system, parent(path)):
        # A service account that may write there could remove or replace the backup and so prevent the undo.
        _copy(system, path, names.backup(index), before)
    return {names.directory, parent(path)}


def restore(system: System, names: Names, index: int, path: str, before: Seen) -> bool:
    """Rename an unchanged backup into place; return whether there is one."""
    for backup in reversed(names.backups(path, index)):
        # Compared by digest, mode and owner: a backup that was changed must not come back as the original.
        if system.observe(backup) != before:
            continue
        try:
            system.rename(backup, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            new = names.new(path, index)
            _copy(system, backup, new, before)
            system.rename(new, path)
        return True
    return False


def _existing(system: System, backups: tuple[str, str], before: Seen) -> str:
    """Return the backup that an earlier attempt made; empty for none."""
    # The sibling first: the one in the directory can be the copy of it.
    for backup in reversed(backups):
        seen = system.observe(backup)
        if seen == before:
            return backup
        if seen.kind != "absent":
            raise StepError(
                "is in the way of a backup", where=backup, hint="check who put it there; remove it"
            )
    return ""


def _new(system: System, names: Names, index: int, path: str) -> str:
    for backup in names.backups(path, index):
        try:
            system.link(path, backup)
        except OSError as error:
            if error.errno == errno.EXDEV:
                continue  # the backup directory is on another file system: try next to the file
            if error.errno not in _NO_LINKS:
                raise
            break
        return backup
    seen = system.observe(path, digest=False, attributes=True)
    # A copy of a link needs no space, so that it can be anywhere; undoing makes it again.
    backup = names.backup(index) if seen.kind == "link" else names.sibling(path, index)
    _copy(system, path, backup, seen)
    return backup


def _copy(system: System, path: str, to: str, seen: Seen) -> None:
    discard(system, to)  # of an earlier attempt, perhaps a partial write
    if seen.kind == "link":
        system.symlink(seen.target, to)
    else:
        owner = (seen.uid, seen.gid) if system.privileged else (-1, -1)
        system.write_new(to, system.chunks(path), seen.mode, *owner)
        attributes = system.attributes(path)
        if attributes != system.attributes(to):
            if not system.privileged:
                attributes = kept(attributes)  # only root can set capabilities
            system.set_attributes(to, attributes)
            system.sync_files([to])


def set_wanted_attributes(system: System, new: str, entry: Json, before: Seen) -> None:
    """Set the attributes of a new file: those of the file that it replaces, and what is declared.

    Args:
        system: The host.
        new: The file, under the name that it has before it is in place.
        entry: What is wanted.
        before: What is at its path now.
    """
    there = system.attributes(new)
    # A file where none was keeps what its directory passes on.
    wanted = kept(system.attributes(entry["path"]) if before.kind == "file" else there)
    if declared := entry.get("capabilities"):
        wanted[CAPABILITY] = capabilities.xattr(declared)
    if wanted or there:
        # After the owner was set: chown(2) takes capabilities away.
        system.set_attributes(new, wanted, entry["mode"])


def _is_safe(system: System, directory: str) -> bool:
    """Return whether only root, or this user, can change names in a directory."""
    seen = system.observe(directory, digest=False)
    if seen.kind == "link":
        return False
    ours = seen.uid == 0 or not system.privileged
    return ours and not seen.mode & 0o022


def set_aside(system: System, entry: Json, aside: str) -> None:
    """Rename a directory that is replaced, with everything in it; refuse if it is not as planned."""
    if system.observe(aside, digest=False).kind == "dir":
        return
    # Checked again just before: a file that came after the plan must not vanish with the directory.
    require_tree(system, entry)
    system.rename(entry["path"], aside)


def require_tree(system: System, entry: Json) -> None:
    """Require that a directory that is replaced contains what the plan saw in it, and nothing else.

    Raises:
        StepError: It does not.
    """
    below = system.tree(entry["path"])
    # Journals of earlier versions tell the names only.
    was = entry.get("below", [""] * len(entry["tree"]))
    changed = set(below).symmetric_difference(entry["tree"])
    changed |= {
        path for path, seen in zip(entry["tree"], was, strict=True) if seen and seen != saw_at(system, path)
    }
    if changed:
        where, hint = min(changed), "check it; then run the same command again: it makes a new plan"
        raise StepError("was changed after the plan was made", where=where, hint=hint)


def saw(seen: Seen) -> str:
    """Return what the plan saw at a path, in the words that an entry carries as `saw`."""
    if seen.kind == "absent":
        return "absent"
    if seen.kind == "link":
        return f"link {seen.target}"
    attributes = " ".join(filter(None, (seen.acl, seen.capabilities, seen.others)))
    digest = f" +{sha256_hex(attributes.encode())[:16]}" if attributes else ""
    return f"{seen.kind} {seen.mode:04o} {seen.uid}:{seen.gid} {seen.sha256[:32]}".rstrip() + digest


def saw_at(system: System, path: str) -> str:
    """Return what there is at a path, in the same words."""
    return saw(system.observe(path))


def keep(system: System, backups: tuple[str, str], before: Seen, to: str) -> None:
    """Copy a backup to where the operator finds it; only its owner can read it there."""
    if system.observe(to, digest=False).kind != "absent":
        return
    for backup in backups:
        # What is not the operator's file any more is not kept as such.
        if system.observe(backup) != before:
            continue
        make_directory(system, parent(to))
        if before.kind == "link":
            system.symlink(before.target, to)
        else:
            # Under another name first: a copy that a crash interrupted must not pass for the operator's file.
            partial = f"{to}.part"
            remove(system, partial)
            system.write_new(partial, system.chunks(backup), 0o600)
            system.rename(partial, to)
        system.sync_dir(parent(to))
        return


def remove(system: System, path: str) -> bool:
    """Remove a file or link; return whether there was one."""
    if system.observe(path, digest=False).kind == "absent":
        return False
    system.unlink(path)
    return True


def discard(system: System, path: str) -> bool:
    """Remove what has a name of an operation, whatever it is; return whether there was something."""
    if system.observe(path, digest=False).kind == "absent":
        return False
    system.remove_tree(path)
    return True


def remove_empty(system: System, path: str) -> bool:
    """Remove an empty directory; return whether there was one."""
    if system.observe(path, digest=False).kind != "dir" or system.names(path):
        return False
    system.rmdir(path)
    return True
