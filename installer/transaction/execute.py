"""One transaction: everything that changes the host, so that it is done whole or not at all.

    BEGIN → INTENT, DONE … → STAGED → INTENT, DONE … → COMMIT → END            it stands
                          │                         └→ FORWARD → INTENT, DONE … → COMMIT → END
                          └→ ABORT → UNDOING, UNDONE … → ROLLED-BACK → END      it never was

The effect of an operation begins only after its INTENT is on the disk, and its DONE is written only after the
effect is on the disk. COMMIT is one record; what comes after it is derived from the journal and done again
where it was cut short. FORWARD comes before the first step that cannot be undone, and holds what is left to
do: from there on nothing is undone. Whoever comes next goes on; what fails is told, and the release stands.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any

from installer.core.errors import (
    IncompleteError,
    NotUndoneError,
    Problem,
    RolledBackError,
    WaybillError,
)
from installer.deploy.operation import PHASES, Op, StepError
from installer.deploy.registry import handler, is_point_of_no_return
from installer.host.context import Context
from installer.host.directories import make_directory
from installer.state.state import Entry, State, reserve
from installer.transaction import finalize
from installer.transaction import journal as journals
from installer.transaction.journal import Journal, Record

SAID = 16 * 1024
"""Bytes of what services said that go into the journal."""
UNDO_TRIES = 3
UNDO_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction is to bring about.

    Attributes:
        verb: `apply`, `rollback` or `remove`.
        number: The id of the transaction.
        state: What stands before it.
        new: The release that is to run; None where none is.
        operations: In any order; phases sort them.
    """

    verb: str
    number: str
    state: State
    new: Entry | None
    operations: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transaction that stands ended.

    Attributes:
        state: What stands now.
        pending: What could not be cleared after COMMIT, in words; the next command does it. Empty: nothing.
    """

    state: State
    pending: str = ""


class Interrupted(BaseException):
    """A signal asked us to stop."""


class _Signals:
    """Turns SIGINT, SIGTERM and SIGHUP into an orderly way back, and then does not hear them any more."""

    def __init__(self) -> None:
        self.deaf = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del frame
        if not self.deaf:
            self.deaf = True
            raise Interrupted(signal.Signals(number).name)


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {
        number: signal.signal(number, signals) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield signals
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def execute(context: Context, change: Change, health: Callable[[], None]) -> Outcome:
    """Do a change, or undoes what it did of it. The caller holds the lock and has recovered.

    Args:
        context: The host; the transaction's id is filled in here.
        change: What to do.
        health: Watches the new release; raises StepError where it is not healthy.

    Returns:
        How it ended, once it stands.

    Raises:
        RolledBackError: It could not be done; the host is as it was.
        NotUndoneError: It could not be done and not fully undone.
        IncompleteError: It stands, but something failed past the point from which there was no way back.
    """
    context = replace(context, transaction=change.number)
    with _signals() as signals:
        try:
            journal = _begin(context, change)
            known = {"verb": change.verb, "version": change.new.version if change.new else ""}
            context.progress.step("", step="begun", transaction=change.number, **known)
        except BaseException as error:
            signals.deaf = True
            with suppress(OSError):
                finalize.not_started(context)
            raise RolledBackError(
                f"could not begin: {reason(error)}", hint="nothing was changed; put it right and try again"
            ) from error
        failed: BaseException | None = None
        try:
            _forward(context, journal, change, health, signals)
            signals.deaf = True
            if not journal.has("FORWARD"):
                journal.append("COMMIT", at=int(context.system.now()))
        except BaseException as error:
            signals.deaf = True
            if not journal.has("FORWARD"):
                undo(context, journal, _in_full(error), _said(error))
                with suppress(OSError, WaybillError):  # the next command does it again
                    finalize.after_rollback(context, journal)
                raise _rolled_back(change, error) from error
            failed = error
        if journal.has("FORWARD"):
            _stand(context, journal, failed)
        outcome = _finish(context, journal)
        if failed is not None:
            raise incomplete_error(outcome.state.current, reason(failed), _said(failed)) from failed
        context.progress.step("", step="committed", transaction=change.number)
        return outcome


def _begin(context: Context, change: Change) -> Journal:
    system, layout = context.system, context.layout
    make_directory(system, layout.transactions)
    make_directory(system, layout.releases)
    finalize.create_history(context)
    reserve(system, layout, change.state.after(int(change.number), change.new))
    expected = sum(2 * len(repr(op.args)) + 1024 for op in change.operations)
    journal = Journal.create(system, layout.journal(change.number), expected)
    journal.append(
        "BEGIN",
        schema=journals.SCHEMA,
        room=journal.size,
        state=change.state.as_json(),
        verb=change.verb,
        at=int(system.now()),
        boot=system.boot_id(),
        new=change.new.as_json() if change.new else None,
        old=change.state.current.name if change.state.current else "",
        operations=len(change.operations),
    )
    return journal


def _forward(
    context: Context, journal: Journal, change: Change, health: Callable[[], None], signals: _Signals
) -> None:
    for phase in PHASES:
        ops = [op for op in change.operations if op.phase == phase]
        for place, op in enumerate(ops):
            if is_point_of_no_return(op) and not journal.has("FORWARD"):
                signals.deaf = True
                journal.append("FORWARD", rest=[each.as_json() for each in ops[place:]])
                note = f"{op.label}: there is no way back from here on, and Ctrl-C is not heard"
                context.progress.step(note, step="no way back", transaction=change.number)
            _do(context, journal, op)
        if phase == "stage":
            journal.append("STAGED")
            context.progress.step("", step="staged", transaction=change.number)
    context.progress.step("", step="health", transaction=change.number)
    health()


def _do(context: Context, journal: Journal, op: Op, begun: Record | None = None) -> None:
    """Do an operation; again with the preimage of then, where an earlier process has begun it."""
    with _told(context, op, "do", op.label):
        found = handler(op.kind)
        if begun is None:
            journal.append("INTENT", op=op.as_json(), preimage=found.observe(context, op.args))
            begun = journal.records[-1]
        found.do(context, op.args, begun.fields["preimage"])
        journal.append("DONE", of=begun.number)


def roll_forward(context: Context, journal: Journal, health: Callable[[], None]) -> None:
    """Go on with a transaction that was cut short where there was no way back: it stands then.

    Args:
        context: The host; its lock is held.
        journal: The transaction's, with FORWARD and without COMMIT.
        health: Watches the new release; raises StepError where it is not healthy.

    Raises:
        NotUndoneError: Its end cannot be written; nothing is lost, and the next command goes on.
    """
    at = next(place for place, record in enumerate(journal.records) if record.type == "FORWARD")
    left = [Op.from_json(each) for each in journal.records[at].fields["rest"]]
    begun = [record for record in journal.records[at:] if record.type == "INTENT"]
    done = {record.fields["of"] for record in journal.records if record.type == "DONE"}
    failed: Exception | None = None
    try:
        for place, op in enumerate(left):
            before = begun[place] if place < len(begun) else None
            if before is None or before.number not in done:
                _do(context, journal, op, before)
        health()
    except Exception as error:
        failed = error
    _stand(context, journal, failed)


def _stand(context: Context, journal: Journal, failed: BaseException | None) -> None:
    """Decide that a transaction stands that cannot be undone any more, whatever failed of it."""
    ended: dict[str, Any] = {"at": int(context.system.now())}
    if failed is not None:
        ended |= {"why": _in_full(failed)[:2000], "said": _bounded(_said(failed))}
    try:
        journal.append("COMMIT", **ended)
    except Exception as error:
        journal.require_reboot(error)
        raise NotUndoneError(
            f"the release cannot be undone any more, and its end cannot be written: {reason(error)}",
            where=journal.path,
            hint="put right what is named here, then run `install recover`: it goes on where this stopped",
        ) from error


@contextmanager
def _told(context: Context, op: Op, step: str, label: str) -> Iterator[None]:
    """Say that an operation is done or undone, and how that ended: each a line of a structured log."""
    progress, began = context.progress, context.system.monotonic()
    facts = {"transaction": context.transaction, "kind": op.kind, "phase": op.phase}
    progress.step(label, step=step, **facts)

    def end(how: str, **more: str) -> None:
        seconds = round(context.system.monotonic() - began, 3)
        progress.step("", step=f"{step} {how}", **facts, seconds=seconds, **more)

    try:
        yield
    except Exception as error:
        end("failed", reason=reason(error))
        raise
    end("done")


def begun_operations(journal: Journal) -> list[tuple[int, Op, dict[str, Any]]]:
    """Return the operations whose effects may be there, in the order in which they were begun."""
    undone = {record.fields["of"] for record in journal.records if record.type == "UNDONE"}
    return [
        (record.number, Op.from_json(record.fields["op"]), record.fields["preimage"])
        for record in journal.records
        if record.type == "INTENT" and record.number not in undone
    ]


def undo(context: Context, journal: Journal, why: str, said: Sequence[Problem] = ()) -> None:
    """Undo a transaction in reverse, from its journal alone; `said` is kept there with the reason.

    Raises:
        NotUndoneError: Something could not be undone; the journal stays open, and `recover` tries again.
    """
    try:
        if not journal.has("ABORT"):
            journal.append("ABORT", why=why[:2000], said=_bounded(said))
        for number, op, preimage in reversed(begun_operations(journal)):
            with _told(context, op, "undo", f"undo: {op.label}" if op.label else ""):
                journal.append("UNDOING", of=number)
                _undo_one(context, op, preimage)
                journal.append("UNDONE", of=number)
        if not journal.has("ROLLED-BACK"):
            journal.append("ROLLED-BACK", at=int(context.system.now()))
    except Exception as error:
        journal.require_reboot(error)
        raise not_undone_error(context, error, why) from error
    context.progress.step("", step="rolled back", transaction=context.transaction, reason=why)


def _bounded(said: Sequence[Problem]) -> list[str]:
    """Return problems as lines, no more than the journal keeps room for; the last ones say most."""
    lines: list[str] = []
    room = SAID
    for problem in reversed(said):
        line = f"{problem.where}: {problem.what}"[:1000]
        room -= len(json.dumps(line)) + 1
        if room < 0:
            break
        lines.insert(0, line)
    return lines


def _undo_one(context: Context, op: Op, preimage: dict[str, Any]) -> None:
    for attempt in range(1, UNDO_TRIES + 1):
        try:
            handler(op.kind).undo(context, op.args, preimage)
        except StepError:
            if attempt == UNDO_TRIES:
                raise
            context.system.sleep(UNDO_PAUSE * attempt)
        else:
            return


def _finish(context: Context, journal: Journal) -> Outcome:
    try:
        return Outcome(finalize.after_commit(context, journal))
    except (OSError, WaybillError) as error:
        journal.require_reboot(error)
        state = finalize.committed_state(context, journal)
        return Outcome(state, f"{reason(error)}; the next command, or `install recover`, does the rest")


def reason(error: BaseException) -> str:
    """Say in one line why a transaction failed."""
    if isinstance(error, WaybillError):
        return str(error).split("\n", 1)[0]
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        return f"interrupted by {error}" if str(error) else "interrupted"
    return f"{type(error).__name__}: {error}"


def _said(error: BaseException) -> Sequence[Problem]:
    return error.problems if isinstance(error, WaybillError) else ()


def _in_full(error: BaseException) -> str:
    return "; ".join([reason(error), *(f"{each.where}: {each.what}" for each in _said(error))])


def _rolled_back(change: Change, error: BaseException) -> RolledBackError:
    old = change.state.current
    stands = f"{old.version} is as it was before" if old else "nothing is installed, as before"
    hint = error.hint if isinstance(error, WaybillError) else ""
    return RolledBackError(
        f"{change.verb} failed and was undone, {stands}: {reason(error)}", hint=hint, problems=_said(error)
    )


def incomplete_error(new: Entry | None, why: str, said: Sequence[Problem] = ()) -> IncompleteError:
    """Say that a release stands of which something failed, and which ways lead on from there."""
    version, final = (new.version, "; ".join(new.irreversible)) if new else ("the release", "")
    return IncompleteError(
        f"{version} stands, but not whole: {why}",
        hint=f"there was no way back any more: {final}. Put right what is named, and install the same bundle "
        "again, or a newer one. To go back all the same: bring the data back by hand, rollback --data-fits",
        problems=said,
    )


def not_undone_error(context: Context, error: Exception, why: str) -> NotUndoneError:
    """Return what could not be undone and what to do about it."""
    if isinstance(error, NotUndoneError):
        return error
    return NotUndoneError(
        f"the release failed ({why}) and could not be fully undone: {reason(error)}",
        where=context.layout.journal(context.transaction),
        hint="put right what is named here, then run `install recover`: it goes on where this stopped. "
        "Nothing else is changed until then",
        problems=_said(error),
    )
