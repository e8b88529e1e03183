r"""Where private keys stand in text: PEM and its relatives, on lines of their own or on one line.

A service account in JSON has its key on one line (`"private_key": "-----BEGIN PRIVATE KEY-----\nMIIE…"`), and
so has a variable of an environment file. The end of an output may have only the end of a key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Span = tuple[int, int]
"""The first character of a secret, and the one behind it."""
_KIND = r"(?:[A-Za-z0-9]{1,20} ){0,5}(?:PRIVATE KEY|Static key)[^-]{0,20}-{4,5}"
# One search for all of them: a line may have many of each.
_MARK = re.compile(
    rf"-{{4,5}} ?(?:(?P<begin>BEGIN {_KIND})|(?P<end>END {_KIND})|BEGIN )"
    # GnuPG: an expression in brackets, which has no end that a search finds.
    r"|(?P<open>\((?:[0-9]{1,2}:)?(?:protected-)?private-key\s*(?:\(|$))"
)
_MARKS = ("----", "private-key", "Private-Lines:", "secret key")
# PuTTY and minisign: so many lines that follow.
_FOLLOWED = re.compile(r"\s*Private-Lines:\s*(?P<count>[0-9]{1,4})\s*|.{0,200}\bsecret key\b.{0,200}")
# The characters around a body in source code and JSON: quotes, signs, and line ends that are written out.
_AROUND = re.compile(r"\\[nrt]|\W")
_BODY = re.compile(r"[A-Za-z0-9+/=]{16}(?:\\[nr])*\W{0,8}$")
_LAST = re.compile(r"\W{0,8}[A-Za-z0-9+/=]{1,80}(?:\\[nr])*\W{0,8}")
_ALL = re.compile(r"\s*[A-Za-z0-9+/=]{40,}\s*")
_TAIL = 64
"""Characters at the end of a line that tell whether it belongs to a key."""


def key_bodies(lines: Sequence[str]) -> dict[int, list[Span]]:
    """Return where private keys stand, by the number of the line, from 0; other lines are missing.

    A key without an end goes to the end of the text: hiding too much of it does no harm.

    Args:
        lines: The lines of one text.
    """
    found = dict[int, list[Span]]()
    inside = False
    for number, line in enumerate(lines):
        if not inside and not any(mark in line for mark in _MARKS):
            continue
        if match := _FOLLOWED.fullmatch(line):
            found |= _following(lines, number + 1, int(match["count"] or 1), is_sure=bool(match["count"]))
        spans, inside, orphan = _in_line(line, inside=inside)
        if spans:
            found[number] = spans
        if orphan:
            _above(lines, number, found)
    return found


def _in_line(line: str, *, inside: bool) -> tuple[list[Span], bool, bool]:
    """Return the spans of a line, whether a key continues below, and whether one begins above."""
    spans, at, orphan = list[Span](), 0, False
    for mark in _MARK.finditer(line):
        if inside:
            # Ended by its own end, or by something else that begins.
            spans += _body(line, at, mark.start())
        elif mark["end"]:
            # Its beginning was cut off: its body is on this line, above, or both.
            orphan = orphan or at == 0
            spans += _body(line, at, mark.start()) if _ends_in_body(line[at : mark.start()]) else []
        inside, at = bool(mark["begin"] or mark["open"]), mark.end()
    return spans + (_body(line, at, len(line)) if inside else []), inside, orphan


def _following(lines: Sequence[str], first: int, count: int, *, is_sure: bool) -> dict[int, list[Span]]:
    rows = range(first, min(first + count, len(lines)))
    return {row: [(0, len(lines[row]))] for row in rows if is_sure or _ALL.fullmatch(lines[row])}


def _ends_in_body(text: str) -> bool:
    return _BODY.search(text[-_TAIL:]) is not None


def _body(line: str, start: int, end: int) -> list[Span]:
    # `"-----BEGIN RSA PRIVATE KEY-----"` alone is the name of a form.
    return [(start, end)] if _AROUND.sub("", line[start:end]) else []


def _above(lines: Sequence[str], end: int, found: dict[int, list[Span]]) -> None:
    """Add the lines above the end of a key whose beginning was cut off."""
    for number in range(end - 1, -1, -1):
        # The last line of a body may be short.
        last = number == end - 1 and _LAST.fullmatch(lines[number])
        if number in found or not (last or _ends_in_body(lines[number])):
            return
        found[number] = _body(lines[number], 0, len(lines[number]))
