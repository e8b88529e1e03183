"""Errors of a transaction: what failed, in words, and what to do next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, TypeVar

from installer.core.errors import (
    Cause,
    IncompleteError,
    NotUndoneError,
    Problem,
    RolledBackError,
    WaybillError,
)
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.shared.command.run_record import OUTPUT_LINES
from installer.shared.secrecy.known import shortened
from installer.shared.terminal.interrupts import TimeLimitPassed
from installer.state.state import Entry

PROBLEM_BYTES = 16 * 1024
"""Largest size of the problems of a failure in the journal."""
_PROBLEM = 1000
"""Characters of one of them."""
_REASON = 2000
"""Characters of the reason of a failure in the journal."""
_SHOWN = 4
"""Parts of a reason that a line for people has."""
Failed = TypeVar("Failed", bound=WaybillError)


def reason(error: BaseException) -> str:
    """Return in one line why a transaction failed."""
    if isinstance(error, WaybillError):
        return str(error).split("\n", 1)[0]
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    if isinstance(error, TimeLimitPassed):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return f"interrupted by {error}" if str(error) else "interrupted"
    return f"{type(error).__name__}: {error}"


def set_cause(error: BaseException, cause: Cause) -> None:
    """Note what kind of thing failed, where the error does not say so itself.

    Args:
        error: What failed.
        cause: Of the operation, or `health`.
    """
    if isinstance(error, StepError) and not error.cause:
        error.cause = cause


def cause_of(error: BaseException | None) -> Cause | Literal[""]:
    """Return what kind of thing failed, for scripts; empty for an internal error, and for none."""
    if isinstance(error, TimeLimitPassed):
        return "timeout"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError):
        return "timeout" if isinstance(error, TimeoutError) else "io"
    return error.cause or "io" if isinstance(error, WaybillError) else ""


def output_of(error: BaseException) -> tuple[str, ...]:
    """Return the last lines of what failed; for health checks, what the services have logged."""
    if not isinstance(error, StepError) or error.output:
        return error.output if isinstance(error, StepError) else ()
    return tuple(f"{each.where}: {each.what}" for each in error.problems)[-OUTPUT_LINES:]


def not_started_error(what: str, error: BaseException) -> RolledBackError:
    """Return the error for a transaction that failed before it changed anything.

    Args:
        what: "could not start".
        error: What failed.
    """
    hint = "nothing was changed; fix the cause and try again"
    return _caused(RolledBackError(f"{what}: {reason(error)}", hint=hint), error)


def _caused(failed: Failed, error: BaseException | None) -> Failed:
    failed.cause = cause_of(error)
    return failed


def problems_of(error: BaseException) -> Sequence[Problem]:
    """Return the further problems of an error."""
    return error.problems if isinstance(error, WaybillError) else ()


def reason_in_full(error: BaseException) -> str:
    """Return the reason with all further problems, in one line."""
    return "; ".join([reason(error), *(f"{each.where}: {each.what}" for each in problems_of(error))])


def brief(why: str, rest: str = "see `install history --json`") -> str:
    """Return the begin of a reason in full, which has what services logged.

    Args:
        why: The reason.
        rest: Where all of it is.
    """
    parts = why.split("; ")
    if len(parts) <= _SHOWN + 1:
        return why
    return f"{'; '.join(parts[:_SHOWN])}; and {len(parts) - _SHOWN} more: {rest}"


def in_journal(reason: str) -> str:
    """Return a reason, without secrets already, within the space that a journal has for it."""
    return shortened(reason, _REASON)


def bounded(problems: Sequence[Problem]) -> list[str]:
    """Return problems, without secrets already, as lines within the space of the journal.

    The last ones are the most specific.
    """
    lines: list[str] = []
    space = PROBLEM_BYTES
    for problem in reversed(problems):
        line = shortened(f"{problem.where}: {problem.what}", _PROBLEM)
        space -= len(json.dumps(line)) + 1
        if space < 0:
            break
        lines.insert(0, line)
    return lines


def incomplete_error(
    new: Entry | None, why: str, problems: Sequence[Problem] = (), failed: BaseException | None = None
) -> IncompleteError:
    """Return the error for a committed release of which a step failed, with what to do next."""
    version, final = (new.version, "; ".join(new.irreversible)) if new else ("the release", "")
    error = IncompleteError(
        f"{version} is INCOMPLETE: committed, but a step failed: {brief(why)}",
        hint=f"it was past its point of no return: {final}. Fix the cause and install the same bundle again, "
        "or a newer one. To roll back, restore the data by hand, then run `install rollback --data-restored`",
        problems=problems,
    )
    return _caused(error, failed)


def not_undone_error(context: Context, error: Exception, why: str) -> NotUndoneError:
    """Return the error for a failure that could not be undone, with what to do next."""
    if isinstance(error, NotUndoneError):
        return error
    first = brief(why, "all are in the journal")
    failed = NotUndoneError(
        f"the release failed ({first}) and could not be fully undone: {reason(error)}",
        where=context.layout.journal(context.transaction),
        hint="fix the cause named above, then run `install recover`: it continues from here. Until "
        "then, Waybill changes nothing else",
        problems=problems_of(error),
    )
    return _caused(failed, error)


def rolled_back_error(
    verb: str, old: Entry | None, error: BaseException, sick: Problem | None = None
) -> RolledBackError:
    """Return the error for a transaction that failed and was undone.

    Args:
        verb: What was undone: `apply`, `rollback` or `remove`.
        old: The release that runs again; None if none does.
        error: What failed.
        sick: Why the old release is not known to be healthy; None where it is.
    """
    now = f"{old.version} is still installed" if old else "nothing is installed, as before"
    hint = error.hint if isinstance(error, WaybillError) else ""
    if isinstance(error, TimeLimitPassed):
        hint = "find out what took so long; then run it with a longer --timeout, and with --retry-failed"
    problems = [*problems_of(error), *([sick] if sick else ())]
    what = f"{verb} failed and was rolled back ({now}): {reason(error)}"
    return _caused(RolledBackError(what, hint=hint, problems=problems), error)
