"""Values in files of environment variables: one line, read back as exactly the same text.

Three readers, three grammars: `systemd` (EnvironmentFile=), `compose` (env_file of Docker Compose 2.24 or
later) and `sh` (a POSIX shell that sources the file). What cannot be read back is refused, not changed.
"""

from __future__ import annotations

import re
from typing import Any

SYSTEMD, COMPOSE, SHELL = FORMS = ("systemd", "compose", "sh")
ENV_HINT = 'write NAME={{ value | env("systemd") }}, or "compose" or "sh"; lists and maps have no form there'
# Line breaks of any reader, NUL, and what terminals and systemd do not take; a tab is a blank.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
# systemd drops a line with one of these, as no valid UTF-8.
_NO_CHARACTER = re.compile(
    "[\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)


def env_value(value: Any, form: str) -> str:
    """Return a value in quotes, to be written after `NAME=`.

    Args:
        value: A text, number or boolean; `true` and `false` are written as in YAML.
        form: `systemd`, `compose` or `sh`.

    Raises:
        ValueError: It cannot be written so that it is read back; the message does not quote it.
    """
    text = _text(value)
    if _CONTROL.search(text):
        raise ValueError("it contains a line break or another control character")
    if _NO_CHARACTER.search(text):
        raise ValueError("it contains a code point that is no character")
    if form == SYSTEMD:
        # Escaped are the four characters that old and new versions read alike in double quotes; single quotes
        # differ: until version 240 a backslash in them was an escape.
        return f'"{_escaped(text, chr(34) + chr(92) + "`$")}"'
    if form == COMPOSE:
        # Nothing is special in single quotes, but these two cannot both be in them.
        return f"'{text}'" if not {"'", "\\"} & set(text) else f'"{_escaped(text, chr(34) + chr(92) + "$")}"'
    if form == SHELL:
        return "'" + text.replace("'", "'\\''") + "'"
    raise ValueError(f"{form!r:.40} is not one of: {', '.join(FORMS)}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    kind = "null" if value is None else "a list" if isinstance(value, list | tuple) else "a map"
    raise ValueError(f"it is {kind}")


def _escaped(text: str, special: str) -> str:
    return "".join(f"\\{each}" if each in special else each for each in text)
