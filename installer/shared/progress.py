"""The object that long operations report to; it does nothing by default.

Several threads call it; an implementation that prints must be safe for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Progress:
    """Receives the progress of a long operation; this one ignores it.

    Bytes are counted once, where they are read or written; totals are known before the first byte moves.
    """

    def start(self, label: str, total: int) -> None:
        """Begin a phase of `total` bytes; 0 where the size is not known."""

    def advance(self, count: int) -> None:
        """Count `count` further bytes of the phase."""

    def note(self, text: str) -> None:
        """Report one thing that happened, in a line of its own."""

    def warn(self, text: str) -> None:
        """Report something out of the ordinary that stops nothing. Default: a note."""
        self.note(text)

    def output(self, source: str, lines: Sequence[str]) -> None:
        """Report what a script wrote, to a log only. Default: do nothing.

        Args:
            source: The script.
            lines: The last lines of its output.
        """

    def step(self, text: str, **fields: Any) -> None:
        """Report a step of a transaction: to people if there is a text, with all facts to a log."""
        del fields
        if text:
            self.note(text)

    def done(self) -> None:
        """End the phase."""
