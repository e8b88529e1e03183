"""The lines of a unit as systemd reads them, and those that versions of systemd, or people, read differently.

The reading is that of `config_parse` in systemd's `conf-parser.c`, since version 243. Older versions, which
run on hosts that Waybill supports, differ in details that can hide a directive, or show one that does not
count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_LINE_END = re.compile(r"(?:\r\n|\n\r|[\r\n])\0?|\0")
_BLANK = " \t"
"""The white space of systemd within a line; Python's own has other characters, too."""
INCLUDE = ".include"
"""The word that includes another file, up to version 242; it has no `=`."""
_BOM = "\ufeff"
_DIRECTIVE = re.compile(r"[ \t]*[A-Za-z][A-Za-z0-9-]*[ \t]*=")
_LINE_MAX = 2047
"""Bytes of a line that systemd reads at once before version 235."""


def directives(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield the number of the first line, the section, the key and the value of each directive.

    Args:
        text: The text of a unit.
    """
    section = ""
    for number, raw in _logical_lines(text):
        line = raw.strip(_BLANK)
        if line.startswith("["):
            # Without the bracket at the end systemd refuses the whole unit.
            section = line[1:-1] if line.endswith("]") else section
            continue
        if line.startswith(f"{INCLUDE} "):
            yield number, section, INCLUDE, line.removeprefix(INCLUDE).strip(_BLANK)
            continue
        key, sign, value = line.partition("=")
        if sign:
            yield number, section, key.strip(_BLANK), value.strip(_BLANK)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    held, first, has_mark = list[str](), 0, False
    for number, raw in enumerate(_physical_lines(text), 1):
        if _is_comment(raw):
            # Also in the middle of a continued line, which it does not end; an empty line does.
            continue
        line = raw
        if not has_mark and raw.startswith(_BOM):
            line, has_mark = raw[1:], True
        # Only for the eye: systemd keeps the indentation.
        line = line.lstrip(_BLANK)
        first = first or number
        if _is_continued(line):
            held.append(f"{line[:-1]} ")
            continue
        yield first, "".join([*held, line])
        held, first = [], 0
    # The last line counts although it says that it goes on.
    if held:
        yield first, "".join(held)


def _physical_lines(text: str) -> list[str]:
    lines = _LINE_END.split(text)
    return lines if lines[-1] else lines[:-1]


def _is_comment(line: str) -> bool:
    return line.lstrip(_BLANK).startswith(("#", ";"))


def _is_continued(line: str) -> bool:
    # Two backslashes are one that is quoted; a blank after it quotes the blank.
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


def irregular_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that do not mean the same to every version of systemd and to whoever reads them.

    Args:
        text: The text of a unit.

    Yields:
        The number of the line, as systemd counts, and what it does: it follows the word "line".
    """
    ends = [*(match[0] for match in _LINE_END.finditer(text)), ""]
    lines = _physical_lines(text)
    if text.startswith(_BOM):
        yield 1, "begins with a byte order mark, which older versions of systemd take for a part of the line"
    is_held, before = False, ""
    for number, line in enumerate(lines, 1):
        if ends[number - 1] not in ("\n", "\r\n", ""):
            yield (
                number,
                "ends with a lone carriage return or NUL: systemd sees a new line there, an editor may not",
            )
        if before and _DIRECTIVE.match(line):
            yield number, f"comes after {before}: versions of systemd disagree on whether it is a directive"
        if _hides_directive(line):
            yield (
                number,
                f"is longer than {_LINE_MAX} bytes: older versions of systemd begin a new line there",
            )
        is_comment, is_continued = _is_comment(line), _is_continued(line)
        if is_comment and (is_held or is_continued):
            before = "a comment that is in a continued line, or continued itself"
        elif is_held and not line.strip(_BLANK):
            before = "an empty line after one that is continued"
        else:
            before = ""
        is_held = is_continued if not is_comment else is_held
    if lines and is_held:
        yield len(lines), "ends with a backslash, but no line follows: older versions of systemd leave it out"


def _hides_directive(line: str) -> bool:
    data = line.encode("utf-8", "replace")
    pieces = (data[at : at + 100].decode("utf-8", "replace") for at in range(_LINE_MAX, len(data), _LINE_MAX))
    return any(_DIRECTIVE.match(piece) for piece in pieces)
