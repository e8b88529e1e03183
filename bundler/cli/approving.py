"""The command `bundle approve`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.forms import chosen_form, prefer_typed
from bundler.cli.options import (
    Attach,
    BundleFile,
    GpgKey,
    Json,
    Key,
    PasswordFrom,
    Prepare,
    Texts,
    console,
    option,
    required_public,
    required_signers,
)
from installer.core.errors import UsageError

if TYPE_CHECKING:
    from bundler.approvals.admission import Admission
    from bundler.approvals.approval import AddedStatement, ApprovalRequest
    from bundler.approvals.attached import Attachment
    from bundler.signing import Signer
    from installer.core.trust.verifier import Trust

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation")]
Public = Annotated[
    Path | None,
    option(
        "--public",
        metavar="FILE",
        text="With --attach: the public key, or a root.json that contains it [default: the root]",
    ),
]


def approve(
    context: typer.Context,
    bundle: BundleFile,
    role: Annotated[
        str, option(metavar="ROLE", text="Role of the approver: provenance, security, ops or break-glass")
    ] = "",
    env: Annotated[str, option(metavar="ENV", text="Environment that the approval is for")] = "",
    key: Key = None,
    gpg_key: GpgKey = None,
    password_from: PasswordFrom = "",
    change_id: Annotated[str, option(metavar="ID", text="Id of the change request")] = "",
    rollback_to: Annotated[
        str, option(metavar="VERSION", text="Version to roll back to, or `none` for a first installation")
    ] = "",
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="Expiry: a duration (14d) or a time (2030-01-31T00:00:00Z)")
    ] = "14d",
    target: Annotated[Texts, option(metavar="HOST", text="Only valid on this host; may be repeated")] = None,
    root: Annotated[
        Path | None,
        option(metavar="FILE", text="Verify the bundle first by this root.json, as hosts do"),
    ] = None,
    release_key: Annotated[
        Path | None,
        option(metavar="PUB", text="Without a root: verify that this public key has released the bundle"),
    ] = None,
    yes: Yes = False,
    note: Annotated[str, option(metavar="TEXT", text="Free text; required for break-glass")] = "",
    sidecar: Annotated[
        bool, typer.Option("--sidecar", help="Do not change the bundle: write to BUNDLE.approvals/")
    ] = False,
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            metavar="PATH",
            text="Directory to write to instead; with --prepare, the file [default: BUNDLE.ROLE.json]",
        ),
    ] = None,
    prepare: Prepare = False,
    attach: Attach = None,
    public: Public = None,
    statement: Annotated[
        Path | None,
        option(metavar="FILE", text="With --attach: the file that was signed [default: BUNDLE.ROLE.json]"),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Complete or remove an interrupted approval")
    ] = False,
    withdraw: Annotated[
        bool,
        typer.Option("--withdraw", help="Remove the approvals of this key, before the bundle is handed over"),
    ] = False,
    _json: Json = False,
) -> None:
    """Approve a bundle for one environment.

    The bundle is verified first, by --root or --release-key. The approval is given in one role, for a
    limited time.
    """
    from bundler.approvals.approval import ApprovalRequest
    from bundler.commands import approve as approval
    from installer.core.trust.approval_sidecar import sidecar_path

    keys = {"--key": key, "--gpg-key": gpg_key}
    # What the statement says; with --attach the statement exists already.
    said = {
        "--change-id": change_id,
        "--rollback-to": rollback_to,
        "--expires": expires,
        "--target": target,
        "--note": note,
    }
    content = {"--role": role, "--env": env, **said}
    trusted_by = {"--root": root, "--release-key": release_key}
    attached = {"--public": public, "--statement": statement}
    place = {"--sidecar": sidecar, "--output": output}
    form = chosen_form(
        context,
        {"--prepare": prepare, "--attach": attach, "--repair": repair, "--withdraw": withdraw},
        {
            "": attached,
            "--prepare": {**keys, **attached, "--sidecar": sidecar},
            "--attach": {**keys, **content},
            "--repair": {**keys, **content, **attached, **trusted_by, **place},
            "--withdraw": {**said, **attached, **trusted_by, "--sidecar": sidecar},
        },
    )
    root, release_key = prefer_typed(context, ("--root", root), ("--release-key", release_key))
    request = ApprovalRequest(role, env, expires, tuple(target or ()), change_id, rollback_to, note)
    # One time for all signers, so that their statements are equal.
    now = datetime.now(UTC)
    # A directory implies a sidecar.
    outside = output or (sidecar_path(bundle) if sidecar else None)
    if form == "--repair":
        repaired = approval.repair(bundle)
        console.result(
            repaired.as_text(),
            lambda: {
                "changed": repaired.outcome != "nothing",
                "outcome": repaired.outcome,
                "name": repaired.name,
            },
        )
    elif form == "--attach":
        _attach(bundle, (attach or [], public, statement), (root, release_key), outside)
    elif form == "--withdraw":
        signers = required_signers(context, key, gpg_key, password_from)
        _withdraw(bundle, signers, (role, env), output, yes=yes)
    elif form == "--prepare":
        trust = _checked(request, (root, release_key), now)
        admission = _admitted(bundle, request, trust, [], has_root=root is not None)
        _confirm(admission, [], yes=True)
        identity, most = admission.verified.identity, admission.max_age_days
        made = approval.prepare_approval(bundle, request, now, output, identity, most)
        trusted_so = ("--root", root) if root else ("--public KEY.pub --release-key", release_key)
        then = f"{trusted_so[0]} {shlex.quote(str(trusted_so[1]))}"
        lines = made.instructions(f"`bundle approve {shlex.quote(str(bundle))} --attach SIG {then}`")
        console.result("\n".join(lines), made.as_json)
    else:
        # What costs nothing first: then a password is asked for, and only then gigabytes are read.
        trust = _checked(request, (root, release_key), now)
        approval.check_place(bundle, outside)
        signers = required_signers(context, key, gpg_key, password_from)
        admission = _admitted(bundle, request, trust, signers, has_root=root is not None)
        _confirm(admission, signers, yes=yes)
        identity, most = admission.verified.identity, admission.max_age_days
        done = [
            approval.approve_bundle(bundle, signer, request, now, outside, identity, most)
            for signer in signers
        ]
        console.result(
            "\n".join(each.as_text() for each in done),
            lambda: {**_approved(done), "verified": admission.as_json()},
        )


def _approved(done: Sequence[AddedStatement]) -> dict[str, Any]:
    return {
        "changed": any(each.files for each in done),
        "identity": done[0].approval.identity,
        "approvals": [each.as_json() for each in done],
    }


def _checked(request: ApprovalRequest, given: tuple[Path | None, Path | None], now: datetime) -> Trust:
    """Return what the bundle is verified by, once everything that needs no bundle has been checked.

    Raises:
        UsageError: No root and no key is given, or the request is not valid.
    """
    from bundler.approvals.admission import check_environment, check_role
    from bundler.approvals.approval import check_request
    from bundler.commands.verify import load_trust

    if not request.role or not request.environment:
        raise UsageError("role and environment are missing", hint="give --role ROLE and --env NAME")
    check_role(request.role)
    root, release_key = given
    if root is None and release_key is None:
        raise UsageError(
            "a bundle is verified before it is approved, but neither a root nor a key is given for that",
            hint="give --root root.json, the root that hosts trust; without one, --release-key PUB, the "
            "public key of whoever has released it",
        )
    trust = load_trust(release_key, root)
    if root is not None:
        check_environment(trust.root, request)
    check_request(request, now)
    return trust


def _admitted(
    bundle: Path, request: ApprovalRequest, trust: Trust, signers: Sequence[Signer], *, has_root: bool
) -> Admission:
    """Return the bundle, verified: an approval says that somebody has looked.

    Raises:
        WaybillError: A host would refuse the bundle, or not count an approval by these keys.
    """
    from bundler.approvals.admission import check_key
    from bundler.commands.approve import admit

    # Before the bundle is read, which may take minutes.
    for signer in signers if has_root else ():
        check_key(trust.root, request.role, signer.keyid, trust.now())
    return admit(bundle, request, trust, console.progress(), has_root=has_root)


def _attach(
    bundle: Path,
    files: tuple[Sequence[Path], Path | None, Path | None],
    given: tuple[Path | None, Path | None],
    outside: Path | None,
) -> None:
    """Add a statement that was signed elsewhere, once the bundle and the role of the key are checked."""
    from bundler.commands.approve import admit_attachment, attach_approval
    from bundler.commands.verify import load_trust
    from bundler.signing.detached import read_public

    (signatures, public, statement), (root, release_key) = files, given
    public = required_public(public or root)
    # A root that is given for its keys says what they may sign, too.
    if root is None and release_key is None and read_public(public).root:
        root = public
    trust = load_trust(release_key, root) if root or release_key else None
    admissions: list[Admission] = []

    def admit(attachment: Attachment) -> None:
        if trust is None:
            console.warn(
                "nothing was verified but the signature of the statement: give --root root.json, "
                "the root that hosts trust, to verify the bundle and the role of the key"
            )
            return
        progress, has_root = console.progress(), root is not None
        admission = admit_attachment(bundle, attachment, trust, progress, has_root=has_root)
        if admission is not None:
            admissions.append(admission)
            _warn(admission, [attachment.key.keyid])

    done = attach_approval(bundle, signatures, public, statement, outside, admit)
    verified = admissions[0].as_json() if admissions else None
    console.result(done.as_text(), lambda: {**_approved([done]), "verified": verified})


def _confirm(admission: Admission, signers: Sequence[Signer], *, yes: bool) -> None:
    """Show what is approved and by which key, and return once a person agrees.

    Raises:
        UsageError: There is nobody to ask.
        DeclinedError: The answer was not yes.
    """
    keyids = [signer.keyid for signer in signers]
    shown = []
    for signer in signers:
        owner = admission.owner(signer.keyid)
        shown.append(f"{signer.keyid8}{f' of {owner}' if owner else ''}")
    console.show("verified", admission.text(shown), admission.as_json())
    _warn(admission, keyids)
    if not yes:
        console.confirm(admission.question(), "--yes")


def _warn(admission: Admission, keyids: Sequence[str]) -> None:
    """Warn of what is out of the ordinary, and of why a host might not count an approval by these keys."""
    for warning in (*admission.warnings, *admission.owner_warnings(keyids)):
        console.warn(warning)


def _withdraw(
    bundle: Path, signers: Sequence[Signer], which: tuple[str, str], sidecar: Path | None, *, yes: bool
) -> None:
    """Remove the approvals that these keys have given, of one role and environment if they are named."""
    from bundler.approvals.withdraw import own_approvals, withdraw

    role, env = which
    # Loading the key asked for its password: only who can give an approval can take it back.
    own = own_approvals(bundle, [signer.keyid8 for signer in signers], role, env, sidecar)
    lines = [f"withdrawn: {each.as_text()}" for each in own]
    if own and not yes:
        console.note("\n".join(each.as_text() for each in own))
        console.confirm(f"Withdraw {'this approval' if len(own) == 1 else 'these approvals'}?", "--yes")
    withdraw(bundle, own)
    lines.append("copies of the bundle that were handed over before still have it" if own else "")
    console.result(
        "\n".join(line for line in lines if line) or "no approval by this key: nothing to withdraw",
        lambda: {"changed": bool(own), "withdrawn": [each.as_json() for each in own]},
    )
