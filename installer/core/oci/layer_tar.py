"""Tell whether a layer is a tar archive, header by header, without unpacking or naming anything in it.

Only what every engine needs to walk through the archive is checked: the checksum and the size of each header,
and the end. What the members are is the business of the engine, which unpacks them into the image alone.
"""

from __future__ import annotations

import re

from installer.core.errors import TamperedError
from installer.core.limits import MIB

_BLOCK = 512
_NO_BODY = b"123456"
"""Links, devices, directories and pipes: readers ignore their size, as Go's archive/tar does."""
_MAX_PAX = MIB
"""Bytes of an extended header: what Go's archive/tar reads."""
_SIZE = re.compile(rb"(?:\A|\n)[0-9]+ size=([0-9]{1,19})\n")


class TarWalk:
    """A walk through the archive of one layer as its bytes pass by."""

    def __init__(self) -> None:
        self._held = bytearray()
        """The beginning of a header or of an extended header."""
        self._wanted = _BLOCK
        self._extended = False
        self._skip = 0
        self._offset = 0
        self._size: int | None = None
        """The size that an extended header gives the next member."""
        self._holes: int | None = None
        """The body of a sparse member, whose list of holes goes on in the next block (GNU tar)."""
        self._zeros = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises:
            TamperedError: They are not those of a tar archive; the error names no place.
        """
        view, at = memoryview(data), 0
        while at < len(view) and self._zeros < 2:
            if self._skip:
                step = min(self._skip, len(view) - at)
                self._skip -= step
            else:
                step = min(self._wanted - len(self._held), len(view) - at)
                self._held += view[at : at + step]
            at += step
            self._offset += step
            if len(self._held) == self._wanted:
                block, self._held, self._wanted = bytes(self._held), bytearray(), _BLOCK
                if self._extended:
                    self._extended_header(block)
                elif self._holes is not None:
                    self._list_of_holes(block)
                else:
                    self._header(block)

    def finish(self) -> None:
        """Check that the archive is complete.

        Raises:
            TamperedError: It ends within a member.
        """
        # As Go's archive/tar: an end without zero blocks is an end, too.
        if self._held or self._skip or self._extended or self._holes is not None:
            raise TamperedError(f"the tar archive in it ends early, at byte {self._offset}")

    def _header(self, block: bytes) -> None:
        if not any(block):
            self._zeros += 1
            return
        stated, kind = _number(block[148:156]), block[156:157]
        if self._zeros or stated not in _checksums(block):
            raise self._fault("has no tar header")
        size, self._size = self._size, None
        if size is None:
            size = 0 if kind in _NO_BODY else _number(block[124:136])
        if size < 0:
            raise self._fault("has a tar header without a valid size")
        body = size + -size % _BLOCK
        if kind == b"x":
            if not 0 < size <= _MAX_PAX:
                raise self._fault("has an extended tar header of a size that no reader accepts")
            self._wanted, self._extended = body, True
        elif kind == b"S" and block[482]:
            self._holes = body
        else:
            self._skip = body

    def _list_of_holes(self, block: bytes) -> None:
        if not block[504]:
            self._skip, self._holes = self._holes or 0, None

    def _extended_header(self, body: bytes) -> None:
        self._extended = False
        if found := _SIZE.findall(body):
            self._size = int(found[-1])

    def _fault(self, what: str) -> TamperedError:
        return TamperedError(f"{what} at byte {self._offset - _BLOCK}: it is not a tar archive")


def _number(field: bytes) -> int:
    """Return the number of a field, octal or in base 256; -1 if it has none."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        return value if value < 2**63 else -1
    text = field.strip(b" \0")
    if any(not 0x30 <= digit < 0x38 for digit in text):
        return -1
    return int(text or b"0", 8)


def _checksums(block: bytes) -> tuple[int, int]:
    """Return the two sums that readers accept: of unsigned and of signed bytes (POSIX.1-1988)."""
    counted = block[:148] + b" " * 8 + block[156:]
    # Most bytes are zeros, which do not change the sum: this is twice as fast.
    total = sum(packed := counted.translate(None, b"\0"))
    return total, total - 256 * sum(byte > 127 for byte in packed)
