"""VERB history: what was installed, rolled back, removed and refused, and when."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from installer.audit.evidence import DIRECTORY, Refusal, refusals
from installer.commands.common.session import Session
from installer.core.errors import HostNotReadyError
from installer.core.timestamps import format_seconds
from installer.host.context import Context
from installer.state.evidence import Evidence
from installer.state.public import AS_ROOT
from installer.state.releases.passed_checks import PassedChecks
from installer.state.state import host_readable
from installer.transaction import finalize
from installer.transaction.failures import brief


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
        product: Its product.
        environment: For which environment the bundle was verified; empty where that is not known.
        signers: Whose signatures passed the verification.
        approvals: Whose approvals passed it, with their roles.
        health: The health checks that passed before it was committed; None where that is not known, or
            nothing was committed.
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
    product: str = ""
    environment: str = ""
    signers: tuple[str, ...] = ()
    approvals: tuple[str, ...] = ()
    health: PassedChecks | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, as documents have it."""
        return {
            "product": self.product,
            "transaction": self.transaction,
            "verb": self.verb,
            "outcome": self.outcome,
            "started": format_seconds(self.began),
            "ended": format_seconds(self.ended),
            "version": self.version or None,
            "identity": self.identity or None,
            "reason": self.why or None,
            "break_glass": list(self.broken),
            "evidence": self.evidence or None,
            "pruned": self.pruned,
            "environment": self.environment or None,
            "signed_by": list(self.signers),
            "approved_by": list(self.approvals),
            "health": self.health.as_json() if self.health else None,
        }

    def text(self) -> str:
        """Return it as a line for people."""
        when = datetime.fromtimestamp(self.began, UTC).strftime("%Y-%m-%d %H:%M:%S")
        # What an ordinary user is told in place of the reason is none.
        why = f" (reason: {AS_ROOT})" if self.why == AS_ROOT else f": {brief(self.why)}" if self.why else ""
        if self.signers:
            approved = f"; approved by {', '.join(self.approvals)}" if self.approvals else ""
            where = f" for {self.environment}" if self.environment else ""
            why += f"\n    verified{where}: signed by {', '.join(self.signers)}{approved}"
        why += f"\n    {self.health.text()}" if self.health else ""
        why += f"\n    BREAK-GLASS used instead of: {'; '.join(self.broken)}" if self.broken else ""
        named = f"{self.product} {self.version}".strip()
        gone = " (removed since: the newest are kept)" if self.pruned else ""
        why += f"\n    evidence: {self.evidence}{gone}" if self.evidence else ""
        return f"{when}  {self.transaction}  {self.verb:<8}  {named:<20}  {self.outcome}{why}"


def _comes_first(refusal: Refusal, event: Event, own: int, following: int) -> bool:
    """Return whether a refusal came before an event.

    Args:
        refusal: The refusal.
        event: The event.
        own: The number of its own verification; 0 for none.
        following: The number of the next verification from there on; 0 for none.
    """
    number = _number(refusal.evidence)
    if own:
        return number < own
    return refusal.when < event.began and (not following or number < following)


def _number(evidence: str) -> int:
    """Return the number of a record of evidence, from its path; 0 for none."""
    digits = evidence.rpartition("/")[2].partition("-")[0]
    return int(digits) if digits.isdecimal() else 0


HIDDEN = "what was refused, reasons of failures, and transactions before the last hundred"
"""What an ordinary user is not shown."""


@dataclass(frozen=True, slots=True)
class HistoryResult:
    """What was done to a product, and what was refused, each from the oldest to the newest."""

    events: tuple[Event, ...]
    refusals: tuple[Refusal, ...]
    hidden: str = ""

    def text(self) -> str:
        """Return it for people, in the order in which it happened."""
        shown = "\n".join(each.text() for each in self._merged()) or "nothing was ever installed here"
        return f"{shown}\nnot shown: {self.hidden}: {AS_ROOT}" if self.hidden else shown

    def _merged(self) -> Iterator[Event | Refusal]:
        """Return events and refusals in order: by their numbers, since a clock that was set lies.

        Transactions are numbered, and so is the evidence of verifications. An install has both, and says what
        was refused before it. Between two installs only the clock can order the rest.
        """
        # A rollback refers to the verification of its release, which is older.
        own = [_number(event.evidence) if event.verb == "apply" else 0 for event in self.events]
        left = deque(self.refusals)
        for at, event in enumerate(self.events):
            following = next((number for number in own[at:] if number), 0)
            while left and _comes_first(left[0], event, own[at], following):
                yield left.popleft()
            yield event
        yield from left

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "events": [event.as_json() for event in self.events],
            "refusals": [refusal.as_json() for refusal in self.refusals],
            "hidden": self.hidden or None,
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
        hidden = _hidden(session, name)
        # Evidence is root's, too: it names files and reasons.
        refused = () if hidden else tuple(refusals(session.system, name))
        return HistoryResult(tuple(done), refused, hidden)


def _hidden(session: Session, product: str) -> str:
    """Return what this user may not see, in words; empty where nothing is hidden."""
    path = session.context(product).layout.history if product else DIRECTORY
    try:
        if product:
            next(session.system.chunks(path), b"")
        else:
            refusals(session.system)
    except FileNotFoundError:
        return ""
    except (PermissionError, HostNotReadyError) as error:
        denied = error if isinstance(error, PermissionError) else error.__cause__
        if session.system.privileged or not isinstance(denied, PermissionError):
            raise
        return HIDDEN
    return ""


_DERIVED = ("evidence", "pruned", "product", "environment", "signers", "approvals", "broken", "health")
"""Fields of an event that are not in a row of the history as they are."""


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
            **{k: v for k, v in row.items() if k in names and k not in _DERIVED},
            broken=evidence.break_glass,
            evidence=evidence.file.path if evidence.file else "",
            pruned=evidence.file is not None and evidence.file.path not in there,
            product=context.layout.product,
            environment=evidence.environment,
            signers=evidence.signers,
            approvals=tuple(f"{row['owner']} ({row['role']})" for row in evidence.approved_by),
            health=PassedChecks.read(row.get("health")),
        )
        for row, evidence in rows
    ]
