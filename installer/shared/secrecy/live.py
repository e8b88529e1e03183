"""The output of a program that still runs, without secrets.

A line is hidden with the lines before it: the body of a private key is recognised by its first line, and a
value by the name above it. What has several lines and is known by its value is recognised as a whole only.
Where such a value is known, nothing is told before the program has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from installer.shared.secrecy.known import EARLIER, Secrets, shortened


class LiveLines:
    """Tells lines as they come.

    Args:
        secrets: What must not be told.
        width: Characters of a line at most.
        most: Lines at most; how many more there were is told at the end.
        tell: Gets the lines.
    """

    def __init__(
        self, secrets: Secrets, width: int, most: int, tell: Callable[[Sequence[str]], None]
    ) -> None:
        self._secrets, self._width, self._left, self._tell = secrets, width, most, tell
        self._before: list[str] = []
        self._waiting: list[str] = []
        self._more = 0

    def take(self, lines: Sequence[bytes]) -> None:
        """Take lines that the program has written."""
        text = [line.decode("utf-8", "replace") for line in lines]
        kept = [part for line in text for part in (line.splitlines() or [""])][: self._left]
        self._more += len(text) - min(len(text), len(kept))
        self._left -= len(kept)
        self._waiting += kept
        if not self._secrets.has_lines():
            self._flush()

    def end(self) -> None:
        """Tell what was held back."""
        self._flush()
        if self._more:
            self._tell([f"and {self._more} more lines, which are not logged"])

    def _flush(self) -> None:
        new, self._waiting = self._waiting, []
        if not new:
            return
        shown = self._secrets.hide_all([*self._before, *new])[len(self._before) :]
        self._before = [*self._before, *new][-EARLIER:]
        self._tell([shortened(line, self._width) for line in shown])
