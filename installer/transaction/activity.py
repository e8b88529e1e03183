"""What another process does to a product right now, found without a lock: status must stop no install."""

from __future__ import annotations

import pwd
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from installer.core.timestamps import format_seconds
from installer.host.context import Context
from installer.host.kernel import Holder

_VERBS = {"apply": "upgrade", "rollback": "rollback", "remove": "removal"}


@dataclass(frozen=True, slots=True)
class Activity:
    """A command that holds the lock of a product.

    Attributes:
        what: What it does, in words: `upgrade 1.4.0 → 1.5.0`; empty where it has not changed anything yet.
        since: When it began to change the host, in seconds since 1970; 0 where it has not.
        transaction: Its id; empty where it has none yet.
        holders: The processes that hold the lock.
    """

    what: str
    since: int
    transaction: str
    holders: tuple[Holder, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "what": self.what or None,
            "started": format_seconds(self.since) if self.transaction else None,
            "transaction": self.transaction or None,
            "processes": [asdict(each) for each in self.holders],
        }

    def text(self) -> str:
        """Return it for people."""
        by = "; ".join(f"process {each.pid} ({each.name}) of user {_user(each.uid)}" for each in self.holders)
        if not self.transaction:
            return f"a command that has changed nothing yet, by {by}"
        when = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{self.what} since {when}, by {by}"


def _user(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def holders(context: Context) -> tuple[Holder, ...]:
    """Return the processes that hold the lock of a product, as far as this user can see them."""
    layout = context.layout
    return tuple(context.system.lock_holders((layout.lock, layout.transactions)))


def described(begin: Mapping[str, Any]) -> tuple[str, int]:
    """Return what a transaction does, in words, and when it began, from its record BEGIN."""
    new, old = begin["new"], begin["old"]
    before = next((each["version"] for each in begin["state"]["releases"] if each["name"] == old), "")
    after = new["version"] if new else ""
    verb = _VERBS.get(begin["verb"], begin["verb"])
    if begin["verb"] == "apply" and (not before or (new and new["name"] == old)):
        return f"{'repair' if before else 'installation'} of {after}", begin["at"]
    # A removal of nothing deletes what an earlier one left.
    return (f"{verb} {before} → {after}" if after else f"{verb} of {before or 'data'}"), begin["at"]
