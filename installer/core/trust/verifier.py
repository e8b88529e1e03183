"""Every decision about a bundle, from bytes and a clock alone: no file is read and nobody is asked.

The steps have numbers, see `steps`; those that only the reader of the archive can take (1, 7 and 19) are
marked in `verify`. Signatures are checked in `signature_check`, approvals in `approval_check`, policies in
`policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from installer.core.digest import sha256_hex
from installer.core.errors import (
    DowngradeError,
    ExpiredError,
    JumpError,
    NotApprovedError,
    RevokedError,
    TamperedError,
    UsageError,
    WaybillError,
    WrongPlatformError,
    WrongTargetError,
)
from installer.core.format.manifest import SUMS, Manifest
from installer.core.limits import LIMITS
from installer.core.semver import compare
from installer.core.timestamps import expired_text
from installer.core.trust.approval import Approval, ApprovalFile
from installer.core.trust.approval_check import ApprovalCheck
from installer.core.trust.policy import (
    CountedApproval,
    Decision,
    HostFacts,
    PolicyEvaluation,
    check_floor,
    check_product,
    require_clock,
)
from installer.core.trust.quorum import fold_owner
from installer.core.trust.root import OF_HOST, Policy, ProductRule, Role, Root, RootOrigin
from installer.core.trust.signature_check import (
    Accepted,
    Rejected,
    SignatureEvidence,
    check_signature,
    too_few_owners_error,
)
from installer.core.trust.signatures import Signature, TrustedKey
from installer.core.trust.steps import verification_step

__all__ = ["Trust", "pinned_key_trust"]

NEVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
KNOWN_TIME = "/var/lib/waybill/trusted-time"
"""Where hosts record the last time that is known to have passed."""
RECORDED = f"; if the clock was wrong when that time was recorded, correct it and remove {KNOWN_TIME}"
SET_ENVIRONMENT = "`install trust init /etc/waybill/trust/root.json --env NAME`"
"""Sets the environment of a host that has a root."""
PRODUCTION = "production"
"""The one environment where a release signature alone is never enough, even with a root without policies."""


SAME_SEQUENCE_HINT = "create the bundle again with a higher version, or a higher `sequence` in bundle.yaml"


def same_sequence(name: str, identity: str) -> str:
    """Return the message for a bundle whose sequence number another retained release has."""
    return f"{name} has the same sequence number as another release on this host ({identity[:12]})"


class Trust:
    """Decides about bundles, by one root and one clock.

    Args:
        root: The keys, roles and policies that the host trusts.
        clock: Returns the time, with its zone. To check an installed release as of a past time, return that.
        known: The last time that is known to have passed on this host; None where none is.
        origin: Where the root is from.
    """

    def __init__(
        self,
        root: Root,
        clock: Callable[[], datetime],
        known: datetime | None = None,
        origin: RootOrigin = OF_HOST,
    ) -> None:
        self.root = root
        self.origin = origin
        self._clock = clock
        self._known = known

    def now(self) -> datetime:
        """Return the time by which it decides."""
        return self._clock()

    def check_release(self, sums: bytes, signatures: Sequence[Signature]) -> SignatureEvidence:
        """Decide whether a bundle is released: steps 2 to 6.

        Args:
            sums: The exact bytes of SHA256SUMS.
            signatures: All signatures of it that the bundle carries.

        Returns:
            The signatures that count, and those that do not.

        Raises:
            UntrustedError: No signature, or too few by keys of the role `release`.
            CheckFailedError: The signatures that would suffice could not be checked on this host.
            TamperedError: A signature that names a key of the role is not by that key or not of these bytes.
            ExpiredError: The root has expired, the bundle was revoked, the keys have expired or were revoked,
                or the clock was set back.
        """
        now, root, identity = self._clock(), self.root, sha256_hex(sums)
        with verification_step(2):
            # A host that gets no new root for long may have missed a revocation.
            if now > root.expires:
                raise self.origin.expired_error(root, now)
        self.check_clock()
        with verification_step(4):
            # Before the signatures: a revoked bundle has valid ones.
            if identity in root.revoked_bundles:
                raise RevokedError(
                    "this bundle was revoked",
                    where=SUMS,
                    hint="do not install it; ask for the release that replaces it",
                )
        verdicts: list[Accepted | Rejected] = []
        with verification_step(5):
            if len(signatures) > LIMITS.signatures:
                raise TamperedError(
                    f"has {len(signatures)} signatures, more than {LIMITS.signatures}", where=SUMS
                )
            # Every signature is checked, also behind a valid one: an invalid one by a trusted key is a sign
            # of tampering, whatever else is there.
            for signature in signatures:
                verdicts.append(check_signature(root, "release", signature, sums, now))
        accepted = [verdict for verdict in verdicts if isinstance(verdict, Accepted)]
        rejected = [verdict for verdict in verdicts if isinstance(verdict, Rejected)]
        role = root.roles.get("release", Role((), 1))
        with verification_step(6):
            # Thresholds count people, so that a person with two keys cannot release alone.
            owners = {fold_owner(item.owner) for item in accepted}
            if len(owners) < role.threshold:
                raise too_few_owners_error(root, len(owners), rejected)
        return SignatureEvidence(
            identity, "release", role.threshold, root.version, tuple(accepted), tuple(rejected)
        )

    def check_clock(self) -> None:
        """Refuse a clock that is behind the last known time: step 3.

        Raises:
            ClockError: It is.
        """
        with verification_step(3):
            # Without this check a clock that is set back would make expired bundles and keys valid again.
            require_clock(self.now(), self._known, "this host has already recorded the time", RECORDED)

    def check_manifest(
        self, manifest: Manifest, destination: HostFacts, where: str = "", identity: str = ""
    ) -> None:
        """Decide whether a released bundle may be installed now and on this host: steps 8 to 14.

        Args:
            manifest: Its manifest, whose digest the signed list has.
            destination: The host; what is empty there is not checked.
            where: How errors name the bundle.
            identity: The identity of the bundle; empty where it is not to be compared with retained releases.

        Raises:
            ExpiredError: It has expired, or the clock was set back.
            RefusedError: Another product or platform; older than what was installed, or with the same number;
                below the security floor; too far ahead.
        """
        now = self._clock()
        with verification_step(8):
            require_clock(now, datetime.fromtimestamp(manifest.created, UTC), "the bundle was created at")
        with verification_step(9):
            expires = datetime.fromtimestamp(manifest.expires, UTC)
            # An old bundle with known defects stays validly signed for ever: its expiry ends that.
            if now >= expires:
                raise ExpiredError(
                    f"the bundle {expired_text(expires, now)}",
                    where=where,
                    hint="check this host's clock with `date -u`; if it is right, ask for a new bundle",
                )
        with verification_step(10):
            check_product(self.root, manifest.product, destination.environment, where)
        with verification_step(11):
            # Away from a host the platform is empty and not compared.
            if destination.platform and destination.platform not in manifest.platforms:
                raise WrongPlatformError(
                    f"the bundle is for {', '.join(manifest.platforms)}, this host is {destination.platform}",
                    where=where,
                    hint="ask for a bundle that was created for this platform",
                )
        self._check_sequence(manifest, destination, where, identity)

    def _check_sequence(self, manifest: Manifest, destination: HostFacts, where: str, identity: str) -> None:
        rule = self.root.products.get(manifest.product, ProductRule())
        # A reset is signed by the holders of the root: the only remedy for a sequence number set too high.
        forgets = rule.reset > destination.reset
        highest = -1 if forgets else destination.highest
        name = f"{manifest.product} {manifest.version} (sequence {manifest.sequence})"
        with verification_step(12):
            # Downgrades are refused although they are validly signed; the running release may be applied
            # again.
            if manifest.sequence < highest and manifest.sequence != destination.running:
                runs = (
                    f"{destination.version} is installed"
                    if destination.version
                    else ("no release is installed")
                )
                raise DowngradeError(
                    f"{name} is a downgrade: the highest sequence number that this host has had is "
                    f"{highest} ({runs})",
                    where=where,
                    hint=(
                        "to roll back to a retained release, run `install rollback VERSION`"
                        if destination.can_roll_back
                        else "ask for a bundle with a higher sequence number: this host retains no release "
                        "that it could roll back to"
                    ),
                )
            if not forgets and (other := destination.same_sequence(manifest.sequence, identity)):
                raise DowngradeError(same_sequence(name, other), where=where, hint=SAME_SEQUENCE_HINT)
        with verification_step(13):
            check_floor(self.root, manifest, where)
        with verification_step(14):
            least, runs = manifest.upgrade_from, destination.version
            if least and runs and compare(runs, least) < 0:
                raise JumpError(
                    f"{name} needs {least} or later as the installed release, but {runs} is installed",
                    where=where,
                    hint=f"install {least} first",
                )
            # A stolen key could otherwise use up the whole range with one release, and block all later ones.
            if highest < 0 and manifest.sequence > LIMITS.first_sequence:
                raise JumpError(
                    f"the sequence number of {name} is too high for the first release on a host: at most "
                    f"{LIMITS.first_sequence} is accepted, so that later releases can have higher ones",
                    where=where,
                    hint="ask for a bundle with a lower `sequence` in bundle.yaml",
                )
            if highest >= 0 and manifest.sequence - highest > LIMITS.sequence_jump:
                raise JumpError(
                    f"the sequence number of {name} is too far above the highest that this host "
                    f"has had ({highest})",
                    where=where,
                    hint="check the sequence number: after this release, no later one can be "
                    "installed. If the number is correct, the owners of the root keys reset "
                    "the product with `bundle trust set-product`",
                )

    def check_approvals(
        self,
        manifest: Manifest,
        released: SignatureEvidence,
        approvals: Iterable[ApprovalFile],
        destination: HostFacts,
        note: Callable[[ApprovalCheck], None] = lambda _check: None,
        damaged: Sequence[WaybillError] = (),
    ) -> Decision:
        """Decide whether the approvals suffice for the host's environment: steps 15 to 18.

        Args:
            manifest: The bundle's.
            released: What `check_release` returned.
            approvals: All approvals that were found, in the bundle and next to it.
            destination: The host.
            note: Called with the check of the approvals, also where they do not suffice.
            damaged: What is wrong with files next to the bundle that could not be read.

        Returns:
            The owners, approvals and provenance that count.

        Raises:
            UsageError: The root has policies, and the environment of the host is not known.
            NotApprovedError: Something that the policy requires is missing; `problems` lists all of it.
            WrongTargetError: The approvals would suffice, but are for other hosts.
            TamperedError: A signature that names a key of its role is not by that key or not of these bytes.
        """
        now, root, environment = self._clock(), self.root, destination.environment
        policy = root.environments.get(environment)
        with verification_step(15):
            self._check_environment(environment)
        checked = ApprovalCheck(root, manifest, released.identity, environment, policy, now)
        for each in damaged:
            checked.set_aside(each)
        note(checked)
        with verification_step(16):
            for found in sorted(approvals, key=lambda each: (each.name, each.source)):
                checked.check(found)
        here = checked.counted
        with verification_step(17):
            here = self._for_this_host(checked, policy, manifest, released, destination)
        reset = root.products.get(manifest.product, ProductRule()).reset
        broken: tuple[str, ...] = ()
        needed, filled = {}, {}
        if policy is not None:
            evaluation = PolicyEvaluation(
                root, environment, policy, manifest, frozenset(released.owners), here
            )
            needed = root.needs(policy)
            filled = evaluation.fill(needed)
            with verification_step(18):
                if problems := evaluation.missing():
                    broken = tuple(problem.what.removeprefix("missing: ") for problem in problems)
                    # Break-glass is tried only if something is missing, so that it never shows up without
                    # need.
                    filled = evaluation.glass()
                    if not filled:
                        raise checked.refusal(problems)
        named = PolicyEvaluation(root, environment, policy or Policy({}), manifest, frozenset(), here)
        # A set: the same provenance may be signed by several keys.
        built = {c.statement for c in here if not isinstance(c.statement, Approval)}
        return Decision(
            environment=environment,
            root_version=root.version,
            needed=needed,
            filled=filled,
            counted=tuple(here),
            rejected=tuple(checked.rejected),
            change_id=", ".join(named.agreed("change_id")),
            rollback_to=", ".join(named.agreed("rollback_to")),
            provenance=tuple(sorted(built, key=repr)),
            broken=broken,
            reset=reset,
            damaged=checked.warnings(),
        )

    def _check_environment(self, environment: str) -> None:
        known = ", ".join(sorted(self.root.environments))
        if self.root.environments and not environment:
            raise UsageError(
                "the environment of this host is not set",
                where="/etc/waybill/environment",
                hint=f"set it: {SET_ENVIRONMENT} (the root has policies for {known}); to verify or plan "
                "only, --env names it",
            )
        if (
            self.root.environments or environment == PRODUCTION
        ) and environment not in self.root.environments:
            raise NotApprovedError(
                f"the root has no policy for the environment {environment}",
                where="root.json",
                hint=f"environments with a policy: {known or 'none'}; the owners of the root keys "
                "can add one with `bundle trust set-policy`",
            )

    def _for_this_host(
        self,
        checked: ApprovalCheck,
        policy: Policy | None,
        manifest: Manifest,
        released: SignatureEvidence,
        destination: HostFacts,
    ) -> list[CountedApproval]:
        here = [c for c in checked.counted if c.approval is None or destination.is_target(c.approval.targets)]
        others = [c for c in checked.counted if c not in here]
        if others and policy is not None:
            owners = frozenset(released.owners)
            asked = [
                PolicyEvaluation(self.root, destination.environment, policy, manifest, owners, some)
                for some in (here, checked.counted)
            ]
            if asked[0].missing() and not asked[0].glass() and not asked[1].missing():
                targets = sorted({target for c in others if c.approval for target in c.approval.targets})
                raise WrongTargetError(
                    f"is for {', '.join(targets)}, but this host is {destination.name}",
                    where=others[0].file,
                    hint="install on one of those hosts, or have it approved for this one: --target HOST",
                )
        checked.rejected += [(c.file, f"{c.key.owner}: is for other hosts") for c in others]
        return here


def pinned_key_trust(public: str, where: str = "") -> Trust:
    """Return trust in one public key and nothing else, for `bundle verify --key PUB`.

    Args:
        public: The text of a `.pub` file, or what `gpg --armor --export` printed.
        where: How errors name it.

    Returns:
        Trust that never expires, in which only that key may sign releases.

    Raises:
        TamperedError: The text is not a public key of an accepted kind.
    """
    key = TrustedKey.from_public(public, "the given key", where=where)
    root = Root(0, NEVER, {key.keyid: key}, {"release": Role((key.keyid,), 1)})
    return Trust(root, lambda: datetime.now(UTC))
