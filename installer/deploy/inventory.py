"""What a product has on a host: written down before a removal, and looked for again after it."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from installer.core.errors import Cause
from installer.deploy.operation import Handler, Json, WithoutPreimage
from installer.host.context import Context

# The value is in journals on hosts, and cannot change.
RECORD = "removal.account"
"""Kind of the operation that holds the inventory in the journal of a removal."""
KEPT = "has data of the product"
"""Why data stay that a removal would delete if it were told to."""


@dataclass(frozen=True, slots=True)
class InventoryItem:
    """One thing of a product that a removal removes, or leaves on purpose.

    Attributes:
        kind: What it is: `file`, `link`, `directory`, `release` or `copy`, or a kind of a method's own
            (`Method.item_kinds`).
        name: Its path, or the name by which its kind is known.
        mark: What tells it from another of the same name: a file's SHA-256, a link's target, a release's
            version, an image's id in a classic store, a volume's project.
        other: An image's id in a containerd store, the engine of a volume, the kubectl that a
            Helm release carries.
        why: Why it stays; empty for what is removed.
    """

    kind: str
    name: str
    mark: str = ""
    other: str = ""
    why: str = ""

    def as_json(self) -> Json:
        """Return the item as the journal holds it, without empty fields."""
        return {name: value for name, value in asdict(self).items() if value}


@dataclass(frozen=True, slots=True)
class Residue:
    """What became of one thing.

    Attributes:
        how: `gone`; `stays` on purpose; or `left`, although it should be gone.
        kind: As the item has it, or `container`, `network`, `volume`, `state`.
        name: As the item has it.
        what: Why it stays, what is wrong with it, or what is not known although it is gone.
        hint: What to do about it.
        id: Of an image.
    """

    how: Literal["gone", "stays", "left"]
    kind: str
    name: str
    what: str = ""
    hint: str = ""
    id: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the row of the removal check, without empty fields."""
        return {name: value for name, value in asdict(self).items() if value and name != "how"}


class RecordInventory(WithoutPreimage):
    """`removal.account`: does nothing. It keeps the inventory in the journal until the removal ends."""

    cause: ClassVar[Cause] = "io"

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Undo nothing."""


HANDLERS: dict[str, Handler] = {RECORD: RecordInventory()}


def contents(directory: str, names: Sequence[str], kept: Container[str]) -> str:
    """Return why a directory stays: what is in it that no removal removes.

    Args:
        directory: Its path.
        names: What is in it and stays; at least one.
        kept: Paths of files that Waybill installed and the operator keeps.
    """
    # Files of others first: the operator may not know of them.
    others = [name for name in names if f"{directory}/{name}" not in kept]
    first = (others or names)[0]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    why = "not installed by Waybill" if others else "edited on this host and kept"
    return f"contains {first}{more}, {why}"
