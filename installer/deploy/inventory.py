"""What a product has on a host, item by item, written down before it is removed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class InventoryItem:
    """One thing of a product that a removal takes away, or leaves on purpose.

    Attributes:
        kind: `file`, `link`, `directory`, `unit`, `project`, `image`, `release`, `script` or `copy`.
        name: Its path, or the name by which its kind is known.
        mark: What tells it from another of the same name: a file's SHA-256, a link's target, a release's
            version, an image's id in a classic store.
        other: An image's id in a containerd store.
        why: Why it stays; empty for what goes.
    """

    kind: str
    name: str
    mark: str = ""
    other: str = ""
    why: str = ""
