"""What must be true before an operation changes files, whatever the plan found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from installer.core.errors import Problem
from installer.deploy.file_backups import saw
from installer.deploy.operation import Json, StepError
from installer.host.context import Context
from installer.host.directories import parent
from installer.host.host import A_KIND
from installer.host.inodes.obstacles import Obstacles
from installer.host.resolved import Resolver
from installer.host.system import Seen, System

CLEARED = "cleared"
"""What the plan expects where an operation before this one removes what is there."""
_SINCE = "was changed after the plan was made"
MOST_NAMED = 50
"""Paths that an error names; a tree of thousands can change at once."""
_AGAIN = "check it; then run the same command again: it makes a new plan"


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
    # Capabilities that a release does not declare are those of the site, for whatever reason.
    if entry.get("capabilities") and seen.capabilities != entry["capabilities"]:
        return False
    # The file system keeps neither modes nor owners: what is seen is made up from options of its mount.
    if entry.get("loose"):
        return True
    # Without root rights owners are left as they are: a release that was installed so says -1.
    owners = ((seen.uid, entry["uid"]), (seen.gid, entry["gid"]))
    return seen.bits == entry["mode"] and all(want in (-1, have) for have, want in owners)


def _unexpected(entry: Json, seen: Seen) -> bool:
    """Return whether a path is not as the plan saw it. Journals of earlier versions do not tell."""
    return "saw" in entry and saw(seen) != ("absent" if entry["saw"] == CLEARED else entry["saw"])


def refuse_impossible(entry: Json, before: Seen) -> None:
    """Refuse to put a file where a directory is, a directory where a file is, and all where a device is.

    Raises:
        StepError: It is so; it came after the plan was made.
    """
    wrong = before.kind == "other" or (before.kind == "dir") != (entry["kind"] == "dir")
    if before.kind == "absent" or entry["kind"] == "absent" or not wrong:
        return
    raise StepError(
        f"is {A_KIND[before.kind]} where the release has {A_KIND[entry['kind']]}",
        where=entry["path"],
        hint="it was created after the plan was made: check it and try again",
    )


def require_expected(rows: Iterable[tuple[Json, Seen]]) -> None:
    """Require that paths are as the plan saw them.

    Raises:
        StepError: Some are not; all are named.
    """
    changed = [
        Problem(entry["path"], f"the plan saw: {entry['saw']}; now: {saw(seen)}", _AGAIN)
        for entry, seen in rows
        if _unexpected(entry, seen)
    ]
    if changed:
        raise StepError(_SINCE, where=changed[0].where, hint=_AGAIN, problems=changed[:MOST_NAMED])


def require_replaceable(system: System, rows: Iterable[tuple[Json, Seen]]) -> None:
    """Require that nothing keeps root from replacing what is there: a mount, or the marks of `chattr`.

    Raises:
        StepError: Something does; it came after the plan was made.
    """
    obstacles, found = Obstacles(system), dict[str, Problem]()
    for entry, before in rows:
        path = entry["path"]
        obstacle = obstacles.to_change_in(parent(path))
        if not obstacle and before.kind != "absent":
            stays = before.kind == "dir" == entry["kind"]
            obstacle = obstacles.to_mark(path) if stays else obstacles.to_replace(path)
        if obstacle:
            found.setdefault(obstacle.path, Problem(*obstacle))
    if found:
        first = next(iter(found.values()))
        raise StepError(
            first.what, where=first.where, hint=first.hint, problems=[*found.values()][1:MOST_NAMED]
        )


def require_still(system: System, path: str, before: Seen) -> None:
    """Require that a path is what it was when it was backed up.

    Raises:
        StepError: Somebody changed it meanwhile.
    """
    if system.observe(path) != before:
        raise StepError("was changed while the release was applied", where=path, hint=_AGAIN)


def require_kept(system: System, new: str, entry: Json) -> None:
    """Require that the file system has kept mode and owner of a new file, which is not in place yet.

    Raises:
        StepError: It has not; later it would seem that somebody changed them, and nothing could be undone.
    """
    seen = system.observe(new, digest=False, attributes=True)
    if not matches(replace(seen, sha256=entry["sha256"]), entry):
        hint = "choose a destination on another file system, or mount it with the modes that the release has"
        raise StepError("its file system does not keep modes or owners", where=entry["path"], hint=hint)


def require_allowed(context: Context, paths: Iterable[str]) -> None:
    """Require that no path leads to a place that no release may have, whatever the plan found.

    Raises:
        StepError: One does: a link or a mount was made after the plan.
    """
    resolver, layout = Resolver(context.system), context.layout
    for path in paths:
        # The link to the running release and the like: no manifest can name a place there.
        if path.startswith(f"{layout.state}/"):
            continue
        if why := resolver.forbidden(path, layout.product):
            raise StepError(why, where=path, hint="remove the link or the mount that leads there")
