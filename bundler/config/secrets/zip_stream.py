"""Read a zip archive as its bytes come: jars and wheels in layers are too large to be kept in memory.

The local headers are read, not the directory at the end (APPNOTE 4.3): what is deflated shows where it ends.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from bundler.config.secrets.search import Ignored, Search
from installer.core.errors import TamperedError
from installer.core.limits import MIB

_LOCAL = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _DESCRIPTOR = 0x1, 0x8
_HEADER, _DESCRIPTOR_MARK = b"PK\3\4", b"PK\7\x08"
# What follows the last member: the directory, or one of the records before it.
_AFTER = (b"PK\1\2", b"PK\6\x08", b"PK\5\6", b"PK\6\6")
_LONGEST = 24
"""Bytes of the longest data descriptor: signature, checksum, two sizes of 64 bits."""
_ZIP64 = 0xFFFFFFFF


class ZipStream:
    """A zip archive as it comes.

    Args:
        member: Returns the search of a member, by its name.
        expanded: Is told how many bytes a compressed member has.
    """

    def __init__(self, member: Callable[[str], Search], expanded: Callable[[int], None]) -> None:
        self._member, self._expanded = member, expanded
        self._held = bytearray()
        self._state = "header"
        self._left = 0
        self._has_descriptor = False
        self._inflate: zlib._Decompress | None = None
        self._search: Search = Ignored()

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            TamperedError: They are not those of a zip archive, or of one that cannot be read from its start.
        """
        if self._state == "end":
            return
        rest = memoryview(data)
        # Headers are held until they are whole; what a member has is passed on.
        if self._held:
            self._held += rest
            rest = memoryview(bytes(self._held))
            self._held = bytearray()
        while rest:
            before = self._state, len(rest)
            rest = self._step(rest)
            if (self._state, len(rest)) == before:
                self._held += rest
                return

    def finish(self) -> None:
        """Take the end.

        Raises:
            TamperedError: The archive ends before its directory.
        """
        if self._state == "descriptor":
            self._after_descriptor(memoryview(bytes(self._held)), last=True)
        if self._state not in ("end", "header") or self._held:
            self._search.finish()
            raise TamperedError("ends within a member")

    def _step(self, rest: memoryview) -> memoryview:
        if self._state == "header":
            return self._header(rest)
        if self._state == "descriptor":
            return self._after_descriptor(rest)
        if self._state == "end":
            return rest[len(rest) :]
        return self._stored(rest) if self._inflate is None else self._deflated(rest)

    def _header(self, rest: memoryview) -> memoryview:
        if len(rest) >= 4 and bytes(rest[:4]) in _AFTER:
            self._state = "end"
            return rest
        if len(rest) < _LOCAL.size:
            return rest
        mark, _, flags, method, _, _, _, size, _, name_length, extra = _LOCAL.unpack_from(rest)
        if mark != _HEADER:
            raise TamperedError("has data between its members")
        begin = _LOCAL.size + name_length + extra
        if len(rest) < begin:
            return rest
        name = bytes(rest[_LOCAL.size : _LOCAL.size + name_length]).decode("utf-8", "replace")
        self._has_descriptor = bool(flags & _DESCRIPTOR)
        self._inflate = zlib.decompressobj(-15) if method == _DEFLATED and not flags & _ENCRYPTED else None
        if self._inflate is None and (size == _ZIP64 or (self._has_descriptor and not size)):
            raise TamperedError("has a member whose size stands behind it")
        is_read = method in (_STORED, _DEFLATED) and not flags & _ENCRYPTED and not name.endswith("/")
        self._search = self._member(name) if is_read else Ignored()
        if not is_read and not name.endswith("/"):
            raise TamperedError("is encrypted, or compressed by a method that is not read")
        self._left, self._state = size, "body"
        if self._inflate is None and not size:
            self._end_member()
        return rest[begin:]

    def _stored(self, rest: memoryview) -> memoryview:
        data = rest[: self._left]
        if not self._search.done:
            self._search.feed(bytes(data))
        self._left -= len(data)
        if not self._left:
            self._end_member()
        return rest[len(data) :]

    def _deflated(self, rest: memoryview) -> memoryview:
        inflate, data = self._inflate, bytes(rest)
        while inflate is not None and data:
            try:
                out = inflate.decompress(data, MIB)
            except zlib.error as error:
                raise TamperedError(f"has a damaged member: {error}") from None
            self._expanded(len(out))
            if out and not self._search.done:
                self._search.feed(out)
            if inflate.eof:
                self._end_member()
                return memoryview(inflate.unused_data)
            data = inflate.unconsumed_tail
        return rest[len(rest) :]

    def _end_member(self) -> None:
        self._search.finish()
        self._state = "descriptor" if self._has_descriptor else "header"

    def _after_descriptor(self, rest: memoryview, *, last: bool = False) -> memoryview:
        """Skip a data descriptor, of which only what follows it tells the length."""
        if len(rest) < _LONGEST + 4 and not last:
            return rest
        signature = 4 if bytes(rest[:4]) == _DESCRIPTOR_MARK else 0
        for length in (12, 20):
            following = bytes(rest[signature + length : signature + length + 4])
            if following == _HEADER or following in _AFTER:
                self._state = "header"
                return rest[signature + length :]
        raise TamperedError("has data between its members")
