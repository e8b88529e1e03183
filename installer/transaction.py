"""One transaction: everything that changes the host, so that it is done whole or not at all.

    BEGIN → INTENT, DONE … → STAGED → INTENT, DONE … → COMMIT → END            it stands
                          └→ ABORT → UNDOING, UNDONE … → ROLLED-BACK → END      it never was

The effect of an operation begins only after its INTENT is on the disk, and its DONE is written only after the
effect is on the disk. COMMIT is one record; what comes after it is derived from the journal and done again
where it was cut short.
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

from installer import housekeeping
from installer import journal as journals
from installer.core.errors import NotUndoneError, Problem, RolledBackError, WaybillError
from installer.deploy.files import make_directory
from installer.journal import Journal
from installer.operations import PHASES, Context, Op, StepError, handler
from installer.state import Entry, State, reserve

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
    """Does a change, or undoes what it did of it. The caller holds the lock and has recovered.

    Args:
        context: The host; the transaction's id is filled in here.
        change: What to do.
        health: Watches the new release; raises StepError where it is not healthy.

    Returns:
        How it ended, once it stands.

    Raises:
        RolledBackError: It could not be done; the host is as it was.
        NotUndoneError: It could not be done and not fully undone.
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
                housekeeping.never_began(context)
            raise RolledBackError(
                f"could not begin: {reason(error)}", hint="nothing was changed; put it right and try again"
            ) from error
        try:
            _forward(context, journal, change, health)
            signals.deaf = True
            journal.append("COMMIT", at=int(context.system.now()))
        except BaseException as error:
            signals.deaf = True
            said = error.problems if isinstance(error, WaybillError) else ()
            undo(context, journal, _in_full(error), said)
            with suppress(OSError, WaybillError):  # the next command does it again
                housekeeping.after_rollback(context, journal)
            raise _rolled_back(change, error) from error
        outcome = _finish(context, journal)
        context.progress.step("", step="committed", transaction=change.number)
        return outcome


def _begin(context: Context, change: Change) -> Journal:
    system, layout = context.system, context.layout
    make_directory(system, layout.transactions)
    make_directory(system, layout.releases)
    housekeeping.make_history(context)
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


def _forward(context: Context, journal: Journal, change: Change, health: Callable[[], None]) -> None:
    for phase in PHASES:
        for op in change.operations:
            if op.phase == phase:
                _do(context, journal, op)
        if phase == "stage":
            journal.append("STAGED")
            context.progress.step("", step="staged", transaction=change.number)
    context.progress.step("", step="health", transaction=change.number)
    health()


def _do(context: Context, journal: Journal, op: Op) -> None:
    with _told(context, op, "do", op.label):
        found = handler(op.kind)
        preimage = found.observe(context, op.args)
        journal.append("INTENT", op=op.as_json(), preimage=preimage)
        number = journal.records[-1].number
        found.do(context, op.args, preimage)
        journal.append("DONE", of=number)


@contextmanager
def _told(context: Context, op: Op, step: str, label: str) -> Iterator[None]:
    """Says that an operation is done or undone, and how that ended: each a line of a structured log."""
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


def intents(journal: Journal) -> list[tuple[int, Op, dict[str, Any]]]:
    """Gives the operations whose effects may be there, in the order in which they were begun."""
    undone = {record.fields["of"] for record in journal.records if record.type == "UNDONE"}
    return [
        (record.number, Op.from_json(record.fields["op"]), record.fields["preimage"])
        for record in journal.records
        if record.type == "INTENT" and record.number not in undone
    ]


def undo(context: Context, journal: Journal, why: str, said: Sequence[Problem] = ()) -> None:
    """Undoes a transaction in reverse, from its journal alone; `said` is kept there with the reason.

    Raises:
        NotUndoneError: Something could not be undone; the journal stays open, and `recover` tries again.
    """
    try:
        if not journal.has("ABORT"):
            journal.append("ABORT", why=why[:2000], said=_bounded(said))
        for number, op, preimage in reversed(intents(journal)):
            with _told(context, op, "undo", f"undo: {op.label}" if op.label else ""):
                journal.append("UNDOING", of=number)
                _undo_one(context, op, preimage)
                journal.append("UNDONE", of=number)
        if not journal.has("ROLLED-BACK"):
            journal.append("ROLLED-BACK", at=int(context.system.now()))
    except Exception as error:
        journal.distrust(error)
        raise not_undone(context, error, why) from error
    context.progress.step("", step="rolled back", transaction=context.transaction, reason=why)


def _bounded(said: Sequence[Problem]) -> list[str]:
    """Gives problems as lines, no more than the journal keeps room for; the last ones say most."""
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
        return Outcome(housekeeping.after_commit(context, journal))
    except (OSError, WaybillError) as error:
        journal.distrust(error)
        state = housekeeping.committed(context, journal)
        return Outcome(state, f"{reason(error)}; the next command, or `install recover`, does the rest")


def reason(error: BaseException) -> str:
    """Says in one line why a transaction failed."""
    if isinstance(error, WaybillError):
        return str(error).split("\n", 1)[0]
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if isinstance(error, (KeyboardInterrupt, Interrupted)):
        return f"interrupted by {error}" if str(error) else "interrupted"
    return f"{type(error).__name__}: {error}"


def _in_full(error: BaseException) -> str:
    problems = error.problems if isinstance(error, WaybillError) else ()
    return "; ".join([reason(error), *(f"{each.where}: {each.what}" for each in problems)])


def _rolled_back(change: Change, error: BaseException) -> RolledBackError:
    old = change.state.current
    stands = f"{old.version} is as it was before" if old else "nothing is installed, as before"
    problems = error.problems if isinstance(error, WaybillError) else ()
    hint = error.hint if isinstance(error, WaybillError) else ""
    return RolledBackError(
        f"{change.verb} failed and was undone, {stands}: {reason(error)}", hint=hint, problems=problems
    )


def not_undone(context: Context, error: Exception, why: str) -> NotUndoneError:
    """Says what could not be undone and what to do about it."""
    problems: Sequence[Any] = error.problems if isinstance(error, WaybillError) else ()
    if isinstance(error, NotUndoneError):
        return error
    return NotUndoneError(
        f"the release failed ({why}) and could not be fully undone: {reason(error)}",
        where=context.layout.journal(context.transaction),
        hint="put right what is named here, then run `install recover`: it goes on where this stopped. "
        "Nothing else is changed until then",
        problems=problems,
    )
