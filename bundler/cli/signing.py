"""The commands `bundle sign`, `approve` and `verify`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.options import (
    Attach,
    BundleFile,
    GpgKey,
    Json,
    Key,
    PasswordFrom,
    Paths,
    Prepare,
    Texts,
    argument,
    chosen_form,
    console,
    option,
    required_signers,
    signing_form,
)
from installer.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bundler.approvals.admission import Admission
    from bundler.approvals.approval import AddedStatement, ApprovalRequest
    from bundler.signing import Signer
    from bundler.signing.bundle import Signed

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation")]
Public = Annotated[
    Path | None,
    option("--public", metavar="FILE", text="With --attach: the public key, or a root.json that contains it"),
]


def sign(
    bundle: BundleFile,
    key: Key = None,
    gpg_key: GpgKey = None,
    password_from: PasswordFrom = "",
    prepare: Prepare = False,
    attach: Attach = None,
    public: Public = None,
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            text="With --prepare: the file to write [default: BUNDLE.SHA256SUMS]",
        ),
    ] = None,
    _json: Json = False,
) -> None:
    """Sign a bundle in place.

    The payload is not rewritten. If the key is on another machine, use --prepare and --attach.
    """
    from bundler.commands.sign import attach_signatures, prepare_sums, sign_bundle

    # One form at a time: sign, prepare, or attach.
    form = signing_form(key, gpg_key, prepare, attach, public, output)
    if form == "--prepare":
        made = prepare_sums(bundle, output)
        # The identity follows the file, since people compare both with the sheet.
        first, *rest = made.instructions(f"bundle sign {bundle} --attach SIG --public KEY.pub")
        console.result("\n".join([first, f"identity {made.identity}", *rest]), made.as_json)
    elif form == "--attach":
        _print_signed(attach_signatures(bundle, attach or [], _required_public(public)))
    else:
        _print_signed(sign_bundle(bundle, required_signers(key, gpg_key, password_from)))


def _print_signed(signed: Signed) -> None:
    text = "\n".join(f"added {name}" for name in signed.added) or "already signed by this key"
    console.result(
        f"{text}\nidentity {signed.identity}",
        lambda: {
            "changed": bool(signed.added),
            "identity": signed.identity,
            "added": list(signed.added),
            "signatures": list(signed.signatures),
        },
    )


def _required_public(public: Path | None) -> Path:
    if public is None:
        # Without it nobody would know whether the right key has signed before a host refuses.
        what = "the public key is missing: a signature is verified before it is attached"
        raise UsageError(what, hint="give --public KEY.pub or --public root.json")
    return public


def approve(
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
    said = {"--change-id": change_id, "--rollback-to": rollback_to, "--target": target, "--note": note}
    content = {"--role": role, "--env": env, **said}
    trusted_by = {"--root": root, "--release-key": release_key}
    attached = {"--public": public, "--statement": statement}
    form = chosen_form(
        {"--prepare": prepare, "--attach": attach, "--repair": repair, "--withdraw": withdraw},
        {
            "": attached,
            "--prepare": {**keys, **attached, "--sidecar": sidecar},
            "--attach": {**keys, **content, **trusted_by},
            "--repair": {
                **keys,
                **content,
                **attached,
                **trusted_by,
                "--sidecar": sidecar,
                "--output": output,
            },
            "--withdraw": {**said, **attached, **trusted_by, "--sidecar": sidecar},
        },
    )
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
        signatures, trusted = attach or [], _required_public(public)
        attached_now = approval.attach_approval(bundle, signatures, trusted, statement, outside)
        console.result(attached_now.as_text(), lambda: _approved([attached_now]))
    elif form == "--withdraw":
        _withdraw(bundle, required_signers(key, gpg_key, password_from), (role, env), output, yes=yes)
    elif not role or not env:
        raise UsageError("role and environment are missing", hint="give --role ROLE and --env NAME")
    elif form == "--prepare":
        admission = _admitted(bundle, request, (root, release_key), [])
        _confirm(admission, [], yes=True)
        made = approval.prepare_approval(bundle, request, now, output, admission.verified.identity)
        lines = made.instructions(f"bundle approve {bundle} --attach SIG --public KEY.pub")
        console.result("\n".join(lines), made.as_json)
    else:
        signers = required_signers(key, gpg_key, password_from)
        admission = _admitted(bundle, request, (root, release_key), signers)
        _confirm(admission, signers, yes=yes)
        identity = admission.verified.identity
        done = [
            approval.approve_bundle(bundle, signer, request, now, outside, identity) for signer in signers
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


def _admitted(
    bundle: Path,
    request: ApprovalRequest,
    given: tuple[Path | None, Path | None],
    signers: Sequence[Signer],
) -> Admission:
    """Return the bundle, verified: an approval says that somebody has looked.

    Raises:
        UsageError: No root and no key is given.
        WaybillError: A host would refuse the bundle, or not count an approval by these keys.
    """
    from bundler.approvals.admission import check_environment, check_key, check_role
    from bundler.commands.approve import admit
    from bundler.commands.verify import load_trust

    root, release_key = given
    if root is None and release_key is None:
        raise UsageError(
            "a bundle is verified before it is approved, but neither a root nor a key is given for that",
            hint="give --root root.json, the root that hosts trust; without one, --release-key PUB, the "
            "public key of whoever has released it",
        )
    trust = load_trust(release_key, root)
    # Before the bundle is read, which may take minutes.
    check_role(request.role)
    if root is not None:
        check_environment(trust.root, request)
        for signer in signers:
            check_key(trust.root, request.role, signer.keyid, datetime.now(UTC))
    return admit(bundle, request, trust, console.progress(), has_root=root is not None)


def _confirm(admission: Admission, signers: Sequence[Signer], *, yes: bool) -> None:
    """Show what is approved and by which key, and return once a person agrees.

    Raises:
        UsageError: There is nobody to ask.
        DeclinedError: The answer was not yes.
    """
    from bundler.approvals.admission import owner_warnings

    root, request = admission.root, admission.request
    keys, warnings = list[str](), list(admission.warnings)
    for signer in signers:
        owner = root.keys[signer.keyid].owner if root else ""
        keys.append(f"{signer.keyid8}{f' of {owner}' if owner else ''}")
        warnings += owner_warnings(root, request, admission.verified, owner) if root else []
    console.show("verified", admission.text(keys), admission.as_json())
    for warning in warnings:
        console.warn(f"warning: {warning}")
    if not yes:
        console.confirm(admission.question(), "--yes")


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


def verify(
    bundle: Annotated[str, argument("BUNDLE", "The bundle, or - for stdin")],
    key: Annotated[
        Path | None, option(metavar="FILE", text="Trust only this public key (cosign or GPG)")
    ] = None,
    root: Annotated[Path | None, option(metavar="FILE", text="Trust this root.json, as hosts do")] = None,
    env: Annotated[
        str, option(metavar="ENV", text="With --root: also check the policy of this environment")
    ] = "",
    target: Annotated[str, option(metavar="HOST", text="With --env: check approvals for this host")] = "",
    approvals: Annotated[
        Paths,
        option(
            metavar="DIR",
            text="Read approvals from DIR, in addition to the bundle and BUNDLE.approvals; may be repeated",
        ),
    ] = None,
    _json: Json = False,
) -> None:
    """Verify a bundle as a host does.

    With --root as hosts with that root.json, with --key by one public key only.
    """
    from bundler.commands.verify import load_trust, verify_bundle
    from installer.core.trust.policy import HostFacts

    trust = load_trust(key, root)
    # Silently ignoring --env would look like an approval by its policy.
    if root is None and (env or target or approvals):
        what = "--env, --target and --approvals need a root: a single key has no policy"
        raise UsageError(what, hint="give --root root.json instead of --key")
    # Host names are compared in lower case.
    destination = HostFacts(environment=env, name=target.lower())
    verification = verify_bundle(bundle, trust, console.progress(), destination, approvals or ())
    if verification.warning:
        console.warn(verification.warning)
    console.result(verification.as_text(), verification.as_json)
