"""The operation that deletes data of a product with its removal, if an operator asked for that.

It only keeps the list until the removal is committed: an undone removal has deleted nothing, and after an
interruption the recovery deletes what is on the list and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from installer.deploy.inventory import InventoryItem
from installer.deploy.method_registry import methods
from installer.deploy.operation import Handler, Json, Op, WithoutPreimage
from installer.host.context import Context

_KIND = "data.purge"


def purge_operation(items: Sequence[InventoryItem]) -> Op:
    """Return the operation that deletes data once the removal is committed."""
    return Op(_KIND, {"things": [item.as_json() for item in items]}, "stage")


class PurgeData(WithoutPreimage):
    """`data.purge`: deletes data after COMMIT; before it, nothing is done that would have to be undone."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Undo nothing."""

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Delete the data."""
        items = [InventoryItem(**row) for row in args["things"]]
        for method in methods():
            if own := [item for item in items if item.kind in method.data_kinds]:
                method.purge(context, own)


HANDLERS: dict[str, Handler] = {_KIND: PurgeData()}
