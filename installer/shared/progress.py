"""Progress is an object that is passed in and does nothing by default.

Workers call it from several threads; an implementation that prints makes itself safe for that.
"""

from __future__ import annotations

from typing import Any


class Progress:
    """What a long operation reports; this one reports nothing.

    Bytes are counted once, where they are read or written; totals are known before the first byte moves.
    """

    def start(self, label: str, total: int) -> None:
        """Begin a phase of `total` bytes; 0 where the size is not known."""

    def advance(self, count: int) -> None:
        """Count `count` further bytes of the phase."""

    def note(self, text: str) -> None:
        """Say one thing that happened, in a line of its own."""

    def step(self, text: str, **fields: Any) -> None:
        """Return how far a transaction is: for people where there is a text, with all its facts for a log."""
        del fields
        if text:
            self.note(text)

    def done(self) -> None:
        """End the phase."""
