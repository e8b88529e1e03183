"""The release that failed last stays known until it, or a newer one, is committed."""

from __future__ import annotations

from typing import Any

import pytest

from installer.host.context import Context
from installer.host.directories import make_directory
from installer.transaction import finalize
from installer.transaction.failed_release import last_failed

NUMBERS = iter(range(1, 10**6))


def row(verb: str, sequence: int, outcome: str, *, reset: int = 0, cause: str = "health") -> dict[str, Any]:
    """Return a line of the history, as a transaction writes it."""
    evidence = {"policy": {"reset": reset}} if reset else {}
    release = {"to": f"{sequence}-abc", "version": f"{sequence}.0.0", "identity": f"id{sequence}"}
    line: dict[str, Any] = {
        "transaction": f"{next(NUMBERS):06d}", "verb": verb, "outcome": outcome, "began": 1, "ended": 2,
        "from": "", "evidence": evidence, **(release if sequence else dict.fromkeys(release, "")),
    }  # fmt: skip
    return line | ({"why": "sick", "cause": cause} if outcome == "rolled back" else {})


def write(host: Context, *lines: dict[str, Any]) -> None:
    """Write a history."""
    make_directory(host.system, host.layout.base)
    for line in lines:
        finalize.add_history(host, line)


FAILED = row("apply", 5, "rolled back")


@pytest.mark.parametrize(
    ("later", "still"),
    [
        ((), True),
        ((row("rollback", 3, "done"),), True),
        ((row("remove", 0, "done"),), True),
        ((row("apply", 4, "done"),), True),
        ((row("apply", 6, "done"),), False),
        ((row("apply", 6, "incomplete"),), False),
        ((row("apply", 5, "done"),), False),
        ((row("apply", 6, "done"), row("rollback", 4, "done")), False),
        ((row("apply", 5, "rolled back", cause="interrupted"),), False),
        ((row("apply", 4, "done", reset=1),), False),
        ((row("rollback", 3, "rolled back"),), True),
    ],
    ids=[
        "nothing since", "a rollback since", "a removal since", "an older release since",
        "a newer release since", "a newer release that is incomplete", "the same release since",
        "a newer release, then a rollback", "an interrupted second attempt",
        "a release after a reset of the numbers", "a failed rollback since",
    ],
)  # fmt: skip
def test_a_failure_is_told_until_it_is_settled(
    host: Context, later: tuple[dict[str, Any], ...], still: bool
) -> None:
    write(host, row("apply", 3, "done"), FAILED, *later)
    found = last_failed(host)
    assert (found.version if found else None) == ("5.0.0" if still else None)


def test_the_last_of_several_failures_is_told(host: Context) -> None:
    write(host, FAILED, row("apply", 6, "rolled back"))
    found = last_failed(host)
    assert found is not None
    assert found.version == "6.0.0"


def test_an_earlier_failure_is_told_again_where_a_later_one_does_not_count(host: Context) -> None:
    write(host, FAILED, row("apply", 6, "rolled back", cause="io"))
    found = last_failed(host)
    assert found is not None
    assert found.version == "5.0.0"
