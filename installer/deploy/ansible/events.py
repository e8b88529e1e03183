"""What a run of a playbook tells, event by event: the lines of the plugin `waybill_events`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from installer.core.errors import Problem
from installer.shared.secrecy.known import Secrets, shortened

_MOST = 2000
"""Tasks that are remembered of one run."""
_WIDTH = 300
_DIFF_LINES = 12
"""Lines of a difference that a plan shows."""
_HEADERS = ("---", "+++", "@@")


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What one task did on one host, without secrets.

    Attributes:
        host: The name of the host in the inventory.
        task: The name of the task.
        action: Its module, without the name of the collection.
        where: File and line of the task.
        text: What the module says.
        said: The last lines that a command wrote.
        diff: What it changes, line by line.
        unreachable: Whether the host cannot be reached.
    """

    host: str
    task: str
    action: str = ""
    where: str = ""
    text: str = ""
    said: tuple[str, ...] = ()
    diff: tuple[str, ...] = ()
    unreachable: bool = False


@dataclass(slots=True)
class Report:
    """One run.

    Attributes:
        secrets: What is hidden.
        told: Is given a line for people for each task that changes something.
        began: Is called when Ansible has read its variables.
        version: Of ansible-core; empty before it has begun.
        task: The task that began last.
        changed: Tasks that changed something, or would.
        unknown: Tasks of which check mode cannot say what they would do.
        failed: What failed, and was not ignored.
        hosts_failed: The hosts that have failed in the end: a playbook may rescue what failed.
        without_hosts: Whether a play has no hosts.
        own_error: Why Ansible could not run the playbook, where no task has failed; None for no such error.
        lines: A line for each task, for the log.
    """

    secrets: Secrets
    told: Callable[[str], None] = lambda _: None
    began: Callable[[], None] = lambda: None
    version: str = ""
    task: str = ""
    changed: list[TaskResult] = field(default_factory=list)
    unknown: list[TaskResult] = field(default_factory=list)
    failed: list[TaskResult] = field(default_factory=list)
    hosts_failed: tuple[str, ...] = ()
    without_hosts: bool = False
    own_error: Problem | None = None
    lines: list[str] = field(default_factory=list)
    _diff: tuple[str, ...] = ()

    def hear(self, line: bytes) -> None:
        """Take over one line of the output; one that is no event is none of ours."""
        try:
            event = json.loads(line)
        except ValueError:
            return  # of another plugin, or a warning
        if not isinstance(event, dict):
            return
        # A version of the plugin that says more is no reason to stop.
        match event.get("event"):
            case "start":
                self.version = self._text(event, "version")
                self.began()
            case "task":
                self.task = self._text(event, "task")
            case "no hosts":
                self.without_hosts = True
            case "diff":
                self._diff = self._difference(str(event.get("text", "")))
            case "end":
                failed = event.get("failed")
                self.hosts_failed = tuple(map(str, failed)) if isinstance(failed, list) else ()
            case "ok" | "skipped" | "failed" | "unreachable" as kind:
                self._result(kind, event)

    def without(self, place: str) -> None:
        """Name files without the beginning of their paths."""
        for results in (self.changed, self.unknown, self.failed):
            results[:] = [
                replace(each, where=each.where.replace(place, ""), text=each.text.replace(place, ""))
                for each in results
            ]

    def _result(self, kind: str, event: dict[str, Any]) -> None:
        found = TaskResult(
            host=self._text(event, "host"),
            task=self._text(event, "task"),
            action=self._text(event, "action"),
            where=self._text(event, "where"),
            text=self._text(event, "text"),
            said=tuple(self.secrets.last_lines(str(event.get("said", "")), 6, _WIDTH)),
            diff=self._diff,
            unreachable=kind == "unreachable",
        )
        self._diff = ()
        word = "changed" if kind == "ok" and event.get("changed") is True else kind
        is_failure = kind == "unreachable" or (kind == "failed" and event.get("ignored") is not True)
        if is_failure and len(self.failed) < _MOST:
            self.failed.append(found)
        # A loop over files can have any number of results; the first ones say what it is about.
        if len(self.lines) >= _MOST:
            return
        self.lines.append(f"{word}: {found.host}: {found.task}")
        if word == "changed":
            self.changed.append(found)
            self.told(f"{found.host}: {found.task}")
        elif kind == "skipped" and event.get("unknown") is True:
            self.unknown.append(found)

    def _text(self, event: dict[str, Any], key: str) -> str:
        # Names may be made of values, and come from whoever wrote the playbook.
        text = " ".join(self.secrets.hide_all(str(event.get(key, "")).splitlines()))
        return shortened("".join(each if each.isprintable() else " " for each in text), _WIDTH)

    def _difference(self, text: str) -> tuple[str, ...]:
        rows = [row for row in self.secrets.hide_all(text.splitlines()) if not row.startswith(_HEADERS)]
        rows = [row for row in rows if row.strip()]
        more = [f"and {len(rows) - _DIFF_LINES} more lines"] if len(rows) > _DIFF_LINES else []
        shown = [*rows[:_DIFF_LINES], *more]
        return tuple(shortened("".join(c if c.isprintable() else " " for c in row), _WIDTH) for row in shown)
