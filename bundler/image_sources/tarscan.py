"""Reads tar archives of images: one way, member by member, and nothing is ever extracted.

The names of members are keys: whatever characters they have, they never become paths of this machine. Go, GNU
tar and Python disagree about some archives: a name that is given twice, sparse members, headers for all that
follows. Where that could lead to other bytes, the archive is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bundler.image_sources.base import Readable
from bundler.image_sources.faults import AGAIN, HOSTILE
from bundler.image_sources.layers import MAX_EXPANDED
from installer.core.errors import UnfitInputError
from installer.core.limits import CHUNK, KIB, MIB
from installer.core.oci.documents import MAX_MEMBER_NAME, archive_key

BLOCK = 512
MAX_MEMBERS = 100_000
MAX_NAMES = 16 * MIB
"""Characters of all names and links of one archive together: they are held in memory."""
# Real headers have some hundred bytes; a larger one would only fill memory.
MAX_PAX = 64 * KIB
MAX_END = MIB
"""Zero bytes that may follow the end: tar fills up to a record, which is never so large."""

_PACK_AGAIN = "pack the files again with `tar -cf`, without --sparse"
_HARD_LINK, _LINK, _DIRECTORY, _SPARSE = "1", "2", "5", "S"
_FILES = ("0", "\0")
_LONG = {"L": "path", "K": "linkpath"}
"""GNU's headers for what is too long for its field, and what PAX calls that."""
_GLOBAL_FIELDS = {"path", "linkpath", "size"}
"""What a global header may not say: Go ignores it, other readers change every member."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the archive.

    Attributes:
        name: The key of its name: `./a` and `/a` are `a`.
        kind: A regular file, or a link to another member.
        size: Bytes of the file.
        target: Key of the member that the link means.
        offset: Offset of the file's bytes in the archive.
    """

    name: str
    kind: Literal["file", "link"]
    size: int
    target: str
    offset: int


class Body:
    """The bytes of one member, to be read before the next member is asked for."""

    def __init__(self, stream: Readable, size: int, where: str) -> None:
        self.left = size
        self._stream = stream
        self._where = where

    def read(self, size: int = CHUNK, /) -> bytes:
        """Return at most `size` bytes of what is left.

        Raises:
            UnfitInputError: The archive ends before the member does.
        """
        if not self.left:
            return b""
        chunk = self._stream.read(min(size, self.left, CHUNK))
        if not chunk:
            raise UnfitInputError(
                f"the archive is truncated: {self.left} bytes of the member are missing",
                where=self._where,
                hint=AGAIN,
            )
        self.left -= len(chunk)
        return chunk


def scan(
    stream: Readable, where: str, skip: Callable[[int], None] | None = None
) -> Iterator[tuple[Member, Body]]:
    """Read an archive from its start to its end.

    Args:
        stream: The archive.
        where: How errors name it.
        skip: Skips bytes of the stream; None: they are read.

    Yields:
        Files and links, in the order of the archive; a key may come more than once. The unread rest of a body
        is skipped.

    Raises:
        UnfitInputError: The archive is truncated, or is not one that an engine would load.
    """
    scanner = _Scanner(stream, where, skip)
    while (member := scanner.next_member()) is not None:
        body = Body(stream, member.size, place(where, member.name))
        yield member, body
        scanner.finish(body, member)


def place(where: str, name: str) -> str:
    """Return how messages name a member of an archive."""
    return f"{where}: {shown(name)}"


def shown(name: str) -> str:
    """Return a name for messages: it may have any characters, and any length."""
    short = name if len(name) <= 200 else name[:200] + "…"
    return short if short.isprintable() else repr(short)[1:-1]


class _Scanner:
    def __init__(self, stream: Readable, where: str, skip: Callable[[int], None] | None) -> None:
        self._stream = stream
        self._where = where
        self._skip = skip
        self._offset = 0
        self._members = 0
        self._names = 0

    def next_member(self) -> Member | None:
        """Read headers up to that of the next file or link; None at the end of the archive."""
        ahead: dict[str, dict[str, str]] = {}
        while True:
            header = self._block()
            if not any(header):
                self._end()
                return None
            name, size, flag, link = self._fields(header)
            if flag in ("x", "g", *_LONG):
                self._extend(ahead, flag, size)
                continue
            name, link = self._one(ahead, "path", name), self._one(ahead, "linkpath", link)
            fields = ahead.get("x", {})
            if flag == _SPARSE or _sparse(fields):
                raise self._fault("is a sparse file, which is not supported", name, _PACK_AGAIN)
            member = self._member(name, int(fields.get("size", size)), flag, link)
            if member is not None:
                return member
            ahead = {}

    def finish(self, body: Body, member: Member) -> None:
        """Skip the rest of a body and its padding."""
        rest = body.left + -member.size % BLOCK
        if self._skip is not None:
            self._skip(rest)
        else:
            left = Body(self._stream, rest, place(self._where, member.name))
            while left.read():
                pass
        self._offset += member.size + -member.size % BLOCK

    def _extend(self, ahead: dict[str, dict[str, str]], flag: str, size: int) -> None:
        """Read an extended header; what it says of the next member is kept in `ahead`."""
        if size > MAX_PAX:
            raise self._fault(f"has an extended header of {size} bytes, which is too large", "", HOSTILE)
        data = b"".join(self._block() for _ in range(-(-size // BLOCK)))[:size]
        fields = {_LONG[flag]: _text(data)} if flag in _LONG else self._pax(data)
        # Readers differ in what a second header, or a global one in between, leaves of the first.
        meant = flag == "g" and (ahead or _sparse(fields) or fields.keys() & _GLOBAL_FIELDS)
        if flag in ahead or meant:
            what = f"has an extended header before byte {self._offset} that tar readers interpret differently"
            raise self._fault(what, "", HOSTILE)
        if flag != "g":
            ahead[flag] = fields

    def _one(self, ahead: dict[str, dict[str, str]], field: str, short: str) -> str:
        """Return a name, which may be in its field of the header, in a PAX header, or in one of GNU's."""
        found = {fields[field] for fields in ahead.values() if field in fields}
        if len(found) > 1:
            raise self._fault("has a name that tar readers interpret differently", min(found), HOSTILE)
        return found.pop() if found else short

    def _member(self, name: str, size: int, flag: str, link: str) -> Member | None:
        # Directories follow from the names of files; the oldest form marks them by a slash at the end.
        if flag == _DIRECTORY or (flag == "\0" and name.endswith("/") and not size):
            return None
        key = archive_key(name)
        if not key or len(name) > MAX_MEMBER_NAME or "\0" in name:
            raise self._fault(f"has a member with an invalid name: {name[:120]!r}", "", HOSTILE)
        # Devices and pipes have no place in an image archive.
        if flag not in (*_FILES, _LINK, _HARD_LINK):
            raise self._fault(f"is of the type {flag!r}: neither a file nor a link", key, HOSTILE)
        target = self._target(key, flag, link) if flag in (_LINK, _HARD_LINK) else ""
        self._members += 1
        self._names += len(key) + len(target)
        if self._members > MAX_MEMBERS:
            raise self._fault(f"has more than {MAX_MEMBERS} members", "", HOSTILE)
        if self._names > MAX_NAMES:
            raise self._fault(f"has names of more than {MAX_NAMES} characters in all", "", HOSTILE)
        if target:
            return Member(key, "link", 0, target, self._offset)
        if size > MAX_EXPANDED:
            raise self._fault(f"has an invalid size: {size} bytes", key, HOSTILE)
        return Member(key, "file", size, "", self._offset)

    def _target(self, key: str, flag: str, link: str) -> str:
        # A hard link names a member; a symbolic link starts at its own directory.
        start = key.rpartition("/")[0] + "/" if flag == _LINK else ""
        target = archive_key(start + link)
        # A link that leaves the archive would read a file of this machine.
        outside = not target or (flag == _LINK and link.startswith("/"))
        if outside or len(link) > MAX_MEMBER_NAME or "\0" in link:
            raise self._fault(f"is a link to {link[:120]!r}, which points outside the archive", key, HOSTILE)
        return target

    def _fields(self, header: bytes) -> tuple[str, int, str, str]:
        # The oldest form has no magic, but the same checksum.
        known = header[257:262] == b"ustar" or not any(header[257:265])
        if not known or self._octal(header[148:156]) != _checksum(header):
            begin = self._offset - BLOCK
            raise self._fault(
                f"has no tar header at byte {begin}" if begin else "is not a tar archive", "", AGAIN
            )
        name = _text(header[0:100])
        if header[257:263] == b"ustar\0" and (prefix := _text(header[345:500])):
            name = f"{prefix}/{name}"
        elif header[257:263] == b"ustar " and header[345:500].strip(b"\0 01234567"):
            # GNU has times there, others a prefix: some readers would give the member another name
            raise self._fault("has a name that tar readers interpret differently", name, HOSTILE)
        flag = header[156:157].decode("latin-1")
        size = 0 if flag in (_HARD_LINK, _LINK, _DIRECTORY) else self._octal(header[124:136])
        return name, size, flag, _text(header[157:257])

    def _octal(self, digits: bytes) -> int:
        # GNU's base-256 form, for sizes of 8 GiB and more.
        if digits[0] == 0x80:
            return int.from_bytes(digits[1:], "big")
        text = digits.strip(b" \0")
        if text and not all(0x30 <= digit < 0x38 for digit in text):
            raise self._fault(f"has an invalid number at byte {self._offset - BLOCK}", "", AGAIN)
        return int(text or b"0", 8)

    def _pax(self, data: bytes) -> dict[str, str]:
        fields: dict[str, str] = {}
        while data:
            length, space, _ = data.partition(b" ")
            end = int(length) if space and length.isdigit() and len(length) < 6 else 0
            key, equals, value = data[len(length) + 1 : end - 1].partition(b"=")
            if not equals or data[end - 1 : end] != b"\n":
                raise self._fault(f"has an invalid extended header at byte {self._offset}", "", AGAIN)
            # The size decides where the next header is looked for.
            if key == b"size" and not (value.isdigit() and len(value) < 16):
                raise self._fault(f"has an invalid extended header at byte {self._offset}", "", HOSTILE)
            fields[_decoded(key)] = _decoded(value)
            data = data[end:]
        return fields

    def _block(self) -> bytes:
        block = b""
        while len(block) < BLOCK:
            chunk = self._stream.read(BLOCK - len(block))
            if not chunk:
                raise self._fault(
                    f"ends at byte {self._offset + len(block)} without an end-of-archive marker", "", AGAIN
                )
            block += chunk
        self._offset += BLOCK
        return block

    def _end(self) -> None:
        read = 0
        while chunk := self._stream.read(CHUNK):
            read += len(chunk)
            # Data after the end could be another archive that other readers see.
            if chunk.count(0) != len(chunk) or read > MAX_END:
                raise self._fault("has data after its end-of-archive marker", "", HOSTILE)

    def _fault(self, what: str, name: str, hint: str) -> UnfitInputError:
        return UnfitInputError(what, where=place(self._where, name) if name else self._where, hint=hint)


def _checksum(header: bytes) -> int:
    return sum(header) - sum(header[148:156]) + 8 * 32


def _sparse(fields: dict[str, str]) -> bool:
    return any(key.startswith("GNU.sparse") for key in fields)


def _text(raw: bytes) -> str:
    return _decoded(raw.split(b"\0", 1)[0])


def _decoded(raw: bytes) -> str:
    # Documents name members in UTF-8: another name may be there, but nothing ever asks for it.
    return raw.decode("utf-8", "backslashreplace")
