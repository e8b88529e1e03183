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
        downgrade_checked: Whether this user may read the state that a downgrade is noticed by.
    """

    verified: VerifiedBundle
    decision: Decision
    notes: tuple[str, ...]
    downgrade_checked: bool = True

    def text(self) -> str:
        """Return it for people, one check a line."""
        lines = report(self.verified, self.decision)
        return lines if self.downgrade_checked else f"{lines}\n{'downgrade':<12} NOT CHECKED (run as root)"

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        checked = {"downgrade_checked": self.downgrade_checked}
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
    return VerifyResult(verified, decision, tuple(verifier.trace.notes), verifier.downgrade_checked)
