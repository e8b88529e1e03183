"""Every decision about a bundle: takes bytes and a clock, and raises. Reads no file, asks nobody.

The steps have numbers, see `steps`; those that only the reader of the archive can take (1, 7 and 19) are
marked in `verification`. Signatures are judged in `evidence`, approvals in `judged`, policies in `policy`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from installer.core.digest import sha256_hex
from installer.core.errors import (
    ClockError,
    DowngradeError,
    ExpiredError,
    FloorError,
    JumpError,
    NotApprovedError,
    Problem,
    RevokedError,
    TamperedError,
    UsageError,
    WrongPlatformError,
    WrongProductError,
    WrongTargetError,
)
from installer.core.format.manifest import SUMS, Manifest
from installer.core.limits import LIMITS
from installer.core.semver import compare
from installer.core.timestamps import format_time
from installer.core.trust.approval import Approval, ApprovalFile
from installer.core.trust.approval_check import ApprovalCheck
from installer.core.trust.policy import SKEW, CountedApproval, Decision, HostFacts, PolicyEvaluation
from installer.core.trust.quorum import fold_owner
from installer.core.trust.root import Policy, ProductRule, Role, Root
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
"""Where hosts write down the last time that has passed."""
WRITTEN_DOWN = f"; if it was wrong when that was written down, set it right and remove {KNOWN_TIME}"
PRODUCTION = "production"
"""The one environment that is never left to the release alone, even by a root without policies."""


SAME_SEQUENCE_HINT = "have it made again with a higher version, or a higher `sequence` in bundle.yaml"


def same_sequence(name: str, kept: str) -> str:
    """Say that two releases have one sequence number, so that nobody can tell which of them is newer."""
    return f"{name} is not the release with this number that this host has ({kept[:12]}): which is newer?"


class Trust:
    """Decides by one root and one clock.

    Args:
        root: Whom to trust.
        clock: Tells the time, with its zone. To look at an installed release as of then, give that time.
        known: The last time that is known to have passed on this host; None where none is.
    """

    def __init__(self, root: Root, clock: Callable[[], datetime], known: datetime | None = None) -> None:
        self.root = root
        self._clock = clock
        self._known = known

    def check_release(self, sums: bytes, signatures: Sequence[Signature]) -> SignatureEvidence:
        """Decide whether a bundle is released: steps 2 to 6.

        Args:
            sums: The exact bytes of SHA256SUMS.
            signatures: All signatures of it that the bundle carries.

        Returns:
            The grounds on which it is.

        Raises:
            UntrustedError: No signature, or too few by keys of the role `release`.
            CheckFailedError: The signatures that would do could not be checked on this host.
            TamperedError: A signature that names a key of the role is not by it or not of these bytes.
            ExpiredError: The root is expired, the bundle revoked, the keys are expired or revoked, or the
                clock was set back.
        """
        now, root, identity = self._clock(), self.root, sha256_hex(sums)
        with verification_step(2):
            if now > root.expires:
                raise ExpiredError(
                    f"the host's trust expired on {format_time(root.expires)}",
                    where="root.json",
                    hint="bring a newer root.json; what is installed keeps running",
                )
        with verification_step(3):
            self._check_clock(now, self._known, "this host knew already that it was past", WRITTEN_DOWN)
        with verification_step(4):
            if identity in root.revoked_bundles:
                raise RevokedError(
                    "this bundle was revoked",
                    where=SUMS,
                    hint="ask for the release that replaces it; do not use this one",
                )
        accepted: list[Accepted] = []
        rejected: list[Rejected] = []
        with verification_step(5):
            if len(signatures) > LIMITS.signatures:
                raise TamperedError(
                    f"carries {len(signatures)} signatures, more than {LIMITS.signatures}", where=SUMS
                )
            for signature in signatures:
                verdict = check_signature(root, "release", signature, sums, now)
                if isinstance(verdict, Accepted):
                    accepted.append(verdict)
                else:
                    rejected.append(verdict)
        role = root.roles.get("release", Role((), 1))
        with verification_step(6):
            owners = {fold_owner(item.owner) for item in accepted}
            if len(owners) < role.threshold:
                raise too_few_owners_error(root, len(owners), rejected)
        return SignatureEvidence(
            identity, "release", role.threshold, root.version, tuple(accepted), tuple(rejected)
        )

    def check_manifest(
        self, manifest: Manifest, destination: HostFacts, where: str = "", identity: str = ""
    ) -> None:
        """Decide whether a released bundle fits the time and the host: steps 8 to 14.

        Args:
            manifest: Its manifest, as its signed list says.
            destination: The host; what it leaves empty is not checked.
            where: How errors name the bundle.
            identity: The bundle's; empty: it is not compared with what the host keeps.

        Raises:
            ExpiredError: It is expired, or the clock was set back.
            RefusedError: Another product or platform; older than what was there, or not to be told from it;
                below the floor; too far.
        """
        now = self._clock()
        with verification_step(8):
            self._check_clock(now, datetime.fromtimestamp(manifest.created, UTC), "the bundle was made at")
        with verification_step(9):
            expires = datetime.fromtimestamp(manifest.expires, UTC)
            if now >= expires:
                raise ExpiredError(
                    f"the bundle expired on {format_time(expires)}",
                    where=where,
                    hint="have the release made and signed again, and check this host's clock with `date`",
                )
        with verification_step(10):
            policy = self.root.environments.get(destination.environment)
            if policy and policy.products and manifest.product not in policy.products:
                raise WrongProductError(
                    f"{manifest.product} is no product of the environment {destination.environment}",
                    where=where,
                    hint=f"it takes {', '.join(policy.products)}; whoever keeps the root can add this one",
                )
        with verification_step(11):
            if destination.platform and destination.platform not in manifest.platforms:
                raise WrongPlatformError(
                    f"the bundle is for {', '.join(manifest.platforms)}, this host is {destination.platform}",
                    where=where,
                    hint="ask for a bundle that was created for this platform",
                )
        self._check_sequence(manifest, destination, where, identity)

    def _check_sequence(self, manifest: Manifest, destination: HostFacts, where: str, identity: str) -> None:
        rule = self.root.products.get(manifest.product, ProductRule())
        forgets = rule.reset > destination.reset
        highest = -1 if forgets else destination.highest
        name = f"{manifest.product} {manifest.version} (sequence {manifest.sequence})"
        with verification_step(12):
            if manifest.sequence < highest and manifest.sequence != destination.running:
                runs = f"{destination.version} runs" if destination.version else "none runs now"
                raise DowngradeError(
                    f"{name} is older than what this host has had (sequence {highest}; {runs})",
                    where=where,
                    hint="to go back to a kept release: install rollback [VERSION]",
                )
            if not forgets and (twin := destination.same_sequence(manifest.sequence, identity)):
                raise DowngradeError(same_sequence(name, twin), where=where, hint=SAME_SEQUENCE_HINT)
        with verification_step(13):
            if manifest.sequence < rule.floor:
                raise FloorError(
                    f"{name} is below the security floor of this host's root (sequence {rule.floor})",
                    where=where,
                    hint="ask for a newer release: this one is known to be unsafe",
                )
        with verification_step(14):
            least, runs = manifest.upgrade_from, destination.version
            if least and runs and compare(runs, least) < 0:
                raise JumpError(
                    f"{name} can be reached from {least} on, and {runs} runs here",
                    where=where,
                    hint=f"install {least} first",
                )
            if highest >= 0 and manifest.sequence - highest > LIMITS.sequence_jump:
                raise JumpError(
                    f"{name} leaps too far ahead of what this host has had (sequence {highest})",
                    where=where,
                    hint="no later release could follow it. If it is meant, whoever keeps the root resets "
                    "the product: bundle trust set-product",
                )

    def check_approvals(
        self,
        manifest: Manifest,
        released: SignatureEvidence,
        approvals: Iterable[ApprovalFile],
        destination: HostFacts,
        note: Callable[[ApprovalCheck], None] = lambda _judged: None,
    ) -> Decision:
        """Decide whether the approvals suffice for the host's environment: steps 15 to 18.

        Args:
            manifest: The bundle's.
            released: What `check_release` gave.
            approvals: All approvals that were found, in the bundle and beside it.
            destination: The host.
            note: Told which approvals count, also where they do not suffice.

        Returns:
            The grounds on which it may be installed.

        Raises:
            UsageError: The root has policies, and nobody said which environment this is.
            NotApprovedError: Something that the policy asks for is missing; `problems` lists all of it.
            WrongTargetError: The approvals would do, but are for other hosts.
            TamperedError: A signature that names a key of its role is not by it or not of these bytes.
        """
        now, root, environment = self._clock(), self.root, destination.environment
        policy = root.environments.get(environment)
        with verification_step(15):
            self._check_environment(environment)
        judged = ApprovalCheck(root, manifest, released.identity, environment, policy, now)
        note(judged)
        with verification_step(16):
            for found in sorted(approvals, key=lambda each: (each.name, each.source)):
                judged.check(found)
        here = judged.counted
        with verification_step(17):
            here = self._for_this_host(judged, policy, manifest, released, destination)
        reset = root.products.get(manifest.product, ProductRule()).reset
        broken: tuple[str, ...] = ()
        needed, filled = {}, {}
        if policy is not None:
            question = PolicyEvaluation(root, environment, policy, manifest, frozenset(released.owners), here)
            needed = root.needs(policy)
            filled = question.fill(needed)
            with verification_step(18):
                if problems := question.missing():
                    broken = tuple(f"{problem.where}: {problem.what}" for problem in problems)
                    filled = question.glass()
                    if not filled:
                        raise self._not_approved(manifest, environment, problems, judged)
        said = PolicyEvaluation(root, environment, policy or Policy({}), manifest, frozenset(), here)
        built = {c.statement for c in here if not isinstance(c.statement, Approval)}
        return Decision(
            environment=environment,
            root_version=root.version,
            needed=needed,
            filled=filled,
            counted=tuple(here),
            rejected=tuple(judged.rejected),
            change_id=", ".join(said.agreed("change_id")),
            rollback_to=", ".join(said.agreed("rollback_to")),
            provenance=tuple(sorted(built, key=repr)),
            broken=broken,
            reset=reset,
        )

    def _check_clock(self, now: datetime, known: datetime | None, what: str, more: str = "") -> None:
        if known is not None and (known - now).total_seconds() > SKEW:
            raise ClockError(
                f"this host's clock says {format_time(now)}, but {what} {format_time(known)}",
                hint="set the clock (`date -u` shows it): by a clock that is behind nothing expires" + more,
            )

    def _check_environment(self, environment: str) -> None:
        known = ", ".join(sorted(self.root.environments))
        if self.root.environments and not environment:
            raise UsageError(
                "which environment this host belongs to is not said",
                where="/etc/waybill/environment",
                hint=f"write it there, or give --env; the root has policies for {known}",
            )
        if (
            self.root.environments or environment == PRODUCTION
        ) and environment not in self.root.environments:
            raise NotApprovedError(
                f"the root has no policy for the environment {environment}",
                where="root.json",
                hint=f"it has: {known or 'none'}; whoever keeps the root adds one: bundle trust set-policy",
            )

    def _for_this_host(
        self,
        judged: ApprovalCheck,
        policy: Policy | None,
        manifest: Manifest,
        released: SignatureEvidence,
        destination: HostFacts,
    ) -> list[CountedApproval]:
        here = [c for c in judged.counted if c.approval is None or destination.is_target(c.approval.targets)]
        others = [c for c in judged.counted if c not in here]
        if others and policy is not None:
            owners = frozenset(released.owners)
            asked = [
                PolicyEvaluation(self.root, destination.environment, policy, manifest, owners, some)
                for some in (here, judged.counted)
            ]
            if asked[0].missing() and not asked[0].glass() and not asked[1].missing():
                targets = sorted({target for c in others if c.approval for target in c.approval.targets})
                raise WrongTargetError(
                    f"is approved for {', '.join(targets)}, and this host is {destination.name}",
                    where=others[0].file,
                    hint="install it there, or have it approved for this host, with --target HOST",
                )
        judged.rejected += [(c.file, f"{c.key.owner}: is for other hosts") for c in others]
        return here

    def _not_approved(
        self, manifest: Manifest, environment: str, problems: list[Problem], judged: ApprovalCheck
    ) -> NotApprovedError:
        notes = [Problem(file, f"does not count: {reason}") for file, reason in judged.rejected]
        return NotApprovedError(
            f"{manifest.product} {manifest.version} is not approved for {environment}: "
            f"{len(problems)} thing{'s are' if len(problems) > 1 else ' is'} missing",
            hint="have given what is listed; an approval may come in the bundle or beside it",
            problems=[*problems, *notes],
        )


def pinned_key_trust(public: str, where: str = "", owner: str = "the given key") -> Trust:
    """Make trust of one public key and nothing else, for `bundle verify --key PUB`.

    Args:
        public: The text of a `.pub` file, or what `gpg --armor --export` printed.
        where: How errors name it.
        owner: How the evidence names its holder.

    Returns:
        A trust that never expires, in which that key alone may release.

    Raises:
        TamperedError: The text is not a public key of an accepted kind.
    """
    key = TrustedKey.from_public(public, owner, where=where)
    root = Root(0, NEVER, {key.keyid: key}, {"release": Role((key.keyid,), 1)})
    return Trust(root, lambda: datetime.now(UTC))
