"""The policy of an environment, compared with who signed; everything that is missing is reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from installer.core.errors import ClockError, FloorError, Problem, WrongProductError
from installer.core.format.manifest import Manifest
from installer.core.timestamps import format_time
from installer.core.trust.approval import NO_ROLLBACK, Approval
from installer.core.trust.provenance import Provenance
from installer.core.trust.quorum import assign_owners, fold_owner
from installer.core.trust.root import Policy, ProductRule, Root
from installer.core.trust.signatures import TrustedKey


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What is known about the host that a bundle is verified for; what is left empty is not checked.

    Attributes:
        environment: Its environment: the host's own setting, never the bundle's.
        name: Its host name, lower case.
        platform: `os/arch`.
        highest: The highest sequence number of the product that was installed here; -1 for none.
        reset: The number of the last reset of `highest` that was applied.
        version: The version of the product that runs; empty for none.
        running: The sequence number of that version; -1 for none. It may be applied again, however old.
        retained: Sequence number and identity of each retained release, the running one included.
    """

    environment: str = ""
    name: str = ""
    platform: str = ""
    highest: int = -1
    reset: int = 0
    version: str = ""
    running: int = -1
    retained: tuple[tuple[int, str], ...] = ()

    def same_sequence(self, sequence: int, identity: str) -> str:
        """Return the identity of another retained release with this sequence number; empty for none."""
        same = [known for number, known in self.retained if number == sequence]
        return same[0] if same and identity and identity not in same else ""

    @property
    def can_roll_back(self) -> bool:
        """Whether a release other than the running one is retained."""
        return any(number != self.running for number, _ in self.retained)

    def is_target(self, targets: Sequence[str]) -> bool:
        """Return whether a list of targets means this host; an empty list means every host.

        A target without a dot is a host's short name.
        """
        # Away from a host its name is not known, and targets cannot be checked.
        return not targets or not self.name or any(t in (self.name, self.name.split(".")[0]) for t in targets)


@dataclass(frozen=True, slots=True)
class CountedApproval:
    """A statement that counts: signed by a trusted key, about this bundle, for this environment and time."""

    file: str
    key: TrustedKey
    role: str
    statement: Approval | Provenance

    @property
    def approval(self) -> Approval | None:
        """The approval; None for provenance."""
        return self.statement if isinstance(self.statement, Approval) else None

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, for reports and logs."""
        row: dict[str, Any] = {
            "file": self.file,
            "role": self.role,
            "owner": self.key.owner,
            "keyid": self.key.keyid,
        }
        said = self.approval
        if said is None:
            return row | (self.statement.as_json() if isinstance(self.statement, Provenance) else {})
        return row | {
            "environment": said.environment,
            "targets": list(said.targets),
            "change_id": said.change_id,
            "rollback_to": said.rollback_to,
            "expires": format_time(said.expires),
            "notes": said.notes,
        }


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a bundle may be installed here.

    Attributes:
        environment: Where; empty where the root knows no environments and none was named.
        root_version: The version of the root that decided.
        needed: Number of owners that each role requires; empty where there is no policy.
        filled: Role to the owners that count for it.
        counted: The approvals that count.
        rejected: File and reason of those that do not.
        change_id: The change that the approvals name.
        rollback_to: The version that they name for a rollback.
        provenance: Who built it and from what, according to the provenance that counts.
        broken: What was missing and replaced by break-glass; empty where the policy was met.
        reset: The reset of the product in the root, which the host records.
        damaged: Warnings about files next to the bundle that are damaged and were not needed.
    """

    environment: str
    root_version: int
    needed: Mapping[str, int]
    filled: Mapping[str, tuple[str, ...]]
    counted: tuple[CountedApproval, ...] = ()
    rejected: tuple[tuple[str, str], ...] = ()
    change_id: str = ""
    rollback_to: str = ""
    provenance: tuple[Provenance, ...] = ()
    broken: tuple[str, ...] = ()
    reset: int = 0
    damaged: tuple[str, ...] = ()

    @property
    def builder(self) -> str:
        """The builders that the provenance names; empty where there is none."""
        return ", ".join(sorted({each.builder for each in self.provenance}))

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object, for reports, the state and logs."""
        return {
            "environment": self.environment,
            "root_version": self.root_version,
            "needed": dict(self.needed),
            "filled": {role: list(owners) for role, owners in self.filled.items()},
            "approvals": [item.as_json() for item in self.counted],
            "not_counted": [{"file": file, "reason": reason} for file, reason in self.rejected],
            "change_id": self.change_id,
            "rollback_to": self.rollback_to,
            "builder": self.builder,
            "provenance": [each.as_json() for each in self.provenance],
            "break_glass": list(self.broken),
            "reset": self.reset,
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return it as pairs of label and text, for a report."""
        # A misspelt environment is none that a policy is for: its report must not look like that of one.
        named = self.environment if self.needed else f"{self.environment}; no approvals are required"
        rows = [("environment", named if self.environment else "none; the root has no policies")]
        rows += [(f"  {role}", ", ".join(owners)) for role, owners in self.filled.items()]
        for item in self.counted:
            rows.append(("counted", _line(item)))
        rows += [("not counted", f"{file}: {reason}") for file, reason in self.rejected]
        rows += [("change", self.change_id)] if self.change_id else []
        rows += [("rollback to", self.rollback_to)] if self.rollback_to else []
        for each in self.provenance:
            rows += [("built by", each.builder), *([("built from", each.source())] if each.commit else [])]
        return rows + [("BREAK-GLASS", f"replaces: {what}") for what in self.broken]

    def warning(self) -> str:
        """Return the warning of plan and history; empty where the policy was met."""
        if not self.broken:
            return ""
        reasons = "; ".join(
            f"{c.key.owner}: {c.approval.notes}"
            for c in self.counted
            if c.role == "break-glass" and c.approval
        )
        missing = "; ".join(self.broken)
        return (
            f"BREAK-GLASS used in {self.environment} instead of what the policy requires ({missing}). "
            f"{reasons}"
        )


def _line(item: CountedApproval) -> str:
    who = f"{item.role} by {item.key.owner} ({item.key.scheme} {item.key.keyid8})"
    said = item.approval
    if said is None:
        return who
    where = f", only for {', '.join(said.targets)}" if said.targets else ""
    notes = f": {said.notes}" if said.notes else ""
    return f"{who} until {format_time(said.expires)}{where}{notes}"


def check_product(root: Root, product: str, environment: str, where: str = "") -> None:
    """Refuse a product that the policy of an environment does not list: step 10.

    Raises:
        WrongProductError: It is not listed.
    """
    policy = root.environments.get(environment)
    if policy and policy.products and product not in policy.products:
        raise WrongProductError(
            f"{product} is not allowed in the environment {environment}",
            where=where,
            hint=f"allowed: {', '.join(policy.products)}; the owners of the root keys can add this product",
        )


def check_floor(root: Root, manifest: Manifest, where: str = "") -> None:
    """Refuse a release below the security floor: step 13.

    The holders of the root can exclude all releases before a security fix at once.

    Raises:
        FloorError: It is below.
    """
    floor = root.products.get(manifest.product, ProductRule()).floor
    if manifest.sequence < floor:
        name = f"{manifest.product} {manifest.version} (sequence {manifest.sequence})"
        raise FloorError(
            f"{name} is below the security floor of this host's root (sequence {floor})",
            where=where,
            hint="ask for a newer release: this one has a known security defect",
        )


SKEW = 600
"""Seconds by which two correct clocks may differ."""


def require_clock(now: datetime, known: datetime | None, what: str, more: str = "") -> None:
    """Refuse a clock that is behind a time that has passed.

    Args:
        now: What the clock shows.
        known: A time that has passed; None for none.
        what: How the error introduces that time.
        more: What the hint ends with.

    Raises:
        ClockError: The clock is behind by more than two correct clocks may differ.
    """
    if known is not None and (known - now).total_seconds() > SKEW:
        raise ClockError(
            f"the clock of this host shows {format_time(now)}, but {what} {format_time(known)}",
            hint="correct the clock (check it with `date -u`): with a clock that is behind, expired bundles "
            f"and keys would be accepted{more}",
        )


@dataclass(frozen=True, slots=True)
class PolicyEvaluation:
    """One policy, applied to one bundle and the approvals that count.

    Attributes:
        root: The host's.
        environment: Its name.
        policy: Its policy.
        manifest: The bundle's.
        released: The owners whose release signatures count.
        counted: The approvals that count.
    """

    root: Root
    environment: str
    policy: Policy
    manifest: Manifest
    released: frozenset[str]
    counted: Sequence[CountedApproval]

    def fill(self, needs: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
        """Return the owners that count for each role, by the names that the root gives them.

        Args:
            needs: Number of owners that each role requires.
        """
        # Two keys of one person may spell the name in different cases; the first one of the root is shown.
        names = {fold_owner(key.owner): key.owner for key in reversed(list(self.root.keys.values()))}
        signed = {
            role: frozenset(fold_owner(c.key.owner) for c in self.counted if c.role == role) for role in needs
        }
        # Release signatures are not approvals: they come from the head of the bundle.
        signed["release"] = frozenset(fold_owner(owner) for owner in self.released)
        # Roles with few holders first: the remaining owners then fit into the roles that many hold.
        rare = sorted(needs, key=lambda role: len(self.root.holders(role)))
        filled = assign_owners({role: needs[role] for role in rare}, signed)
        return {role: tuple(names[owner] for owner in filled[role]) for role in needs}

    def missing(self) -> list[Problem]:
        """Return everything that is missing, each with who can give it."""
        needs = self.root.needs(self.policy)
        filled = self.fill(needs)
        problems = [
            self._role(role, needs[role], filled) for role in needs if len(filled[role]) < needs[role]
        ]
        problems += self._change() if self.policy.change_id else []
        return problems + (self._rollback() if self.policy.rollback_plan else [])

    def glass(self) -> dict[str, tuple[str, ...]]:
        """Return the owners for break-glass and release; empty if too few or not allowed."""
        # The release signature is never replaced: break-glass is for approvals only.
        if not self.policy.break_glass or "break-glass" not in self.root.roles:
            return {}
        needs = {
            "release": self.root.needs(self.policy)["release"],
            "break-glass": self.root.roles["break-glass"].threshold,
        }
        filled = self.fill(needs)
        return filled if all(len(filled[role]) == needs[role] for role in needs) else {}

    def agreed(self, field: str) -> tuple[str, ...]:
        """Return the different values of a field that the approvals name, sorted."""
        said = (str(getattr(c.approval, field)) for c in self.counted if c.approval)
        return tuple(sorted({value for value in said if value}))

    def _role(self, role: str, needed: int, filled: Mapping[str, tuple[str, ...]]) -> Problem:
        used = {fold_owner(owner) for owners in filled.values() for owner in owners}
        able = [key for key in self.root.holders(role) if fold_owner(key.owner) not in used]
        missing = needed - len(filled[role])
        kind = "release signature" if role == "release" else "approval"
        what = f"missing: {missing} {kind}{'s' if missing > 1 else ''} in role {role}"
        what += f" ({needed} required, given by {', '.join(filled[role])})" if filled[role] else ""
        busy = [
            f"{owner} already counts for {other}"
            for other, owners in filled.items()
            if other != role
            for owner in owners
            if fold_owner(owner) in {fold_owner(key.owner) for key in self.root.holders(role)}
        ]
        if busy:
            what += f"; {'; '.join(busy)}, and an owner counts for one role only"
        who = (
            ", ".join(f"{key.owner} ({key.scheme} {key.keyid8})" for key in able)
            or "nobody: the root has no other owner in this role"
        )
        return Problem("", what, f"can be given by {who}: {self._command(role)}")

    def _command(self, role: str) -> str:
        if role == "release":
            return "`bundle sign BUNDLE --key KEY`"
        return f"`bundle approve BUNDLE --role {role} --env {self.environment} --root ROOT --key KEY`"

    def _change(self) -> list[Problem]:
        # Two different changes would mean that two people approved different things.
        hint = "approve with a change id: `bundle approve … --change-id ID`"
        return self._one("change_id", "change ids", "a change id in an approval", hint)

    def _rollback(self) -> list[Problem]:
        hint = (
            "approve with the version to roll back to: `bundle approve … --rollback-to VERSION` "
            f"(`{NO_ROLLBACK}` for a first installation)"
        )
        what = "the version to roll back to, in an approval"
        problems = self._one("rollback_to", "versions to roll back to", what, hint)
        if not self.manifest.rollback:
            hint = "ask the release engineer to add `rollback: {plan: docs/ROLLBACK.md}` to bundle.yaml"
            problems.insert(0, Problem("", "missing: a rollback plan in the bundle", hint))
        return problems

    def _one(self, field: str, different: str, missing: str, hint: str) -> list[Problem]:
        """Return the problem unless the approvals name exactly one value in a field."""
        named = self.agreed(field)
        what = (
            f"the approvals name different {different}: {', '.join(named)}"
            if named
            else f"missing: {missing}"
        )
        # Another approval alone changes nothing: those that are there still count.
        withdraw = (
            "agree on one; whoever named another withdraws that approval, "
            "`bundle approve BUNDLE --withdraw --key KEY`, and approves again"
        )
        return [] if len(named) == 1 else [Problem("", what, withdraw if named else hint)]
