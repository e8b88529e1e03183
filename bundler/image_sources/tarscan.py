"""Reads the tar archives that engines save: one way, member by member, and nothing is ever extracted.

Go, GNU tar and Python disagree about odd archives. What `docker save`, `skopeo`, `podman` and GNU tar write
for an image is plain, so everything else is refused: sparse members, hard links, devices, global headers,
names that climb, two members of one name, sizes beyond the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from bundler.image_sources.base import Readable
from bundler.image_sources.faults import AGAIN
from bundler.image_sources.layers import MAX_EXPANDED
from installer.core.errors import UnfitInputError
from installer.core.limits import CHUNK, KIB, MIB

BLOCK = 512
MAX_MEMBERS = 100_000
# Real headers have some hundred bytes; a larger one would only fill memory.
MAX_PAX = 64 * KIB
MAX_END = MIB
"""Zero bytes that may follow the end: tar fills up to a record, which is never so large."""

_HOSTILE = "do not use this archive: no engine writes such archives"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the archive.

    Attributes:
        name: Its name, without a leading `./`.
        kind: A regular file, or a symbolic link to another member.
        size: Bytes of the file.
        target: Name of the member that the link means.
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
        Files and links, in the order of the archive. The unread rest of a body is skipped.

    Raises:
        UnfitInputError: The archive is damaged, or is not one that an engine would write.
    """
    scanner = _Scanner(stream, where, skip)
    while (member := scanner.next_member()) is not None:
        body = Body(stream, member.size, f"{where}: {member.name}")
        yield member, body
        scanner.finish(body, member)


class _Scanner:
    def __init__(self, stream: Readable, where: str, skip: Callable[[int], None] | None) -> None:
        self._stream = stream
        self._where = where
        self._skip = skip
        self._offset = 0
        self._names: set[str] = set()

    def next_member(self) -> Member | None:
        """Read headers up to that of the next file or link; None at the end of the archive."""
        pax: dict[str, str] = {}
        while True:
            header = self._block()
            if not any(header):
                self._end()
                return None
            name, size, flag, link = self._fields(header)
            if flag == "x":
                pax = self._pax(size)
                continue
            name, link = pax.get("path", name), pax.get("linkpath", link)
            size = int(pax.get("size", size))
            if any(key.startswith("GNU.sparse") for key in pax):
                raise self._fault("is a sparse file, which is not supported", name, _HOSTILE)
            member = self._member(name, size, flag, link)
            if member is not None:
                return member
            pax = {}

    def finish(self, body: Body, member: Member) -> None:
        """Skip the rest of a body and its padding."""
        rest = body.left + -member.size % BLOCK
        if self._skip is not None:
            self._skip(rest)
        else:
            left = Body(self._stream, rest, f"{self._where}: {member.name}")
            while left.read():
                pass
        self._offset += member.size + -member.size % BLOCK

    def _member(self, name: str, size: int, flag: str, link: str) -> Member | None:
        # Directories follow from the names of files.
        if flag == "5":
            return None
        clean = name.removeprefix("./")
        if not _plain(clean):
            raise self._fault(f"has a member with an invalid name: {name[:120]!r}", "", _HOSTILE)
        # Hard links, devices and pipes have no place in an image archive.
        if flag not in ("0", "\0", "2"):
            raise self._fault(f"is of the type {flag!r}: neither a file nor a symbolic link", clean, _HOSTILE)
        # Readers differ in which of two members counts: the first or the last.
        if clean in self._names:
            raise self._fault("occurs twice", clean, _HOSTILE)
        if len(self._names) >= MAX_MEMBERS:
            raise self._fault(f"has more than {MAX_MEMBERS} members", "", _HOSTILE)
        self._names.add(clean)
        if flag == "2":
            return Member(clean, "link", 0, self._target(clean, link), self._offset)
        if size > MAX_EXPANDED:
            raise self._fault(f"has an invalid size: {size} bytes", clean, _HOSTILE)
        return Member(clean, "file", size, "", self._offset)

    def _target(self, name: str, link: str) -> str:
        here = name.split("/")[:-1]
        for component in link.split("/"):
            if component == ".." and here:
                here.pop()
            # A link that leaves the archive would read a file of this machine.
            elif component in ("", "..") or not _plain(component):
                raise self._fault(
                    f"is a link to {link[:120]!r}, which points outside the archive", name, _HOSTILE
                )
            else:
                here.append(component)
        return "/".join(here)

    def _fields(self, header: bytes) -> tuple[str, int, str, str]:
        if header[257:262] != b"ustar" or self._octal(header[148:156]) != _checksum(header):
            begin = self._offset - BLOCK
            raise self._fault(
                f"has no tar header at byte {begin}" if begin else "is not a tar archive", "", AGAIN
            )
        name = self._text(header[0:100])
        if header[257:263] == b"ustar\0" and (prefix := self._text(header[345:500])):
            name = f"{prefix}/{name}"
        elif header[257:263] == b"ustar " and header[345:500].strip(b"\0 01234567"):
            # GNU has times there, others a prefix: some readers would give the member another name
            raise self._fault("has a name that tar readers interpret differently", name, _HOSTILE)
        flag = header[156:157].decode("latin-1")
        return name, 0 if flag in "125" else self._octal(header[124:136]), flag, self._text(header[157:257])

    def _octal(self, digits: bytes) -> int:
        # GNU's base-256 form, for sizes of 8 GiB and more.
        if digits[0] == 0x80:
            return int.from_bytes(digits[1:], "big")
        text = digits.strip(b" \0")
        if text and not all(0x30 <= digit < 0x38 for digit in text):
            raise self._fault(f"has an invalid number at byte {self._offset - BLOCK}", "", AGAIN)
        return int(text or b"0", 8)

    def _text(self, raw: bytes) -> str:
        try:
            return raw.split(b"\0", 1)[0].decode("utf-8")
        except UnicodeDecodeError:
            raise self._fault(
                f"has a name that is not UTF-8 at byte {self._offset - BLOCK}", "", _HOSTILE
            ) from None

    def _pax(self, size: int) -> dict[str, str]:
        if size > MAX_PAX:
            raise self._fault(f"has an extended header of {size} bytes, which is too large", "", _HOSTILE)
        data = b"".join(self._block() for _ in range(-(-size // BLOCK)))[:size]
        fields: dict[str, str] = {}
        while data:
            length, space, _ = data.partition(b" ")
            end = int(length) if space and length.isdigit() and len(length) < 6 else 0
            key, equals, value = data[len(length) + 1 : end - 1].partition(b"=")
            if not equals or data[end - 1 : end] != b"\n":
                raise self._fault(f"has an invalid extended header at byte {self._offset}", "", AGAIN)
            # The size decides where the next header is looked for.
            if key == b"size" and not (value.isdigit() and len(value) < 16):
                raise self._fault(f"has an invalid extended header at byte {self._offset}", "", _HOSTILE)
            fields[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
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
                raise self._fault("has data after its end-of-archive marker", "", _HOSTILE)

    def _fault(self, what: str, name: str, hint: str) -> UnfitInputError:
        return UnfitInputError(what, where=f"{self._where}: {name}" if name else self._where, hint=hint)


def _checksum(header: bytes) -> int:
    return sum(header) - sum(header[148:156]) + 8 * 32


def _plain(name: str) -> bool:
    """Return whether a name is relative, does not climb, and is of printable ASCII without a backslash."""
    return (
        0 < len(name) <= 255
        and all(32 < ord(letter) < 127 and letter != "\\" for letter in name)
        and not any(component in ("", ".", "..") for component in name.split("/"))
    )
