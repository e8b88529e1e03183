"""The commands `bundle sign` and `verify`."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.forms import prefer_typed, signing_form
from bundler.cli.options import (
    Attach,
    BundleFile,
    GpgKey,
    Json,
    Key,
    PasswordFrom,
    Paths,
    Prepare,
    argument,
    console,
    option,
    required_public,
    required_signers,
)
from installer.core.errors import UsageError

if TYPE_CHECKING:
    from bundler.signing.bundle import Signed

Public = Annotated[
    Path | None,
    option("--public", metavar="FILE", text="With --attach: the public key, or a root.json that contains it"),
]


def sign(
    context: typer.Context,
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
    form = signing_form(context, key, gpg_key, prepare, attach, public, output)
    if form == "--prepare":
        made = prepare_sums(bundle, output)
        # The identity follows the file, since people compare both with the sheet.
        first, *rest = made.instructions(f"`bundle sign {quote(str(bundle))} --attach SIG --public KEY.pub`")
        console.result("\n".join([first, f"identity {made.identity}", *rest]), made.as_json)
    elif form == "--attach":
        _print_signed(attach_signatures(bundle, attach or [], required_public(public)))
    else:
        _print_signed(sign_bundle(bundle, required_signers(context, key, gpg_key, password_from)))


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


def verify(
    context: typer.Context,
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

    key, root = prefer_typed(context, ("--key", key), ("--root", root))
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
