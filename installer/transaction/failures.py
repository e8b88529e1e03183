"""Errors of a transaction: what failed, in words, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from installer.core.errors import (
    Cause,
    IncompleteError,
    NotUndoneError,
    Problem,
    RolledBackError,
    WaybillError,
)
from installer.host.context import Context
from installer.shared.terminal.interrupts import TimeLimitPassed
from installer.state.state import Entry


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


def cause_of(error: BaseException) -> Cause | Literal[""]:
    """Return which kind of thing made a transaction fail; empty for a fault of ours."""
    if isinstance(error, TimeLimitPassed):
        return "timeout"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, WaybillError):
        # A file in a third state, an audit log that cannot be written: the host's.
        return error.cause or "io"
    return "io" if isinstance(error, OSError) else ""


def problems_of(error: BaseException) -> Sequence[Problem]:
    """Return the further problems of an error."""
    return error.problems if isinstance(error, WaybillError) else ()


def reason_in_full(error: BaseException) -> str:
    """Return the reason with all further problems, in one line."""
    return "; ".join([reason(error), *(f"{each.where}: {each.what}" for each in problems_of(error))])


def incomplete_error(new: Entry | None, why: str, problems: Sequence[Problem] = ()) -> IncompleteError:
    """Return the error for a committed release of which a step failed, with what to do next."""
    version, final = (new.version, "; ".join(new.irreversible)) if new else ("the release", "")
    return IncompleteError(
        f"{version} is INCOMPLETE: committed, but a step failed: {why}",
        hint=f"it was past its point of no return: {final}. Fix the cause and install the same bundle again, "
        "or a newer one. To roll back, restore the data by hand, then run: install rollback --data-restored",
        problems=problems,
    )


def not_undone_error(context: Context, error: Exception, why: str) -> NotUndoneError:
    """Return the error for a failure that could not be undone, with what to do next."""
    if isinstance(error, NotUndoneError):
        return error
    return NotUndoneError(
        f"the release failed ({why}) and could not be fully undone: {reason(error)}",
        where=context.layout.journal(context.transaction),
        hint="fix the cause named above, then run `install recover`: it continues from here. Until "
        "then, Waybill changes nothing else",
        problems=problems_of(error),
    )


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
    problems = [*problems_of(error), *([sick] if sick else ())]
    failed = RolledBackError(
        f"{verb} failed and was rolled back ({now}): {reason(error)}", hint=hint, problems=problems
    )
    failed.cause = cause_of(error)
    return failed
