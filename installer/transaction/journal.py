"""The journal of one transaction: what is about to be done, written before it is done.

A record is one line, `<sha256 of the JSON> <JSON>`, written by one call and synced before anything else is
done. Records are numbered, and each has the hash of the one before it. The file is allocated and filled with
zero bytes at the start, so that a rollback needs no disk space. A truncated last record is ignored; a damaged
record with a valid one after it stops everything, because what happened between them is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from installer.core.digest import sha256_hex
from installer.core.errors import NotUndoneError
from installer.host.system import SyncError, System

MIB = 1024 * 1024
STEP = MIB // 4
"""Bytes by which a journal is allocated."""
RESERVED = 64 * 1024
"""Bytes reserved for the records of an undo, in addition to those per operation."""
RESERVED_PER_OPERATION = 2048
LIMIT = 1024 * MIB
"""Largest size of a journal that is read."""
SCHEMA = "waybill/journal/v1"
_START = "0" * 64


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        number: Counts from 1.
        type: BEGIN, INTENT, DONE, STAGED, FORWARD, COMMIT, ABORT, UNDOING, UNDONE, ROLLED-BACK, DISTRUST or
            END.
        fields: What the type carries.
    """

    number: int
    type: str
    fields: dict[str, Any]


class Tail(NamedTuple):
    """The content of a journal, and where the next record goes.

    Attributes:
        records: Its records.
        offset: Offset of the next record.
        previous: Hash of the last one.
    """

    records: list[Record]
    offset: int
    previous: str


def read(data: bytes, path: str) -> Tail:
    """Read a journal.

    Args:
        data: The bytes of the file.
        path: How errors name it.

    Returns:
        Its records, without a truncated last one.

    Raises:
        NotUndoneError: A record in the middle is damaged.
    """
    records: list[Record] = []
    offset, previous = 0, _START
    while True:
        end = data.find(b"\n", offset)
        line = data[offset:end] if end >= 0 else b""
        # A record counts only if number and chain fit: old bytes behind a rewritten record do not.
        found = _parse(line, len(records) + 1, previous, f"{path}@{offset}")
        if found is None:
            break
        records.append(found)
        offset, previous = end + 1, line[:64].decode()
    for line in _lines(data, offset):
        later = _parse(line, None, None, path)
        # A later valid record means that the damaged one was complete once: its effects are on the host.
        if later is not None and later.number > len(records):
            raise NotUndoneError(
                f"record {len(records) + 1} of the journal is damaged, but later records are valid",
                where=f"{path}@{offset}",
                hint="the disk lost data: check the disk, restore this file from a backup, then "
                "run `install recover`; without a backup, see `install recover --help`",
            )
    return Tail(records, offset, previous)


def _lines(data: bytes, offset: int) -> Iterator[bytes]:
    while (end := data.find(b"\n", offset)) >= 0:
        # A damaged sector may read as zeros in front of a line.
        yield data[offset:end].lstrip(b"\0")
        offset = end + 1


def _parse(line: bytes, number: int | None, previous: str | None, where: str) -> Record | None:
    """Read a line; return None if it is truncated, damaged, or not the next record."""
    # The hash before the parser: half a record is never interpreted.
    if len(line) < 66 or line[64:65] != b" " or sha256_hex(line[65:]).encode() != line[:64]:
        return None
    try:
        fields = json.loads(line[65:])
        record = Record(fields.pop("n"), fields.pop("type"), fields)
        due = number is None or (fields.pop("prev") == previous and record.number == number)
        if type(record.number) is int and type(record.type) is str:
            return record if due else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise NotUndoneError(
        "a record of the journal is not damaged, but its format is unknown",
        where=where,
        hint="use the installer that wrote it, or a newer one; see `install recover --help`",
    )


class Journal:
    """A journal that is open for writing.

    Args:
        system: The host.
        path: Its file, as a host path.
        tail: Its content, and where the next record goes.
        size: Bytes that are allocated.
    """

    def __init__(self, system: System, path: str, tail: Tail, size: int) -> None:
        self._system = system
        # By the number of records before it: where the next record goes, and the hash that it refers to.
        self._ends = {len(tail.records): (tail.offset, tail.previous)}
        self.size = size
        self._dirty = 0
        self._operations = sum(record.type == "INTENT" for record in tail.records)
        self.path = path
        self.records = tail.records

    @classmethod
    def create(cls, system: System, path: str, expected: int) -> Journal:
        """Create a journal filled with zero bytes, durably.

        Args:
            system: The host.
            path: Its path; nothing may exist there.
            expected: Expected size of its records.

        Raises:
            OSError: There is not enough space, or it exists already.
        """
        # Written, not only allocated: on some file systems an overwrite of allocated blocks needs new space.
        size = -(-(expected + RESERVED) // STEP) * STEP
        system.write_new(path, (bytes(STEP) for _ in range(size // STEP)), 0o600)
        system.sync_dir(path.rsplit("/", 1)[0])
        return cls(system, path, Tail([], 0, _START), size)

    @classmethod
    def open(cls, system: System, path: str) -> Journal:
        """Open a journal that an earlier process wrote; the next record overwrites a truncated last one.

        Raises:
            NotUndoneError: It is damaged in the middle.
            OSError: It cannot be read.
        """
        data = system.read(path, LIMIT)
        tail = read(data, path)
        journal = cls(system, path, tail, len(data))
        journal._dirty = len(data[tail.offset :].rstrip(b"\0"))
        return journal

    def append(self, type_: str, **fields: Any) -> None:
        """Write a record and wait until it is on the disk. END also truncates the file.

        Raises:
            OSError: It may be there, in part or not at all; the next record overwrites it.
        """
        number, (offset, previous) = len(self.records) + 1, self._ends[len(self.records)]
        body = json.dumps(
            {"n": number, "type": type_, "prev": previous, **fields},
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        line = sha256_hex(body).encode() + b" " + body + b"\n"
        # Only records that go forward: those of an undo use the reserved space, on a full disk too.
        if type_ in _MAY_GROW:
            self._extend(len(line))
        # A record whose writing failed may be in the file all the same: it is overwritten completely, so that
        # no old line with a valid hash follows this one.
        padded = line + bytes(max(0, self._dirty - len(line)))
        self._dirty = max(self._dirty, len(line))
        self._system.write_at(self.path, offset, padded, truncate=type_ == "END")
        self._ends = {number - 1: (offset, previous), number: (offset + len(line), line[:64].decode())}
        # An exception can arrive between any two steps, from the signal handler of a program that embeds us.
        # The record is known from this step on; before it, the next record takes its number and its place.
        self.records.append(Record(number, type_, fields))
        self._dirty = 0
        self._operations += type_ == "INTENT"

    @property
    def _offset(self) -> int:
        return self._ends[len(self.records)][0]

    def _extend(self, length: int) -> None:
        reserved = RESERVED + (self._operations + 1) * RESERVED_PER_OPERATION
        while self._offset + length + reserved > self.size:
            # Extended before the record: a full disk must be noticed while nothing has happened yet.
            self._system.write_at(self.path, self.size, bytes(STEP))
            self.size += STEP

    def require_reboot(self, error: BaseException) -> None:
        """Record that a sync failed, so that nothing continues before a reboot.

        Args:
            error: What failed; only a failed sync is recorded.
        """
        # The kernel reports a failed write once and forgets it; a second sync would succeed. Until the next
        # boot the page cache may show data that is not on the disk.
        if isinstance(error, SyncError):
            with suppress(OSError):
                self.append("DISTRUST", boot=self._system.boot_id())

    def has(self, type_: str) -> bool:
        """Return whether a record of this type was written."""
        return any(record.type == type_ for record in self.records)

    def last(self, type_: str) -> dict[str, Any]:
        """Return the fields of the last record of a type that the journal has."""
        return next(record.fields for record in reversed(self.records) if record.type == type_)


_MAY_GROW = ("BEGIN", "INTENT", "STAGED", "DONE", "FORWARD")
