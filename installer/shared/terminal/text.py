"""Text for a terminal and JSON for a script: whatever a name or a note contains, it is shown as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    "\u200b-\u200d\u2028\u2029\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"  # invisible
    "\ud800-\udfff"  # bytes of a file name that are not UTF-8
    "]"
)


def safe(text: str) -> str:
    """Return text with control, bidirectional and invisible characters escaped."""
    # Names and notes come from bundles: an escape sequence could rewrite what the operator approved.
    return _UNSAFE.sub(lambda found: found.group().encode("unicode_escape", "surrogatepass").decode(), text)


def json_text(value: Any, indent: int | None = None) -> str:
    r"""Return a value as JSON in which these characters are `\u` escapes.

    A JSON document is looked at in a terminal, too, and RFC 8259 requires escapes for C0 only.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # They can be in strings only: outside of strings JSON has ASCII, and no control character but newline.
    return _UNSAFE.sub(lambda found: json.dumps(found.group())[1:-1].replace("\x7f", "\\u007f"), text)


def table(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Return rows as aligned columns; the first row is the heading, `right` are right-aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numbers = set(right)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
