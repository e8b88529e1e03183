"""Read a tar archive as its bytes come, member by member. Readers on hosts are stricter."""

from __future__ import annotations

import re
from collections.abc import Callable

from bundler.config.secrets.search import Ignored, Search
from installer.core.errors import TamperedError
from installer.core.limits import MIB

_BLOCK = 512
_FILES = (b"0", b"\0", b"7", b"S")
_NO_BODY = b"123456"
"""Links, devices, directories and pipes: readers ignore their size."""
_MAX_NAME = MIB
"""Bytes of an extended header or a long name."""
_PAX = re.compile(rb"(?:\A|\n)[0-9]+ (path|size)=([^\n]*)(?=\n)")


class TarStream:
    """A tar archive as it comes.

    Args:
        member: Returns the search of a member, by its name.
        expanded: Is told of bytes that compression hid; a tar archive has none.
    """

    def __init__(self, member: Callable[[str], Search], expanded: Callable[[int], None]) -> None:
        self._member, self._expanded = member, expanded
        self._held = bytearray()
        self._wanted, self._state = _BLOCK, "header"
        self._left = self._padding = 0
        self._search: Search = Ignored()
        self._name = b""
        self._size: int | None = None
        self._zeros = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            TamperedError: They are not those of a tar archive.
        """
        view, at = memoryview(data), 0
        while at < len(view) and self._zeros < 2:
            # The list of holes of a sparse file comes before its bytes.
            if self._left and self._state != "holes":
                step = min(self._left, len(view) - at)
                if not self._search.done:
                    self._search.feed(bytes(view[at : at + step]))
                self._left -= step
                if not self._left:
                    self._search.finish()
            elif self._padding and self._state != "holes":
                step = min(self._padding, len(view) - at)
                self._padding -= step
            else:
                step = min(self._wanted - len(self._held), len(view) - at)
                self._held += view[at : at + step]
            at += step
            if len(self._held) == self._wanted:
                block, self._held, self._wanted = bytes(self._held), bytearray(), _BLOCK
                self._block(block)

    def finish(self) -> None:
        """Take the end.

        Raises:
            TamperedError: The archive ends within a member.
        """
        if self._left:
            self._search.finish()
        if self._left or self._held or self._state != "header":
            raise TamperedError("ends within a member")

    def _block(self, block: bytes) -> None:
        state, self._state = self._state, "header"
        if state == "pax":
            found = dict(_PAX.findall(block))
            self._name = found.get(b"path", self._name)
            if (size := found.get(b"size", b"")).isdigit() and len(size) < 20:
                self._size = int(size)
        elif state == "name":
            self._name = block.split(b"\0", 1)[0]
        elif state == "holes":
            # The list of holes of a sparse file goes on until a block says that it ends.
            self._state = "holes" if block[504] else "header"
        else:
            self._header(block)

    def _header(self, block: bytes) -> None:
        if not any(block):
            self._zeros += 1
            return
        if block[257:262] != b"ustar":
            raise TamperedError("has a tar header that is not read")
        kind, size, self._size = block[156:157], self._size, None
        if size is None:
            size = 0 if kind in _NO_BODY else _number(block[124:136])
        if kind in (b"x", b"L"):
            if not 0 < size <= _MAX_NAME:
                raise TamperedError("has a tar header that is not read")
            self._wanted, self._state = size + -size % _BLOCK, "pax" if kind == b"x" else "name"
            return
        name, self._name = self._name or _own_name(block), b""
        if kind == b"S" and block[482]:
            self._state = "holes"
        self._search = self._member(name.decode("utf-8", "replace")) if kind in _FILES else Ignored()
        self._left, self._padding = size, -size % _BLOCK
        if not size:
            self._search.finish()


def _own_name(block: bytes) -> bytes:
    name, prefix = block[:100].split(b"\0", 1)[0], block[345:500].split(b"\0", 1)[0]
    return prefix + b"/" + name if prefix and block[257:263] == b"ustar\0" else name


def _number(field: bytes) -> int:
    if field[0] & 0x80:
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    text = field.strip(b" \0")
    # `int` would also take a sign and underscores.
    if text and not text.isdigit():
        raise TamperedError("has a tar header that is not read")
    try:
        return int(text or b"0", 8)
    except ValueError:
        raise TamperedError("has a tar header that is not read") from None
