"""What Salt says of the states that it applied, or would apply."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.deploy.operation import StepError
from installer.shared.secrecy.known import Secrets, shortened

WIDTH = 300
"""Characters of a line that is shown."""
_DETAILS = 20
"""Lines of the changes of one state that are shown."""


@dataclass(frozen=True, slots=True)
class StateResult:
    """One state.

    Attributes:
        id: Its identifier.
        function: Such as `file.managed`.
        name: What it is about, such as a path.
        sls: The file of states that it is in; empty where Salt does not say it.
        result: Whether it is as it should be; None where it would be changed.
        comment: What Salt says of it.
        changes: What was changed, or would be.
        was_tried: Whether its function was called: an unknown one is not.
    """

    id: str
    function: str
    name: str
    sls: str
    result: bool | None
    comment: str
    changes: Mapping[str, Any]
    was_tried: bool

    @property
    def label(self) -> str:
        """Its identifier and function, in one line."""
        return shortened(f"{' '.join(self.id.split())} ({self.function})", WIDTH)

    def said(self, secrets: Secrets) -> str:
        """Return the first line of the comment."""
        return first_line(self.comment, secrets) or "says nothing"

    def details(self, secrets: Secrets) -> list[str]:
        """Return its changes in lines: differences of files line by line, all else as `key: value`."""
        lines = [line for each in _lines(self.changes) for line in each.splitlines()]
        shown = secrets.hide_all(lines[:_DETAILS])
        more = [f"and {len(lines) - _DETAILS} more lines"] if len(lines) > _DETAILS else []
        return [shortened(line, WIDTH) for line in shown] + more


def read_results(data: bytes, secrets: Secrets) -> list[StateResult]:
    """Return the states of a run, in the order in which they were applied.

    Args:
        data: What `salt-call --out json` printed.
        secrets: What must not be shown.

    Raises:
        StepError: The states could not be rendered, or it is nothing that Salt prints.
    """
    try:
        found = json.loads(data)["local"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise StepError("salt-call printed no result") from None
    if isinstance(found, list) and found:
        # Texts in place of states: what could not be rendered, and why.
        lines = [line for text in found for line in str(text).strip().splitlines() if line.strip()]
        shown = [shortened(line, WIDTH) for line in secrets.hide_all(lines)]
        raise StepError(
            shown[0] if shown else "no state was applied",
            hint="correct the states, or the values that they need",
            problems=[Problem("", line) for line in shown[1:_DETAILS]],
        )
    if not isinstance(found, dict) or not found:
        raise StepError("no state was applied", hint="look whether the states apply to this host")
    rows = [_result(key, row) for key, row in found.items()]
    return [row for _, row in sorted(rows, key=lambda each: each[0])]


def _result(key: str, row: Any) -> tuple[int, StateResult]:
    # The key is `module_|-id_|-name_|-function`.
    parts = key.split("_|-")
    if not isinstance(row, dict) or len(parts) < 4:
        raise StepError("salt-call printed a result that is none of a state", where=key[:WIDTH])
    result, changes = row.get("result"), row.get("changes")
    return int(row.get("__run_num__") or 0), StateResult(
        str(row.get("__id__") or parts[1]),
        f"{parts[0]}.{parts[-1]}",
        str(row.get("name") or ""),
        str(row.get("__sls__") or ""),
        result if result is None else bool(result),
        _text(row.get("comment")),
        changes if isinstance(changes, dict) else {},
        "start_time" in row,
    )


def _text(comment: Any) -> str:
    return "\n".join(map(str, comment)) if isinstance(comment, list) else str(comment or "")


def first_line(text: str, secrets: Secrets) -> str:
    """Return the first line of a text that says something, without secrets."""
    # All of it is looked at: a secret may go over several lines.
    lines = secrets.hide_all(text.splitlines())
    return next((shortened(line.strip(), WIDTH) for line in lines if line.strip()), "")


def _lines(changes: Mapping[str, Any], before: str = "") -> Iterator[str]:
    for key, value in changes.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and set(value) == {"old", "new"}:
            yield f"{name}: {value['old']!r} -> {value['new']!r}"
        elif isinstance(value, dict):
            yield from _lines(value, f"{name}.")
        elif key == "diff" and isinstance(value, str):
            yield value
        elif value not in ("", None):
            yield f"{name}: {value}"


def failed(results: Sequence[StateResult]) -> list[StateResult]:
    """Return the states that failed; those that only miss the state before them come last."""
    bad = [each for each in results if each.result is False]
    return sorted(bad, key=lambda each: "requisite" in each.comment and not each.changes)
