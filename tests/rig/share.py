"""How much of what can be tried a test tries: all of it in `make faults`, a share in `make test`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
EVERYTHING = os.environ.get("WAYBILL_FAULTS") == "all"
"""Whether all is tried (`make faults`), or a share (`make test`)."""


def share(items: Sequence[T], most: int) -> Sequence[T]:
    """Return all of them, or in `make test` at most so many, evenly spread; the first and the last always."""
    if EVERYTHING or len(items) <= most:
        return items
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]
