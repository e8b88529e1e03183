"""What an environment asks for, held against who signed; everything that is missing is said at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from installer.core.errors import Problem
from installer.core.format.manifest import Manifest
from installer.core.timestamps import format_time
from installer.core.trust.approval import NO_ROLLBACK, Approval
from installer.core.trust.provenance import Provenance
from installer.core.trust.quorum import assign_owners, fold_owner
from installer.core.trust.root import Policy, Root
from installer.core.trust.signatures import TrustedKey


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host says of itself; everything that is left empty is not checked.

    Attributes:
        environment: Its environment: the host's own setting, never the bundle's.
        name: Its host name, lower case.
        platform: `os/arch`.
        highest: The highest sequence number of the product that it has had; -1 for none.
        reset: The number of the last reset of `highest` that was carried out.
        version: The version of the product that runs; empty for none.
        running: Its sequence number; -1 for none. It may be applied again, however old.
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
        """Return the identity of another release with this sequence number; empty where none is kept."""
        same = [known for number, known in self.retained if number == sequence]
        return same[0] if same and identity and identity not in same else ""

    def is_target(self, targets: Sequence[str]) -> bool:
        """Return whether a list of targets means this host; an empty list means every host.

        A target without a dot is a host's short name.
        """
        return not targets or not self.name or any(t in (self.name, self.name.split(".")[0]) for t in targets)


@dataclass(frozen=True, slots=True)
class CountedApproval:
    """A statement that counts: signed by a trusted key in force, about this bundle, here and now."""

    file: str
    key: TrustedKey
    role: str
    statement: Approval | Provenance

    @property
    def approval(self) -> Approval | None:
        """The approval; None for provenance."""
        return self.statement if isinstance(self.statement, Approval) else None

    def as_json(self) -> dict[str, Any]:
        """Return it as reports and logs carry it."""
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
        needed: Role to how many owners were asked for; empty where there is no policy.
        filled: Role to the owners that count for it.
        counted: The approvals that count.
        rejected: File and reason of those that do not.
        change_id: The change that the approvals name.
        rollback_to: Where they say to go back to.
        provenance: Who built it and from what, as provenance that counts says.
        broken: What was missing and break-glass stood in for; empty: nothing, the rule was kept.
        reset: The reset of the product in the root, to be remembered by the host.
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

    @property
    def builder(self) -> str:
        """Who built it, where provenance says so."""
        return ", ".join(sorted({each.builder for each in self.provenance}))

    @property
    def break_glass(self) -> bool:
        """Whether the rule was broken by those who may."""
        return bool(self.broken)

    def as_json(self) -> dict[str, Any]:
        """Return it as reports, state and logs carry it."""
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
        """Return it as labels and texts, for people."""
        rows = [("environment", self.environment or "none named; the root has no policies")]
        rows += [(f"  {role}", ", ".join(owners)) for role, owners in self.filled.items()]
        for item in self.counted:
            rows.append(("approval", _line(item)))
        rows += [("not counted", f"{file}: {reason}") for file, reason in self.rejected]
        rows += [("change", self.change_id)] if self.change_id else []
        rows += [("back to", self.rollback_to)] if self.rollback_to else []
        for each in self.provenance:
            rows += [("built by", each.builder), *([("built from", each.source())] if each.commit else [])]
        return rows + [("BREAK-GLASS", f"stands in for: {what}") for what in self.broken]

    def warning(self) -> str:
        """Return what plan and history say loudly; empty where the rule was kept."""
        if not self.broken:
            return ""
        reasons = "; ".join(
            f"{c.key.owner}: {c.approval.notes}"
            for c in self.counted
            if c.role == "break-glass" and c.approval
        )
        missing = "; ".join(self.broken)
        return f"BREAK-GLASS in {self.environment}, without what the policy asks for ({missing}). {reasons}"


def _line(item: CountedApproval) -> str:
    who = f"{item.role} by {item.key.owner} ({item.key.scheme} {item.key.keyid8})"
    said = item.approval
    if said is None:
        return who
    where = f", only {', '.join(said.targets)}" if said.targets else ""
    notes = f": {said.notes}" if said.notes else ""
    return f"{who} until {format_time(said.expires)}{where}{notes}"


SKEW = 600
"""Seconds by which two honest clocks may differ."""


@dataclass(frozen=True, slots=True)
class PolicyEvaluation:
    """Everything that the answer depends on.

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
        """Return each role the owners that count for it, by the names that the root gives them.

        Roles that few people hold are filled first: of the others it is easier to find somebody.
        """
        names = {fold_owner(key.owner): key.owner for key in reversed(list(self.root.keys.values()))}
        signed = {
            role: frozenset(fold_owner(c.key.owner) for c in self.counted if c.role == role) for role in needs
        }
        signed["release"] = frozenset(fold_owner(owner) for owner in self.released)
        rare = sorted(needs, key=lambda role: len(self.root.holders(role)))
        filled = assign_owners({role: needs[role] for role in rare}, signed)
        return {role: tuple(names[owner] for owner in filled[role]) for role in needs}

    def missing(self) -> list[Problem]:
        """Return everything that is missing, with who could give it."""
        needs = self.root.needs(self.policy)
        filled = self.fill(needs)
        problems = [
            self._role(role, needs[role], filled) for role in needs if len(filled[role]) < needs[role]
        ]
        return problems + self._change() + self._rollback()

    def glass(self) -> dict[str, tuple[str, ...]]:
        """Return who breaks the glass and who released; empty where they are too few or it is not allowed."""
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
        people = "one person" if needed == 1 else f"{needed} people"
        has = f"only {', '.join(filled[role])}" if filled[role] else "nobody"
        what = (
            f"{people} must have signed, {has} has"
            if len(filled[role]) < 2
            else f"{people} must have signed, {has} have"
        )
        busy = [
            f"{owner} counts for {other} already"
            for other, owners in filled.items()
            if other != role
            for owner in owners
            if fold_owner(owner) in {fold_owner(key.owner) for key in self.root.holders(role)}
        ]
        if busy:
            what += f" ({'; '.join(busy)}, and nobody counts twice)"
        who = (
            ", ".join(f"{key.owner} ({key.scheme} {key.keyid8})" for key in able)
            or "nobody who is left in the root"
        )
        return Problem(f"role {role}", what, f"can be given by {who}: {self._command(role)}")

    def _command(self, role: str) -> str:
        if role == "release":
            return "bundle sign BUNDLE --key KEY"
        return f"bundle approve BUNDLE --role {role} --env {self.environment} --key KEY"

    def _change(self) -> list[Problem]:
        if not self.policy.change_id:
            return []
        named = self.agreed("change_id")
        if len(named) == 1:
            return []
        what = (
            f"the approvals name different changes: {', '.join(named)}"
            if named
            else "no approval names the change"
        )
        return [Problem("change id", what, "an approver gives it: bundle approve … --change-id ID")]

    def _rollback(self) -> list[Problem]:
        if not self.policy.rollback_plan:
            return []
        problems, named = [], self.agreed("rollback_to")
        if not self.manifest.rollback:
            hint = "the release engineer adds `rollback: {plan: docs/ROLLBACK.md}` to bundle.yaml"
            problems.append(Problem("rollback plan", "the bundle carries none", hint))
        if len(named) != 1:
            what = (
                f"the approvals name different ones: {', '.join(named)}"
                if named
                else "no approval says where to"
            )
            hint = (
                f"an approver does: bundle approve … --rollback-to VERSION (`{NO_ROLLBACK}` for a first one)"
            )
            problems.append(Problem("rollback to", what, hint))
        return problems
