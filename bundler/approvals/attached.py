"""Statements that were signed elsewhere, approvals or provenance: read, checked, added with their signatures.

A signature proves who has signed. Whether hosts count it is decided by a root, where one is given: the key
has the role, and is neither revoked nor expired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bundler.approvals.admission import check_key
from bundler.approvals.approval import AddedStatement, ApprovalRequest
from bundler.approvals.statements import open_statements
from bundler.archive.reading import read_limited
from bundler.signing.detached import match_signatures, read_public
from installer.core.errors import ExpiredError, TamperedError, UsageError
from installer.core.format.archive import Bundle
from installer.core.limits import LIMITS
from installer.core.timestamps import expired_text, format_time
from installer.core.trust.approval import Approval, parse
from installer.core.trust.provenance import Provenance
from installer.core.trust.root import APPROVERS, Root
from installer.core.trust.signatures import TrustedKey


@dataclass(frozen=True, slots=True)
class Attachment:
    """A statement that was signed elsewhere, its signatures verified; not yet in the bundle.

    Attributes:
        where: Its file.
        data: Its exact bytes.
        content: What it states.
        key: The key that has signed it.
        signatures: Form to signature.
    """

    where: str
    data: bytes
    content: Approval | Provenance
    key: TrustedKey
    signatures: Mapping[str, bytes]

    @property
    def role(self) -> str:
        """The role that it is given in."""
        return self.content.role if isinstance(self.content, Approval) else "provenance"

    @property
    def request(self) -> ApprovalRequest:
        """What the approver asked for; of provenance only the role."""
        said = self.content
        if not isinstance(said, Approval):
            return ApprovalRequest(self.role, "")
        return ApprovalRequest(
            said.role,
            said.environment,
            format_time(said.expires),
            said.targets,
            said.change_id,
            said.rollback_to,
            said.notes,
        )


def read_attachment(
    signatures: Sequence[Path], public: Path, usual: Sequence[Path], given: Path | None = None
) -> Attachment:
    """Read a statement that was signed elsewhere, and verify its signatures.

    Args:
        signatures: Files as cosign, GPG or openssl write them, all of one statement and by one key.
        public: The public key, or a `root.json` that has it.
        usual: Where the statement may be, if it is not given.
        given: What was signed; None: the one of `usual` that the first signature is of.

    Raises:
        UsageError: A file cannot be read, or a signature does not fit.
    """
    documents = _documents(usual, given)
    matched = match_signatures(signatures, read_public(public).keys, documents)
    # A statement and its signatures are added as one; two of them need two runs.
    if len({(each.document, each.key.keyid) for each in matched}) != 1:
        raise UsageError(
            "the signatures are for different statements or from different keys",
            hint="attach them one after the other",
        )
    where, data = matched[0].document, documents[matched[0].document]
    forms = {each.signature.form: each.signature.data for each in matched}
    return Attachment(where, data, _parsed(data, where), matched[0].key, forms)


def _documents(usual: Sequence[Path], given: Path | None) -> dict[str, bytes]:
    # `create` and `--prepare` write to these names, so that `--statement` is rarely needed.
    chosen = [given] if given else [each for each in usual if each.is_file()]
    if not chosen:
        raise UsageError(
            "no statement to attach was found",
            where=str(usual[0].parent),
            hint="give --statement FILE; `bundle approve --prepare` writes it",
        )
    return {str(each): read_limited(each, LIMITS.approval_bytes) for each in chosen}


def _parsed(data: bytes, where: str) -> Approval | Provenance:
    try:
        return parse(data, where)
    except TamperedError as error:
        raise UsageError("is not a statement that hosts accept", where=error.where, hint=error.what) from None


def usual_places(path: Path) -> list[Path]:
    """Return where the statements about a bundle lie until they are signed."""
    return [statement_path(path, role) for role in APPROVERS]


def statement_path(path: Path, role: str) -> Path:
    """Return where the statement of a role lies until it is signed."""
    return path.with_name(f"{path.name}.{role}.json")


def check_attachment(attachment: Attachment, bundle: Bundle) -> None:
    """Refuse a statement that is about something else than a bundle.

    Raises:
        UsageError: It is.
    """
    said, identity = attachment.content, bundle.identity
    # The signature would be valid, and hosts would refuse it only behind the air gap.
    if said.identity != identity:
        raise UsageError(
            "is a statement about another bundle",
            where=attachment.where,
            hint=f"the statement is for the bundle {said.identity[:12]}…, but this bundle is "
            f"{identity[:12]}…: run `bundle approve --prepare` for this bundle",
        )


def check_counts(attachment: Attachment, root: Root | None, now: datetime) -> None:
    """Refuse a statement that no host would count, whatever the bundle.

    Args:
        attachment: The statement.
        root: What hosts trust; None where that is not known.
        now: The time.

    Raises:
        UntrustedError: The root does not have the key, has revoked it, or gives it another role.
        ExpiredError: The key or the approval counts no longer.
    """
    if root is not None:
        check_key(root, attachment.role, attachment.key.keyid, now)
    said = attachment.content
    if isinstance(said, Approval) and now >= said.expires:
        raise ExpiredError(
            f"the approval {expired_text(said.expires, now)}",
            where=attachment.where,
            hint="remove the file, run `bundle approve --prepare` again, and sign the new statement",
        )


def add_attachment(path: Path, attachment: Attachment, sidecar: Path | None = None) -> AddedStatement:
    """Add a statement that was signed elsewhere to a bundle, with its signatures.

    Args:
        path: The bundle.
        attachment: The statement.
        sidecar: The directory to write to; None: the bundle, if it can be written to.

    Returns:
        What was added; without files if it is there already.

    Raises:
        UsageError: The statement is about another bundle.
        UnfitInputError: It cannot be written.
        BusyError: Another process signs or approves the bundle.
        TamperedError: It is not a bundle.
    """
    data, keyid8 = attachment.data, attachment.key.keyid8
    with open_statements(path, sidecar) as statements:
        # The file may be another one than that which was verified before.
        check_attachment(attachment, statements.bundle)
        # Attaching twice must add nothing: scripts repeat commands.
        present = any(each == data and f"-{keyid8}." in there for there, each in statements.present.items())
        added = () if present else statements.add(attachment.role, keyid8, data, attachment.signatures)
        return AddedStatement(attachment.content, added, statements.directory)
