"""A bundle that lacks one approval, and who gives it."""

from __future__ import annotations

from bundler.approvals.approval import ApprovalRequest
from tests.rig import bundlebuild as build
from tests.rig.trustworld import TEAM, person

ASKED = ApprovalRequest("ops", "production", change_id="CHG-7", rollback_to="v1.3.0", notes="ready")
OPS = person(TEAM["ops"]).signer


def tail(data: bytes) -> dict[str, bytes]:
    """Gives the approvals of a bundle."""
    return build.read(data).read_tail()
