"""Why a transaction failed: in words for people, and as one cause and the last output for scripts."""

from __future__ import annotations

import errno
from dataclasses import replace

import pytest

from installer.core.errors import MediaError, NotUndoneError, Problem, RefusedError, WaybillError
from installer.deploy.operation import StepError
from installer.host.context import Context
from installer.shared.command.run_record import OUTPUT_LINES
from installer.shared.terminal.interrupts import Interrupted, TimeLimitPassed
from installer.state.state import Entry
from installer.transaction.failures import (
    brief,
    cause_of,
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

FULL = OSError(errno.ENOSPC, "No space left on device", "/opt/x")
SICK = Problem("web", "exited with code 3")


def failed(cause: str = "", **fields: object) -> StepError:
    error = StepError("exited with code 3", where="chat", problems=[SICK])
    for name, value in {"cause": cause, **fields}.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "words", "cause"),
    [
        (failed("script"), "chat: exited with code 3", "script"),
        (failed(), "chat: exited with code 3", "io"),
        (FULL, "/opt/x: No space left on device", "io"),
        (OSError("odd"), "odd", "io"),
        (TimeoutError(errno.ETIMEDOUT, "timed out"), "timed out", "timeout"),
        (TimeLimitPassed("the time limit of 5 s has passed"), "the time limit of 5 s has passed", "timeout"),
        (Interrupted("SIGTERM"), "interrupted by SIGTERM", "interrupted"),
        (KeyboardInterrupt(), "interrupted", "interrupted"),
        (ValueError("a fault of ours"), "ValueError: a fault of ours", ""),
    ],
)
def test_a_failure_has_its_reason_and_cause(error: BaseException, words: str, cause: str) -> None:
    assert reason(error) == words
    assert cause_of(error) == cause
    assert cause_of(not_started_error("could not start", error)) == (cause or "io")
    assert not_started_error("could not start", error).what == f"could not start: {words}"


def test_an_operation_tells_the_cause_where_its_error_does_not() -> None:
    for before, after in (("", "engine"), ("timeout", "timeout")):
        error = failed(before)
        set_cause(error, "engine")
        assert error.cause == after
    other = RefusedError("not a failure of an operation")
    set_cause(other, "engine")
    assert other.cause == ""


def test_the_last_output_or_else_what_the_services_said_is_kept() -> None:
    assert output_of(failed(output=("a", "b"))) == ("a", "b")
    assert output_of(failed()) == ("web: exited with code 3",)
    many = StepError("not healthy", problems=[replace(SICK, what=f"{number}") for number in range(99)])
    assert output_of(many) == tuple(f"web: {number}" for number in range(99 - OUTPUT_LINES, 99))
    for error in (FULL, RefusedError("no", problems=[SICK])):
        assert output_of(error) == ()


def test_problems_are_kept_in_full() -> None:
    assert list(problems_of(failed())) == [SICK]
    assert list(problems_of(FULL)) == []
    assert reason_in_full(failed()) == "chat: exited with code 3; web: exited with code 3"


def test_a_line_for_people_has_the_begin_of_a_long_reason_and_says_where_the_rest_is(host: Context) -> None:
    few = "the release is not healthy; web: exited; web: line 1; web: line 2; web: line 3"
    assert brief(few) == few
    many = "; ".join(["the release is not healthy", *(f"web: line {number}" for number in range(20))])
    shown = "the release is not healthy; web: line 0; web: line 1; web: line 2"
    assert brief(many) == f"{shown}; and 17 more: see `install history --json`"
    # The history has nothing of a transaction that is open.
    stuck = not_undone_error(host, failed("script"), many)
    assert stuck.what.startswith(
        f"the release failed ({shown}; and 17 more: all are in the journal) and could"
    )
    assert stuck.where == host.layout.journal(host.transaction)


def test_what_could_not_be_undone_keeps_its_own_error(host: Context) -> None:
    own = NotUndoneError("the journal is damaged")
    assert not_undone_error(host, own, "why") is own
    error = not_undone_error(host, failed("script"), "no space")
    assert error.what.startswith("the release failed (no space) and could not be fully undone: chat: exited")
    assert (list(error.problems), error.cause, error.exit_code) == ([SICK], "script", 21)


def test_what_is_incomplete_names_release_step_and_cause() -> None:
    entry = Entry("x", "2.0.0", 2, "1", "2", "3", "4", irreversible=("migrate",))
    error = incomplete_error(entry, "no space", [SICK], FULL)
    assert error.what == "2.0.0 is INCOMPLETE: committed, but a step failed: no space"
    assert "past its point of no return: migrate. " in error.hint
    assert (list(error.problems), error.cause) == ([SICK], "io")
    assert incomplete_error(None, "no space").what.startswith("the release is INCOMPLETE")
    assert incomplete_error(None, "no space").cause == ""


@pytest.mark.parametrize("old", [None, Entry("x", "1.0.0", 1, "1", "2", "3", "4")])
def test_what_was_rolled_back_names_what_runs_now(old: Entry | None) -> None:
    cause: WaybillError = MediaError("cannot be read", hint="try another drive", problems=[SICK])
    error = rolled_back_error("install", old, cause, replace(SICK, where="db"))
    now = "1.0.0 is still installed" if old else "nothing is installed, as before"
    assert error.what == f"install failed and was rolled back ({now}): cannot be read"
    assert error.hint == "try another drive"
    assert [each.where for each in error.problems] == ["web", "db"]
    assert rolled_back_error("install", old, FULL, None).hint == ""
    assert list(rolled_back_error("install", old, FULL, None).problems) == []
