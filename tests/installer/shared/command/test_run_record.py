"""What the document of a run says of the run itself: when it was, and whether it changed anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from installer.core.errors import NotUndoneError
from installer.shared.command.run_record import RunRecord
from tests.rig.answers import validate


def test_a_document_says_when_its_run_began_and_ended_and_how_long_it_took() -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    record = RunRecord("install", command="status", began=now - timedelta(seconds=90))
    record._clock -= 2.5
    found = record.document(0)
    validate(found | {"schema": "waybill/cli/install/v1"})
    began, ended = (datetime.fromisoformat(found[name]) for name in ("started", "ended"))
    assert began == now - timedelta(seconds=90)
    assert now <= ended <= datetime.now(UTC)
    # By a clock that nobody sets.
    assert 2.5 <= found["seconds"] < 60


def test_each_line_of_a_log_has_its_time_and_its_run() -> None:
    record = RunRecord("install")
    now = datetime.now(UTC).replace(microsecond=0)
    row = record.log_row("hello", "info", {"step": "do"})
    assert now <= datetime.fromisoformat(row["time"]) <= datetime.now(UTC)
    assert (row["run"], row["program"], row["message"], row["step"]) == (
        record.id, "install", "hello", "do",
    )  # fmt: skip
    assert record.id != RunRecord("install").id


@pytest.mark.parametrize(
    ("command", "code", "begun", "changed"),
    [
        ("apply", 0, False, False),
        ("apply", 15, False, False),
        ("apply", 21, True, True),
        ("apply", 21, False, None),
        ("apply", 1, False, None),
        ("status", 1, False, False),
    ],
)
def test_a_command_that_did_not_say_so_has_changed_what_its_exit_code_says(
    command: str, code: int, begun: bool, changed: bool | None
) -> None:
    record = RunRecord("install", command=command)
    if begun:
        record.tell(transaction="000001")
    error = NotUndoneError("x") if code == 21 else None
    assert record.document(code, error)["changed"] is changed


def test_what_was_changed_once_stays_changed() -> None:
    record = RunRecord("install", command="apply")
    record.tell(changed=True)
    record.answer({"changed": False, "product": "lan-chat"})
    assert (record.document(0)["changed"], record.document(0)["product"]) == (True, "lan-chat")
