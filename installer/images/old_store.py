"""The image store of earlier versions below `--root`: an OCI layout of its own, next to the releases.

The directory of a release holds the same layout, so nothing reads the store any more. What an earlier version
left is removed by the next transaction, and an operation that it began is brought to its end.
"""

from __future__ import annotations

from typing import ClassVar

from installer.core.errors import Cause
from installer.deploy.operation import Handler, Json, Op
from installer.host.context import Context

ABSENT = "absent"


def store_path(context: Context) -> str:
    """Return where an earlier version kept the images of a product."""
    return f"{context.layout.base}/images"


def removal(context: Context) -> list[Op]:
    """Return the operation that removes the store; none where there is no store."""
    if context.system.observe(store_path(context), digest=False).kind == "absent":
        return []
    args = {"images": [], "release": ""}
    return [Op("image.store", args, "switch", "remove the image store of an earlier version")]


class RemoveStore(Handler):
    """`image.store`: removes the store after COMMIT. Earlier versions wrote it with this operation."""

    cause: ClassVar[Cause] = "io"

    def observe(self, context: Context, args: Json) -> Json:
        """Return that there is a store, as an earlier version names its index; nothing else is needed."""
        return {"index": ""}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing: the store goes once the transaction has committed."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Remove the store if the operation, of an earlier version, made it; else leave it."""
        # Else the store was there before, and stays until the next COMMIT.
        if preimage["index"] == ABSENT:
            context.system.remove_tree(store_path(context))

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Remove the store."""
        context.system.remove_tree(store_path(context))


HANDLERS: dict[str, Handler] = {"image.store": RemoveStore()}
