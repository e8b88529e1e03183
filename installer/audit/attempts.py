"""Counts of what was done on a host, from its audit log; noted, so that no command reads a long log again."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from installer.audit import log as audit_log
from installer.audit import segments
from installer.audit.examination import examine
from installer.audit.record import Record
from installer.audit.segments import Mark
from installer.core import jsonio
from installer.core.errors import TamperedError
from installer.core.limits import MIB
from installer.core.timestamps import parse_time
from installer.host.atomic_file import replace_file
from installer.host.layout import STATE
from installer.host.system import System

COUNTS = f"{STATE}/audit.counts"
"""What was counted up to a record; only saves time."""
RESULTS = {"refused": "refused", "not-undone": "not undone", "unchanged": "nothing to do", "trust": "done"}
"""The result of an attempt by the event that ended it; `ended` has a field for it."""
GOOD = ("done", "nothing to do")
_LIMIT = 4 * MIB


@dataclass(slots=True)
class Attempts:
    """What was done, by product.

    Attributes:
        counts: How often, by product, verb and result.
        code: Exit code of the last attempt.
        at: When it ended, in seconds since 1970.
        took: Seconds that the last transaction took.
        good: When an attempt last succeeded, in seconds since 1970.
    """

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    code: dict[str, int] = field(default_factory=dict)
    at: dict[str, int] = field(default_factory=dict)
    took: dict[str, int] = field(default_factory=dict)
    good: dict[str, int] = field(default_factory=dict)

    def clear(self) -> None:
        """Begin again with nothing."""
        for each in (self.counts, self.code, self.at, self.took, self.good):
            each.clear()

    def add(self, record: Record) -> None:
        """Count one record."""
        fields = record.fields
        result = str(fields.get("result", "")) if record.event == "ended" else RESULTS.get(record.event, "")
        if not result:
            return
        product, verb = str(fields.get("product", "")), str(fields.get("verb", ""))
        self.counts[product, verb, result] += 1
        if not product:  # of a bundle that no trusted key signed, or of the trust itself
            return
        # A record with a time that cannot be read counts with 0, and is not left out.
        self.at[product], self.code[product] = _seconds(fields.get("time")), _whole(fields.get("exit"))
        if "seconds" in fields:
            self.took[product] = _whole(fields["seconds"])
        if result in GOOD:
            self.good[product] = self.at[product]

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        counts = [[*key, number] for key, number in sorted(self.counts.items())]
        return {"counts": counts} | {name: getattr(self, name) for name in _BY_PRODUCT}

    @classmethod
    def from_json(cls, value: Any) -> Attempts:
        """Read it back.

        Raises:
            TypeError: It is something else.
            KeyError: A field is missing.
            ValueError: A field has another form.
        """
        made = cls(Counter({(str(a), str(b), str(c)): int(number) for a, b, c, number in value["counts"]}))
        for name in _BY_PRODUCT:
            getattr(made, name).update({str(key): int(each) for key, each in value[name].items()})
        return made


_BY_PRODUCT = ("code", "at", "took", "good")


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted, and up to where.

    Attributes:
        attempts: The counts.
        mark: Up to where in the log.
        intact: Whether the log was intact up to there.
    """

    attempts: Attempts
    mark: Mark
    intact: bool


def count_all(system: System) -> Counted:
    """Check the whole log and count its records.

    Raises:
        HostNotReadyError: This user may not read the log.
        OSError: It cannot be read.
    """
    attempts = Attempts()
    found = examine(system, attempts.add, begin=attempts.clear)
    tail = segments.Tail(system)
    # Another process may have added a record meanwhile: then nothing is noted.
    mark = tail.mark if tail.mark.head == found.chain.head else Mark(0, found.chain.head)
    return Counted(attempts, mark, not found.problems)


def count_new(system: System) -> Counted:
    """Count the records since the last time; all where nothing was noted, or another log is there now.

    The chain is checked from there on only; `install audit` and `install metrics` check all of it.

    Raises:
        HostNotReadyError: This user may not read the log.
        OSError: It cannot be read.
    """
    before = _noted(system)
    if before is None:
        return count_all(system)
    head = audit_log.read_head(system)
    chain = audit_log.check_all(system, head, before.attempts.add, before.mark)
    if chain.problem is not None:
        return count_all(system)  # it names the problem, and counts what is intact
    size = sum(each.size for each in segments.segments(system))
    return Counted(before.attempts, Mark(size - chain.partial, chain.head), before.intact)


def note(system: System, counted: Counted) -> None:
    """Note what was counted; the caller holds the lock of the log. Only once the log is long."""
    if counted.mark.offset < audit_log.MARK_EVERY or not counted.intact:
        return
    document = {"mark": counted.mark.as_json(), "attempts": counted.attempts.as_json()}
    # Not synced: it only saves time, and is checked against the log.
    with suppress(OSError):
        replace_file(system, COUNTS, jsonio.dumps(document), durable=False)


def _noted(system: System) -> Counted | None:
    with suppress(OSError, TamperedError, TypeError, KeyError, ValueError, AttributeError):
        value = jsonio.loads_strict(system.read(COUNTS, _LIMIT), COUNTS, _LIMIT)
        mark = segments.mark_from_json(value["mark"])
        if mark.offset and segments.is_valid(system, mark):
            return Counted(Attempts.from_json(value["attempts"]), mark, intact=True)
    return None


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _seconds(moment: object) -> int:
    found = parse_time(str(moment))
    return int(found.timestamp()) if found else 0
