"""The operation that moves a staged release into the directory of releases."""

from __future__ import annotations

from installer.deploy.operation import Handler, Json
from installer.host.context import Context
from installer.host.directories import parent, sync_directories
from installer.host.system import System


class PlaceRelease(Handler):
    """`release.place`: moves a staged release into the directory of releases, in place of one of its name."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return whether a release of this name is there already."""
        return {
            "there": context.system.observe(args["to"], digest=False).kind,
            "aside": f"{args['from']}.replaced",
        }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Move it. Service accounts may read a release, so its directory is 0755."""
        # Renames only: all three names are on one file system.
        _move(context.system, args["to"], preimage["aside"], only=preimage["there"] == "dir")
        _move(context.system, args["from"], args["to"])
        context.system.set_owner_mode(args["to"], 0o755)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Move it back to the staging area, which is cleared at the end."""
        system = context.system
        # The old one never moved away, so neither did the new one: the old release is in place.
        if preimage["there"] == "dir" and system.observe(preimage["aside"], digest=False).kind == "absent":
            return
        _move(system, args["to"], args["from"])
        _move(system, preimage["aside"], args["to"], only=preimage["there"] == "dir")


def _move(system: System, source: str, target: str, *, only: bool = True) -> None:
    """Move a directory, unless an earlier attempt has."""
    # The target is there: an earlier attempt has moved it.
    if not only or system.observe(target, digest=False).kind != "absent":
        return
    if system.observe(source, digest=False).kind == "dir":
        system.rename(source, target)
        sync_directories(system, {parent(source), parent(target)})


HANDLERS: dict[str, Handler] = {"release.place": PlaceRelease()}
