"""Releases that failed on this host: known from the history, so that they are not applied again by a timer.

Configuration management runs every few minutes. Without this, it would stop the services, fail and roll back
each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, get_args

from installer.core.errors import Cause, Problem
from installer.core.timestamps import format_time
from installer.host.context import Context
from installer.state.evidence import Evidence
from installer.transaction import finalize

OF_THE_RELEASE = frozenset(get_args(Cause)) - {"interrupted", "io"}
"""Causes that the release has to answer for. An interruption and a failing disk are not among them: what is
tried again after those may succeed, and has to, to bring the host up to date."""


@dataclass(frozen=True, slots=True)
class FailedRelease:
    """The failure of a release.

    Attributes:
        version: Its version.
        identity: Its identity.
        when: When it was rolled back, in seconds since 1970.
        why: What failed.
        cause: Which kind of thing; one of `OF_THE_RELEASE`.
        transaction: The transaction that was rolled back.
    """

    version: str
    identity: str
    when: int
    why: str
    cause: str
    transaction: str

    def problem(self, product: str) -> Problem:
        """Return why the release is not applied, with what to do."""
        return Problem(
            f"{product} {self.version}",
            f"failed on this host on {self.date()} and was rolled back: {self.why}",
            "fix the cause, then run the same command with --retry-failed; another release needs no option",
        )

    def date(self) -> str:
        """Return when it was rolled back, for people."""
        return datetime.fromtimestamp(self.when, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "version": self.version,
            "identity": self.identity,
            "time": format_time(datetime.fromtimestamp(self.when, UTC)),
            "reason": self.why,
            "cause": self.cause,
            "transaction": self.transaction,
        }


def failed_before(context: Context, identity: str) -> FailedRelease | None:
    """Return how a release failed here when it was last applied; None if it did not, or was not applied."""
    return _failure(each for each in _applied(context) if each["identity"] == identity)


def last_failed(context: Context) -> FailedRelease | None:
    """Return the last failure since which neither that release nor a newer one was committed; None for none.

    A rollback or a removal settles nothing: the release is still not applied again.
    """
    newest, tried = (0, -1), set[str]()
    for row in reversed(finalize.readable_rows(context.system, context.layout)):
        if row["verb"] != "remove" and row["outcome"] != "rolled back":
            newest = max(newest, _age(row))
            tried.add(row["identity"])
        elif row["verb"] == "apply" and row["identity"] not in tried:
            # Only the last attempt counts: one that was interrupted may be repeated.
            tried.add(row["identity"])
            failed = _failure([row])
            if failed is not None and _age(row) > newest:
                return failed
    return None


def _age(row: dict[str, Any]) -> tuple[int, int]:
    """Return what orders the releases of a product: after a reset by the root the numbers begin again."""
    number = str(row.get("to", "")).partition("-")[0]
    return Evidence(row["evidence"]).reset, int(number) if number.isdecimal() else -1


def _applied(context: Context) -> list[dict[str, Any]]:
    rows = finalize.readable_rows(context.system, context.layout)
    return [each for each in rows if each["verb"] == "apply"]


def _failure(rows: Any) -> FailedRelease | None:
    last = next(reversed(list(rows)), None)
    if last is None or last["verb"] != "apply" or last["outcome"] != "rolled back":
        return None
    # Rows of older versions have no cause: their release is tried once more.
    if last.get("cause") not in OF_THE_RELEASE:
        return None
    return FailedRelease(
        last["version"],
        last["identity"],
        last["ended"],
        last.get("why", ""),
        last["cause"],
        last["transaction"],
    )
