"""Checks approvals against a root, a bundle and an environment: which count, and why the others do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from installer.core.errors import NotApprovedError, Problem, TamperedError, WaybillError
from installer.core.format.manifest import Manifest
from installer.core.timestamps import expired_text, format_time
from installer.core.trust.approval import Approval, ApprovalFile, parse
from installer.core.trust.policy import SKEW, CountedApproval
from installer.core.trust.provenance import Provenance, why_rejected
from installer.core.trust.root import Policy, Root
from installer.core.trust.signature_check import Accepted, Rejected, check_signature


@dataclass(slots=True)
class ApprovalCheck:
    """Sorts approvals into those that count and those that do not. Targets are checked later.

    Attributes:
        root: The keys, roles and policies that are trusted.
        manifest: The bundle's.
        identity: The bundle's.
        environment: The host's; empty: any.
        policy: The environment's; None where there is none.
        now: The time.
        counted: Those that count.
        rejected: The others, with the reason.
        passed: When those that only expired did.
    """

    root: Root
    manifest: Manifest
    identity: str
    environment: str
    policy: Policy | None
    now: datetime
    counted: list[CountedApproval] = field(default_factory=list)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    passed: list[datetime] = field(default_factory=list)
    _damaged: list[WaybillError] = field(default_factory=list)
    _seen: set[tuple[str, str, bytes]] = field(default_factory=set)

    def check(self, found: ApprovalFile) -> None:
        """Check one approval; one that is not in the bundle is set aside if it is damaged.

        Raises:
            TamperedError: A signature that names a key of its role is not by that key or not of these bytes.
        """
        try:
            self._check(found)
        except TamperedError as error:
            # Anybody can put a file next to a bundle: it must not block what is approved without it.
            if not found.source:
                raise
            self.set_aside(error)

    def _check(self, found: ApprovalFile) -> None:
        verdicts = [
            check_signature(self.root, found.role, each, found.data, self.now) for each in found.signatures
        ]
        # One valid signature is enough; an invalid one by a trusted key has raised an error above.
        good = next((each for each in verdicts if isinstance(each, Accepted)), None)
        if good is None:
            reasons = [each.reason for each in verdicts if isinstance(each, Rejected)]
            self.rejected.append((found.where, reasons[0] if reasons else "is not signed"))
            return
        this = (found.role, good.keyid, found.data)
        if this in self._seen:  # the same one in the bundle and next to it
            return
        self._seen.add(this)
        key = self.root.keys[good.keyid]
        try:
            # Parsed only now: nothing of an approval is read before its signature is verified.
            statement = parse(found.data, found.where)
        except TamperedError as error:
            # Signed by a trusted key, and of a form that this version does not know: not tampering, but it
            # cannot count either.
            self.rejected.append((found.where, f"cannot be read: {error.where}: {error.what}"))
            return
        if reason := self._why_not(statement, found.role):
            self.rejected.append((found.where, f"{key.owner}: {reason}"))
        else:
            self.counted.append(CountedApproval(found.where, key, found.role, statement))

    def set_aside(self, error: WaybillError) -> None:
        """Note a damaged file that is not in the bundle: it does not count, and may not be needed."""
        error.step = 16
        self._damaged.append(error)
        self.rejected.append((error.where, f"is damaged: {error.what}; bring it again, or remove it"))

    def warnings(self) -> tuple[str, ...]:
        """Return what to warn about where the others suffice."""
        return tuple(
            f"{each.where}: {each.what}; it is not needed, and does not count" for each in self._damaged
        )

    def damage(self) -> WaybillError | None:
        """Return the error of the first damaged file, or None if none is damaged."""
        return self._damaged[0] if self._damaged else None

    def refusal(self, problems: Sequence[Problem]) -> WaybillError:
        """Return the error where something is missing: of the first damaged file, as it may be just that one.

        Args:
            problems: What the policy requires and is missing.
        """
        if damage := self.damage():
            return damage
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        return NotApprovedError(
            f"{self.manifest.product} {self.manifest.version} is not approved for {self.environment}: "
            f"{count}",
            hint="see the hint of each problem; approvals can be in the bundle or in "
            "BUNDLE.approvals next to it",
            problems=[*problems, *self.problems()],
        )

    def problems(self) -> tuple[Problem, ...]:
        """Return why those that do not count do not, for a refusal."""
        return tuple(Problem(file, f"does not count: {reason}") for file, reason in self.rejected)

    def _why_not(self, statement: Approval | Provenance, role: str) -> str:
        # An approval of another bundle, replayed: the identity covers every byte.
        if statement.identity != self.identity:
            return "is about another bundle"
        policy = self.policy or Policy({})
        # Provenance counts only in its own role: a builder must not approve as security.
        if isinstance(statement, Provenance):
            if role != "provenance":
                return f"is provenance, but was given in the role {role}"
            commit = self.manifest.source.commit
            return why_rejected(statement, policy.builders, policy.repositories, policy.clean_tree, commit)
        if policy.asks_for_provenance and role == "provenance":
            return "names no builder and no source, but this environment requires them"
        return self._why_not_valid(statement, role)

    def _why_not_valid(self, statement: Approval, role: str) -> str:
        manifest, days = self.manifest, self.policy.max_age_days if self.policy else 0
        # The role in the file name only chooses the key; the signed one decides.
        if statement.role != role:
            return f"was given in the role {statement.role}, not {role}"
        # Implied by the identity; checked all the same, since these are what the approver saw.
        if (statement.product, statement.version) != (manifest.product, manifest.version):
            return f"is for {statement.product} {statement.version}"
        if self.environment and statement.environment != self.environment:
            return f"is for the environment {statement.environment}"
        # The approver's clock may be minutes ahead of the host's.
        if (statement.not_before - self.now).total_seconds() > SKEW:
            return f"is not valid before {format_time(statement.not_before)}"
        if self.now >= statement.expires:
            self.passed.append(statement.expires)
            return expired_text(statement.expires, self.now)
        if days and (self.now - statement.not_before).total_seconds() > days * 86400:
            return f"is older than this environment allows ({days} day{'s' if days > 1 else ''})"
        if role == "break-glass" and not statement.notes:
            return "has no reason: break-glass needs a note"
        return ""
