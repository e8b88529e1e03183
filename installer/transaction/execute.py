"""One transaction: all changes of the host, done completely or not at all.

    BEGIN → INTENT, DONE … → STAGED → INTENT, DONE … → COMMIT → END            committed
                          │                         └→ FORWARD → INTENT, DONE … → COMMIT → END
                          └→ ABORT → UNDOING, UNDONE … → ROLLED-BACK → END      rolled back

An operation takes effect only after its INTENT is on the disk, and its DONE is written only after the effect
is on the disk. COMMIT is one record; what follows is derived from the journal and done again after an
interruption. FORWARD marks the point of no return: it precedes the first step that cannot be undone, and
lists what is left to do. From there on nothing is undone; recovery rolls forward, failures are reported, and
the release is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from installer.core.errors import Cause, NotUndoneError, Problem, WaybillError
from installer.deploy.health.watch import ProbeResult
from installer.deploy.method_registry import handler, is_point_of_no_return
from installer.deploy.operation import PHASES, Op, StepError
from installer.host.context import Context
from installer.host.directories import make_directory
from installer.shared.terminal import interrupts
from installer.state.releases.passed_checks import PassedChecks
from installer.state.state import Entry, State, reserve
from installer.transaction import finalize
from installer.transaction import journal as journals
from installer.transaction.failures import (
    bounded,
    cause_of,
    in_journal,
    incomplete_error,
    not_started_error,
    not_undone_error,
    output_of,
    problems_of,
    reason,
    reason_in_full,
    rolled_back_error,
    set_cause,
)
from installer.transaction.journal import Journal, Record
from installer.transaction.old_release import watch_old_release

Health = Callable[[], Sequence[ProbeResult]]
"""Checks the health of the new release and returns what passed; raises StepError if it is not healthy."""
UNDO_TRIES = 3
UNDO_PAUSE = 2.0


@dataclass(frozen=True, slots=True)
class Change:
    """The change that a transaction makes.

    Attributes:
        verb: `apply`, `rollback` or `remove`.
        number: The id of the transaction.
        state: The state before it.
        new: The release that is to run; None if none is.
        operations: In any order; they are sorted by phase.
    """

    verb: str
    number: str
    state: State
    new: Entry | None
    operations: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a committed transaction.

    Attributes:
        state: The state now.
        pending: What could not be cleaned up after COMMIT, in words; the next command does it. May be empty.
    """

    state: State
    pending: str = ""


def execute(context: Context, change: Change, health: Health) -> Outcome:
    """Make a change, or undo it completely. The caller holds the lock and has recovered.

    Args:
        context: The host; the id of the transaction is set here.
        change: The change.
        health: Checks the health of the new release.

    Returns:
        How it ended, once it is committed.

    Raises:
        RolledBackError: It failed; the host is as it was before.
        NotUndoneError: It failed and could not be fully undone.
        IncompleteError: It is committed, but a step failed past the point of no return.
    """
    context = replace(context, transaction=change.number)
    with interrupts.deferred():
        try:
            journal = _begin(context, change)
            known = {"verb": change.verb, "version": change.new.version if change.new else ""}
            context.progress.step("", step="begun", transaction=change.number, **known)
        except BaseException as error:
            interrupts.finish()
            with suppress(OSError):
                # Nothing was changed yet; what was allocated is removed if possible, else by the next
                # command.
                finalize.not_started(context)
            raise not_started_error("could not start", error) from error
        failed: BaseException | None = None
        passed = dict[str, Any]()
        try:
            passed = _forward(context, journal, change, health)
            # From here on a signal must not undo what is committed.
            interrupts.finish()
            if not journal.has("FORWARD"):
                journal.append("COMMIT", at=int(context.system.now()), **passed)
        except BaseException as error:
            interrupts.finish()
            # Before the journal, and so the audit log, gets the reason.
            context.secrets.hide_error(error)
            if journal.has("COMMIT"):
                # Only the handler of a program that embeds us raises here: it is committed all the same.
                _finish(context, journal)
                raise
            if not journal.has("FORWARD"):
                _roll_back(context, journal, change, error)
            # Past the point of no return nothing is undone: the failure is recorded with COMMIT.
            failed = error
        if journal.has("FORWARD"):
            _commit_forward(context, journal, failed, passed)
        outcome = _finish(context, journal)
        if failed is not None:
            # After the cleanup: the state must show the committed release first.
            state = outcome.state
            raise incomplete_error(state.current, reason(failed), problems_of(failed), failed) from failed
        context.progress.step("", step="committed", transaction=change.number)
        return outcome


def _roll_back(context: Context, journal: Journal, change: Change, error: BaseException) -> NoReturn:
    if isinstance(error, KeyboardInterrupt):
        context.progress.warn(f"{reason(error)}: rolling back")
    undo(context, journal, reason_in_full(error), problems_of(error), cause_of(error))
    with suppress(OSError, WaybillError):  # the next command does it again
        finalize.after_rollback(context, journal)
    # The exit code says that the old release runs: it has started, but may not answer yet.
    sick = watch_old_release(context, journal, change.state.current)
    sick = context.secrets.hide_problem(sick) if sick else None
    raise rolled_back_error(change.verb, change.state.current, error, sick) from error


def _begin(context: Context, change: Change) -> Journal:
    system, layout = context.system, context.layout
    make_directory(system, layout.releases)
    finalize.create_history(context)
    # Everything that the end of the transaction needs is allocated before it begins: a disk that fills up
    # meanwhile must not keep it from ending.
    reserve(system, layout, change.state.after(int(change.number), change.new))
    # Arguments are in INTENT and preimages are about as large; the rest is hashes and names.
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


def _forward(context: Context, journal: Journal, change: Change, health: Health) -> dict[str, Any]:
    """Carry out all operations, and return what COMMIT has of the health checks that then passed."""
    for phase in PHASES:
        ops = [op for op in change.operations if op.phase == phase]
        for place, op in enumerate(ops):
            # Between two operations nothing is half done.
            interrupts.check()
            if is_point_of_no_return(op) and not journal.has("FORWARD"):
                interrupts.finish()
                journal.append("FORWARD", rest=[each.as_json() for each in ops[place:]])
                note = (
                    f"{op.label}: point of no return; from here on nothing is undone, and Ctrl-C is ignored"
                )
                context.progress.step(note, step="point of no return", transaction=change.number)
            _do(context, journal, op)
        # Before STAGED nothing outside of Waybill's own directories was changed: recovery needs no undo
        # then.
        if phase == "stage":
            journal.append("STAGED")
            context.progress.step("", step="staged", transaction=change.number)
            # Loading images can take an hour. What was changed meanwhile is found before services stop.
            for op in change.operations:
                handler(op.kind).require_unchanged(context, op.args)
    context.progress.step("", step="health", transaction=change.number)
    # After a removal there is nothing to check.
    return _passed(context, health) if change.new else {}


def _passed(context: Context, health: Health) -> dict[str, Any]:
    with _health_reported(context):
        results = health()
    return {"health": PassedChecks.of((each.name for each in results), context.secrets).as_json()}


def _do(context: Context, journal: Journal, op: Op, begun: Record | None = None) -> None:
    """Carry out an operation; if an earlier process began it, with the preimage that it recorded."""
    with _reported(context, op, "do", op.label):
        found = handler(op.kind)
        if begun is None:
            # The preimage is recorded before the effect: afterwards nothing could tell what was there.
            journal.append("INTENT", op=op.as_json(), preimage=found.observe(context, op.args))
            begun = journal.records[-1]
        found.do(context, op.args, begun.fields["preimage"])
        journal.append("DONE", of=begun.number)


def roll_forward(context: Context, journal: Journal, health: Health) -> None:
    """Complete a transaction that was interrupted past its point of no return, and commit it.

    Args:
        context: The host; its lock is held.
        journal: Its journal, with FORWARD and without COMMIT.
        health: Checks the health of the new release.

    Raises:
        NotUndoneError: Its end cannot be recorded; nothing is lost, and the next command continues.
    """
    at = next(place for place, record in enumerate(journal.records) if record.type == "FORWARD")
    left = [Op.from_json(each) for each in journal.records[at].fields["rest"]]
    begun = [record for record in journal.records[at:] if record.type == "INTENT"]
    # An operation without DONE may have taken effect in part: it is carried out again.
    done = {record.fields["of"] for record in journal.records if record.type == "DONE"}
    failed: Exception | None = None
    passed = dict[str, Any]()
    try:
        for place, op in enumerate(left):
            before = begun[place] if place < len(begun) else None
            if before is None or before.number not in done:
                _do(context, journal, op, before)
        passed = _passed(context, health)
    except Exception as error:
        # Each step, and the health checks, have hidden secrets in it when they reported it.
        failed = error
    _commit_forward(context, journal, failed, passed)


def _commit_forward(
    context: Context, journal: Journal, failed: BaseException | None, passed: dict[str, Any]
) -> None:
    """Commit a transaction that cannot be undone any more, with what failed of it."""
    ended: dict[str, Any] = {"at": int(context.system.now()), **passed}
    if failed is not None:
        ended |= {"why": in_journal(reason_in_full(failed)), "said": bounded(problems_of(failed))}
    try:
        journal.append("COMMIT", **ended)
    except Exception as error:
        journal.require_reboot(error)
        raise NotUndoneError(
            f"the release is past its point of no return, but its commit cannot be recorded: {reason(error)}",
            where=journal.path,
            hint="fix the cause named above, then run `install recover`: it continues from here",
        ) from error


@contextmanager
def _reported(context: Context, op: Op, step: str, label: str) -> Iterator[None]:
    """Report the beginning and the end of an operation, each as a line of a structured log."""
    progress, began = context.progress, context.system.monotonic()
    facts = {"transaction": context.transaction, "kind": op.kind, "phase": op.phase}
    progress.step(label, step=step, **facts)

    def end(how: str, **more: Any) -> None:
        seconds = round(context.system.monotonic() - began, 3)
        progress.step("", step=f"{step} {how}", **facts, label=label, seconds=seconds, **more)

    try:
        yield
    except Exception as error:
        context.secrets.hide_error(error)
        end("failed", **_failure(context, error, handler(op.kind).cause))
        raise
    end("done")


def _failure(context: Context, error: BaseException, cause: Cause) -> dict[str, Any]:
    """Return what is reported of a failed step, without secrets."""
    set_cause(error, cause)
    # A script may have printed what it was called with.
    output = context.secrets.hide_all(output_of(error))
    return {"reason": reason(error), "cause": cause_of(error), "output": output}


@contextmanager
def _health_reported(context: Context) -> Iterator[None]:
    """Report the end of the health checks, like that of an operation."""
    facts = {
        "transaction": context.transaction,
        "kind": "health",
        "phase": "health",
        "label": "health checks",
    }
    began = context.system.monotonic()

    def end(how: str, **more: Any) -> None:
        seconds = round(context.system.monotonic() - began, 3)
        context.progress.step("", step=f"health {how}", **facts, seconds=seconds, **more)

    try:
        yield
    except Exception as error:
        context.secrets.hide_error(error)
        end("failed", **_failure(context, error, "health"))
        raise
    end("done")


def begun_operations(journal: Journal) -> list[tuple[int, Op, dict[str, Any]]]:
    """Return the operations whose effects may be on the host, in the order in which they began."""
    # After an interrupted undo only the rest is undone.
    undone = {record.fields["of"] for record in journal.records if record.type == "UNDONE"}
    return [
        (record.number, Op.from_json(record.fields["op"]), record.fields["preimage"])
        for record in journal.records
        if record.type == "INTENT" and record.number not in undone
    ]


def undo(
    context: Context, journal: Journal, why: str, problems: Sequence[Problem] = (), cause: str = ""
) -> None:
    """Undo a transaction in reverse order, from its journal alone, and record the reason and the problems.

    Args:
        context: The host.
        journal: The journal of the transaction.
        why: What failed, in one line.
        problems: Further problems.
        cause: Which kind of thing failed; empty if it is not known.

    Raises:
        NotUndoneError: Something could not be undone; the journal stays open, and `recover` tries again.
    """
    try:
        if not journal.has("ABORT"):
            known = {"cause": cause} if cause else {}
            journal.append("ABORT", why=in_journal(why), said=bounded(problems), **known)
        # In reverse: later operations may depend on earlier ones.
        for number, op, preimage in reversed(begun_operations(journal)):
            with _reported(context, op, "undo", handler(op.kind).undo_label(op)):
                # Recorded before, so that a recovery can tell an undo that was interrupted from one not
                # begun.
                journal.append("UNDOING", of=number)
                _undo_one(context, op, preimage)
                journal.append("UNDONE", of=number)
        if not journal.has("ROLLED-BACK"):
            journal.append("ROLLED-BACK", at=int(context.system.now()))
    except Exception as error:
        journal.require_reboot(error)
        # The journal stays open: the next command tries again from here.
        raise not_undone_error(context, error, why) from error
    context.progress.step("", step="rolled back", transaction=context.transaction, reason=why)


def _undo_one(context: Context, op: Op, preimage: dict[str, Any]) -> None:
    for attempt in range(1, UNDO_TRIES + 1):
        try:
            handler(op.kind).undo(context, op.args, preimage)
        # Services may need some seconds to stop; other errors do not go away by waiting.
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
        return Outcome(
            state, f"{reason(error)}; run `install recover` to complete it (the next command also does this)"
        )
