"""Reads a large JSON object piece by piece, as strictly as `jsonio` reads a small one.

bundle.json may list 250,000 files. Each becomes an entry as soon as it is read: as dictionaries they would
take several times the memory, and a hostile 64 MiB of brackets would take gigabytes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from installer.core.errors import TamperedError
from installer.core.jsonio import check_value, decoder, not_json
from installer.core.limits import LIMITS, MIB

WINDOW = 1 * MIB
"""Bytes that are decoded at a time."""
_SPACE = re.compile(r"[ \t\n\r]*")


def load_object(
    data: bytes, what: str, limit: int, readers: Mapping[str, Callable[[Any, str], object]]
) -> dict[str, Any]:
    """Parse an object.

    Args:
        data: The text, UTF-8 without a byte order mark.
        what: How errors name it.
        limit: Largest size in bytes.
        readers: By the key of a list: called with each element and its path, such as `files[3]`.

    Returns:
        The object; each list with a reader is a tuple of what the reader returned.

    Raises:
        TamperedError: `jsonio.loads_strict` would refuse it, it is not an object, an element or everything
            else takes more than `LIMITS.json_piece`, or a list has more than `LIMITS.members` elements.
    """
    if len(data) > limit:
        raise TamperedError(f"is {len(data)} bytes, more than the {limit} allowed", where=what)
    text = _Text(data, what)
    found: dict[str, Any] = {}
    left = LIMITS.json_piece
    if text.take() != "{":
        raise text.fault("is not an object")
    sign = text.take() if text.next() == "}" else ","
    while sign == ",":
        if text.next() != '"':
            raise text.fault("is not JSON: a key is expected")
        key, size = text.value(31)
        if key in found:
            raise TamperedError(f"has the key {key!r:.80} twice", where=what)
        if text.take() != ":":
            raise text.fault("is not JSON: `:` is expected")
        # A value that is not a list is kept as it is, and refused by the reader of the document.
        if key in readers and text.next() == "[":
            found[key] = _elements(text, readers[key], what, key)
        else:
            found[key], more = text.value(31)
            # Everything outside of the long lists is held in memory, so it is limited together.
            left -= size + more
            if left < 0:
                raise text.fault(f"has more than {LIMITS.json_piece} bytes outside of its lists")
        sign = text.take()
    if sign != "}":
        raise text.fault("is not JSON: `,` or `}` is expected")
    if text.next():
        raise text.fault("is not JSON: other text follows the object")
    return found


def _elements(text: _Text, read: Callable[[Any, str], object], what: str, path: str) -> tuple[object, ...]:
    found: list[object] = []
    text.take()
    sign = text.take() if text.next() == "]" else ","
    while sign == ",":
        # Before the element is read.
        if len(found) == LIMITS.members:
            raise TamperedError(f"is not a list of at most {LIMITS.members}", where=f"{what}: {path}")
        found.append(read(text.value(30)[0], f"{path}[{len(found)}]"))
        sign = text.take()
    if sign != "]":
        raise text.fault("is not JSON: `,` or `]` is expected")
    return tuple(found)


class _Text:
    """A text with a position, of which only a window is decoded at a time."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data, self._what = memoryview(data), what
        self._window, self._at = "", 0
        self._enough = -1
        """Up to here a piece that begins in the window also ends in it."""
        self._read, self._lines = 0, 1
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._scan = decoder(what).raw_decode

    def _fill(self) -> None:
        self._lines += self._window.count("\n", 0, self._at)
        chunk = self._data[self._read : self._read + WINDOW]
        last = self._read + len(chunk) == len(self._data)
        try:
            more = self._utf8.decode(chunk, final=last)
        except UnicodeDecodeError as error:
            position = self._read + len(chunk) - len(error.object) + error.start
            raise TamperedError("is not UTF-8", where=f"{self._what}@{position}") from None
        self._window, self._at = self._window[self._at :] + more, 0
        self._read += len(chunk)
        self._enough = len(self._window) - (0 if last else LIMITS.json_piece)

    def next(self) -> str:
        """Skip white space and return the next character; an empty text at the end."""
        while True:
            self._at = _SPACE.match(self._window, self._at).end()  # type: ignore[union-attr]
            if self._at <= self._enough:
                return self._window[self._at : self._at + 1]
            self._fill()

    def take(self) -> str:
        """Return the next character and move after it."""
        character = self.next()
        self._at += len(character)
        return character

    def value(self, depth: int) -> tuple[Any, int]:
        """Return the next value, at most `depth` deep, and its length in characters."""
        self.next()
        begin, ends = self._at, self._enough == len(self._window)
        try:
            value, end = self._scan(self._window, begin)
        except json.JSONDecodeError as error:
            end, why = len(self._window), not_json(error)
            self._at = error.pos
            # Elsewhere the value may only be cut by the end of the window.
            if ends:
                raise self.fault(why) from None
        except RecursionError:
            raise TamperedError(
                f"is nested more than {LIMITS.json_depth} levels deep", where=self._what
            ) from None
        # A value that reaches the end of the window may go on after it, unless the text ends there.
        if end - begin > LIMITS.json_piece or (end == len(self._window) and not ends):
            self._at = begin
            raise self.fault(f"is not JSON, or has a value of more than {LIMITS.json_piece} bytes")
        check_value(value, self._window, begin, end, depth, self._what)
        self._at = end
        return value, end - begin

    def fault(self, what: str) -> TamperedError:
        """Return an error for the current position."""
        line = self._lines + self._window.count("\n", 0, self._at)
        return TamperedError(what, where=f"{self._what}:{line}")
