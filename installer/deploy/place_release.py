"""The operation that moves a staged release into the directory of releases."""

from __future__ import annotations

import errno
from typing import ClassVar

from installer.core.errors import Cause
from installer.deploy.operation import Handler, Json
from installer.host.context import Context
from installer.host.directories import parent, sync_directories
from installer.host.system import System

PARTIAL = ".part"
"""Suffix of an old release that is being linked under another name."""


class PlaceRelease(Handler):
    """`release.place`: moves a staged release into the directory of releases, in place of one of its name."""

    cause: ClassVar[Cause] = "io"

    def observe(self, context: Context, args: Json) -> Json:
        """Return whether a release of this name is there already."""
        return {
            "there": context.system.observe(args["to"], digest=False).kind,
            "aside": f"{args['from']}.replaced",
        }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Move it. Service accounts may read a release, so its directory is 0755."""
        # Renames only: all three names are on one file system.
        if preimage["there"] == "dir":
            _set_aside(context.system, args["to"], preimage["aside"])
        _move(context.system, args["from"], args["to"])
        context.system.set_owner_mode(args["to"], 0o755)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Move it back to the staging area, which is cleared at the end."""
        system = context.system
        # The old one never moved away, so neither did the new one: the old release is in place.
        if preimage["there"] == "dir" and system.observe(preimage["aside"], digest=False).kind == "absent":
            return
        aside = system.observe(preimage["aside"], digest=False).kind == "dir"
        if aside and system.observe(args["from"], digest=False).kind == "dir":
            # The new one never moved: what is left in its place is the rest of the old one, see `_set_aside`.
            system.remove_tree(args["to"])
        _move(system, args["to"], args["from"])
        _move(system, preimage["aside"], args["to"], only=preimage["there"] == "dir")


def _set_aside(system: System, path: str, aside: str) -> None:
    """Move the old release away; in the lower layer of an overlay it cannot be renamed, and is linked.

    It is complete under its new name before anything of the old one is removed.
    """
    try:
        _move(system, path, aside)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = f"{aside}{PARTIAL}"
        system.remove_tree(partial)
        _link_tree(system, path, partial)
        system.sync_fs(partial)
        system.rename(partial, aside)
        system.sync_dir(parent(aside))
        system.remove_tree(path)
        system.sync_dir(parent(path))


def _link_tree(system: System, path: str, to: str) -> None:
    seen = system.observe(path, digest=False)
    if seen.kind != "dir":
        system.link(path, to)
        return
    system.mkdir(to, seen.mode)
    for name in system.names(path):
        _link_tree(system, f"{path}/{name}", f"{to}/{name}")
    system.set_owner_mode(to, seen.mode, seen.uid, seen.gid)


def _move(system: System, source: str, target: str, *, only: bool = True) -> None:
    """Move a directory, unless an earlier attempt has."""
    # The target is there: an earlier attempt has moved it.
    if not only or system.observe(target, digest=False).kind != "absent":
        return
    if system.observe(source, digest=False).kind == "dir":
        system.rename(source, target)
        sync_directories(system, {parent(source), parent(target)})


HANDLERS: dict[str, Handler] = {"release.place": PlaceRelease()}
