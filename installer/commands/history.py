"""VERB history: what was installed, rolled back, removed and refused, and when."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from installer.audit.evidence import DIRECTORY, Refusal, refusals
from installer.commands.common.session import Session
from installer.host.context import Context
from installer.state.evidence import Evidence
from installer.state.state import host_readable
from installer.transaction import finalize


@dataclass(frozen=True, slots=True)
class Event:
    """One transaction.

    Attributes:
        transaction: Its id.
        verb: `apply`, `rollback` or `remove`.
        outcome: `done`, `incomplete` (committed, but a step failed past the point of no return) or
            `rolled back`.
        began: Seconds since 1970.
        ended: Seconds since 1970.
        version: The version it was to install; empty for `remove`.
        identity: Of that release.
        why: Why it was rolled back, or what failed.
        broken: What was missing and break-glass stood in for; empty where the policy was kept.
        evidence: Where the evidence of the verification is; empty where there is none.
        pruned: Whether it was removed since: only the newest are kept, and those of retained releases.
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
    pruned: bool = False

    def text(self) -> str:
        """Return it as a line for people."""
        when = datetime.fromtimestamp(self.began, UTC).strftime("%Y-%m-%d %H:%M:%S")
        why = f": {self.why}" if self.why else ""
        why += f"\n    BREAK-GLASS used instead of: {'; '.join(self.broken)}" if self.broken else ""
        gone = " (removed since: the newest are kept)" if self.pruned else ""
        why += f"\n    evidence: {self.evidence}{gone}" if self.evidence else ""
        return f"{when}  {self.transaction}  {self.verb:<8}  {self.version:<12}  {self.outcome}{why}"


@dataclass(frozen=True, slots=True)
class HistoryResult:
    """What was done to a product, and what was refused, each from the oldest to the newest."""

    events: tuple[Event, ...]
    refusals: tuple[Refusal, ...]

    def text(self) -> str:
        """Return it for people, in the order in which it happened."""
        # Evidence is numbered, which decides what came first within a second.
        rows = [(event.began, event.evidence, event.text()) for event in self.events]
        rows += [(int(each.when), each.evidence, each.text()) for each in self.refusals]
        return "\n".join(line for *_, line in sorted(rows)) or "nothing was ever installed here"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "events": [asdict(event) for event in self.events],
            "refusals": [asdict(refusal) for refusal in self.refusals],
        }


def history(session: Session, product: str | None = None) -> HistoryResult:
    """Return the history of a product; without a name of the only one, or of refusals where there is none.

    Raises:
        UsageError: It is not known, or there are several.
        HostNotReadyError: Something cannot be read by this user, or is damaged.
    """
    name = session.product(product) if product or session.products() else ""
    with host_readable():
        done = events(session.context(name)) if name else []
        return HistoryResult(tuple(done), tuple(refusals(session.system, name)))


def events(context: Context) -> list[Event]:
    """Return what was done to one product, from the oldest to the newest.

    Raises:
        HostNotReadyError: The history is damaged, or this user may not read it.
    """
    names = Event.__dataclass_fields__
    # The row keeps fields of other versions: only those that an event has are taken.
    rows = [(row, Evidence(row["evidence"])) for row in finalize.history(context)]
    there = {f"{DIRECTORY}/{name}" for name in context.system.names(DIRECTORY)}
    return [
        Event(
            **{k: v for k, v in row.items() if k in names and k not in ("evidence", "pruned")},
            broken=evidence.break_glass,
            evidence=evidence.file.path if evidence.file else "",
            pruned=evidence.file is not None and evidence.file.path not in there,
        )
        for row, evidence in rows
    ]
