"""Tables and progress on narrow terminals: nothing is cut and no column is lost."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from installer.shared.terminal.text import table

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
        # A row whose first cell is empty goes on with the one before it.
        goes_on = number > 1 and not row[0]
        if number > 1 and not goes_on:
            yield number - 1, ""
        for name, cell in zip(heading, row, strict=True):
            if not cell:
                continue
            rest = " " * indent
            first = rest if goes_on else f"{name:<{indent}}"
            for line in cell.splitlines():
                wrapped = textwrap.wrap(
                    line, max(width, indent + 8), initial_indent=first, subsequent_indent=rest
                )
                yield from ((number, each) for each in wrapped)
                first = rest
    if len(rows) > 1:
        yield len(rows) - 1, ""


def fitted(rows: Sequence[Sequence[str]], right: Iterable[int] = (), *, indent: int = 0) -> str:
    """Return rows as a table for standard output; on a terminal, no line is longer than that is wide.

    What is secret must be hidden before: a word that is broken over two lines is not found any more.

    Args:
        rows: Its rows; the first one is the heading.
        right: Columns that are right-aligned.
        indent: Columns that the caller puts before each line.
    """
    if sys.stdout is None or not sys.stdout.isatty():
        return table(rows, right)
    return arranged(rows, shutil.get_terminal_size().columns - indent, right)


def arranged(rows: Sequence[Sequence[str]], width: int, right: Iterable[int] = ()) -> str:
    """Return rows as a table of at most so many columns: as it is, its last column wrapped, or stacked.

    Args:
        rows: Its rows; the first one is the heading.
        width: Columns.
        right: Columns that are right-aligned; the last one is not.
    """
    others = sum(max(len(row[column]) for row in rows) + 2 for column in range(len(rows[0]) - 1))
    if others + max(len(row[-1]) for row in rows) <= width:
        return table(rows, right)
    if not fits(rows, width):
        return "\n".join(line for _, line in stacked(rows, width)).rstrip("\n")
    wrapped: list[Sequence[str]] = []
    for *cells, last in rows:
        first, *more = textwrap.wrap(last, width - others, break_on_hyphens=False) or [""]
        wrapped.append([*cells, first])
        wrapped += [[*([""] * len(cells)), each] for each in more]
    return table(wrapped, right)
