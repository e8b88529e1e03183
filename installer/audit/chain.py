"""The check of the chain of an audit log, one line at a time: memory does not grow with the log."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from installer.audit.record import RECORD_LIMIT, Record, decode
from installer.core.errors import Problem

START = "0" * 64
SEAL = (
    "keep a copy and find out who changed it; then run `install audit --seal REASON`, which sets it aside "
    "and starts a new log"
)


class ChainHead(NamedTuple):
    """Number and hash of a record."""

    number: int
    hash: str


NOTHING = ChainHead(0, START)
"""The head of a log without records."""


@dataclass(frozen=True, slots=True)
class Names:
    """How problems name the files of a log."""

    log: str
    head: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What a log holds.

    Attributes:
        head: The last record that follows from all before it; number 0 where there is none.
        first: The event of the first record; empty where there is none.
        problem: Where and how the chain is broken; None where it is intact.
        partial: Bytes of a partial write behind the last record.
        records: The records, where they were asked for.
    """

    head: ChainHead
    first: str
    problem: Problem | None
    partial: int = 0
    records: list[Record] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many records are intact."""
        return self.head.number


class Rest:
    """Bytes that are no record: their length and digest, without a newline at their end."""

    def __init__(self) -> None:
        self.size = 0
        """All of them."""
        self.closed = False
        """Whether they end with a newline."""
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """Add bytes; a newline at the end counts once more follow."""
        if data:
            self._hash.update(b"\n" if self.closed else b"")
            self.closed = data.endswith(b"\n")
            self._hash.update(data.removesuffix(b"\n"))
            self.size += len(data)

    @property
    def named(self) -> tuple[int, str]:
        """Length and SHA-256, as the record `repaired` names them."""
        return self.size - self.closed, self._hash.hexdigest()


def lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines of a log, each with its newline; what is too long for a record comes in parts."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line + b"\n" for line in whole)
        # Memory stays bounded whatever is in the file.
        if len(rest) > RECORD_LIMIT:
            yield rest
            rest = b""
    if rest:
        yield rest


def check(
    pieces: bytes | Iterable[bytes],
    head: ChainHead | None,
    names: Names,
    *,
    visit: Callable[[Record], None] | None = None,
    after: ChainHead = NOTHING,
) -> Chain:
    """Check a log from its first record to its last, or from a record that was checked before.

    Args:
        pieces: Its bytes.
        head: What `audit.head` says; None where it is not there.
        names: How the problem names the files.
        visit: Called with each record that follows from those before it; None: they are collected.
        after: The record before the first one.
    """
    found = list[Record]()
    take = visit or found.append
    last, first, rest, at_head = after, "", Rest(), after.hash if head and head.number == after.number else ""
    whole = True
    for line in lines([pieces] if isinstance(pieces, bytes) else pieces):
        # What comes behind a part of a long line belongs to that line.
        record = decode(line[:-1]) if whole and line.endswith(b"\n") else None
        whole = line.endswith(b"\n")
        if record is None:
            rest.add(line)
            continue
        if wrong := _fault(record, last, rest):
            return Chain(last, first, Problem(names.log, wrong, SEAL), records=found)
        take(record)
        last, first, rest = ChainHead(record.number, record.hash), first or record.event, Rest()
        if head and head.number == record.number:
            at_head = record.hash
    problem = _against_head(last, head, at_head, names, partial=rest.size > 0)
    return Chain(last, first, problem, rest.size, found)


def _fault(record: Record, last: ChainHead, rest: Rest) -> str:
    """Return why a record does not follow the one before it; empty where it does."""
    expected = last.number + 1
    # Only a `repaired` record may follow a partial write, and it has to name exactly these bytes.
    if rest.size:
        named = (record.fields.get("bytes"), record.fields.get("sha256"))
        if record.event != "repaired" or named != rest.named:
            return f"record {expected} is damaged: its content differs from what was written"
    if record.number > expected:
        gone = f"record {expected} is" if record.number == expected + 1 else f"records {expected} to "
        gone += "" if record.number == expected + 1 else f"{record.number - 1} are"
        return f"{gone} missing: the next record is number {record.number}"
    if record.number < expected:
        return f"expected record {expected}, found record {record.number}"
    if record.previous != last.hash:
        return (
            f"record {expected} does not contain the hash of the record before it: one of the "
            "two was replaced"
        )
    return ""


def _against_head(
    last: ChainHead, head: ChainHead | None, at_head: str, names: Names, *, partial: bool
) -> Problem | None:
    count = last.number
    if head is None:
        if count <= 1:
            return None
        what = f"is missing: the log has {count} records, but records at its end may be missing"
        return Problem(
            names.head,
            what,
            "compare the log with a head that you noted outside this host: `install audit --anchor HEAD`",
        )
    # A head that is ahead shows what a truncated chain cannot show by itself.
    if head.number > count:
        record = f"record {count + 1}"
        what = f"{record} is damaged" if partial else f"{record} and the following are missing"
        return Problem(names.log, f"{what}: {names.head} names record {head.number} as the last one", SEAL)
    if head.number and at_head not in ("", head.hash):
        return Problem(names.log, f"record {head.number} does not match {names.head}: it was replaced", SEAL)
    return None
