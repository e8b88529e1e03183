"""What Salt prints, read: states in their order, texts where nothing could be rendered, and nonsense."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.deploy.operation import StepError
from installer.deploy.salt.results import failed, read_results
from installer.shared.secrecy.known import Secrets

SECRETS = Secrets()
SECRETS.add(["open-sesame-4711"])


def printed(**states: dict[str, Any]) -> bytes:
    rows = {f"file_|-{name}_|-/etc/{name}_|-managed": row for name, row in states.items()}
    return json.dumps({"local": rows}).encode()


def row(number: int, result: bool | None, comment: Any = "said", **changes: Any) -> dict[str, Any]:
    return {
        "__run_num__": number, "result": result, "comment": comment, "changes": changes, "name": "/etc/x",
        "start_time": "1",
    }  # fmt: skip


def test_states_come_in_the_order_in_which_they_were_applied() -> None:
    found = read_results(printed(b=row(1, None), a=row(0, True)), SECRETS)
    assert [(each.id, each.function, each.result) for each in found] == [
        ("a", "file.managed", True),
        ("b", "file.managed", None),
    ]


def test_a_state_that_only_misses_another_is_told_last() -> None:
    missing = row(0, False, "One or more requisite failed: x.b")
    found = failed(read_results(printed(a=missing, b=row(1, False, ["no", "disk"])), SECRETS))
    assert [each.id for each in found] == ["b", "a"]
    assert found[0].said(SECRETS) == "no"


def test_changes_are_lines_without_secrets() -> None:
    diff = "-password=old\n+password=open-sesame-4711"
    changed = row(
        0, True, diff=diff, mode={"old": "0644", "new": "0600"}, lines={str(n): n for n in range(30)}
    )
    (found,) = read_results(printed(a=changed), SECRETS)
    lines = found.details(SECRETS)
    assert lines[2] == "mode: '0644' -> '0600'"
    assert "open-sesame" not in "\n".join(lines)
    assert lines[-1] == "and 13 more lines"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"local": "x"}',
        b'{"local": {}}',
        b'{"local": []}',
        b'{"local": {"a": {}}}',
        b"[" * 99999,
    ],
    ids=["nothing", "half", "list", "text", "no-state", "no-text", "no-key-of-a-state", "nested"],
)
def test_what_is_no_result_is_refused(data: bytes) -> None:
    with pytest.raises(StepError):
        read_results(data, SECRETS)


def test_texts_in_place_of_states_are_the_reason_without_secrets() -> None:
    text = "Rendering SLS failed:\nunknown open-sesame-4711\n"
    with pytest.raises(StepError, match="Rendering SLS failed") as caught:
        read_results(json.dumps({"local": [text]}).encode(), SECRETS)
    assert caught.value.problems[0].what == "unknown ***"
