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
    from bundler.approvals.approval import AddedStatement
    from bundler.signing.bundle import Signed

Public = Annotated[
    Path | None, option("--public", text="With --attach: the public key, or a root.json that contains it")
]


def sign(
    bundle: BundleFile,
    key: Key = None,
    gpg_key: GpgKey = None,
    prepare: Prepare = False,
    attach: Attach = None,
    public: Public = None,
    output: Annotated[
        Path | None,
        option("-o", "--output", text="With --prepare: the file to write [default: BUNDLE.SHA256SUMS]"),
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
        _print_signed(sign_bundle(bundle, required_signers(key, gpg_key)))


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
    role: Annotated[str, option(text="Role of the approver: provenance, security, ops or break-glass")] = "",
    env: Annotated[str, option(text="Environment that the approval is for")] = "",
    key: Key = None,
    gpg_key: GpgKey = None,
    change_id: Annotated[str, option(text="Id of the change request")] = "",
    rollback_to: Annotated[
        str, option(text="Version to roll back to, or `none` for a first installation")
    ] = "",
    expires: Annotated[
        str, typer.Option(help="Expiry: a duration (14d) or a time (2030-01-31T00:00:00Z)")
    ] = "14d",
    target: Annotated[Texts, option(metavar="HOST", text="Only valid on this host; may be repeated")] = None,
    note: Annotated[str, option(text="Free text; required for break-glass")] = "",
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
        Path | None, option(text="With --attach: the file that was signed [default: BUNDLE.ROLE.json]")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Complete or remove an interrupted approval")
    ] = False,
    _json: Json = False,
) -> None:
    """Approve a bundle for one environment.

    The approval is given in one role, for a limited time. Verify the bundle before you approve it.
    """
    from bundler.approvals.approval import ApprovalRequest
    from bundler.commands import approve as approval
    from installer.core.trust.approval_sidecar import sidecar_path

    keys = {"--key": key, "--gpg-key": gpg_key}
    # What the statement says; with --attach the statement exists already.
    content = {
        "--role": role,
        "--env": env,
        "--change-id": change_id,
        "--rollback-to": rollback_to,
        "--target": target,
        "--note": note,
    }
    attached = {"--public": public, "--statement": statement}
    form = chosen_form(
        {"--prepare": prepare, "--attach": attach, "--repair": repair},
        {
            "": attached,
            "--prepare": {**keys, **attached, "--sidecar": sidecar},
            "--attach": {**keys, **content},
            "--repair": {**keys, **content, **attached, "--sidecar": sidecar, "--output": output},
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
    elif not role or not env:
        raise UsageError("role and environment are missing", hint="give --role ROLE and --env NAME")
    elif form == "--prepare":
        made = approval.prepare_approval(bundle, request, now, output)
        lines = made.instructions(f"bundle approve {bundle} --attach SIG --public KEY.pub")
        console.result("\n".join(lines), made.as_json)
    else:
        signers = required_signers(key, gpg_key)
        done = [approval.approve_bundle(bundle, signer, request, now, outside) for signer in signers]
        console.result("\n".join(each.as_text() for each in done), lambda: _approved(done))


def _approved(done: Sequence[AddedStatement]) -> dict[str, Any]:
    return {
        "changed": any(each.files for each in done),
        "identity": done[0].approval.identity,
        "approvals": [each.as_json() for each in done],
    }


def verify(
    bundle: Annotated[str, argument("BUNDLE", "The bundle, or - for stdin")],
    key: Annotated[Path | None, option(text="Trust only this public key (cosign or GPG)")] = None,
    root: Annotated[Path | None, option(text="Trust this root.json, as hosts do")] = None,
    env: Annotated[str, option(text="With --root: also check the policy of this environment")] = "",
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
