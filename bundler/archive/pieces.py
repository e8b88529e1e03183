"""A bundle cut into a frame and blobs of payload, so that a registry stores once what versions share.

Headers have the time of the release, so they differ in every version in twenty bytes: these are in the frame.
The rest of a member is payload. A large member is a blob of its own. Small ones, and the entries of the two
lists of files, share blobs whose borders follow from their content alone: a changed file changes the blob
that it is in, and no other.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from pathlib import Path

from bundler.archive.checked_reading import read_checked
from installer.core.digest import sha256_hex
from installer.core.format.archive import Bundle, Member
from installer.core.format.tar_header import BLOCK, extent
from installer.core.limits import KIB, MIB
from installer.shared.published.document import Blob, Published

Ranges = tuple[tuple[int, int], ...]
"""Offsets and lengths in the file of a bundle."""
_VOLATILE = range(136, 156)
"""Where a header has the time of the release, and the sum over the header."""
_SMALLEST = 4 * KIB
"""Members of fewer bytes always share a blob."""
_MOST_OWN = 4096
"""Members at most that have a blob of their own; above that, the size from which they have one is doubled."""
_SHARED = 2 * MIB
"""Bytes after which a shared blob ends in any case."""
_ONE_IN = 16
"""Of so many members, or entries of a list, one ends a shared blob."""
_MOST_SHARED = 2048
"""About so many shared blobs of each kind at most; above that, each is of more members."""
_ENTRY = re.compile(rb"\n|\},\{")


@dataclass(frozen=True, slots=True)
class Piece:
    """One blob, as ranges of the file of a bundle."""

    blob: Blob
    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Cut:
    """A bundle that was cut.

    Attributes:
        published: What is stored of it.
        pieces: Where each blob is in the file, the frame first.
    """

    published: Published
    pieces: tuple[Piece, ...]


def cut(path: Path, bundle: Bundle, size: int, advance: Callable[[int], None]) -> Cut:
    """Cut a bundle that is as its list says; every byte is read once.

    Args:
        path: The file.
        bundle: What it contains.
        size: Bytes of the file.
        advance: Told the bytes that were read.

    Raises:
        TamperedError: It is truncated, or something is not as listed.
        MediaError: The file cannot be read, or was changed meanwhile.
    """
    frame, payload, runs = _layout(bundle, size)
    # One hash for the frame, then one for each blob of payload.
    hashes = [hashlib.sha256() for _ in range(len(payload) + 1)]
    whole = hashlib.sha256()
    # In the order of the file: each byte is read once, for its blob and for the whole.
    order = sorted(
        [(offset, length, 0) for offset, length in frame]
        + [(offset, length, at) for at, ranges in enumerate(payload, 1) for offset, length in ranges]
    )
    parts = iter(order)
    left, part = 0, 0

    def take(data: bytes) -> None:
        nonlocal left, part
        view = memoryview(data)
        whole.update(view)
        while view:
            while not left:
                # What was appended meanwhile is of no part: it is refused at the end.
                _, left, part = next(parts, (0, len(view), 0))
            hashes[part].update(view[:left])
            taken = min(left, len(view))
            view, left = view[taken:], left - taken
        advance(len(data))

    read_checked(path, bundle, size, take)
    pieces = tuple(
        Piece(Blob(f"sha256:{found.hexdigest()}", sum(length for _, length in ranges)), tuple(ranges))
        for found, ranges in zip(hashes, [frame, *payload], strict=True)
    )
    blobs = tuple(each.blob for each in pieces)
    return Cut(Published(size, whole.hexdigest(), tuple(runs), blobs[0], blobs[1:]), pieces)


def _layout(bundle: Bundle, size: int) -> tuple[list[tuple[int, int]], list[Ranges], list[int]]:
    """Return the ranges of the frame, those of each blob of payload, and the lengths of the runs."""
    own, one_in = _own_size(bundle.members), _one_in(len(bundle.members))
    groups = list[list[Member]]()
    for member in bundle.members:
        groups = _grouped(groups, member, own, one_in)
    head = bundle.head
    payload: list[Ranges] = [*_entries(BLOCK, head.sums)]
    # The space for later signatures is nothing but zeros, the same in every version.
    if head.reserved:
        payload.append(((head.manifest_offset - head.reserved, head.reserved),))
    payload += _entries(head.manifest_offset + BLOCK, bundle.manifest_bytes)
    payload += [tuple(each for member in group for each in _lasting(member)) for group in groups]
    frame, runs, at = list[tuple[int, int]](), list[int](), 0
    for offset, length in (each for ranges in payload for each in ranges):
        frame.append((at, offset - at))
        runs += [offset - at, length]
        at = offset + length
    frame.append((at, size - at))
    runs.append(size - at)
    return frame, payload, runs


def _lasting(member: Member) -> Ranges:
    """Return the ranges of a member that stay as they are until its name, mode or content changes."""
    end = member.offset + extent(member.entry.size)
    return (
        (member.offset, _VOLATILE.start),
        (member.offset + _VOLATILE.stop, end - member.offset - _VOLATILE.stop),
    )


def _own_size(members: Sequence[Member]) -> int:
    # A registry takes a request or two for each blob, and the manifest that lists them is limited.
    size = _SMALLEST
    while sum(member.entry.size >= size for member in members) > _MOST_OWN:
        size *= 2
    return size


def _one_in(count: int) -> int:
    """Return of how many members, or entries of a list, one ends a blob."""
    return max(_ONE_IN, 1 << (count // _MOST_SHARED).bit_length())


def _entries(start: int, data: bytes) -> Iterator[Ranges]:
    """Yield the blobs of a list of files: lines of SHA256SUMS, entries of bundle.json."""
    ends = [found.end() for found in _ENTRY.finditer(data)]
    one_in, began, at = _one_in(len(ends)), 0, 0
    for end in ends:
        # By the content of the entry: an insertion moves no border behind it.
        if int(sha256_hex(data[at:end])[:8], 16) % one_in == 0:
            yield ((start + began, end - began),)
            began = end
        at = end
    if began < len(data):
        yield ((start + began, len(data) - began),)


def _grouped(groups: list[list[Member]], member: Member, own: int, one_in: int) -> list[list[Member]]:
    """Put a member into the last group, or begin a new one."""
    last = groups[-1] if groups else []
    ends = (
        not last
        or last[-1].entry.size >= own
        or member.entry.size >= own
        # By the digest of the member: a member that is added or removed moves no border behind it.
        or int(last[-1].entry.sha256[:8], 16) % one_in == 0
        or sum(each.entry.size for each in last) > _SHARED
    )
    if ends:
        groups.append([member])
    else:
        last.append(member)
    return groups


@dataclass
class PieceFile(RawIOBase):
    """The bytes of a piece, as a file that is read and seeked in; more than one may be open."""

    path: Path
    ranges: Ranges
    _at: int = 0
    _fd: int = -1
    _starts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        total = 0
        for _, length in self.ranges:
            self._starts.append(total)
            total += length

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to an offset from the start."""
        # `requests` and our own client only seek from the start.
        del whence
        self._at = offset
        return offset

    def read(self, count: int = -1) -> bytes:
        """Return the next `count` bytes, less only at the end."""
        from bisect import bisect_right

        found = list[bytes]()
        while count > 0:
            place = bisect_right(self._starts, self._at) - 1
            offset, length = self.ranges[place]
            inside = self._at - self._starts[place]
            wanted = min(count, length - inside)
            # `pread`: several of these may be open for one file, and none moves the place of another.
            piece = os.pread(self._fd, wanted, offset + inside) if wanted > 0 else b""
            if not piece:
                break
            found.append(piece)
            self._at += len(piece)
            count -= len(piece)
        return b"".join(found)

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()
