"""Plans for directories that exist: what was there before a product is the operator's, not the release's."""

from __future__ import annotations

import shlex
from dataclasses import replace

from installer.core.errors import Problem
from installer.core.format.destinations import is_standard
from installer.deploy.file_backups import saw
from installer.deploy.file_checks import matches
from installer.host.system import Seen, System
from installer.planning.changes import Changes, FileChange
from installer.planning.drift import condition, difference, entry_of, restored
from installer.state.release import Installed

FOUND = "was there before this product"
_STANDARD = "is part of every host"


def with_origin(item: Installed, before: Installed | None, seen: Seen) -> tuple[Installed, bool]:
    """Return what the record is to say of an existing directory, and whether Waybill created it.

    Args:
        item: What the release wants.
        before: What a record says, of the running release or of another product; None where none lists it.
        seen: What is there.
    """
    was = before.was if before else condition(seen)
    # Records of earlier versions do not tell who created a directory. Nobody's release creates /srv.
    if not was and is_standard(item.path):
        was = condition(seen)
    return replace(item, was=was), not was


def refusal(item: Installed, seen: Seen) -> Problem:
    """Return the problem of a directory that has another mode or owner than the release wants."""
    what = f"{FOUND} and {difference(seen, item)}"
    # What is typed is quoted: a destination may have blanks and what a shell would expand.
    path = shlex.quote(item.path)
    own = "" if item.uid == -1 else f"chown {item.uid}:{item.gid} {path} && "
    hint = (
        f"set it yourself: `{own}chmod {item.mode:04o} {path}`; to leave it as it is: --on-drift "
        f"keep:{path}; to let the release change it: --on-drift replace:{path}"
    )
    return Problem(item.path, what, hint)


def change(item: Installed, now: Seen, then: Installed) -> FileChange:
    """Return the change of a directory's mode or owner, from and to."""
    # Without root rights owners are not set.
    uid, gid = (now.uid, now.gid) if then.uid == -1 else (then.uid, then.gid)
    return FileChange(
        "set",
        item.path,
        origin=item.origin,
        before=condition(now),
        after=condition(replace(then, uid=uid, gid=gid)),
    )


def leave(system: System, result: Changes, item: Installed, poor: str) -> None:
    """Plan that a directory of the old release is no longer of any.

    One that was there before the product gets back its mode and owner of that time, unless somebody
    changed it since. One that Waybill created goes when it is empty.

    Args:
        system: The host.
        result: Where it is planned.
        item: The directory, as the record of the old release has it.
        poor: Type of its file system if that keeps no modes and owners.
    """
    if not item.was:
        if item.origin and is_standard(item.path):
            result.stays[item.path] = _STANDARD
        else:
            # Deepest first, so that a directory is empty by the time it is looked at.
            result.prune.insert(0, item.path)
        return
    result.stays[item.path] = FOUND
    seen, then = system.observe(item.path), restored(item)
    ours = item.policy != "kept" and matches(seen, entry_of(item, poor))
    if ours and not matches(seen, entry_of(then, poor)):
        result.late.append({**entry_of(then), "saw": saw(seen)})
        result.changes.append(change(item, seen, then))
