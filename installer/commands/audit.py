"""VERB audit: check the audit log of this host from its first record to its last, and show it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from installer.audit import log as audit_log
from installer.audit import recorder, segments
from installer.audit.examination import Examined, examine
from installer.audit.log import HEAD, LOG, START, Chain, read_head
from installer.audit.record import Record, decode, encode
from installer.commands.common.session import write_output
from installer.core.digest import hash_pieces
from installer.core.errors import (
    HostNotReadyError,
    Problem,
    RefusedError,
    TamperedError,
    UsageError,
    os_errors_as,
)
from installer.core.schema_errors import spelling_hint
from installer.core.timestamps import parse_time
from installer.host.layout import STATE
from installer.host.system import System
from installer.state.state import host_readable
from installer.transaction.failures import brief

_ANCHOR = re.compile(r"[0-9a-f]{16,64}")
_AGO = re.compile(r"([1-9][0-9]{0,4})([dh])")
_LOUD = ("NOT UNDONE", "REPAIRED", "SEALED", "BREAK-GLASS", "LEFT BEHIND")


@dataclass(frozen=True, slots=True)
class Audit:
    """What the log contains, and whether it is intact.

    Attributes:
        found: What the check of the whole log has found.
        lines: The records that were asked for, as the log has them.
        products: All products that records of the log are about.
    """

    found: Examined
    lines: tuple[bytes, ...]
    products: frozenset[str] = frozenset()

    @property
    def chain(self) -> Chain:
        """The whole log, without its records."""
        return self.found.chain

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Where it is broken, and anchors that it does not contain; empty: none."""
        return self.found.problems

    @property
    def shown(self) -> Iterator[Record]:
        """The records that were asked for."""
        # As bytes they take a tenth of the memory.
        return (record for line in self.lines if (record := decode(line)))

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "intact": not self.problems,
            "count": self.chain.count,
            "head": {"number": self.chain.head.number, "hash": self.chain.head.hash},
            "partial_bytes": self.chain.partial,
            "anchors": [{"number": r.number, "hash": r.hash} for r in self.found.anchored],
            "records": [record.as_json() for record in self.shown],
        }

    def unknown_product(self, product: str | None) -> Problem | None:
        """Return what to tell of a product that no record is about; None where there is nothing to tell.

        Args:
            product: Whose records were asked for; None for all.
        """
        if product is None or product in self.products:
            return None
        listed = ", ".join(sorted(self.products)) or "none"
        hint = spelling_hint(product, sorted(self.products), f"products in the log: {listed}")
        return Problem(f"--product {product}", "no record of the audit log is about this product", hint)

    def require_intact(self) -> None:
        """Raise an error if the log is not what was written.

        Raises:
            BrokenLogError: It is not.
        """
        if self.problems:
            raise BrokenLogError(self)

    def rows(self) -> list[list[str]]:
        """Return the records as a table; the first row is the heading."""
        rows = [["N", "WHEN", "WHO", "PRODUCT", "WHAT"]]
        for record in self.shown:
            fields = record.fields
            head, *more = record_lines(record)
            when = str(fields.get("time", "")).replace("T", " ").removesuffix("Z")
            rows.append([str(record.number), when, _who(fields), str(fields.get("product", "-")), head])
            rows += [["", "", "", "", line] for line in more]
        return rows

    def summary(self) -> str:
        """Return the result of the check for people, without the problems."""
        count, head = self.chain.count, self.chain.head
        lines = []
        if self.chain.partial and not self.problems:
            lines.append(
                f"the last {self.chain.partial} bytes are a partial write, caused by a kill or a "
                "power failure; the next record reports them"
            )
        lines += [
            f"record {r.number} of {r.fields.get('time')} matches the anchor" for r in self.found.anchored
        ]
        if self.problems:
            many = "records" if count != 1 else "record"
            lines.append(f"BROKEN: {count} {many} intact; the records after them cannot be trusted")
        elif not count:
            lines.append("the log is empty")
        else:
            lines.append(f"intact: {count} record{'s' if count > 1 else ''}, each chained to the one before")
            lines.append(f"head    {head.hash}")
            lines.append(
                "note the head outside this host; to check later that the log still contains it: "
                "`install audit --anchor HEAD`"
            )
        return "\n".join(lines)


class BrokenLogError(TamperedError):
    """The audit log was changed, truncated or replaced."""

    def __init__(self, found: Audit) -> None:
        first, *rest = found.problems
        super().__init__(first.what, where=first.where, hint=first.hint, problems=rest)


def alarming(row: Sequence[str]) -> bool:
    """Return whether a row of the table must not be overlooked."""
    return row[-1].startswith(_LOUD)


def _who(fields: dict[str, Any]) -> str:
    by = fields.get("by")
    by = by if isinstance(by, dict) else {}
    name = str(by.get("user") or by.get("uid", "?"))
    return f"{name} ({by['sudo_user']})" if by.get("sudo_user") else name


def record_lines(record: Record) -> list[str]:
    """Return a record in words: one line, and further ones where there is more to know."""
    fields = record.fields
    verb, version = str(fields.get("verb", "")), str(fields.get("version", ""))
    what = f"{verb} {version}".strip()
    if record.event == "begun":
        return _begun(fields, what)
    if record.event == "ended":
        by = ", by recovery" if fields.get("recovered") else ""
        took = f" in {fields['seconds']} s" if "seconds" in fields else ""
        why = f": {brief(str(fields['reason']))}" if fields.get("reason") else ""
        lines = [f"{what}: {fields.get('result')}{took}{by} (exit {fields.get('exit')}){why}"]
        return [*lines, *(f"LEFT BEHIND: {each}" for each in _list(fields, "left"))]
    if record.event in ("refused", "not-undone"):
        check = f"(check: {fields.get('check', '')})"
        step = f"failed step {fields['step']} {check}: " if "step" in fields else ""
        head = "NOT UNDONE: " if record.event == "not-undone" else ""
        medium = f" {fields['medium']}" if fields.get("medium") else ""
        line = f"{head}{what}{medium} refused (exit {fields.get('exit')}): {step}{fields.get('reason')}"
        return [line, *(f"- {each}" for each in _list(fields, "problems"))]
    if record.event == "trust":
        before = f"version {fields['before']} → " if fields.get("before") else "version "
        return [f"{verb}: root {before}{version}", f"fingerprint {fields.get('fingerprint')}"]
    if record.event == "repaired":
        return [f"REPAIRED: {fields.get('bytes')} bytes of a partial write before this record were skipped"]
    if record.event == "sealed":
        aside = f"{fields['file']} was set aside," if fields.get("file") else "the log was missing,"
        lines = [f"SEALED: {aside} intact records: {fields.get('records')}"]
        lines += [f"reason: {fields['reason']}"] if fields.get("reason") else []
        return [*lines, f"problem: {fields['problem']}"] if fields.get("problem") else lines
    return [f"{what}: {record.event}"]


def _begun(fields: dict[str, Any], what: str) -> list[str]:
    old = fields.get("from_version") if fields.get("verb") != "remove" else ""
    before = f" (was {old})" if old else ""
    change = f", change {fields['change_id']}" if fields.get("change_id") else ""
    where = f" for {fields['environment']}" if fields.get("environment") else ""
    lines = [f"{what} started{before} as transaction {fields.get('transaction')}{where}{change}"]
    released, approved = (
        [row for row in _list(fields, name) if isinstance(row, dict)]
        for name in ("released_by", "approved_by")
    )
    owners = dict.fromkeys(str(row.get("owner")) for row in released)
    approvals = [f"{row.get('owner')} ({row.get('role')})" for row in approved]
    lines += [f"released by {', '.join(owners)}"] if owners else []
    lines += [f"approved by {', '.join(approvals)}"] if approvals else []
    broken = [str(each) for each in _list(fields, "break_glass")]
    return [*lines, f"BREAK-GLASS used instead of: {'; '.join(broken)}"] if broken else lines


def _list(fields: dict[str, Any], name: str) -> list[Any]:
    found = fields.get(name)
    return found if isinstance(found, list) else []


def audit(
    system: System, since: datetime | None = None, product: str | None = None, anchors: Sequence[str] = ()
) -> Audit:
    """Check the log and return the records that were asked for.

    Args:
        system: The host.
        since: From when on records are shown.
        product: Of which product they are; None for all.
        anchors: Hashes of heads that were noted elsewhere, or their first 16 digits.

    Raises:
        UsageError: An anchor is not a hash.
        HostNotReadyError: This user cannot read the log.
    """
    lines, products = list[bytes](), set[str]()

    def begin() -> None:
        lines.clear()
        products.clear()

    def visit(record: Record) -> None:
        if about := record.fields.get("product"):
            products.add(str(about))
        if product in (None, record.fields.get("product")) and _at_least(record, since):
            lines.append(record.line)

    noted = [_checked(anchor) for anchor in anchors]
    with host_readable():
        try:
            found = examine(system, visit, noted, begin)
        except HostNotReadyError as error:
            raise _with_head(system, error) from error
    return Audit(found, tuple(lines), frozenset(products))


def _with_head(system: System, error: HostNotReadyError) -> HostNotReadyError:
    """Return an error that tells an ordinary user what is public of the log: its head."""
    head = None
    if not system.privileged and isinstance(error.__cause__, PermissionError):
        with suppress(OSError, HostNotReadyError):
            head = read_head(system)
    if head is None:
        return error
    what = f"only root may read its {head.number} records; the last one has the hash {head.hash}"
    return HostNotReadyError(what, where=error.where, hint=error.hint)


def _checked(anchor: str) -> str:
    wanted = anchor.strip().lower()
    if not _ANCHOR.fullmatch(wanted):
        raise UsageError("an anchor is 16 to 64 hexadecimal digits", where=anchor)
    return wanted


def _at_least(record: Record, since: datetime | None) -> bool:
    at = parse_time(str(record.fields.get("time", "")))
    return since is None or at is None or at >= since


def moment(text: str, now: datetime) -> datetime:
    """Return the time that `7d`, `12h`, `2026-11-24` or `2026-11-24T03:00:00Z` means.

    Raises:
        UsageError: It is none of them.
    """
    if match := _AGO.fullmatch(text):
        return now - timedelta(**{"days" if match[2] == "d" else "hours": int(match[1])})
    found = parse_time(text if "T" in text else f"{text}T00:00:00Z")
    if found is None:
        raise UsageError(
            "is not a valid time",
            where=f"--since {text}",
            hint="write 7d, 12h, 2026-11-24 or 2026-11-24T03:00:00Z",
        )
    return found


def export(path: Path, records: Iterable[Record]) -> str:
    """Write records, byte for byte as the log has them, to a new file.

    Returns:
        The SHA-256 of the file.

    Raises:
        UsageError: Something is there already.
        HostNotReadyError: It cannot be written.
    """
    digest = hashlib.sha256()
    lines = hash_pieces((record.line + b"\n" for record in records), digest)
    write_output(path, lines)
    return digest.hexdigest()


@os_errors_as(HostNotReadyError, "cannot seal the log", LOG, "run as root; the file system must be writable")
def seal(system: System, reason: str) -> str:
    """Set the log aside as it is and begin a new one, whose first record names it.

    Args:
        system: The host.
        reason: Why, in the operator's words.

    Returns:
        Where the old log now is; empty where it was gone.

    Raises:
        RefusedError: There is none.
        BusyError: Another process writes to it.
        HostNotReadyError: It cannot be done; the log is as it was.
    """
    digest, size = hashlib.sha256(), 0
    with system.lock(audit_log.LOCK, audit_log.WAIT):
        for piece in segments.pieces(system):
            digest.update(piece)
            size += len(piece)
        found = examine(system)
        if not size and not found.problems:
            raise RefusedError("there is no audit log to seal", where=LOG)
        # The name has the time, so that several sealed logs can lie next to each other.
        common = recorder.common(system)
        aside = f"{STATE}/audit-{common['time'].replace(':', '').replace('-', '')}.jsonl"
        fields = {
            **common,
            "event": "sealed",
            "file": aside if size else "",
            "bytes": size,
            "sha256": digest.hexdigest(),
            "records": found.chain.count,
            "head": found.chain.head.hash,
            "problem": "; ".join(f"{p.where}: {p.what}" for p in found.problems),
            "reason": reason,
        }
        _swap(system, encode(1, START, fields), aside)
    return aside if size else ""


def _swap(system: System, first: Record, aside: str) -> None:
    """Put the new log in place; interrupted anywhere, there is the old log or the new one."""
    # Written aside and renamed: interrupted anywhere, there is one whole log.
    fresh = f"{LOG}.new"
    with suppress(FileNotFoundError):
        system.unlink(fresh)
    system.write_new(fresh, first.line + b"\n", 0o600)
    with suppress(FileNotFoundError):
        system.link(LOG, aside)
    # The old head would call the new log truncated; without a head a log of one record is accepted.
    with suppress(FileNotFoundError):
        system.unlink(HEAD)
    system.rename(fresh, LOG)
    # The new log begins with record 1: full segments are not taken for a part of it from here on.
    for number, path in enumerate(segments.closed_segments(system), 1):
        system.rename(path, f"{aside.removesuffix('.jsonl')}.{number:06d}.jsonl")
    system.sync_dir(STATE)
    audit_log.AuditLog(system, audit_log.read_head(system)).note_head()
