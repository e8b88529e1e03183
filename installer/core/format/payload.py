"""The one pass over the payload of a bundle: every byte is read once, hashed, and handed on from memory.

Small neighbouring files are read together. Large files are read by several threads at once where the source
allows it: SHA-256 of one file cannot use two cores, but hashlib releases the interpreter lock while it works.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Event

from installer.core.errors import TamperedError
from installer.core.format.archive import Bundle, Member, wrong_digest_error
from installer.core.format.manifest import FileEntry
from installer.core.format.tar_header import BLOCK, extent, padding
from installer.core.limits import CHUNK, MIB

GROUP = 4 * MIB
"""Bytes of neighbouring files that are read at once: slow media likes few, large reads."""


Sink = Callable[[FileEntry, Iterator[memoryview]], None]
"""Takes a file and its bytes in pieces, each valid until the next is taken. The last step of the iterator is
the check: it raises if the bytes are not what was signed, and the sink must then discard the file."""


def discard(_entry: FileEntry, chunks: Iterator[memoryview]) -> None:
    """Discard a file: the sink of a verification that stores nothing."""
    for _ in chunks:
        pass


def check_payload(
    bundle: Bundle,
    sink: Sink = discard,
    advance: Callable[[int], None] = lambda _count: None,
    workers: int = 0,
    have: frozenset[str] = frozenset(),
) -> dict[str, bytes]:
    """Read the whole payload and the tail of a bundle, and refuse whatever is not what was signed.

    Args:
        bundle: Opened, its head trusted.
        sink: Takes each file. Called from several threads.
        advance: Called with the bytes read. Called from several threads.
        workers: Number of threads; 0 for as many as there are cores. A stream is read by one.
        have: Paths of files that are present already, as signed: they are neither read nor given to the
            sink. A stream is read all the same.

    Returns:
        The files of approvals, by name.

    Raises:
        TamperedError: A header, a payload, a padding or the end is not what was signed.
        MediaError: Reading failed.
    """

    # A stream cannot skip files: those present are read and discarded.
    def missing(entry: FileEntry, chunks: Iterator[memoryview]) -> None:
        (discard if entry.path in have else sink)(entry, chunks)

    # Every worker looks at this event between chunks.
    task = _Task(bundle, missing, advance, Event())
    members = to_read(bundle, have)
    if not bundle.medium.parallel:
        for group in _groups(members):
            task.check(group)
        return bundle.read_tail()
    with ThreadPoolExecutor(workers or os.cpu_count() or 1, "check") as pool:
        futures: list[Future[None]] = []
        try:
            # The end of the archive first: a truncated copy is refused before gigabytes are read.
            tail = bundle.read_tail()
            futures += [pool.submit(task.check, group) for group in _groups(members)]
            # Not as_completed: the first error ends the work, whatever the order.
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # After a failure or Ctrl-C the other threads end at their next chunk.
            task.stop.set()
            for future in futures:
                future.cancel()
    faults = [future.exception() for future in futures if not future.cancelled()]
    for fault in faults:
        # The other threads ended only because of the first error: theirs would hide it.
        if fault is not None and not isinstance(fault, _Stopped):
            raise fault
    return tail


class _Stopped(Exception):  # noqa: N818 - not an error: another thread has the error
    """Ends a thread after another one failed."""


def to_read(bundle: Bundle, have: frozenset[str] = frozenset()) -> tuple[Member, ...]:
    """Return the members that must be read if the files `have` are present already."""
    if not have or not bundle.medium.parallel:
        return bundle.members
    return tuple(member for member in bundle.members if member.entry.path not in have)


def _groups(members: tuple[Member, ...]) -> Iterator[tuple[Member, ...]]:
    """Cut the members into runs: neighbours of up to GROUP bytes together, each larger one alone."""
    start = 0
    for index in range(1, len(members) + 1):
        begin, before = members[start].offset, members[index - 1]
        if (
            index == len(members)
            or members[index].offset != before.offset + extent(before.entry.size)
            or members[index].offset + extent(members[index].entry.size) - begin > GROUP
        ):
            yield members[start:index]
            start = index


class _Task:
    """The work of one thread."""

    def __init__(self, bundle: Bundle, sink: Sink, advance: Callable[[int], None], stop: Event) -> None:
        self._bundle = bundle
        self._sink = sink
        self._advance = advance
        self.stop = stop

    def check(self, group: tuple[Member, ...]) -> None:
        size = group[-1].offset + extent(group[-1].entry.size) - group[0].offset
        if size > GROUP:
            header = bytearray(BLOCK)
            self._bundle.medium.read_into(group[0].offset, memoryview(header))
            self._bundle.check_header(bytes(header), group[0])
            chunks = self._chunks(group[0])
            self._sink(group[0].entry, chunks)
            # The check follows the last chunk, also where the sink did not read them all.
            discard(group[0].entry, chunks)
            return
        self._check_stopped()
        buffer = memoryview(bytearray(size))
        self._bundle.medium.read_into(group[0].offset, buffer)
        for member in group:
            begin = member.offset - group[0].offset
            self._bundle.check_header(buffer[begin : begin + BLOCK], member)
            body = buffer[begin + BLOCK : begin + BLOCK + member.entry.size]
            self._padding(
                member, bytes(buffer[begin + BLOCK + member.entry.size : begin + extent(member.entry.size)])
            )
            # Checked before it is written: a small file with other bytes never reaches the disk.
            self._digest(member, hashlib.sha256(body).hexdigest())
            self._sink(member.entry, iter((body,)))
        self._advance(size)

    def _chunks(self, member: Member) -> Iterator[memoryview]:
        medium, size = self._bundle.medium, member.entry.size
        # One buffer per file, not one per chunk: memory stays flat, whatever the size.
        buffer = memoryview(bytearray(CHUNK))
        digest, done = hashlib.sha256(), 0
        while done < size:
            self._check_stopped()
            chunk = buffer[: min(CHUNK, size - done)]
            medium.read_into(member.offset + BLOCK + done, chunk)
            digest.update(chunk)
            yield chunk
            done += len(chunk)
            self._advance(len(chunk))
        tail = bytearray(padding(size))
        medium.read_into(member.offset + BLOCK + done, memoryview(tail))
        self._padding(member, bytes(tail))
        self._digest(member, digest.hexdigest())

    def _padding(self, member: Member, tail: bytes) -> None:
        if any(tail):
            where = f"{self._bundle.medium.name}@{member.offset}"
            raise TamperedError(f"the padding of {member.entry.path} is not zero", where=where)

    def _digest(self, member: Member, found: str) -> None:
        if found != member.entry.sha256:
            raise wrong_digest_error(member, self._bundle.medium.name)

    def _check_stopped(self) -> None:
        if self.stop.is_set():
            raise _Stopped
