"""VERB history: what was installed when, and how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from installer import housekeeping
from installer.operations import Context


@dataclass(frozen=True, slots=True)
class Event:
    """One transaction.

    Attributes:
        transaction: Its id.
        verb: `apply`, `rollback` or `remove`.
        outcome: `done` or `rolled back`.
        began: Seconds since 1970.
        ended: Seconds since 1970.
        version: What it was to bring; empty for `remove`.
        identity: Of that release.
        why: Why it was rolled back.
        broken: What was missing when the glass was broken; empty where the rule was kept.
    """

    transaction: str
    verb: str
    outcome: str
    began: int
    ended: int
    version: str
    identity: str
    why: str = ""
    broken: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object."""
        return asdict(self)

    def text(self) -> str:
        """Gives it as a line for people."""
        when = datetime.fromtimestamp(self.began, UTC).strftime("%Y-%m-%d %H:%M:%S")
        why = f": {self.why}" if self.why else ""
        why += f"\n    BREAK-GLASS, without: {'; '.join(self.broken)}" if self.broken else ""
        return f"{when}  {self.transaction}  {self.verb:<8}  {self.version:<12}  {self.outcome}{why}"


def history(context: Context) -> list[Event]:
    """Reads what was done to one product, from the oldest to the newest.

    Raises:
        WaybillError: The history is damaged.
    """
    names = Event.__dataclass_fields__
    return [
        Event(**{k: v for k, v in row.items() if k in names}, broken=_broken(row))
        for row in housekeeping.history(context)
    ]


def _broken(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row.get("evidence", {}).get("policy", {}).get("break_glass", ()))


def text(events: list[Event]) -> str:
    """Gives the history for people."""
    return "\n".join(event.text() for event in events) if events else "nothing was installed yet"
