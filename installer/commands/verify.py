"""VERB verify: check a bundle against the trust of this host, down to its last byte, and stop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from installer.commands.common.bundle_verifier import BundleInput, opened_bundle
from installer.commands.common.session import Session
from installer.core.trust.policy import Decision
from installer.core.verify import VerifiedBundle, payload_extent, report, verify_payload


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """A bundle that passed every step.

    Attributes:
        verified: What it is and who released it.
        decision: Who approved it, by which policy.
        notes: What is out of the ordinary, in words.
        unchecked: Why it could not be checked whether this is a downgrade; empty: it is none.
    """

    verified: VerifiedBundle
    decision: Decision
    notes: tuple[str, ...]
    unchecked: str = ""

    def text(self) -> str:
        """Return it for people, one check a line."""
        lines = report(self.verified, self.decision)
        return f"{lines}\n{'downgrade':<12} NOT CHECKED ({self.unchecked})" if self.unchecked else lines

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        checked = {"downgrade_checked": not self.unchecked}
        return self.verified.as_json() | {"policy": self.decision.as_json()} | checked


def verify(session: Session, source: BundleInput) -> VerifyResult:
    """Verify a bundle. Nothing is written; no rights of root are needed.

    Raises:
        WaybillError: The bundle is refused, or cannot be read.
    """
    progress = session.ui.progress()
    with opened_bundle(session, source) as (verifier, opened):
        progress.start("verify", payload_extent(opened))
        verified = verify_payload(opened, progress.advance)
        progress.done()
        # Made once: for a file this returns the decision of the first look, for a stream it is made now.
        decision = verifier.decide(opened)
    why = "the state of this host cannot be read" if session.system.privileged else "run as root"
    unchecked = "" if verifier.downgrade_checked else why
    return VerifyResult(verified, decision, tuple(verifier.trace.notes), unchecked)
