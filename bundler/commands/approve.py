"""`bundle approve`: countersign a bundle, in the bundle or in a directory next to it.

Four actions: approve with a key at hand; prepare and attach for a key that is elsewhere; repair an append
that was interrupted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from bundler.approvals.admission import BREAK_GLASS, Admission, check_environment, check_role
from bundler.approvals.approval import AddedStatement, ApprovalRequest, make_approval
from bundler.approvals.repeated import given_before, says_the_same
from bundler.approvals.statements import open_statements
from bundler.archive import append
from bundler.archive.reading import read_limited, read_with_tail, unverified_bundle
from bundler.commands import inspect_risks
from bundler.commands.verify import verify_bundle
from bundler.signing import Signer
from bundler.signing.bundle import open_locked
from bundler.signing.detached import Prepared, match_signatures, prepare, public_keys
from installer.core.errors import (
    ClockError,
    ExpiredError,
    RevokedError,
    TamperedError,
    UnfitInputError,
    UsageError,
    os_errors_as,
)
from installer.core.format.archive import Bundle
from installer.core.limits import LIMITS
from installer.core.trust.approval import Approval, parse
from installer.core.trust.provenance import Provenance
from installer.core.trust.root import APPROVERS
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
    path: Path, request: ApprovalRequest, trust: Trust, progress: Progress, *, has_root: bool
) -> Admission:
    """Verify a bundle, all of it, and check what an approver asks for, before anybody is asked to sign.

    Args:
        path: The bundle.
        request: What the approver states.
        trust: The root that hosts trust, or the one key that has to have released the bundle.
        progress: Receives the bytes that are checked.
        has_root: Whether `trust` is a root, which knows environments and roles.

    Raises:
        UsageError: The role or the environment is unknown.
        WaybillError: Whatever a host would refuse the bundle for.
    """
    # Also for callers from Python, and before gigabytes are read.
    check_role(request.role)
    if has_root:
        check_environment(trust.root, request)
    warnings = list[str]()
    try:
        verified = verify_bundle(str(path), trust, progress).verified
    except (RevokedError, ClockError):
        raise
    except ExpiredError as error:
        # An installed release does not expire: break-glass may admit its return, and nothing else of it.
        if request.role != BREAK_GLASS:
            raise
        with unverified_bundle(path) as bundle:
            before = datetime.fromtimestamp(bundle.manifest.expires - 1, UTC)
        verified = verify_bundle(str(path), Trust(trust.root, lambda: before), progress).verified
        warnings.append(f"{error.what}: this approval can only admit a rollback to this release")
    with unverified_bundle(path) as bundle:
        _require_same(bundle, verified.identity)
        risks, counts = inspect_risks.counted(bundle)
    notes = (*verified.notes, *warnings)
    return Admission(verified, request, trust.root if has_root else None, tuple(risks), counts, notes)


def _require_same(bundle: Bundle, identity: str) -> None:
    # Verified, shown, then signed: the file on the stick may be another one by then.
    if identity and bundle.identity != identity:
        raise TamperedError(
            f"is another bundle than the one that was verified ({identity[:12]}…)",
            hint="somebody replaced the file meanwhile; nothing was approved",
        )


def approve_bundle(
    path: Path,
    signer: Signer,
    request: ApprovalRequest,
    now: datetime,
    sidecar: Path | None = None,
    identity: str = "",
) -> AddedStatement:
    """Approve a bundle. Only its head and tail are read: `admit` verifies it before.

    Args:
        path: The bundle.
        signer: The approver's key.
        request: What the approver states.
        now: The current time.
        sidecar: The directory to write to; None: the bundle, if it can be written to.
        identity: Of the bundle that was verified; empty for any.

    Returns:
        What was added; without files if the same key has given the same approval before.

    Raises:
        UsageError: The request is not valid.
        UnfitInputError: The approval cannot be written, there are too many, or an append was interrupted
            before.
        BusyError: Another process signs or approves the bundle.
        TamperedError: It is not a bundle.
    """
    with open_statements(path, sidecar) as statements:
        _require_same(statements.bundle, identity)
        approval = make_approval(request, statements.bundle, now)
        # Scripts repeat commands: a second approval would say nothing new.
        if before := given_before(statements.present, approval, request.expires, signer, now):
            return AddedStatement(before, (), statements.directory)
        # The bytes that are signed are the bytes that are stored: they are made once.
        data = approval.to_bytes()
        # Signed while the bundle is locked: nobody can take the name of the file meanwhile.
        files = statements.add(approval.role, signer.keyid8, data, signer.sign(data))
        return AddedStatement(approval, files, statements.directory)


def prepare_approval(
    path: Path, request: ApprovalRequest, now: datetime, output: Path | None = None, identity: str = ""
) -> Prepared:
    """Write the statement of an approval that is to be signed elsewhere.

    Args:
        path: The bundle.
        request: What the approver states.
        now: The current time.
        output: The file to write; None: `BUNDLE.<role>.json`.
        identity: Of the bundle that was verified; empty for any.

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
        data = there if says_the_same(there, str(target), approval, request.expires, now) else data
    return prepare(target, data, bundle.identity)


def attach_approval(
    path: Path,
    signatures: Sequence[Path],
    public: Path,
    statement: Path | None = None,
    sidecar: Path | None = None,
) -> AddedStatement:
    """Add a statement that was signed elsewhere, an approval or provenance, with its signatures.

    Args:
        path: The bundle.
        signatures: Files as cosign, GPG or openssl write them, all of one statement and by one key.
        public: The public key, or a `root.json` that has it.
        statement: What was signed; None: the `BUNDLE.<role>.json` that the first signature is of.
        sidecar: The directory to write to; None: the bundle, if it can be written to.

    Returns:
        What was added.

    Raises:
        UsageError: A file cannot be read, a signature does not fit, or the statement is about another bundle.
        UnfitInputError: The approval cannot be written.
        BusyError: Another process signs or approves the bundle.
        TamperedError: It is not a bundle.
    """
    documents = _statements(path, statement)
    attached = match_signatures(signatures, public_keys(public), documents)
    names = {each.name.removesuffix(f".{each.keyid8}.{each.form}") for each in attached}
    # A statement and its signatures are added as one; two of them need two runs.
    if len(names) != 1 or len({each.keyid8 for each in attached}) != 1:
        raise UsageError(
            "the signatures are for different statements or from different keys",
            hint="attach them one after the other",
        )
    name = names.pop()
    data, keyid8 = documents[name], attached[0].keyid8
    with open_statements(path, sidecar) as statements:
        # The file lay outside of our control: nothing that it says counts before it is about this bundle.
        content = _parse_statement(data, name, statements.bundle.identity)
        role = content.role if isinstance(content, Approval) else "provenance"
        # Attaching twice must add nothing: scripts repeat commands.
        present = any(each == data and f"-{keyid8}." in there for there, each in statements.present.items())
        forms = {each.form: each.data for each in attached}
        added = () if present else statements.add(role, keyid8, data, forms)
        return AddedStatement(content, added, statements.directory)


def statement_path(path: Path, role: str) -> Path:
    """Return where the statement of a role lies until it is signed."""
    return path.with_name(f"{path.name}.{role}.json")


def _statements(path: Path, given: Path | None) -> dict[str, bytes]:
    # `create` and `--prepare` write to these names, so that `--statement` is rarely needed.
    usual = [statement_path(path, role) for role in APPROVERS]
    chosen = [given] if given else [each for each in usual if each.is_file()]
    if not chosen:
        raise UsageError(
            "no statement to attach was found",
            where=str(path.parent),
            hint="give --statement FILE; `bundle approve --prepare` writes it",
        )
    return {str(each): read_limited(each, LIMITS.approval_bytes) for each in chosen}


def _parse_statement(data: bytes, where: str, identity: str) -> Approval | Provenance:
    try:
        content = parse(data, where)
    except TamperedError as error:
        raise UsageError("is not a statement that hosts accept", where=error.where, hint=error.what) from None
    # The signature would be valid, and hosts would refuse it only behind the air gap.
    if content.identity != identity:
        raise UsageError(
            "is a statement about another bundle",
            where=where,
            hint=f"the statement is for the bundle {content.identity[:12]}…, but this bundle is "
            f"{identity[:12]}…: run `bundle approve --prepare` for this bundle",
        )
    return content


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
