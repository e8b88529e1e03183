"""The journal of one transaction: what is about to be done, written before it is done.

A record is one line, `<sha256 of the JSON> <JSON>`, written by one call and synced before anything else is
done. Records are numbered and each names the hash of the one before it. The file is allocated and filled with
zero bytes at the start: the way back needs no disk space. A last record that was written only in part is
ignored; a bad one with a good one after it stops everything, because what lies between is unknown.
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
"""Bytes that are kept free for the records of the way back, on top of those per operation."""
RESERVED_PER_OPERATION = 2048
LIMIT = 1024 * MIB
"""No journal is larger; more is not read."""
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
    """What a journal holds, and where it goes on.

    Attributes:
        records: Its records.
        offset: Where the next one goes.
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
        Its records; a torn last one is left out.

    Raises:
        NotUndoneError: A record in the middle is bad.
    """
    records: list[Record] = []
    offset, previous = 0, _START
    while True:
        end = data.find(b"\n", offset)
        line = data[offset:end] if end >= 0 else b""
        found = _parse(line, len(records) + 1, previous, f"{path}@{offset}")
        if found is None:
            break
        records.append(found)
        offset, previous = end + 1, line[:64].decode()
    for line in _lines(data, offset):
        later = _parse(line, None, None, path)
        if later is not None and later.number > len(records):
            raise NotUndoneError(
                f"record {len(records) + 1} of the journal is damaged, and later ones are not",
                where=f"{path}@{offset}",
                hint="the disk has lost data: check it, put this file back and run `install recover`; "
                "without a copy of it, `install recover --help` says how to go on",
            )
    return Tail(records, offset, previous)


def _lines(data: bytes, offset: int) -> Iterator[bytes]:
    while (end := data.find(b"\n", offset)) >= 0:
        yield data[offset:end].lstrip(b"\0")
        offset = end + 1


def _parse(line: bytes, number: int | None, previous: str | None, where: str) -> Record | None:
    """Read a line; None where it is torn, damaged, or not the one that is due."""
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
        "a record of the journal is whole, and of a form that this program does not know",
        where=where,
        hint="use the program that wrote it, or a newer one; `install recover --help` says more",
    )


class Journal:
    """A journal that is open for writing.

    Args:
        system: The host.
        path: Its file, as a host path.
        tail: What is in it, and where it goes on.
        size: Bytes that are allocated.
    """

    def __init__(self, system: System, path: str, tail: Tail, size: int) -> None:
        self._system = system
        self._offset = tail.offset
        self._previous = tail.previous
        self.size = size
        self._dirty = 0
        self._operations = sum(record.type == "INTENT" for record in tail.records)
        self.path = path
        self.records = tail.records

    @classmethod
    def create(cls, system: System, path: str, expected: int) -> Journal:
        """Allocate a journal and fill it with zero bytes, on the disk.

        Args:
            system: The host.
            path: Where; nothing may be there.
            expected: How many bytes of records are expected.

        Raises:
            OSError: There is no room for it, or it is there already.
        """
        size = -(-(expected + RESERVED) // STEP) * STEP
        system.write_new(path, (bytes(STEP) for _ in range(size // STEP)), 0o600)
        system.sync_dir(path.rsplit("/", 1)[0])
        return cls(system, path, Tail([], 0, _START), size)

    @classmethod
    def open(cls, system: System, path: str) -> Journal:
        """Open a journal that an earlier process wrote; a torn last record is overwritten by the next.

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
        """Write a record; when this returns, it is on the disk. END ends the file too.

        Raises:
            OSError: It may be there, in part or not at all; the next record overwrites it.
        """
        number = len(self.records) + 1
        body = json.dumps(
            {"n": number, "type": type_, "prev": self._previous, **fields},
            sort_keys=True,
            separators=(",", ":"),
        ).encode()
        line = sha256_hex(body).encode() + b" " + body + b"\n"
        if type_ in _MAY_GROW:
            self._make_room(len(line))
        # A record whose writing failed may be there all the same: none of it may outlive the one written now.
        padded = line + bytes(max(0, self._dirty - len(line)))
        self._dirty = max(self._dirty, len(line))
        self._system.write_at(self.path, self._offset, padded, truncate=type_ == "END")
        self._offset += len(line)
        self._dirty = 0
        self._previous = line[:64].decode()
        self._operations += type_ == "INTENT"
        self.records.append(Record(number, type_, fields))

    def _make_room(self, length: int) -> None:
        reserved = RESERVED + (self._operations + 1) * RESERVED_PER_OPERATION
        while self._offset + length + reserved > self.size:
            self._system.write_at(self.path, self.size, bytes(STEP))
            self.size += STEP

    def require_reboot(self, error: BaseException) -> None:
        """Write down that a sync failed: what this kernel shows from now on may not be on the disk.

        The kernel reports a failed write once and forgets it; a second sync would say that all is well. So
        nothing is done again before the next boot, when only what is on the disk is there.
        """
        if isinstance(error, SyncError):
            with suppress(OSError):
                self.append("DISTRUST", boot=self._system.boot_id())

    def has(self, type_: str) -> bool:
        """Whether a record of this type was written."""
        return any(record.type == type_ for record in self.records)

    def last(self, type_: str) -> dict[str, Any]:
        """Return the fields of the last record of a type, which is there."""
        return next(record.fields for record in reversed(self.records) if record.type == type_)


_MAY_GROW = ("BEGIN", "INTENT", "STAGED", "DONE", "FORWARD")
