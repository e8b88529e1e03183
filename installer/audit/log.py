"""The audit log of a host: one record a line, each with the hash of the one before it; append-only.

    {"event":"ended","n":7,"prev":"<hash of record 6>", …,"hash":"<SHA-256 of this line without its hash>"}

A partial write, left by a kill or a power cut, stays where it is, closed by a newline, and the next record,
`repaired`, names its length and digest: nothing is ever removed. `audit.head` holds number and hash of the
last record, so that truncation is detected. It exists before the log (number 0), is rewritten after each
record, and may be behind. Whoever can write both files can write another history; only a head that was noted
in another place shows that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from installer.audit.record import RECORD_LIMIT, Record, decode, encode
from installer.core.digest import sha256_hex
from installer.core.errors import HostNotReadyError, Problem
from installer.host.atomic_file import remove_partial, replace_file
from installer.host.directories import make_directory
from installer.host.layout import STATE, Layout
from installer.host.system import SyncError, System
from installer.state.state import cannot_read_error

LOG = f"{STATE}/audit.jsonl"
HEAD = f"{STATE}/audit.head"
LOCK = f"{STATE}/audit.lock"
DISTRUST = f"{STATE}/audit.distrust"
"""Holds the boot in which a sync of the log failed: what can be read then may not be on the disk."""
COMMON = ("time", "host", "by", "program")
"""Fields of every record: when, on which host, by whom, with which installer."""
LOG_LIMIT = 256 * 1024 * 1024
"""Most bytes of the log: more than a hundred thousand records. `install audit --seal` begins a new one."""
WAIT = 20.0
"""Seconds to wait for another process that writes a record."""
START = "0" * 64
GONE = "restore it from a backup; if you have no backup, start a new log: install audit --seal REASON"
SEAL = (
    "keep a copy and find out who changed it; then set it aside and start a new log: install "
    "audit --seal REASON"
)
_HEAD = re.compile(rb"(0|[1-9][0-9]{0,11}) ([0-9a-f]{64})\n")


class AuditError(HostNotReadyError):
    """Nothing can be added to the audit log, so nothing may be changed on the host."""

    code = "audit"


class ChainHead(NamedTuple):
    """Number and hash of a record."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What a log holds.

    Attributes:
        records: From the first on, as far as each follows from the one before.
        problem: Where and how the chain is broken; None where it is intact.
        torn: Bytes of a partial write behind the last record.
    """

    records: list[Record]
    problem: Problem | None
    torn: int = 0

    @property
    def head(self) -> ChainHead:
        """The last record; number 0 where there is none."""
        return (
            ChainHead(self.records[-1].number, self.records[-1].hash) if self.records else ChainHead(0, START)
        )


def check(data: bytes, head: ChainHead | None, where: str = LOG) -> Chain:
    """Check a whole log.

    Args:
        data: Its bytes.
        head: What `audit.head` says; None where it is not there.
        where: How the problem names the log.
    """
    records: list[Record] = []
    offset = 0
    while offset < len(data):
        found, end = _next(data, offset)
        if found is None:
            break
        if wrong := _follows(found, records, data[offset : end - len(found.line) - 1]):
            return Chain(records, Problem(where, wrong, SEAL))
        records.append(found)
        offset = end
    torn = len(data) - offset
    chain = Chain(records, None, torn)
    return Chain(records, _against_head(chain, head, where), torn)


def _next(data: bytes, offset: int) -> tuple[Record | None, int]:
    """Return the next intact record, wherever it begins, and where it ends."""
    while (end := data.find(b"\n", offset)) >= 0:
        record = decode(data[offset:end])
        offset = end + 1
        if record is not None:
            return record, offset
    return None, offset


def _follows(record: Record, before: list[Record], gap: bytes) -> str:
    """Return why a record does not follow those before it; empty where it does."""
    expected = len(before) + 1
    # Only a `repaired` record may follow a partial write, and it has to name exactly these bytes.
    if gap:
        rest = gap.removesuffix(b"\n")
        named = (record.fields.get("bytes"), record.fields.get("sha256"))
        if record.event != "repaired" or named != (len(rest), sha256_hex(rest)):
            return f"record {expected} is damaged: its content differs from what was written"
    if record.number > expected:
        gone = f"record {expected} is" if record.number == expected + 1 else f"records {expected} to "
        gone += "" if record.number == expected + 1 else f"{record.number - 1} are"
        return f"{gone} missing: the next record is number {record.number}"
    if record.number < expected:
        return f"expected record {expected}, found record {record.number}"
    if record.previous != (before[-1].hash if before else START):
        return (
            f"record {expected} does not contain the hash of the record before it: one of the "
            "two was replaced"
        )
    return ""


def _against_head(chain: Chain, head: ChainHead | None, where: str) -> Problem | None:
    count = len(chain.records)
    if head is None:
        if count <= 1:
            return None
        what = f"is missing: the log has {count} records, but records at its end may be missing"
        return Problem(
            HEAD,
            what,
            "compare the log with a head that you noted outside this host: install audit --anchor HEAD",
        )
    # A head that is ahead shows what a truncated chain cannot show by itself.
    if head.number > count:
        what = (
            f"record {count + 1} is damaged"
            if chain.torn
            else f"record {count + 1} and the following are missing"
        )
        return Problem(where, f"{what}: {HEAD} names record {head.number} as the last one", SEAL)
    if head.number and chain.records[head.number - 1].hash != head.hash:
        return Problem(where, f"record {head.number} does not match {HEAD}: it was replaced", SEAL)
    return None


def read(system: System) -> tuple[bytes, ChainHead | None]:
    """Return the bytes of the log, and its head.

    Raises:
        HostNotReadyError: This user may not read them.
        OSError: They cannot be read.
    """
    return read_log(system), _read_head(system)


def read_log(system: System) -> bytes:
    """Return the bytes of the log; empty where there is none.

    Raises:
        HostNotReadyError: This user may not read it.
        OSError: It cannot be read.
    """
    return _read(system, LOG, LOG_LIMIT) or b""


def _read(system: System, path: str, limit: int) -> bytes | None:
    try:
        return system.read(path, limit)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise cannot_read_error(path) from error


def _read_head(system: System) -> ChainHead | None:
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
        data: What is in it.
        head: What `audit.head` says.
    """

    def __init__(self, system: System, data: bytes, head: ChainHead | None) -> None:
        self._system = system
        self._data = data
        self._head = head
        # Only the end is decoded here, however long the log is; `install audit` checks the whole chain.
        self._last, end = _last(data)
        self._gap = data[end:]
        self._sure = not data or (head == self.head and not self._gap)
        count = self._last.number if self._last else 0
        if head is None and count > 1:
            raise AuditError(
                "is missing, so Waybill cannot check whether the log was truncated", where=HEAD, hint=SEAL
            )
        if head is not None and head.number > count:
            raise AuditError(f"is damaged or was truncated after record {count}", where=LOG, hint=SEAL)
        if head is not None and self._last and head.number == count and head.hash != self._last.hash:
            raise AuditError(f"record {count} was replaced", where=LOG, hint=SEAL)

    @property
    def head(self) -> ChainHead:
        """The last record; number 0 where there is none."""
        return ChainHead(self._last.number, self._last.hash) if self._last else ChainHead(0, START)

    def about(self, product: str) -> Iterator[Record]:
        """Yield the records of one product, from the oldest on."""
        wanted = json.dumps(product).encode()
        for line in self._data.splitlines():
            if wanted in line and (record := decode(line)) and record.fields.get("product") == product:
                yield record

    def reserve(self) -> None:
        """Reserve disk space for the records with which a transaction ends.

        Raises:
            OSError: There is none.
        """
        self._make()
        self._system.reserve(LOG, 4 * RECORD_LIMIT)

    def append(self, fields: dict[str, Any]) -> Record:
        """Add a record; when this returns, it is on the disk.

        Args:
            fields: What happened: `event`, `time` and whatever the event has.

        Raises:
            OSError: It may be there whole, in part or not at all.
        """
        self._make()
        self._make_sure()
        if self._gap:
            rest = self._gap.removesuffix(b"\n")
            torn: dict[str, Any] = {name: fields[name] for name in COMMON if name in fields}
            torn |= {"event": "repaired", "bytes": len(rest), "sha256": sha256_hex(rest)}
            # A write of its own: of one that holds two records, a power cut may leave the second alone.
            self._add(torn, b"" if self._gap.endswith(b"\n") else b"\n")
        record = self._add(fields)
        self.note_head()
        return record

    def _add(self, fields: dict[str, Any], closing: bytes = b"") -> Record:
        record = encode(self.head.number + 1, self.head.hash, fields)
        data = closing + record.line + b"\n"
        self._system.append(LOG, data)
        self._data, self._last, self._gap = self._data + data, record, b""
        return record

    def _make_sure(self) -> None:
        """Flush what a kill left in the cache: no record and no head may outlive an earlier record."""
        if not self._sure:
            self._system.sync_files([LOG])
            self._sure = True

    def note_head(self) -> None:
        """Write the head where it is behind. On a full disk it stays behind until the next record."""
        self._make_sure()
        with suppress(OSError):
            if self._head != self.head:
                self._write_head()
            remove_partial(self._system, HEAD)

    def _write_head(self) -> None:
        replace_file(self._system, HEAD, f"{self.head.number} {self.head.hash}\n".encode())
        self._head = self.head

    def _make(self) -> None:
        if self._head is None:  # before the log: a full disk may let the head stay behind, but not be missing
            self._write_head()
        if self._system.observe(LOG, digest=False).kind == "absent":
            self._system.write_new(LOG, b"", 0o600)
            self._system.sync_dir(STATE)


def _last(data: bytes) -> tuple[Record | None, int]:
    """Return the last intact record and where it ends."""
    end = data.rfind(b"\n")
    while end >= 0:
        begin = data.rfind(b"\n", 0, end) + 1
        if record := decode(data[begin:end]):
            return record, end + 1
        end = begin - 1
    return None, 0


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
            data, head = read(system)
            if not data and head is None:
                _refuse_gone(system)
            yield AuditLog(system, data, head)
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
