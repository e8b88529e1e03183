"""Colour for people on a terminal: differences, errors, hints and what must not be overlooked.

Nothing is said by colour alone. `NO_COLOR`, `TERM=dumb` and everything that is no terminal get plain text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

_RED, _BOLD_RED, _GREEN, _CYAN, _YELLOW = "31", "1;31", "32", "36", "33"
ALARMS = (
    "DRIFT", "FAILED", "UNFINISHED", "INCOMPLETE", "IN PROGRESS", "NOT ADMITTED", "NO TRUST", "NOT CLEARED",
    "LEFT", "REFUSED", "SENSITIVE", "WARNING", "BREAK-GLASS", "POINT OF NO RETURN", "BROKEN", "EXPIRED",
    "OUTSIDE", "DAMAGED", "UNHEALTHY", "DELETE",
)  # fmt: skip
"""Words in capitals that must not be overlooked. A test finds those that the texts of the commands have."""
# At the beginning of a line, or of a column of it.
_ALARMS = re.compile(rf"((?:.*?\S  )?? *(?:- )?)({'|'.join(ALARMS)})(?![\w-])")
_HEADS = ((re.compile(r"()(error:)"), _BOLD_RED), (re.compile(r"( *)(hint:)"), _CYAN), (_ALARMS, _BOLD_RED))
_WARNING = re.compile(r"()(warning:|note:)")


def is_coloured(stream: Any) -> bool:
    """Return whether text on a stream may have colours."""
    if stream is None or os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except ValueError:  # it is closed
        return False


def coloured(text: str, stream: Any) -> str:
    """Return text with colours where the stream takes them.

    Args:
        text: Made safe before: escapes in it are ours alone.
        stream: `sys.stdout` or `sys.stderr`; None if the process started without it.
    """
    return "\n".join(_lines(text)) if is_coloured(stream) else text


def _lines(text: str) -> Iterator[str]:
    inside = False
    for line in text.split("\n"):
        bare = line.lstrip()
        # A difference begins with its two names, and ends with an empty line.
        inside = bool(bare) and (inside or bare.startswith(("--- /", "@@ -")))
        if inside and bare[:1] in "+-@":
            colour = {"+": _GREEN, "-": _RED, "@": _CYAN}[bare[0]]
            yield f"{line[: len(line) - len(bare)]}{_in(colour, bare)}"
        else:
            yield line if inside else _head(line)


def _head(line: str) -> str:
    for pattern, colour in (*_HEADS, (_WARNING, _YELLOW)):
        if found := pattern.match(line):
            return f"{found[1]}{_in(colour, found[2])}{line[found.end() :]}"
    return line


def _in(colour: str, text: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"
