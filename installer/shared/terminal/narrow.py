"""Tables and progress on narrow terminals: nothing is cut and no column is lost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

LAST = 24
"""Fewest columns that the last, wrapped column of a table needs; with less the rows are stacked."""
FULL = 80
"""From so many columns on, progress shows bytes, rate and time left."""
SHORT = 60
"""From so many columns on, it still shows the bytes."""


def fits(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether a table fits on a terminal, its last column wrapped.

    Args:
        rows: Its rows; the first one is the heading.
        width: Columns of the terminal.
    """
    fixed = sum(max(len(row[column]) for row in rows) + 2 for column in range(len(rows[0]) - 1))
    return fixed + LAST <= width


def stacked(rows: Sequence[Sequence[str]], width: int) -> Iterator[tuple[int, str]]:
    """Yield a table for a narrow terminal: the fields of a row below each other, each with its heading.

    Args:
        rows: Its rows; the first one is the heading.
        width: Columns of the terminal.

    Yields:
        The number of the row, and a line of it.
    """
    heading = [name.strip() for name in rows[0]]
    indent = max(len(name) for name in heading) + 2
    for number, row in enumerate(rows[1:], 1):
        for name, cell in zip(heading, row, strict=True):
            if not cell:
                continue
            first, rest = f"{name:<{indent}}", " " * indent
            for line in cell.splitlines():
                wrapped = textwrap.wrap(
                    line, max(width, indent + 8), initial_indent=first, subsequent_indent=rest
                )
                yield from ((number, each) for each in wrapped)
                first = rest
        yield number, ""
