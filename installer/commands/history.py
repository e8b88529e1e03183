"""VERB history: what was installed when, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from installer.audit.evidence import Refusal
from installer.host.context import Context
from installer.transaction import finalize


@dataclass(frozen=True, slots=True)
class Event:
    """One transaction.

    Attributes:
        transaction: Its id.
        verb: `apply`, `rollback` or `remove`.
        outcome: `done`, `incomplete` (it stands, and something failed past the point of no return) or
            `rolled back`.
        began: Seconds since 1970.
        ended: Seconds since 1970.
        version: What it was to bring; empty for `remove`.
        identity: Of that release.
        why: Why it was rolled back, or what failed.
        broken: What was missing when the glass was broken; empty where the rule was kept.
        evidence: Where the evidence of the verification is; empty where there is none.
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
    evidence: str = ""

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object."""
        return asdict(self)

    def text(self) -> str:
        """Gives it as a line for people."""
        when = datetime.fromtimestamp(self.began, UTC).strftime("%Y-%m-%d %H:%M:%S")
        why = f": {self.why}" if self.why else ""
        why += f"\n    BREAK-GLASS, without: {'; '.join(self.broken)}" if self.broken else ""
        why += f"\n    evidence: {self.evidence}" if self.evidence else ""
        return f"{when}  {self.transaction}  {self.verb:<8}  {self.version:<12}  {self.outcome}{why}"


def history(context: Context) -> list[Event]:
    """Reads what was done to one product, from the oldest to the newest.

    Raises:
        HostNotReadyError: The history is damaged, or this user may not read it.
    """
    names = Event.__dataclass_fields__
    return [
        Event(
            **{k: v for k, v in row.items() if k in names and k != "evidence"},
            broken=_broken(row),
            evidence=row.get("evidence", {}).get("record", {}).get("path", ""),
        )
        for row in finalize.history(context)
    ]


def _broken(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row.get("evidence", {}).get("policy", {}).get("break_glass", ()))


def text(events: list[Event], refused: Sequence[Refusal] = ()) -> str:
    """Gives the history for people, with what was refused in between."""
    # evidence is numbered, which tells what came first within a second
    rows = [(event.began, event.evidence, event.text()) for event in events]
    rows += [(int(each.when), each.evidence, each.text()) for each in refused]
    lines = [line for *_, line in sorted(rows)]
    return "\n".join(lines) or "nothing was installed yet"
