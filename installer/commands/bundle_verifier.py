"""What this host is, and whether a bundle may be installed on it: the facts for `core.verification`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.core.format.bundle_source import BundleSource
from installer.core.format.manifest import Manifest
from installer.core.limits import LIMITS
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
from installer.core.trust.policy import Decision, HostFacts
from installer.core.trust.root import fingerprint
from installer.core.trust.verifier import Trust
from installer.core.verify import ApprovalSources, OpenedBundle, check_approvals, open_trusted
from installer.core.vsa import VerificationTrace
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.shared.progress import Progress
from installer.staging.staged import Staged
from installer.state.host_identity import environment, host_name
from installer.state.state import State
from installer.state.trust_store import ROOT_FILE
from installer.transaction.state_repair import read_state


@dataclass(slots=True)
class BundleVerifier:
    """Verifies bundles for one host.

    Attributes:
        system: The host.
        trust: Whom it believes.
        environment: Which environment it belongs to.
        beside: Approvals that do not lie in the bundle.
        notes: What is out of the ordinary and is to be said first of all.
        trail: What becomes known on the way, for the evidence.
    """

    system: System
    trust: Trust
    environment: str
    beside: ApprovalSources
    notes: list[str] = field(default_factory=list)
    trail: VerificationTrace = field(default_factory=VerificationTrace)
    _decision: Decision | None = None
    _unseen: str = ""

    def open(self, medium: BundleSource) -> OpenedBundle:
        """Takes all steps that need no payload; of a stream the approvals are not among them.

        Raises:
            WaybillError: The bundle is refused.
        """
        opened = open_trusted(medium, self.trust, self._destination, self.trail)
        if medium.parallel:
            self.decide(opened)
        return opened

    def decide(self, opened: OpenedBundle) -> Decision:
        """Decides on the approvals, once. Of a stream they are known only when it was read.

        Raises:
            WaybillError: The bundle is refused.
        """
        if self._decision is None:
            self._decision = check_approvals(opened, self.trust, self.beside, self.trail)
            self.notes += [self._decision.warning()] if self._decision.warning() else []
        return self._decision

    def staged(self, opened: OpenedBundle, staged: Staged) -> Staged:
        """Has the decision kept with the release, and in the history.

        Raises:
            WaybillError: The bundle is refused.
        """
        policy = self.decide(opened).as_json()
        return replace(staged, evidence={**staged.evidence, "policy": policy})

    def again(self, opened: OpenedBundle, state: State) -> None:
        """Looks once more, now that the lock is held and nothing can change any more.

        Raises:
            WaybillError: The bundle is refused.
        """
        manifest = opened.bundle.manifest
        self.notes[:] = [note for note in self.notes if note != self._unseen]
        bundle = opened.bundle
        self.trust.check_manifest(manifest, self._at(state), bundle.medium.name, bundle.identity)

    def known(self) -> dict[str, str]:
        """Gives what is known of the bundle by now, as the audit log has it."""
        trail = self.trail
        found = {"identity": trail.identity if trail.released else "", "environment": self.environment}
        if trail.manifest is not None:
            found |= {"product": trail.manifest.product, "version": trail.manifest.version}
        return found

    def _destination(self, manifest: Manifest) -> HostFacts:
        try:
            state = read_state(Context(self.system, Layout(manifest.product), Progress()))
        except (HostNotReadyError, NotUndoneError) as error:
            said = f"{error.where}: {error.what}; no downgrade was looked for"
            self.notes.append(said)
            self._unseen, state = said, State()
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


def verifier_for(
    system: System,
    trust: Callable[[System], Trust],
    env: str,
    bundle: str,
    approvals: Sequence[Path],
    trail: VerificationTrace | None = None,
) -> BundleVerifier:
    """Makes the judge of one bundle.

    Args:
        system: The host.
        trust: Gives its trust.
        env: From `--env`.
        bundle: What the operator called the bundle; `-` for standard input.
        approvals: Directories with approvals that the operator named.
        trail: Takes down what becomes known, also where the bundle is refused.

    Raises:
        WaybillError: There is no trust, the environment is in doubt, or approvals cannot be read.
    """
    trail = trail or VerificationTrace()
    trail.file, trail.host = bundle, HostFacts(name=host_name(system), platform=system.platform())
    trail.environment = env
    trail.environment = chosen = environment(system, env)
    with suppress(OSError):
        trail.root_sha256 = fingerprint(system.read(ROOT_FILE, LIMITS.document_bytes))
    believed = trust(system)
    trail.root_version = believed.root.version
    found = (
        [] if bundle == "-" else [(str(sidecar_path(Path(bundle))), read_sidecar(sidecar_path(Path(bundle))))]
    )
    found += [(str(directory), read_sidecar(directory, required=True)) for directory in approvals]
    return BundleVerifier(system, believed, chosen, found, trail=trail)
