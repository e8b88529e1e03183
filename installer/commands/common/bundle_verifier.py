"""Verifies one bundle for one host: facts about the host in, the decisions of `installer.core.verify` out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from installer.audit.floor import with_floor
from installer.commands.common.published_source import open_named
from installer.commands.common.session import Session
from installer.core.errors import (
    ClockError,
    ExpiredError,
    HostNotReadyError,
    NotApprovedError,
    NotUndoneError,
    Problem,
    RefusedError,
    RevokedError,
    WaybillError,
)
from installer.core.format.bundle_source import BundleSource
from installer.core.format.manifest import Manifest
from installer.core.limits import LIMITS
from installer.core.trust.approval_sidecar import Sidecars, find_sidecars
from installer.core.trust.policy import Decision, HostFacts
from installer.core.trust.root import Root, RootOrigin, fingerprint
from installer.core.trust.root_json import load_root
from installer.core.trust.signatures import Signature
from installer.core.trust.verifier import SET_ENVIRONMENT, Trust
from installer.core.verify import OpenedBundle, check_approvals, open_trusted
from installer.core.vsa import VerificationTrace
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.command.run_record import release_row
from installer.shared.progress import Progress
from installer.shared.published.address import is_address, parse_address
from installer.state.host_identity import ENVIRONMENT_FILE, environment, host_name, recorded_environment
from installer.state.state import State
from installer.state.trust_store import (
    ROOT_FILE,
    known_time,
    remember_time,
    require_fingerprint,
    trusted_bytes,
)
from installer.state.watch import Watch
from installer.transaction.state_repair import read_state


@dataclass(frozen=True, slots=True)
class BundleInput:
    """A bundle as the operator names it, and what decides on it besides.

    Attributes:
        path: The bundle file; `-` for standard input.
        environment: The environment of the host, where /etc/waybill/environment does not name it.
        approvals: Directories with approvals, in addition to those in the bundle and in `PATH.approvals`.
        root: A root to plan a first installation with, on a host that trusts nothing yet; None: the host's.
        fingerprint: Of that root, from the trust sheet.
    """

    path: str
    environment: str = ""
    approvals: tuple[Path, ...] = ()
    root: Path | None = None
    fingerprint: str = ""

    def __post_init__(self) -> None:
        """Refuse an address that is none, before any record of it: it may have a password in it."""
        if is_address(self.path):
            parse_address(self.path)


@dataclass(slots=True)
class BundleVerifier:
    """Verifies a bundle for one host.

    Attributes:
        system: The host.
        trust: The keys that it trusts.
        environment: The environment that it belongs to.
        beside: Approvals that are not in the bundle.
        trace: What becomes known on the way, refused or not; the evidence is made of it.
    """

    system: System
    trust: Trust
    environment: str
    beside: Sidecars
    trace: VerificationTrace
    _unread_state: str = ""

    def open(self, medium: BundleSource) -> OpenedBundle:
        """Take all steps that need no payload; of a stream the approvals are not among them.

        Raises:
            WaybillError: The bundle is refused.
        """
        opened = open_trusted(medium, self.trust, self._destination, self.trace)
        # A stream has its approvals behind the payload: they are read when it was staged.
        if medium.parallel:
            self.decide(opened)
        return opened

    def decide(self, opened: OpenedBundle) -> Decision:
        """Return the decision on the approvals, which is made once.

        Raises:
            WaybillError: The bundle is refused.
        """
        if self.trace.decision is None:
            decision = check_approvals(opened, self.trust, self.beside, self.trace)
            self.trace.notes += [decision.warning()] if decision.warning() else []
            self.trace.notes += decision.damaged
            return decision
        return self.trace.decision

    def check_again(self, opened: OpenedBundle, state: State) -> None:
        """Repeat the steps that depend on the state, now that nobody else can change it.

        Another install may have ended between the first look and the lock.

        Raises:
            WaybillError: The bundle is refused.
        """
        bundle = opened.bundle
        self.trace.notes = [note for note in self.trace.notes if note != self._unread_state]
        self.trust.check_manifest(bundle.manifest, self._at(state), bundle.medium.name, bundle.identity)

    def check_last(self, opened: OpenedBundle, state: State, watch: Watch) -> None:
        """Repeat all decisions right before the transaction: a person may have thought for hours.

        Args:
            opened: The bundle, whose decision was made.
            state: The state of the product, locked.
            watch: Began with the command.

        Raises:
            WaybillError: The bundle is refused by now, or what decides about it was changed.
        """
        watch.require_not_set_back()
        self._require_same_host()
        bundle, first = opened.bundle, self.trace.decision
        found = [Signature.parse(name, data) for name, data in self.trace.signatures.items()]
        self.trust.check_release(bundle.head.sums, found)
        self.trust.check_manifest(bundle.manifest, self._at(state), bundle.medium.name, bundle.identity)
        # The approvals as they were read: the media are not asked again.
        again = self.trust.check_approvals(
            bundle.manifest,
            opened.evidence,
            self.trace.approvals,
            opened.destination,
            self.trace.note_approvals,
        )
        # What the plan did not show must not happen.
        if first is not None and again.broken != first.broken:
            raise NotApprovedError(
                "an approval has expired since the plan was made, and break-glass would replace it",
                hint="run the same command again: the new plan shows it",
            )
        self.trace.decision = again

    def _require_same_host(self) -> None:
        """Refuse if somebody changed the root or the environment while the command ran.

        Raises:
            HostNotReadyError: They did.
        """
        root = trusted_bytes(self.system)
        same = root is not None and fingerprint(root) == self.trace.root_sha256
        if not same or environment(self.system, self.environment) != self.environment:
            raise HostNotReadyError(
                "the root or the environment of this host was changed while this command ran",
                where=ROOT_FILE,
                hint="run the same command again",
            )

    def passed_expiry(self, error: WaybillError) -> datetime | None:
        """Return the latest expiry that a refusal shows to have passed; None for none, or a doubtful clock.

        Never the clock itself: it may be ahead, and only signed times are evidence (ADR 0616).

        Args:
            error: The refusal.
        """
        root, now, trace = self.trust.root, self.trust.now(), self.trace
        # Revoked is not expired, and a clock in the past proves nothing; nor does one past the root's expiry.
        doubtful = isinstance(error, (RevokedError, ClockError)) or now > root.expires
        if doubtful or not isinstance(error, (ExpiredError, NotApprovedError)):
            return None
        expired = isinstance(error, ExpiredError)
        moments = [key.not_after for key in root.keys.values() if key.not_after and expired]
        # Only what enough trusted keys have signed: else anybody with a bundle source could move the time.
        if trace.released is not None and trace.manifest is not None:
            moments.append(datetime.fromtimestamp(trace.manifest.expires, UTC))
            moments += trace.approval_check.passed if trace.approval_check else []
        return max((each for each in moments if each <= now), default=None)

    @property
    def downgrade_checked(self) -> bool:
        """Whether the state of the host could be read: without it a downgrade is not noticed."""
        return not self._unread_state

    def _destination(self, manifest: Manifest) -> HostFacts:
        try:
            state = read_state(Context(self.system, Layout(manifest.product), Progress()))
            state = with_floor(self.system, manifest.product, state)
        except (HostNotReadyError, NotUndoneError) as error:
            # `verify` needs no rights. What this user may not read is named, and checked before applying.
            self._unread_state = f"{error.where}: {error.what}; cannot check whether this is a downgrade"
            self.trace.notes.append(self._unread_state)
            state = State()
        return self._at(state)

    def _at(self, state: State) -> HostFacts:
        return HostFacts(
            environment=self.environment,
            name=host_name(self.system),
            platform=self.system.platform(),
            highest=state.highest,
            reset=state.reset,
            version=state.current.version if state.current else "",
            running=state.current.sequence if state.current else -1,
            retained=tuple((entry.sequence, entry.identity) for entry in state.retained),
        )


@contextmanager
def opened_bundle(
    session: Session,
    source: BundleInput,
    trace: VerificationTrace | None = None,
    *,
    installs: bool = False,
    watch: Watch | None = None,
) -> Iterator[tuple[BundleVerifier, OpenedBundle]]:
    """Open a bundle after the verification of its head; close it afterwards.

    Args:
        session: The host.
        source: The bundle.
        trace: Takes down what becomes known, also where the bundle is refused.
        installs: Whether it is to be installed: then the host itself has to say which environment it is.
        watch: Began with the command; given where a refusal may move the known time.

    Raises:
        WaybillError: There is no trust, the environment is in doubt, approvals cannot be read, or the bundle
            is refused.
    """
    verifier = bundle_verifier(session, source, trace or VerificationTrace())
    if installs and (missing := missing_environment(session.system, verifier.trust.root)):
        raise HostNotReadyError(missing.what, where=missing.where, hint=missing.hint)
    medium = open_named(session, source.path)
    try:
        opened = verifier.open(medium)
        _tell(session, verifier.trace)
        yield verifier, opened
    except WaybillError as error:
        _tell(session, verifier.trace)
        # A clock that was set while the command ran proves nothing.
        if watch is not None and watch.steady and (passed := verifier.passed_expiry(error)):
            remember_time(session.system, passed)
        raise
    finally:
        medium.close()


def _tell(session: Session, trace: VerificationTrace) -> None:
    """Tell which release the run is about, once enough trusted keys have signed what says so."""
    if trace.released is not None and (manifest := trace.manifest) is not None:
        release = release_row(manifest.version, manifest.sequence, trace.identity)
        session.ui.tell(product=manifest.product, to=release)


def bundle_verifier(session: Session, source: BundleInput, trace: VerificationTrace) -> BundleVerifier:
    """Return the verifier of one bundle.

    Raises:
        WaybillError: There is no trust, the environment is in doubt, or approvals cannot be read.
    """
    system = session.system
    trace.file, trace.host = source.path, HostFacts(name=host_name(system), platform=system.platform())
    # Filled in step by step: a refusal at any point leaves the evidence of what was known.
    trace.environment = source.environment
    trace.environment = chosen = environment(system, source.environment)
    if source.root is not None:
        trust, trace.root_sha256 = _given_trust(session, source.root, source.fingerprint)
    else:
        with suppress(OSError):  # what is wrong with the file is said below
            trace.root_sha256 = fingerprint(system.read(ROOT_FILE, LIMITS.document_bytes))
        trust, data = session.trust_and_root()
        trace.root_sha256 = fingerprint(data)
    trace.root_version = trust.root.version
    return BundleVerifier(
        system,
        trust,
        chosen,
        find_sidecars(source.path, source.approvals, published=is_address(source.path)),
        trace,
    )


def _given_trust(session: Session, path: Path, typed: str) -> tuple[Trust, str]:
    """Return trust in a root that the host does not have yet, and its fingerprint.

    Raises:
        UntrustedError: The fingerprint is not that of the file.
        RefusedError: The host trusts another root.
    """
    root, data = load_root(path)
    require_fingerprint(path, data, typed)
    # A host decides by its own root alone: another one would answer for another host.
    if trusted_bytes(session.system) not in (None, data):
        raise RefusedError(
            "this host has a root of its own, which decides",
            where=ROOT_FILE,
            hint="omit --trust-root and --fingerprint; compare the two roots with `install trust ensure`",
        )
    origin = RootOrigin("the root", str(path), "ask the security team for the current root.json")
    return Trust(root, session.clock, known_time(session.system), origin), fingerprint(data)


def missing_environment(system: System, root: Root) -> Problem | None:
    """Return what is to be done before anything is installed on a host that does not say what it is.

    An option alone would let anybody choose the policy of a production host, each time again.
    """
    if not root.environments or recorded_environment(system):
        return None
    return Problem(
        ENVIRONMENT_FILE,
        "the environment of this host is not set, and the root has policies for "
        + ", ".join(sorted(root.environments)),
        f"set it once, as root: {SET_ENVIRONMENT}",
    )


def audit_fields(trace: VerificationTrace) -> dict[str, str]:
    """Return what the audit log has of a bundle; its identity only once enough trusted keys signed it."""
    found = {
        # Anybody can write a bundle that claims an identity; the log does not repeat it.
        "identity": trace.identity if trace.released else "",
        "environment": trace.environment if trace.root_version else "",
    }
    if trace.manifest is not None:
        found |= {"product": trace.manifest.product, "version": trace.manifest.version}
    return found
