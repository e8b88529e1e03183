"""Whether a host may roll back to a release that it had: the rules of the root of today, and the exception.

A retained release was admitted once. Since then the root may have raised the security floor, or taken the
product off the list of an environment. Break-glass, as the root defines it, is the way round both; nothing is
the way round a revocation. Age alone is no reason: expiry never keeps a host from a release that it has.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from installer.core.errors import FloorError, RefusedError, WrongProductError
from installer.core.format.manifest import Manifest
from installer.core.trust.approval import ApprovalFile
from installer.core.trust.approval_check import ApprovalCheck
from installer.core.trust.policy import Decision, HostFacts, PolicyEvaluation, check_floor, check_product
from installer.core.trust.root import Policy, Root
from installer.core.trust.signature_check import SignatureEvidence
from installer.core.trust.steps import verification_step


def check_return(
    root: Root,
    manifest: Manifest,
    released: SignatureEvidence,
    destination: HostFacts,
    approvals: Iterable[ApprovalFile],
    now: datetime,
) -> Decision | None:
    """Decide whether a retained release may run again.

    Args:
        root: The root of the host.
        manifest: Of the release, whose signatures and files were verified.
        released: The signatures that count.
        destination: The host: its environment and name.
        approvals: Approvals of the role break-glass that somebody brought.
        now: The time.

    Returns:
        None where nothing speaks against it; otherwise what break-glass stood in for.

    Raises:
        RefusedError: It is below the security floor, or the environment does not allow the product, and too
            few owners of the role break-glass have signed.
        TamperedError: A signature of an approval is not of its bytes, and the others do not suffice.
    """
    against = _against(root, manifest, destination.environment)
    if not against:
        return None
    policy = root.environments.get(destination.environment)
    checked = ApprovalCheck(
        root, manifest, released.identity, destination.environment, policy or Policy({}), now
    )
    with verification_step(16):
        for found in sorted(approvals, key=lambda each: (each.name, each.source)):
            checked.check(found)
    # Of other roles an approval says that the release is good, not that the floor does not matter.
    here = [
        each
        for each in checked.counted
        if each.role == "break-glass" and each.approval and destination.is_target(each.approval.targets)
    ]
    owners = frozenset(released.owners)
    filled = PolicyEvaluation(
        root, destination.environment, policy or Policy({}), manifest, owners, here
    ).glass()
    if not filled and (damage := checked.damage()):
        raise damage
    if not filled:
        raise _refused(against[0], manifest, destination.environment, policy, checked)
    return Decision(
        environment=destination.environment,
        root_version=root.version,
        needed={role: len(names) for role, names in filled.items()},
        filled=filled,
        counted=tuple(here),
        rejected=tuple(checked.rejected),
        broken=tuple(error.what for error in against),
        damaged=checked.warnings(),
    )


def _against(root: Root, manifest: Manifest, environment: str) -> list[RefusedError]:
    found = list[RefusedError]()
    try:
        with verification_step(10):
            check_product(root, manifest.product, environment)
    except WrongProductError as error:
        found.append(error)
    try:
        with verification_step(13):
            check_floor(root, manifest)
    except FloorError as error:
        found.append(error)
    return found


def _refused(
    error: RefusedError, manifest: Manifest, environment: str, policy: Policy | None, checked: ApprovalCheck
) -> RefusedError:
    """Return the refusal with the way round it, if the root has one."""
    if policy is None or not policy.break_glass:
        error.hint += "; the root of this host does not allow break-glass here"
        return error
    error.hint += (
        f"; in an emergency, have it approved: `bundle approve BUNDLE --role break-glass --env {environment} "
        f"--root ROOT --note REASON -o DIR`, then run `install rollback {manifest.version} --approvals DIR`"
    )
    error.problems += checked.problems()
    return error
