"""`bundle approve --prepare` and `--attach`: approvals by keys in an HSM, on a card, or on another machine.

The statement is written beside the bundle as `BUNDLE.<role>.json`, as `bundle create` does with provenance
that nobody has signed yet. Nothing of it is believed when it comes back: it has to be about this bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bundler.approvals.approval import Approved, Request, make_approval
from bundler.approvals.statements import look, opened
from bundler.signing.detached import Prepared, fitting, public_keys, read, write_prepared
from installer.core.errors import TamperedError, UsageError
from installer.core.limits import LIMITS
from installer.core.trust.approval import Approval, parse
from installer.core.trust.provenance import Provenance
from installer.core.trust.root import APPROVERS


def prepare(path: Path, request: Request, now: datetime, output: Path | None = None) -> Prepared:
    """Write the statement that is to be signed.

    Args:
        path: The bundle.
        request: What the approver says.
        now: The time.
        output: Where to; None: `BUNDLE.<role>.json`.

    Returns:
        Where it is.

    Raises:
        UsageError: The request makes no sense; another file has the name.
        TamperedError: It is not a bundle.
    """
    bundle = look(path)
    data = make_approval(request, bundle, now).to_bytes()
    return write_prepared(output or prepared_path(path, request.role), data, bundle.identity)


def prepared_path(path: Path, role: str) -> Path:
    """Return where the statement of a role lies until it is signed."""
    return path.with_name(f"{path.name}.{role}.json")


def attach(
    path: Path,
    signatures: Sequence[Path],
    public: Path,
    statement: Path | None = None,
    *,
    directory: Path | None = None,
    sidecar: bool = False,
) -> Approved:
    """Put a statement that was signed elsewhere, with its signatures, where approvals are.

    Args:
        path: The bundle.
        signatures: Files as cosign, GPG or openssl wrote them, all of one statement and by one key.
        public: The public key, or a `root.json` in which it is.
        statement: What was signed; None: whichever `BUNDLE.<role>.json` the first signature is of.
        directory: Where to write it beside the bundle; None: `BUNDLE.approvals`.
        sidecar: Whether to leave the bundle itself as it is.

    Returns:
        What was added.

    Raises:
        UsageError: A file cannot be read; a signature does not fit; the statement is not about this bundle.
        UnfitInputError: The bundle cannot be written.
        BusyError: Another process signs or approves it.
        TamperedError: It is not a bundle.
    """
    usual = [prepared_path(path, role) for role in APPROVERS]
    chosen = [statement] if statement else [each for each in usual if each.is_file()]
    if not chosen:
        raise UsageError(
            "there is no statement that could have been signed",
            where=str(usual[0].parent),
            hint="give it with --statement FILE; `bundle approve --prepare` writes it",
        )
    signed = {str(each): read(each, LIMITS.approval_bytes) for each in chosen}
    found = fitting(signatures, public_keys(public), signed)
    names = {each.name.removesuffix(f".{each.keyid8}.{each.form}") for each in found}
    if len(names) != 1 or len({each.keyid8 for each in found}) != 1:
        raise UsageError(
            "the signatures are of several statements or keys", hint="attach one after the other"
        )
    name = names.pop()
    data, keyid8 = signed[name], found[0].keyid8
    with opened(path, directory, sidecar=sidecar) as place:
        said = _said(data, name, place.bundle.identity)
        role = said.role if isinstance(said, Approval) else "provenance"
        known = any(each == data and f"-{keyid8}." in there for there, each in place.there.items())
        forms = {each.form: each.data for each in found}
        return Approved(said, () if known else place.add(role, keyid8, data, forms), place.directory)


def _said(data: bytes, where: str, identity: str) -> Approval | Provenance:
    try:
        said = parse(data, where)
    except TamperedError as error:
        raise UsageError("is not a statement that hosts know", where=error.where, hint=error.what) from None
    if said.identity != identity:
        raise UsageError(
            "is about another bundle",
            where=where,
            hint=f"it says {said.identity[:12]}…, this one is {identity[:12]}…: prepare it for this one",
        )
    return said
