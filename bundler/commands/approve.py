"""`bundle approve`: countersign a bundle, in the bundle or in a directory next to it.

Four actions: approve with a key at hand; prepare and attach for a key that is elsewhere; repair an append
that was interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bundler.approvals.admission import BREAK_GLASS, Admission, age_warnings, check_environment, check_role
from bundler.approvals.approval import AddedStatement, ApprovalRequest, check_request, make_approval
from bundler.approvals.attached import (
    Attachment,
    add_attachment,
    check_attachment,
    check_counts,
    read_attachment,
    statement_path,
    usual_places,
)
from bundler.approvals.contradictions import contradictions
from bundler.approvals.repeated import given_before, says_the_same
from bundler.approvals.statements import open_statements
from bundler.archive import append
from bundler.archive.reading import read_limited, read_with_tail, unverified_bundle
from bundler.commands import inspect_risks
from bundler.commands.verify import verify_bundle
from bundler.signing import Signer
from bundler.signing.bundle import open_locked
from bundler.signing.detached import Prepared, prepare
from installer.core.errors import ExpiredError, TamperedError, UnfitInputError, os_errors_as
from installer.core.format.archive import Bundle
from installer.core.format.manifest import Manifest
from installer.core.limits import LIMITS
from installer.core.trust.provenance import Provenance
from installer.core.trust.steps import BUNDLE_EXPIRY
from installer.core.trust.verifier import Trust
from installer.shared.progress import Progress


@dataclass(frozen=True, slots=True)
class Repaired:
    """The result of `repair`: the approval `name` was `finished`, its parts were `dropped`, or `nothing`."""

    outcome: Literal["finished", "dropped", "nothing"]
    name: str = ""

    def as_text(self) -> str:
        """Return it in words for people."""
        return {
            "finished": f"completed {self.name}: the approval counts now",
            "dropped": "removed an incomplete approval: approve the bundle again",
            "nothing": "nothing to repair",
        }[self.outcome]


def admit(
    path: Path,
    request: ApprovalRequest,
    trust: Trust,
    progress: Progress,
    *,
    has_root: bool,
    since: datetime | None = None,
) -> Admission:
    """Verify a bundle, all of it, and check what an approver asks for, before anybody is asked to sign.

    Args:
        path: The bundle.
        request: What the approver states.
        trust: The root that hosts trust, or the one key that has to have released the bundle.
        progress: Receives the bytes that are checked.
        has_root: Whether `trust` is a root, which knows environments and roles.
        since: When the approval begins; None: now.

    Raises:
        UsageError: The request is not valid, or the role or the environment is unknown.
        WaybillError: Whatever a host would refuse the bundle for.
    """
    # Also for callers from Python, and before gigabytes are read.
    check_role(request.role)
    if has_root:
        check_environment(trust.root, request)
    now, warnings = trust.now(), list[str]()

    def check(manifest: Manifest) -> None:
        check_request(request, now, manifest)

    try:
        verified = verify_bundle(str(path), trust, progress, check=check).verified
    except ExpiredError as error:
        # An installed release does not expire: break-glass may admit its return, and nothing else of it.
        # Of the root, a key, or a bundle that was revoked, break-glass forgives nothing.
        if request.role != BREAK_GLASS or error.step != BUNDLE_EXPIRY:
            raise
        with unverified_bundle(path) as bundle:
            before = datetime.fromtimestamp(bundle.manifest.expires - 1, UTC)
        past = Trust(trust.root, lambda: before, origin=trust.origin)
        verified = verify_bundle(str(path), past, progress, check=check).verified
        warnings.append(f"{error.what}: this approval can only admit a rollback to this release")
    with unverified_bundle(path) as bundle:
        _require_same(bundle, verified.identity)
        risks, counts = inspect_risks.counted(bundle)
        if has_root:
            warnings += contradictions(path, bundle, trust.root, request, now)
            warnings += age_warnings(trust.root, request, since or now, now)
    notes = (*verified.notes, *warnings)
    return Admission(verified, request, trust.root if has_root else None, tuple(risks), counts, notes)


def admit_attachment(
    path: Path, attachment: Attachment, trust: Trust, progress: Progress, *, has_root: bool
) -> Admission | None:
    """Verify a bundle before a statement that was signed elsewhere is added, and that hosts would count it.

    Args:
        path: The bundle.
        attachment: The statement.
        trust: The root that hosts trust, or the one key that has to have released the bundle.
        progress: Receives the bytes that are checked.
        has_root: Whether `trust` is a root, which knows environments and roles.

    Returns:
        What was verified; None for provenance, which states where a bundle comes from, before it is released.

    Raises:
        UntrustedError: The key does not have the role.
        WaybillError: Whatever a host would refuse the bundle for.
    """
    # The key first: verifying takes minutes.
    check_counts(attachment, trust.root if has_root else None, trust.now())
    if isinstance(attachment.content, Provenance):
        return None
    since = attachment.content.not_before
    admission = admit(path, attachment.request, trust, progress, has_root=has_root, since=since)
    _require_identity(attachment.content.identity, admission.verified.identity)
    return admission


def _require_same(bundle: Bundle, identity: str) -> None:
    # Verified, shown, then signed: the file on the stick may be another one by then.
    if identity:
        _require_identity(bundle.identity, identity)


def _require_identity(found: str, verified: str) -> None:
    if found != verified:
        raise TamperedError(
            f"is another bundle than the one that was verified ({verified[:12]}…)",
            hint="somebody replaced the file meanwhile; nothing was approved",
        )


def approve_bundle(
    path: Path,
    signer: Signer,
    request: ApprovalRequest,
    now: datetime,
    sidecar: Path | None = None,
    identity: str = "",
    max_age_days: int = 0,
) -> AddedStatement:
    """Approve a bundle. Only its head and tail are read: `admit` verifies it before.

    Args:
        path: The bundle.
        signer: The approver's key.
        request: What the approver states.
        now: The current time.
        sidecar: The directory to write to; None: the bundle, if it can be written to.
        identity: Of the bundle that was verified; empty for any.
        max_age_days: How old the policy lets approvals become; 0: any age, or no policy is known.

    Returns:
        What was added; without files if the same key has given the same approval before.

    Raises:
        UsageError: The request is not valid, or the same key has given the same approval for longer.
        UnfitInputError: The approval cannot be written, there are too many, or an append was interrupted
            before.
        BusyError: Another process signs or approves the bundle.
        TamperedError: It is not a bundle.
    """
    with open_statements(path, sidecar) as statements:
        _require_same(statements.bundle, identity)
        approval = make_approval(request, statements.bundle, now)
        # Scripts repeat commands: a second approval would say nothing new.
        if before := given_before(statements, approval, request.expires, signer, now, max_age_days):
            return before
        # The bytes that are signed are the bytes that are stored: they are made once.
        data = approval.to_bytes()
        # Signed while the bundle is locked: nobody can take the name of the file meanwhile.
        files = statements.add(approval.role, signer.keyid8, data, signer.sign(data))
        return AddedStatement(approval, files, statements.directory)


def prepare_approval(
    path: Path,
    request: ApprovalRequest,
    now: datetime,
    output: Path | None = None,
    identity: str = "",
    max_age_days: int = 0,
) -> Prepared:
    """Write the statement of an approval that is to be signed elsewhere.

    Args:
        path: The bundle.
        request: What the approver states.
        now: The current time.
        output: The file to write; None: `BUNDLE.<role>.json`.
        identity: Of the bundle that was verified; empty for any.
        max_age_days: How old the policy lets approvals become; 0: any age, or no policy is known.

    Raises:
        UsageError: The request is not valid, or another file has the name.
        TamperedError: It is not a bundle.
    """
    bundle = read_with_tail(path)
    _require_same(bundle, identity)
    approval, target = make_approval(request, bundle, now), output or statement_path(path, request.role)
    data = approval.to_bytes()
    # What was prepared before may be signed by now.
    if target.is_file():
        there = read_limited(target, LIMITS.approval_bytes)
        if says_the_same(there, str(target), approval, request.expires, now, max_age_days):
            data = there
    return prepare(target, data, bundle.identity)


def check_place(path: Path, sidecar: Path | None = None) -> None:
    """Refuse a bundle that no approval can be added to, before it is verified or a password is asked for.

    Args:
        path: The bundle.
        sidecar: The directory to write to; None: the bundle, if it can be written to.

    Raises:
        UnfitInputError: It cannot be written, or an append was interrupted before.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle.
    """
    with open_statements(path, sidecar):
        pass


def attach_approval(
    path: Path,
    signatures: Sequence[Path],
    public: Path,
    statement: Path | None = None,
    sidecar: Path | None = None,
    admit: Callable[[Attachment], None] = lambda _attachment: None,
) -> AddedStatement:
    """Add a statement that was signed elsewhere, an approval or provenance, with its signatures.

    Args:
        path: The bundle.
        signatures: Files as cosign, GPG or openssl write them, all of one statement and by one key.
        public: The public key, or a `root.json` that has it.
        statement: What was signed; None: the `BUNDLE.<role>.json` that the first signature is of.
        sidecar: The directory to write to; None: the bundle, if it can be written to.
        admit: Called with the statement before it is added; it raises what forbids that, as
            `admit_attachment` does.

    Returns:
        What was added.

    Raises:
        UsageError: A file cannot be read, a signature does not fit, or the statement is about another bundle.
        UnfitInputError: The approval cannot be written.
        BusyError: Another process signs or approves the bundle.
        TamperedError: It is not a bundle.
    """
    attachment = read_attachment(signatures, public, usual_places(path), statement)
    # Before the bundle is verified, which may take minutes.
    with open_statements(path, sidecar) as statements:
        check_attachment(attachment, statements.bundle)
    admit(attachment)
    return add_attachment(path, attachment, sidecar)


def repair(path: Path) -> Repaired:
    """Finish or remove an approval whose append was interrupted.

    Args:
        path: The bundle.

    Raises:
        UnfitInputError: It cannot be written.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle, or was truncated by something else.
    """
    # Locked: a repair must not meet an append that is still going on.
    fd = open_locked(path)
    try:
        with os_errors_as(UnfitInputError, "cannot be repaired", path):
            return Repaired(*append.repair(fd, read_with_tail(path)))
    finally:
        os.close(fd)
