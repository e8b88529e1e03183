"""Approvals that contradict each other: hosts count both, and refuse the bundle until one is withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bundler.approvals.approval import ApprovalRequest, make_approval
from installer.core.errors import WaybillError
from installer.core.format.archive import Bundle
from installer.core.trust.approval import Approval, group_files
from installer.core.trust.approval_check import ApprovalCheck
from installer.core.trust.approval_sidecar import read_sidecar, sidecar_path
from installer.core.trust.root import Root


def contradictions(
    path: Path, bundle: Bundle, root: Root, request: ApprovalRequest, now: datetime
) -> list[str]:
    """Return, in words, which approvals that count name something else than the one that is asked for.

    Args:
        path: The bundle; approvals next to it count, too.
        bundle: The bundle, verified.
        root: The root that hosts trust.
        request: What the approver states; valid.
        now: The time.
    """
    policy = root.environments.get(request.environment)
    if policy is None:
        return []
    wanted = make_approval(request, bundle, now)
    check = ApprovalCheck(root, bundle.manifest, bundle.identity, request.environment, policy, now)
    for present in (bundle.read_tail(), read_sidecar(sidecar_path(path))):
        for file in group_files(present)[0]:
            try:
                check.check(file)
            except WaybillError:
                # It does not count, so it contradicts nothing; `bundle verify` names it.
                continue
    required = (
        ("change_id", policy.change_id, "change id", "--change-id"),
        ("rollback_to", policy.rollback_plan, "version to roll back to", "--rollback-to"),
    )
    found = []
    for field, is_required, called, option in required:
        here = getattr(wanted, field)
        for counted in check.counted:
            other = getattr(counted.approval, field, "")
            if not (is_required and here and other) or other == here or _apart(wanted, counted.approval):
                continue
            found.append(
                f"the approval of {counted.key.owner} names another {called} ({other}) than this one "
                f"({here}): {request.environment} refuses both together; give {option} {other}, or let "
                f"{counted.key.owner} withdraw that approval (`bundle approve BUNDLE --withdraw --key KEY`)"
            )
    return list(dict.fromkeys(found))


def _apart(one: Approval, other: Approval | None) -> bool:
    """Return whether no host counts both, since their targets differ."""
    targets: Sequence[str] = other.targets if other else ()
    return bool(one.targets and targets and not set(one.targets) & set(targets))
