"""The check of the whole audit log of a host: its chain, its head, and what the host knows besides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from installer.audit import log as audit_log
from installer.audit import segments
from installer.audit.chain import SEAL, START, Chain
from installer.audit.log import GONE, LOG
from installer.audit.record import Record
from installer.core.errors import NotUndoneError, Problem
from installer.host.layout import STATE, Layout
from installer.host.system import System
from installer.state.state import load
from installer.transaction.finalize import transactions

Visit = Callable[[Record], None]
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Examined:
    """What the check has found.

    Attributes:
        chain: The whole log, without its records.
        problems: Where it is broken, and anchors that it does not contain; empty: none.
        anchored: The records whose hashes were given as anchors.
    """

    chain: Chain
    problems: tuple[Problem, ...]
    anchored: tuple[Record, ...] = ()


def examine(
    system: System,
    visit: Visit = lambda _: None,
    anchors: Sequence[str] = (),
    begin: Callable[[], None] = lambda: None,
) -> Examined:
    """Check the log from its first record to its last, with memory that does not grow with it.

    Args:
        system: The host.
        visit: Called with each intact record.
        anchors: Hashes of heads that were noted elsewhere, in lower case, or their first digits.
        begin: Called before the first record; again where the log was replaced meanwhile.

    Raises:
        HostNotReadyError: This user cannot read the log.
        OSError: It cannot be read.
    """
    for left in reversed(range(_TRIES)):
        files = [each.path for each in segments.segments(system)]
        begin()
        found = _once(system, _Scan(anchors, visit, _done(system)))
        # A segment that was begun meanwhile looks like missing records.
        if not found.problems or left == 0 or files == [each.path for each in segments.segments(system)]:
            break
    return found


@dataclass(slots=True)
class _Scan:
    """What is taken from each record while the log is checked once."""

    anchors: Sequence[str]
    visit: Visit
    lacking: dict[str, set[str]]
    anchored: dict[str, Record] = field(default_factory=dict)

    def __call__(self, record: Record) -> None:
        self.visit(record)
        for anchor in self.anchors:
            if anchor not in self.anchored and record.hash.startswith(anchor):
                self.anchored[anchor] = record
        fields = record.fields
        if record.event == "begun":
            self.lacking.get(str(fields.get("product")), set()).discard(str(fields.get("transaction")))


def _once(system: System, scan: _Scan) -> Examined:
    problems: list[Problem] = []
    # Before the log: a record that is added meanwhile must not look as if it were missing.
    try:
        head = audit_log.read_head(system)
    except audit_log.AuditError as error:
        head = audit_log.ChainHead(0, START)
        problems.append(Problem(error.where, error.what, error.hint))
    chain = audit_log.check_all(system, head, scan)
    problems += [chain.problem] if chain.problem else []
    # A sealed log begins after the transactions that the old one has.
    if not problems and chain.first != "sealed":
        problems += _unknown(chain, scan.lacking)
    for anchor in scan.anchors:
        if anchor not in scan.anchored:
            what = f"does not contain the record {anchor}: it was truncated or replaced since then"
            problems.append(Problem(LOG, what, SEAL))
    anchored = tuple(scan.anchored[anchor] for anchor in scan.anchors if anchor in scan.anchored)
    return Examined(chain, tuple(problems), anchored)


def _unknown(chain: Chain, lacking: Mapping[str, set[str]]) -> Iterator[Problem]:
    """Yield transactions that history and state know and the log does not: the log was removed."""
    for name, numbers in sorted(lacking.items()):
        if numbers:
            more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
            what = f"does not contain transaction {max(numbers)} of {name}{more}, which ran on this host"
            yield Problem(LOG, what, SEAL if chain.count else GONE)


def _done(system: System) -> dict[str, set[str]]:
    """Return the transactions that ended, by product, as histories and states say."""
    found: dict[str, set[str]] = {}
    for name in system.names(STATE):
        layout = Layout(name)
        found[name] = set(transactions(system, layout))
        if system.observe(layout.state_file, digest=False).kind == "file":
            with suppress(NotUndoneError):
                last = load(system, layout).transaction
                found[name] |= {f"{last:06d}"} if last else set()
    return found
