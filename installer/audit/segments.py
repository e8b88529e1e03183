"""The files of an audit log: the one that is written, and the full ones before it.

`audit.jsonl` is written. Once it is large, it becomes `audit.NNNNNN.jsonl`, and the chain goes on in a new
`audit.jsonl`: all segments one after the other are the log. Only the ends of files are read, except by the
check of the whole log, which reads piece by piece.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from installer.audit.chain import NOTHING, ChainHead, Rest, lines
from installer.audit.record import RECORD_LIMIT, Record, decode
from installer.core.errors import HostNotReadyError
from installer.host.layout import STATE
from installer.host.system import System
from installer.state.state import cannot_read_error

LOG = f"{STATE}/audit.jsonl"
SEGMENT = 32 * 1024 * 1024
"""Bytes from which on a new segment is begun: some fifty thousand records."""
_NAME = re.compile(r"audit\.([0-9]{6,})\.jsonl")
_WINDOW = 64 * 1024
_FURTHEST = 64 * 1024 * 1024
"""How far from the end the last record is looked for; a partial write is much shorter."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the log.

    Attributes:
        path: Its host path.
        size: Its bytes.
        start: Bytes of the segments before it.
    """

    path: str
    size: int
    start: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A place behind a record up to which the log is known.

    Attributes:
        offset: In the log, over all its segments.
        head: The record that ends there.
    """

    offset: int = 0
    head: ChainHead = NOTHING

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"offset": self.offset, "number": self.head.number, "hash": self.head.hash}


def segments(system: System) -> list[Segment]:
    """Return the files of the log, from the oldest on; the last one is the one that is written.

    Raises:
        HostNotReadyError: This user may not read them.
        OSError: They cannot be looked at.
    """
    try:
        closed = [] if _begins_anew(system) else closed_segments(system)
    except PermissionError as error:
        raise cannot_read_error(error.filename or LOG) from error
    found: list[Segment] = []
    for path in (*closed, LOG):
        start = found[-1].start + found[-1].size if found else 0
        found.append(Segment(path, system.observe(path, digest=False).size, start))
    return found


def written(system: System) -> str:
    """Return the file that the last record is in: the one that is written, or the last full one."""
    if system.observe(LOG, digest=False).kind != "absent":
        return LOG
    return next(reversed(closed_segments(system)), LOG)


def closed_segments(system: System) -> list[str]:
    """Return the paths of full segments, from the oldest on, of this log or of one that was sealed."""
    numbered = [(int(match[1]), name) for name in system.names(STATE) if (match := _NAME.fullmatch(name))]
    return [f"{STATE}/{name}" for _, name in sorted(numbered)]


def next_segment(system: System) -> str:
    """Return the path that the file that is written gets once it is full."""
    numbers = [int(match[1]) for name in system.names(STATE) if (match := _NAME.fullmatch(name))]
    return f"{STATE}/audit.{max([0, *numbers]) + 1:06d}.jsonl"


def _begins_anew(system: System) -> bool:
    """Return whether the file that is written begins with record 1: then no segment belongs before it."""
    with suppress(FileNotFoundError):
        record = next((decode(line.rstrip(b"\n")) for line in lines(system.chunks(LOG))), None)
        return record is not None and record.number == 1
    return False


def pieces(system: System, start: int = 0) -> Iterator[bytes]:
    """Yield the bytes of the log, from an offset on.

    Raises:
        HostNotReadyError: This user may not read it.
        OSError: It cannot be read.
    """
    for segment in segments(system):
        if segment.start + segment.size <= start and segment.path != LOG:
            continue
        try:
            yield from system.chunks(segment.path, start=max(0, start - segment.start))
        except FileNotFoundError:
            continue
        except PermissionError as error:
            raise cannot_read_error(segment.path) from error


class Tail:
    """The end of the log.

    Attributes:
        last: The last intact record; None where there is none.
        mark: Where it ends.
        rest: What is behind it.
    """

    def __init__(self, system: System) -> None:
        self.last: Record | None = None
        self.mark, self.rest = Mark(), Rest()
        for segment in reversed(segments(system)):
            self.last, end = _find(system, segment)
            if self.last:
                self.mark = Mark(segment.start + end, ChainHead(self.last.number, self.last.hash))
                break
        for piece in pieces(system, self.mark.offset):
            self.rest.add(piece)


def _find(system: System, segment: Segment) -> tuple[Record | None, int]:
    """Look for the last record of a segment; return it, and where it ends in that file."""
    window = _WINDOW
    while segment.size:
        start = max(0, segment.size - window)
        record, end = _last(b"".join(system.chunks(segment.path, start=start)))
        if record is not None or start == 0:
            return record, start + end
        if window >= _FURTHEST:
            what = f"has no record in its last {window} bytes"
            raise HostNotReadyError(what, where=segment.path, hint="check the disk (dmesg)")
        window *= 4
    return None, 0


def _last(data: bytes) -> tuple[Record | None, int]:
    """Return the last intact record and where it ends."""
    end = data.rfind(b"\n")
    while end >= 0:
        begin = data.rfind(b"\n", 0, end) + 1
        if record := decode(data[begin:end]):
            return record, end + 1
        end = begin - 1
    return None, 0


def backwards(system: System, most: int) -> Iterator[Record]:
    """Yield the last records, from the newest on, of at most `most` bytes at the end of the log."""
    size = sum(segment.size for segment in segments(system))
    start = max(0, size - most)
    data = b"".join(pieces(system, start))
    for line in reversed(data.splitlines()):
        if record := decode(line):
            yield record


def about(system: System, product: str, start: int = 0) -> Iterator[Record]:
    """Yield the records of one product, from an offset on."""
    wanted = json.dumps(product).encode()
    for line in lines(pieces(system, start)):
        record = decode(line.rstrip(b"\n")) if wanted in line else None
        if record is not None and record.fields.get("product") == product:
            yield record


def is_valid(system: System, mark: Mark) -> bool:
    """Return whether the record of a mark ends where it says: nobody replaced the log since."""
    if mark.offset == 0:
        return mark == Mark()
    start = max(0, mark.offset - RECORD_LIMIT - 1)
    data = b"".join(_limited(pieces(system, start), mark.offset - start))
    record, end = _last(data)
    return record is not None and end == len(data) and (record.number, record.hash) == mark.head


def _limited(found: Iterator[bytes], size: int) -> Iterator[bytes]:
    for piece in found:
        yield piece[:size]
        size -= len(piece)
        if size <= 0:
            return


def mark_from_json(value: Any) -> Mark:
    """Read a mark back; one that is not as `as_json` writes it counts as none."""
    with suppress(TypeError, KeyError, ValueError):
        offset, number, digest = value["offset"], value["number"], value["hash"]
        if type(offset) is int and type(number) is int and type(digest) is str and offset >= 0:
            return Mark(offset, ChainHead(number, digest))
    return Mark()
