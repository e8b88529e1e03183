"""The audit log of a host: one record a line, each with the hash of the one before it; append-only.

    {"event":"ended","n":7,"prev":"<hash of record 6>", …,"hash":"<SHA-256 of this line without its hash>"}

A partial write, left by a kill or a power cut, stays where it is, closed by a newline, and the next record,
`repaired`, names its length and digest: nothing is ever removed. `audit.head` holds number and hash of the
last record, so that truncation is detected. It exists before the log (number 0), is rewritten after each
record, and may be behind. Whoever can write both files can write another history; only a head that was noted
in another place shows that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from installer.audit import chain as chains
from installer.audit import segments
from installer.audit.chain import NOTHING, SEAL, START, Chain, ChainHead, Names, Rest
from installer.audit.record import RECORD_LIMIT, Record, encode
from installer.audit.segments import LOG, Mark
from installer.core import jsonio
from installer.core.errors import HostNotReadyError, TamperedError
from installer.host.atomic_file import remove_partial, replace_file
from installer.host.directories import make_directory
from installer.host.layout import STATE, Layout
from installer.host.system import SyncError, System
from installer.state.state import cannot_read_error

__all__ = ["LOG", "SEAL", "START", "Chain", "ChainHead"]

HEAD = f"{STATE}/audit.head"
HEAD_MODE = 0o644
"""Every user may read how many records there are, and the hash to note elsewhere; never the records."""
LOCK = f"{STATE}/audit.lock"
DISTRUST = f"{STATE}/audit.distrust"
"""Holds the boot in which a sync of the log failed: what can be read then may not be on the disk."""
COMMON = ("time", "host", "by", "program")
"""Fields of every record: when, on which host, by which user, with which installer."""
WAIT = 20.0
"""Seconds to wait for another process that writes a record."""
GONE = "restore it from a backup; if you have no backup, start a new log: `install audit --seal REASON`"
MARK_EVERY = 256 * 1024
"""Bytes by which the log has to grow until it is noted again up to where a product is settled."""
_NAMES = Names(LOG, HEAD)
_HEAD = re.compile(rb"(0|[1-9][0-9]{0,11}) ([0-9a-f]{64})\n")
_SMALL = 4096


class AuditError(HostNotReadyError):
    """Nothing can be added to the audit log, so nothing may be changed on the host."""

    code = "audit"


def check(data: bytes, head: ChainHead | None) -> Chain:
    """Check a whole log that is in memory, and return it with its records."""
    return chains.check(data, head, _NAMES)


def check_all(
    system: System,
    head: ChainHead | None,
    visit: Callable[[Record], None],
    mark: Mark = Mark(),  # noqa: B008 - frozen
) -> Chain:
    """Check the log of a host piece by piece.

    Args:
        system: The host.
        head: What `audit.head` says, read before the log: it may be behind, but never ahead.
        visit: Called with each intact record.
        mark: Where the check begins.

    Raises:
        HostNotReadyError: This user may not read it.
        OSError: It cannot be read.
    """
    return chains.check(segments.pieces(system, mark.offset), head, _NAMES, visit=visit, after=mark.head)


def read(system: System) -> tuple[bytes, ChainHead | None]:
    """Return the bytes of the whole log, and its head; for logs that are known to be short.

    Raises:
        HostNotReadyError: This user may not read them.
        OSError: They cannot be read.
    """
    head = read_head(system)
    return b"".join(segments.pieces(system)), head


def _read(system: System, path: str, limit: int) -> bytes | None:
    try:
        return system.read(path, limit)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise cannot_read_error(path) from error


def read_head(system: System) -> ChainHead | None:
    """Return what `audit.head` says; None where it is not there.

    Raises:
        AuditError: It is damaged.
        HostNotReadyError: This user may not read it.
        OSError: It cannot be read.
    """
    data = _read(system, HEAD, 1024)
    if data is None:
        return None
    match = _HEAD.fullmatch(data)
    if match is None:
        raise AuditError("does not contain a number and a hash", where=HEAD, hint=SEAL)
    return ChainHead(int(match[1]), match[2].decode())


class AuditLog:
    """The log of a host, open for appending; see `opened`.

    Args:
        system: The host.
        head: What `audit.head` says.
    """

    def __init__(self, system: System, head: ChainHead | None) -> None:
        self._system = system
        self._head = head
        # Only the end is read here, however long the log is; `install audit` checks the whole chain.
        tail = segments.Tail(system)
        self._last, self._end, self._gap = tail.last, tail.mark.offset, tail.rest
        self._sure = self._is_empty or (head == self.head and not self._gap.size)
        count = self._last.number if self._last else 0
        if head is None and count > 1:
            raise AuditError(
                "is missing, so Waybill cannot check whether the log was truncated", where=HEAD, hint=SEAL
            )
        if head is not None and head.number > count:
            raise AuditError(f"is damaged or was truncated after record {count}", where=LOG, hint=SEAL)
        if head is not None and self._last and head.number == count and head.hash != self._last.hash:
            raise AuditError(f"record {count} was replaced", where=LOG, hint=SEAL)
        if self._is_empty and head is None:
            _refuse_gone(system)

    @property
    def _is_empty(self) -> bool:
        return self._last is None and not self._gap.size

    @property
    def head(self) -> ChainHead:
        """The last record; number 0 where there is none."""
        return ChainHead(self._last.number, self._last.hash) if self._last else NOTHING

    def about(self, product: str) -> Iterator[Record]:
        """Yield the records of one product since all its transactions were settled, from the oldest on."""
        mark = self._mark(product)
        yield from segments.about(self._system, product, mark.offset)

    def settled(self, product: str) -> None:
        """Note that all transactions of a product up to now have an end: the next command reads from here."""
        if self._gap.size or self._end - self._mark(product).offset < MARK_EVERY:
            return
        # Not synced: it only saves time, and is checked against the log.
        with suppress(OSError):
            data = jsonio.dumps(Mark(self._end, self.head).as_json())
            replace_file(self._system, Layout(product).audit_mark, data, durable=False)

    def _mark(self, product: str) -> Mark:
        path = Layout(product).audit_mark
        with suppress(OSError, TamperedError):
            mark = segments.mark_from_json(jsonio.loads_strict(self._system.read(path, _SMALL), path, _SMALL))
            # One that somebody made by hand could hide a transaction that is open.
            if segments.is_valid(self._system, mark):
                return mark
        return Mark()

    def recent(self, most: int) -> Iterator[Record]:
        """Yield the newest records first, of at most `most` bytes."""
        yield from segments.backwards(self._system, most)

    def reserve(self) -> None:
        """Reserve disk space for the records with which a transaction ends.

        Raises:
            OSError: There is none.
        """
        self.begin_segment()
        self._make()
        self._system.reserve(LOG, 4 * RECORD_LIMIT)

    def begin_segment(self) -> None:
        """Begin a new file where the one that is written is large. The chain goes on in it."""
        system = self._system
        if self._gap.size or system.observe(LOG, digest=False).size < segments.SEGMENT:
            return
        self.note_head()
        try:
            system.rename(LOG, segments.next_segment(system))
        except OSError:
            return  # root itself may only append to it (`chattr +a`): then it stays one file
        # The names on the disk before the next record: without its segment it would follow nothing.
        system.sync_dir(STATE)

    def append(self, fields: dict[str, Any]) -> Record:
        """Add a record; when this returns, it is on the disk.

        Args:
            fields: What happened: `event`, `time` and whatever the event has.

        Raises:
            OSError: It may be there whole, in part or not at all.
        """
        self._make()
        self._make_sure()
        if self._gap.size:
            size, digest = self._gap.named
            partial: dict[str, Any] = {name: fields[name] for name in COMMON if name in fields}
            partial |= {"event": "repaired", "bytes": size, "sha256": digest}
            # A write of its own: of one that holds two records, a power cut may leave the second alone.
            self._add(partial, b"" if self._gap.closed else b"\n")
        record = self._add(fields)
        self.note_head()
        return record

    def _add(self, fields: dict[str, Any], closing: bytes = b"") -> Record:
        record = encode(self.head.number + 1, self.head.hash, fields)
        data = closing + record.line + b"\n"
        self._system.append(LOG, data)
        self._end += self._gap.size + len(data)
        self._last, self._gap = record, Rest()
        return record

    def _make_sure(self) -> None:
        """Flush what a kill left in the cache: no record and no head may outlive an earlier record."""
        if not self._sure:
            self._system.sync_files([segments.written(self._system)])
            self._sure = True

    def note_head(self) -> None:
        """Write the head where it is behind. On a full disk it stays behind until the next record."""
        self._make_sure()
        with suppress(OSError):
            if self._head != self.head:
                self._write_head()
            remove_partial(self._system, HEAD)

    def _write_head(self) -> None:
        replace_file(self._system, HEAD, f"{self.head.number} {self.head.hash}\n".encode(), HEAD_MODE)
        self._head = self.head

    def _make(self) -> None:
        if self._head is None:  # before the log: a full disk may let the head stay behind, but not be missing
            self._write_head()
        if self._system.observe(LOG, digest=False).kind == "absent":
            self._system.write_new(LOG, b"", 0o600)
            self._system.sync_dir(STATE)


@contextmanager
def opened(system: System) -> Iterator[AuditLog]:
    """Open the log for appending; no other process writes to it meanwhile.

    Raises:
        AuditError: It was removed, truncated or damaged at its end, or a sync of it failed in this boot;
            nothing is added to such a log.
        BusyError: Another process writes to it, and does not end.
        OSError: It cannot be read or created.
    """
    make_directory(system, STATE)
    # One writer at a time: two records with the same predecessor would break the chain.
    with system.lock(LOCK, WAIT):
        try:
            _refuse_distrusted(system)
            yield AuditLog(system, read_head(system))
        except SyncError:
            # The kernel says so once; a record after a lost one would break the chain at a power cut.
            with suppress(OSError):
                replace_file(system, DISTRUST, system.boot_id().encode())
            raise


def _refuse_gone(system: System) -> None:
    """Refuse to begin a new log where something was done: it would hide that the old one was removed."""
    # A product with a history proves that there was a log.
    for name in system.names(STATE):
        if system.observe(Layout(name).history, digest=False).size:
            raise AuditError(f"is missing, but {name} was installed here", where=LOG, hint=GONE)


def _refuse_distrusted(system: System) -> None:
    boot = _read(system, DISTRUST, 1024)
    if boot == system.boot_id().encode():
        raise AuditError(
            "reboot required after a failed fsync: its last records may not be on the disk",
            where=LOG,
            hint="check the disk (dmesg), then reboot; Waybill writes no records before the reboot",
        )
    if boot is not None:
        system.unlink(DISTRUST)
