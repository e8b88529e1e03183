"""Records in the audit log what is done to this host: by which user, what, with which bundle, how it ended.

A transaction has two records: `begun`, on the disk before its journal, and `ended`. The second is derived
from the journal, and only for a transaction that has none yet: the next command writes, once, what a killed
process could not. If `begun` cannot be written, nothing is changed; if `ended`
cannot, the operator is warned.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from installer import __version__
from installer.audit import evidence
from installer.audit.log import AuditError, AuditLog, opened
from installer.audit.record import Record, encode
from installer.audit.removal_check import RemovalCheck, ended_removal, statement
from installer.core.errors import (
    BusyError,
    IncompleteError,
    NotUndoneError,
    RolledBackError,
    UsageError,
    WaybillError,
    os_errors_as,
)
from installer.core.remedies import remedy
from installer.core.timestamps import format_time
from installer.core.trust.steps import STEPS
from installer.host.context import Context
from installer.host.system import System
from installer.planning.irreversible import passed_by
from installer.planning.plan import Plan
from installer.shared.terminal.interrupts import TimeLimitPassed
from installer.state.host_identity import host_name
from installer.state.state import Entry
from installer.transaction import journal as journals

Note = Callable[[str], None]
LOST = "not-undone"
UNCHANGED = "unchanged"
_RECENT = 256 * 1024
"""Bytes at the end of the log in which the last record of a product is looked for."""
_UNWRITABLE = "cannot write the audit log"
_NOBODY = 2**32 - 1
"""The kernel's login uid of a process without a login."""


def common(system: System) -> dict[str, Any]:
    """Return the fields of every record: when, on which host, by which user, with which installer."""
    return {
        "time": format_time(datetime.fromtimestamp(int(system.now()), UTC)),
        "host": host_name(system),
        "by": operator(),
        "program": __version__,
    }


def operator() -> dict[str, Any]:
    """Return who runs this: the user, who used sudo, and who logged in, as far as the kernel knows."""
    uid = os.getuid()
    found: dict[str, Any] = {"uid": uid}
    with suppress(KeyError):
        found["user"] = pwd.getpwuid(uid).pw_name
    if os.environ.get("SUDO_USER"):
        found["sudo_user"] = os.environ["SUDO_USER"]
    # Not every kernel and container has a login uid.
    with suppress(OSError, ValueError):
        login = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
        if login != _NOBODY:
            found["login_uid"] = login
    return found


def begin(context: Context, plan: Plan, new: Entry | None) -> None:
    """Write that a transaction begins, and reserve space on the disk for the record of its end.

    Args:
        context: The host.
        plan: What will be done.
        new: The release that is to run, with the record of its verification; None where none is.

    Raises:
        AuditError: It cannot be written; nothing may be changed then.
        BusyError: Another process holds the log.
    """
    with (
        os_errors_as(AuditError, _UNWRITABLE, hint=lambda error: f"nothing was changed; {remedy(error)}"),
        opened(context.system) as log,
    ):
        # The record of the end must fit even if the transaction fills the disk.
        log.reserve()
        log.append({**common(context.system), "event": "begun", **_planned(plan, new)})


def _planned(plan: Plan, new: Entry | None) -> dict[str, Any]:
    entry = new or plan.old
    known = {
        "verb": plan.verb,
        "product": plan.product,
        "transaction": plan.number,
        "from_version": plan.old.version if plan.old else "",
    }
    passed = passed_by(plan.state, new) if plan.verb == "rollback" else []
    past = {"past": [f"{each.version}: {step}" for each, step in passed]} if passed else {}
    lost = plan.cluster.accepted if plan.cluster else ""
    accepted = {"quorum_loss": lost} if lost else {}
    purged = {"purged": list(plan.purged)} if plan.purged else {}
    return known | (_release(entry) if entry else {}) | past | accepted | purged


def _release(entry: Entry) -> dict[str, Any]:
    found = entry.evidence
    return {
        "version": entry.version,
        "sequence": entry.sequence,
        "identity": entry.identity,
        "methods": list(entry.methods),
        "environment": found.environment,
        "change_id": found.change_id,
        "released_by": found.released_by,
        "approved_by": found.approved_by,
        "break_glass": list(found.break_glass),
        "evidence": found.file.sha256 if found.file else "",
    }


def settle(context: Context, *, recovered: bool = False) -> dict[str, RemovalCheck]:
    """Record how transactions of a product ended, where the log lacks it; the caller holds the lock.

    After a removal, what should be gone is looked for and recorded, too. What cannot be written is reported,
    and the next command writes it.

    Args:
        context: The host.
        recovered: Whether this is another process than the one that began.

    Returns:
        What was found after removals, by their transactions.
    """
    more = {"recovered": True} if recovered else {}
    proofs: dict[str, RemovalCheck] = {}

    def write(log: AuditLog, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            log.append({**common(context.system), "event": "ended", **row, **more})
        log.note_head()

    try:
        with opened(context.system) as log:
            begun, lost = _open(log.about(context.layout.product))
            ends = [_ending(context, each, lost) for each in begun]
            known = [ended for ended in ends if ended is not None]
            removals = [ended for ended in known if ended["verb"] == "remove"]
            if not removals:
                write(log, known)
                if len(known) == len(begun):
                    log.settled(context.layout.product)
                return {}
        # The check may take a while, so the log is closed: other products need it. Ours is locked.
        for ended in removals:
            if proof := ended_removal(context, str(ended["transaction"])):
                proofs[proof.transaction] = proof
                ended |= {**proof.summary(), "evidence": _keep(context, proof, ended)}
                ended["exit"] = proof.exit_code
                if recovered:
                    context.progress.note(proof.text())
        with opened(context.system) as log:
            write(log, known)
    except (OSError, WaybillError) as error:
        why = _why(error)
        context.progress.warn(
            f"the end of this transaction is NOT in the audit log yet ({why}); the next command tries again"
        )
    return proofs


def _keep(context: Context, proof: RemovalCheck, ended: Mapping[str, Any]) -> str:
    """Write a check as evidence; return its SHA-256, empty where it could not be written."""
    data = statement(context, proof, str(ended.get("identity", "")), str(ended.get("version", "")))
    try:
        return evidence.record(context.system, data, "removed", str(ended.get("identity", ""))).sha256
    except OSError as error:
        context.progress.warn(f"cannot write the evidence to {evidence.DIRECTORY}: {error.strerror}")
        return ""


def _why(error: OSError | WaybillError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the audit log'}: {error.strerror}"
    return f"{error.where}: {error.what}" if error.where else error.what


def _open(records: Iterable[Record]) -> tuple[list[Record], set[str]]:
    """Return the beginnings of transactions without an end, and the journals that recovery could not process.

    One at a time: a log may have a hundred thousand records of one product.
    """
    begun: dict[str, Record] = {}
    lost = set[str]()
    for record in records:
        if record.event == LOST:
            lost.add(str(record.fields.get("where", "")).partition("@")[0])
        if record.event in ("begun", "ended"):
            # A number is used again after a transaction that was not started.
            begun.pop(str(record.fields.get("transaction")), None)
        if record.event == "begun":
            begun[str(record.fields.get("transaction"))] = record
    return list(begun.values()), lost


def _ending(context: Context, begun: Record, lost: Container[str]) -> dict[str, Any] | None:
    """Return how a transaction ended; None where its journal is still open, or damaged.

    Args:
        context: The host.
        begun: Its first record.
        lost: Journals that recovery could not process: if one is missing now, somebody removed it.
    """
    fields = begun.fields
    known: dict[str, Any] = {
        name: fields[name]
        for name in ("verb", "product", "transaction", "version", "identity")
        if name in fields
    }
    path = context.layout.journal(str(fields["transaction"]))
    # An open journal first: one that is being put away may exist under both names.
    for each in (path, path.removesuffix(".log") + ".done"):
        try:
            records = journals.read(context.system.read(each, journals.LIMIT), each).records
        except FileNotFoundError:
            continue
        except NotUndoneError:
            return None
        if not records:
            break
        at = {record.type: record.fields for record in records}
        if "COMMIT" in at:
            if fields["verb"] == "remove" and each == path:
                return None  # what it removes is not cleared yet
            seconds = at["COMMIT"]["at"] - at["BEGIN"]["at"]
            # Journals of older versions do not have it.
            known |= {"health": at["COMMIT"]["health"]} if "health" in at["COMMIT"] else {}
            if why := at["COMMIT"].get("why"):
                return known | {"result": "incomplete", "exit": 21, "seconds": seconds, "reason": why}
            return known | {"result": "done", "exit": 0, "seconds": seconds}
        if "ROLLED-BACK" in at:
            seconds = at["ROLLED-BACK"]["at"] - at["BEGIN"]["at"]
            why = at["ABORT"]["why"]
            return known | {"result": "rolled back", "exit": 20, "seconds": seconds, "reason": why}
        return None
    # It cannot be known what such a transaction did: the log says so for good.
    if path in lost:
        return known | {"result": "unknown", "exit": 21, "reason": "its journal was removed by hand"}
    # Records are kept for ever and read by scripts: the stored word stays as audit.schema.json has it.
    return known | {"result": "never began", "exit": 20, "reason": "nothing was changed"}


@dataclass(slots=True)
class AuditedCommand:
    """What a command is about to do, as far as it is known; recorded only if it is refused.

    Attributes:
        verb: The command: a verb of the audit log, such as `apply` or `trust update`.
        product: The product, where it is known beforehand.
        medium: What the operator called the bundle or file.
        about: Returns what is known of the bundle by now; only what a trusted key has signed.
        hide: Removes secrets from the text of an internal error, which may quote anything.
    """

    verb: str
    product: str = ""
    medium: str = ""
    about: Callable[[], Mapping[str, Any]] = dict
    hide: Callable[[str], str] = str

    def known(self) -> dict[str, Any]:
        """Return what is known, without empty fields."""
        known = {"verb": self.verb, "product": self.product, "medium": self.medium, **self.about()}
        return {name: value for name, value in known.items() if value}


@contextmanager
def audited(system: System, doing: AuditedCommand, note: Note) -> Iterator[AuditedCommand]:
    """Write a record if the command inside is refused, or cannot be undone.

    Args:
        system: The host.
        doing: The command.
        note: Called with a warning if the record cannot be written.
    """
    try:
        yield doing
    except (UsageError, RolledBackError, IncompleteError):
        raise  # wrong usage is not an event; what was rolled back, or is INCOMPLETE, has its `ended`
    except Exception as error:
        _record(system, doing, _refusal(error, doing.hide), note)
        raise
    except TimeLimitPassed as error:
        _record(system, doing, {"event": "refused", "reason": str(error), "exit": 20}, note)
        raise
    except KeyboardInterrupt:
        _record(system, doing, {"event": "refused", "reason": "interrupted", "exit": 130}, note)
        raise


def _refusal(error: Exception, hide: Callable[[str], str]) -> dict[str, Any]:
    if not isinstance(error, WaybillError):
        reason = hide(f"{type(error).__name__}: {error}")
        return {"event": "refused", "reason": reason, "exit": 1, "code": "fault"}
    event = LOST if isinstance(error, NotUndoneError) else "refused"
    row: dict[str, Any] = {"event": event, "reason": error.what, "exit": error.exit_code, "code": error.code}
    row |= {"where": error.where} if error.where else {}
    if error.problems:
        row["problems"] = [f"{p.where}: {p.what}" if p.where else p.what for p in error.problems]
    # The number of the step is what the documentation of the verification explains.
    if error.step:
        row |= {"step": error.step, "check": STEPS[error.step]}
    return row


def happened(system: System, event: str, fields: Mapping[str, Any], note: Note) -> None:
    """Write the record of one event.

    A run that changed nothing, like the run before it, is recorded once a day: configuration management runs
    every few minutes.

    Args:
        system: The host.
        event: `unchanged` or `trust`.
        fields: What the event has.
        note: Called with a warning if it cannot be written.
    """
    _record(system, AuditedCommand(""), {"event": event, **fields}, note)


def _record(system: System, doing: AuditedCommand, fields: Mapping[str, Any], note: Note) -> None:
    row = {**common(system), **doing.known(), **fields}
    try:
        with opened(system) as log:
            if row["event"] != UNCHANGED or not _is_repeated(log, row):
                log.begin_segment()
                log.append(row)
    except (OSError, AuditError, BusyError) as error:
        note(f"WARNING: this is NOT in the audit log ({_why(error)})")


def _is_repeated(log: AuditLog, row: Mapping[str, Any]) -> bool:
    """Return whether the last record of the same product is this one, of the same day."""
    for record in log.recent(_RECENT):
        if record.fields.get("product") == row.get("product"):
            # As it would be written: long texts are cut.
            again = encode(record.number, record.previous, {**row, "time": record.fields.get("time")}).fields
            day = str(row["time"])[:10]
            return again == record.fields and str(record.fields.get("time", ""))[:10] == day
    return False


def require(system: System) -> None:
    """Refuse if nothing can be added to the audit log; for what is recorded once it is done.

    Raises:
        AuditError: Nothing can.
    """
    with (
        os_errors_as(AuditError, _UNWRITABLE, hint=lambda error: f"nothing was changed; {remedy(error)}"),
        opened(system) as log,
    ):
        log.reserve()
