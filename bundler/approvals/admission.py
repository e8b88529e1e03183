"""What an approver is shown and asked, and what is refused: a role or an environment that hosts do not know.

An approval that no host counts is found behind the air gap, at night. So the root that hosts trust decides
here, too: the environment has a policy in it, and the key has the role.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bundler.approvals.approval import ApprovalRequest
from bundler.config.durations import parse_expiry
from installer.core.errors import ExpiredError, UntrustedError, UsageError
from installer.core.schema_errors import spelling_hint
from installer.core.timestamps import format_time
from installer.core.trust.quorum import fold_owner
from installer.core.trust.root import APPROVERS, Root
from installer.core.trust.verifier import PRODUCTION
from installer.core.verify import VerifiedBundle

BREAK_GLASS = "break-glass"


@dataclass(frozen=True, slots=True)
class Admission:
    """A bundle that was verified, and may be approved as requested.

    Attributes:
        verified: The verified bundle.
        request: What the approver states.
        root: The root that verified it; None where only a key was pinned.
        risks: How many findings of each kind the release has, in words.
        risk_counts: The same as JSON.
        warnings: What the approver should know.
    """

    verified: VerifiedBundle
    request: ApprovalRequest
    root: Root | None
    risks: tuple[str, ...] = ()
    risk_counts: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Product and version."""
        return f"{self.verified.manifest.product} {self.verified.manifest.version}"

    @property
    def max_age_days(self) -> int:
        """How old the policy of the environment lets approvals become; 0: any age, or no policy is known."""
        policy = self.root.environments.get(self.request.environment) if self.root else None
        return policy.max_age_days if policy else 0

    def text(self, keys: Iterable[str]) -> str:
        """Return for people what they are about to sign.

        Args:
            keys: The keys that sign, in words.
        """
        request, released = self.request, self.verified.evidence.accepted
        rows = [
            ("product", self.name),
            ("identity", self.verified.identity),
            (
                "released by",
                ", ".join(dict.fromkeys(f"{each.owner} ({each.keyid[:8]})" for each in released)),
            ),
            ("environment", request.environment + ("" if self.root else " (not checked: no root was given)")),
            ("role", request.role),
            *(("key", each) for each in keys),
            ("expires", request.expires),
            ("only on", ", ".join(request.targets)),
            ("change", request.change_id),
            ("roll back to", request.rollback_to),
            ("note", request.notes),
            *(("risks", each) for each in self.risks or ("none found",)),
        ]
        return "\n".join(f"{label:<12} {value}" for label, value in rows if value)

    def owner(self, keyid: str) -> str:
        """Return the owner of a key by the root; empty where no root was given."""
        return self.root.keys[keyid].owner if self.root else ""

    def owner_warnings(self, keyids: Iterable[str]) -> list[str]:
        """Return why a host might not count an approval by these keys, or would still ask for more."""
        if self.root is None:
            return []
        owners = [self.owner(keyid) for keyid in keyids]
        return [
            each for owner in owners for each in owner_warnings(self.root, self.request, self.verified, owner)
        ]

    def question(self) -> str:
        """Return what is asked before the approval is signed."""
        request = self.request
        return f"Approve {self.name} for {request.environment} in the role {request.role}?"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {
            "product": self.verified.manifest.product,
            "version": self.verified.manifest.version,
            "identity": self.verified.identity,
            "environment": self.request.environment,
            "role": self.request.role,
            # Each signature has two forms; one owner signs once.
            "released_by": sorted({each.owner for each in self.verified.evidence.accepted}),
            "checked_by": "root" if self.root else "key",
            "risk_counts": dict(self.risk_counts),
            "warnings": list(self.warnings),
        }


def check_role(role: str) -> None:
    """Refuse what is no role of an approver.

    Raises:
        UsageError: It is none; the hint names the one that was meant.
    """
    if role in APPROVERS:
        return
    listed = f"roles of approvers: {', '.join(APPROVERS)}"
    what = f"--role: {role!r:.80} is no role of an approver"
    raise UsageError(what, hint=spelling_hint(role, APPROVERS, listed))


def check_environment(root: Root, request: ApprovalRequest) -> None:
    """Refuse an environment that the root has no policy for, or that does not accept the role.

    Raises:
        UsageError: Hosts would not count the approval.
    """
    known = sorted(root.environments)
    # A root without policies requires no approvals; whoever gives one anyway may name any environment.
    if not known:
        return
    if request.environment not in known:
        what = f"--env: the root has no policy for the environment {request.environment!r:.80}"
        raise UsageError(what, hint=spelling_hint(request.environment, known, f"it has: {', '.join(known)}"))
    if request.role == BREAK_GLASS and not root.environments[request.environment].break_glass:
        raise UsageError(
            f"--role: {request.environment} does not accept the role {BREAK_GLASS}",
            hint="its policy decides; `bundle trust show root.json` shows it",
        )


def check_key(root: Root, role: str, keyid: str, now: datetime) -> str:
    """Refuse a key whose approvals in a role no host would count; return its owner.

    Args:
        root: What hosts trust.
        role: The role of the approval.
        keyid: The whole id of the key.
        now: The time.

    Raises:
        UntrustedError: The root does not have the key, has revoked it, or gives it another role.
        ExpiredError: It counts no longer.
    """
    short, key = keyid[:8], root.keys.get(keyid)
    if key is None:
        raise UntrustedError(
            f"the root does not have the key {short}: no host would count its approval",
            hint=f"use a key of the role {role}, or add this one with `bundle trust add-key`; "
            "`bundle trust show root.json` lists the keys",
        )
    if keyid in root.revoked_keys:
        what = f"the key {key.keyid8} of {key.owner} was revoked: no host counts its approvals"
        raise UntrustedError(what, hint=f"use another key of the role {role}")
    roles = [name for name, each in root.roles.items() if keyid in each.keys]
    if role not in roles:
        may = [name for name in roles if name in APPROVERS]
        give = f"give --role {may[0]}" if len(may) == 1 else f"use a key of the role {role}"
        raise UntrustedError(
            f"the key {key.keyid8} of {key.owner} does not have the role {role}",
            hint=f"{give}; the key has: {', '.join(roles) or 'no role'}",
        )
    if key.not_after is not None and now >= key.not_after:
        what = f"the key {key.keyid8} of {key.owner} counts only until {format_time(key.not_after)}"
        raise ExpiredError(what, hint=f"use another key of the role {role}")
    return key.owner


def owner_warnings(root: Root, request: ApprovalRequest, verified: VerifiedBundle, owner: str) -> list[str]:
    """Return why a host might not count the approval, or would still ask for more."""
    found = []
    policy = root.environments.get(request.environment)
    if not root.environments and request.environment == PRODUCTION:
        # Hosts refuse it there: the name promises rules that this root does not have.
        found.append(
            "the root has no policy for production: hosts refuse the bundle there, whoever approves it, "
            "until `bundle trust set-policy` has added one"
        )
    elif not root.environments:
        found.append("the root has no policies: hosts that trust it require no approvals")
    # One owner counts once, whatever the number of keys and roles.
    if fold_owner(owner) in {fold_owner(each.owner) for each in verified.evidence.accepted}:
        found.append(f"{owner} has released this bundle: hosts do not count an approval by the same owner")
    if policy is not None and request.role != BREAK_GLASS and request.role not in root.needs(policy):
        found.append(f"{request.environment} does not require the role {request.role}")
    return found


def age_warnings(root: Root, request: ApprovalRequest, since: datetime, now: datetime) -> list[str]:
    """Return, in words, that the policy counts the approval for a shorter time than it states.

    Args:
        root: The root that hosts trust.
        request: What the approver states; valid.
        since: When the approval begins.
        now: The time.
    """
    policy = root.environments.get(request.environment)
    stated = parse_expiry(request.expires, now)
    if (
        policy is None
        or not policy.max_age_days
        or stated <= (ends := since + timedelta(policy.max_age_days))
    ):
        return []
    days = "1 day" if policy.max_age_days == 1 else f"{policy.max_age_days} days"
    what = f"{request.environment} counts approvals for {days} at most: this one counts until "
    return [what + f"{format_time(ends)}, although it is valid until {format_time(stated)}"]
