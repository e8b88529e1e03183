"""A root in words and as JSON, for `trust show` and `trust init` of both commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from installer.core.timestamps import format_time
from installer.core.trust.quorum import fold_owner
from installer.core.trust.root import Policy, Root, display_fingerprint, fingerprint
from installer.core.trust.signatures import TrustedKey


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One key of a root.

    Attributes:
        key: The key.
        roles: The roles it has.
        state: Whether it counts at the given time.
    """

    key: TrustedKey
    roles: tuple[str, ...]
    state: Literal["in force", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class RootView:
    """The content of a root at a given time.

    Attributes:
        root: The root.
        fingerprint: SHA-256 of its bytes, hex.
        expired: Whether it has expired at that time.
        keys: Its keys.
    """

    root: Root
    fingerprint: str
    expired: bool
    keys: tuple[KeyRow, ...]

    def as_json(self) -> dict[str, object]:
        """Return the view as `--json` prints it."""
        document = self.root.document()
        return {
            "fingerprint": self.fingerprint,
            "version": self.root.version,
            "expires": document["expires"],
            "expired": self.expired,
            "keys": [
                {
                    "keyid": row.key.keyid,
                    "scheme": row.key.scheme,
                    "owner": row.key.owner,
                    "roles": list(row.roles),
                    "not_after": format_time(row.key.not_after) if row.key.not_after else None,
                    "state": row.state,
                }
                for row in self.keys
            ],
            **{
                table: dict(sorted(document.get(table, {}).items()))
                for table in ("roles", "environments", "products")
            },
            "revoked": document["revoked"],
        }

    def lines(self) -> list[str]:
        """Return the view as lines of text for a terminal of 80 columns."""
        half = display_fingerprint(self.fingerprint)
        expires = format_time(self.root.expires) + ("  EXPIRED" if self.expired else "")
        lines = [
            f"fingerprint  {half[:39]}",
            f"             {half[40:]}",
            f"version      {self.root.version}",
            f"expires      {expires}",
        ]
        for name, role in sorted(self.root.roles.items()):
            count = "1 owner" if role.threshold == 1 else f"{role.threshold} owners"
            lines += ["", f"role {name}: signatures of {count} are required; its keys are"]
            lines += [f"  {self._line(row)}" for row in self.keys if name in row.roles]
        idle = [row for row in self.keys if not row.roles]
        if idle:
            lines += ["", "keys without a role", *(f"  {self._line(row)}" for row in idle)]
        for name, policy in sorted(self.root.environments.items()):
            lines += ["", f"environment {name}", *(f"  {line}" for line in self._policy(policy))]
        for name, rule in sorted(self.root.products.items()):
            resets = f", sequence reset {rule.reset} times" if rule.reset else ""
            lines += ["", f"product {name}: security floor at sequence {rule.floor}{resets}"]
        for what, ids in (("keys", self.root.revoked_keys), ("bundles", self.root.revoked_bundles)):
            if ids:
                lines += ["", f"revoked {what}", *(f"  {item}" for item in sorted(ids))]
        return lines

    def _policy(self, policy: Policy) -> list[str]:
        needs = self.root.needs(policy)
        people = ", ".join(f"{role} {number}" for role, number in needs.items())
        rows = [
            (policy.change_id, "approvals must name a change id"),
            (policy.rollback_plan, "a rollback plan is required; approvals name the version to roll back to"),
            (policy.max_age_days, f"approvals are valid for {policy.max_age_days} days"),
            *((True, f"built by {each}") for each in policy.builders),
            *((True, f"built from {each}") for each in policy.repositories),
            (policy.clean_tree, "built from a source tree without uncommitted changes"),
            (policy.products, f"only the products {', '.join(policy.products)}"),
            (policy.break_glass, "BREAK-GLASS may replace everything except the release signature"),
        ]
        return [f"different owners must sign: {people}", *(line for applies, line in rows if applies)]

    def as_text(self) -> str:
        """Return `lines` as one text."""
        return "\n".join(self.lines())

    @staticmethod
    def _line(row: KeyRow) -> str:
        until = f"  until {format_time(row.key.not_after)}" if row.key.not_after else ""
        state = "" if row.state == "in force" else f"  {row.state.upper()}"
        return f"{row.key.keyid8}  {row.key.scheme:<6}  {row.key.owner}{until}{state}"


def view(root: Root, data: bytes, now: datetime) -> RootView:
    """Return the view of a root.

    Args:
        root: The root.
        data: Its exact bytes.
        now: The time.

    Returns:
        The view.
    """
    rows = []
    for keyid, key in sorted(root.keys.items(), key=lambda item: (fold_owner(item[1].owner), item[0])):
        roles = tuple(sorted(name for name, role in root.roles.items() if keyid in role.keys))
        over = key.not_after is not None and now > key.not_after
        state: Literal["in force", "expired", "revoked"] = "expired" if over else "in force"
        rows.append(KeyRow(key, roles, "revoked" if keyid in root.revoked_keys else state))
    return RootView(root, fingerprint(data), now > root.expires, tuple(rows))
