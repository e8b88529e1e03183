"""The commands `bundle trust`: create, change, sign and show root.json."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.edited_root import print_edited
from bundler.cli.forms import signing_form
from bundler.cli.options import (
    Attach,
    GpgKey,
    Json,
    Key,
    PasswordFrom,
    Paths,
    Prepare,
    Texts,
    argument,
    console,
    option,
    required_signers,
)
from installer.core.errors import UsageError
from installer.shared.command.run_record import root_row
from installer.shared.command_tree.help import Group

if TYPE_CHECKING:
    from installer.core.trust.signatures import TrustedKey

RootFile = Annotated[Path, argument("ROOT", "The root.json")]
Expires = Annotated[
    str, typer.Option(metavar="TIME", help="Expiry: a duration (365d) or a time (2030-01-31T00:00:00Z)")
]

trust_app = typer.Typer(
    cls=Group, rich_markup_mode=None, no_args_is_help=True,
    help="Manage root.json: the keys and policies that hosts trust.",
)  # fmt: skip


def _now() -> datetime:
    return datetime.now(UTC)


@trust_app.command(
    "init", epilog="Example: bundle trust init root.json --release-key release.pub --owner release-team"
)
def init(
    path: Annotated[Path, argument("ROOT", "The file to write")],
    release_key: Annotated[
        Paths, option(metavar="FILE", text="Public key, .pub, with the role release; may be repeated")
    ] = None,
    gpg_release: Annotated[
        Texts, option(metavar="FPR", text="GPG key with the role release; may be repeated")
    ] = None,
    owner: Annotated[
        Texts, option(metavar="NAME", text="Owner of the release keys: one for all keys, or one for each key")
    ] = None,
    expires: Expires = "365d",
    threshold: Annotated[
        int, typer.Option(metavar="NUMBER", help="Number of owners that must sign a release")
    ] = 1,
    root_key: Annotated[
        Paths, option(metavar="FILE", text="Public key, .pub, that may sign the next root; may be repeated")
    ] = None,
    gpg_root: Annotated[
        Texts, option(metavar="FPR", text="GPG key that may sign the next root; may be repeated")
    ] = None,
    root_threshold: Annotated[
        int, typer.Option(metavar="NUMBER", help="Number of owners that must sign the next root")
    ] = 1,
    _json: Json = False,
) -> None:
    """Create the first root.json."""
    from bundler.commands.trust_init import init_root

    view = init_root(
        path,
        release_key or [],
        gpg_release or [],
        owners=owner or [],
        expires=expires,
        threshold=threshold,
        root_keys=root_key or [],
        gpg_root=gpg_root or [],
        root_threshold=root_threshold,
    )
    console.result(
        f"wrote {path}\n{view.as_text()}",
        lambda: {
            "changed": True,
            "to": root_row(view.root.version, view.fingerprint),
            "path": str(path),
            "trust": view.as_json(),
        },
    )


@trust_app.command("show", epilog="Example: bundle trust show root.json")
def show(path: RootFile, _json: Json = False) -> None:
    """Show keys, roles, policies, expiry and fingerprint."""
    from bundler.commands.trust_init import show_root
    from bundler.trust.root_files import load

    view, standings = show_root(path), load(path).standings(_now())
    text = "\n".join(each.as_text() for each in standings)
    signed = {str(each.version): list(each.signed) for each in standings}
    console.result(
        f"{view.as_text()}\n\n{text}",
        lambda: {
            "to": root_row(view.root.version, view.fingerprint),
            "trust": view.as_json(),
            "signed": signed,
        },
    )


@trust_app.command(
    "add-key", epilog="Example: bundle trust add-key root.json bo.pub --role security --owner Bo"
)
def add_key(
    path: RootFile,
    keys: Annotated[Paths, argument("[KEY.pub]...", "Public keys: cosign, or armored GPG")] = None,
    gpg: Annotated[Texts, option(metavar="FPR", text="Key of your GPG keyring; may be repeated")] = None,
    role: Annotated[
        Texts,
        option(
            metavar="ROLE", text="release, root, provenance, security, ops or break-glass; may be repeated"
        ),
    ] = None,
    owner: Annotated[
        str, option(metavar="NAME", text="Owner of the keys [default: file name without its suffix]")
    ] = "",
    not_after: Annotated[
        str, option(metavar="TIME", text="Expiry of the keys: a duration (365d) or a time")
    ] = "",
    threshold: Annotated[
        int, option(metavar="NUMBER", text="Number of owners that the roles require [default: unchanged]")
    ] = 0,
    _json: Json = False,
) -> None:
    """Add keys, or give more roles to keys."""
    from dataclasses import replace

    from bundler.commands.trust_edit import add_keys
    from bundler.commands.trust_init import key_from_file, key_from_gpg
    from bundler.config.durations import parse_expiry

    added = [*(key_from_file(each) for each in keys or ()), *(key_from_gpg(each) for each in gpg or ())]
    # Both lists may be empty for typer, but not together.
    if not added or not role:
        raise UsageError("key or role is missing", hint="give KEY.pub or --gpg FPR, and --role ROLE")
    # A key may have to stop counting when its owner leaves.
    until = parse_expiry(not_after, _now()) if not_after else None
    added = [replace(each, owner=owner or each.owner, not_after=until) for each in added]
    edited = add_keys(path, added, role, _now(), threshold)
    print_edited(
        path, edited, "\n".join(f"{each.keyid8} of {each.owner}: {', '.join(role)}" for each in added)
    )


@trust_app.command("set-policy", epilog="Example: bundle trust set-policy root.json production --max-age 14d")
def set_policy(
    path: RootFile,
    environment: Annotated[str, argument("ENV", "Name of the environment")],
    require: Annotated[
        Texts, option(metavar="ROLE[=N]", text="Require approvals by N owners in ROLE; may be repeated")
    ] = None,
    change_id: Annotated[bool | None, option(metavar="ID", text="Require the id of a change request")] = None,
    rollback_plan: Annotated[bool | None, option(text="Require a rollback plan")] = None,
    builder: Annotated[
        Texts, option(metavar="ID", text="Accept only bundles of this builder; may be repeated")
    ] = None,
    repository: Annotated[
        Texts, option(metavar="URL", text="Accept only sources of this repository; may be repeated")
    ] = None,
    clean_tree: Annotated[bool | None, option(text="Require sources without uncommitted changes")] = None,
    max_age: Annotated[
        str, option(metavar="DURATION", text="Maximum age of approvals, for example 14d")
    ] = "",
    product: Annotated[
        Texts, option(metavar="PRODUCT", text="Accept only this product; may be repeated")
    ] = None,
    break_glass: Annotated[bool | None, option(text="Let the role break-glass replace approvals")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the policy")] = False,
    _json: Json = False,
) -> None:
    """Set the policy of an environment.

    For `production`, all roles, the change id and the rollback plan are required by default.
    """
    from bundler.commands import trust_edit
    from bundler.trust.root_files import load

    policy = trust_edit.make_policy(
        environment,
        # Options that are not given keep the present policy.
        load(path).root.environments.get(environment),
        requires=require,
        change_id=change_id,
        rollback_plan=rollback_plan,
        builders=builder,
        repositories=repository,
        clean_tree=clean_tree,
        max_age=max_age,
        products=product,
        break_glass=break_glass,
    )
    edited = trust_edit.set_policy(path, environment, None if remove else policy, _now())
    what = f"{environment}: policy {'removed' if remove else 'set'}"
    print_edited(path, edited, what, f"environment {environment}")


@trust_app.command("set-product", epilog="Example: bundle trust set-product root.json lan-chat --floor 1.4.2")
def set_product(
    path: RootFile,
    product: Annotated[str, argument("PRODUCT", "Name of the product")],
    floor: Annotated[
        str, option(metavar="VERSION", text="Lowest version, or sequence number, that hosts install")
    ] = "",
    reset: Annotated[
        bool, typer.Option("--reset", help="Reset the highest sequence number that hosts have recorded")
    ] = False,
    _json: Json = False,
) -> None:
    """Set the security floor of a product.

    Or reset a sequence number that is too high.
    """
    from bundler.commands import trust_edit

    if not floor and not reset:
        raise UsageError("nothing to set", hint="give --floor VERSION or --reset")
    edited = trust_edit.set_product(path, product, _now(), floor=floor, reset=reset)
    said = []
    if floor:
        # What hosts compare: a version stands for a sequence number, and digits are one.
        lowest = f"sequence {edited.file.root.products[product].floor}"
        said.append(f"hosts install {lowest} or higher{'' if floor.isdecimal() else f' (version {floor})'}")
    if reset:
        said.append("hosts forget the highest sequence number that they have recorded")
    print_edited(path, edited, f"{product}: {'; '.join(said)}")


@trust_app.command("revoke", epilog="Example: bundle trust revoke root.json --bundle lan-chat-1.4.0.tar")
def revoke(
    path: RootFile,
    key: Annotated[Texts, option(metavar="ID", text="Id of a key; may be repeated")] = None,
    bundle: Annotated[
        Texts, option(metavar="BUNDLE", text="Bundle file, or identity of a bundle; may be repeated")
    ] = None,
    _json: Json = False,
) -> None:
    """Revoke keys and bundles.

    This takes effect on a host when the host has the new root.
    """
    from bundler.commands import trust_edit

    print_edited(path, trust_edit.revoke(path, key or (), bundle or (), _now()), "revoked")


@trust_app.command("rotate", epilog="Example: bundle trust rotate root.json --replace 1a2b3c4d=new.pub")
def rotate(
    path: RootFile,
    expires: Expires = "365d",
    replace: Annotated[
        Texts,
        option(
            metavar="ID=KEY.pub", text="Replace a key; the new one gets its owner and roles; may be repeated"
        ),
    ] = None,
    remove: Annotated[Texts, option(metavar="ID", text="Remove a key; may be repeated")] = None,
    _json: Json = False,
) -> None:
    """Renew the root; replace and remove keys."""
    from bundler.commands import trust_edit
    from bundler.commands.trust_init import key_from_file

    replaced: dict[str, TrustedKey] = {}
    for each in replace or ():
        keyid, _, file = each.partition("=")
        if not file:
            raise UsageError(f"{each!r:.80} is not ID=KEY.pub", where="--replace")
        # Read before the root is changed: a missing file changes nothing.
        replaced[keyid] = key_from_file(Path(file))
    edited = trust_edit.rotate(path, _now(), expires=expires, replaced=replaced, removed=remove or ())
    print_edited(path, edited, f"version {edited.file.root.version}")


@trust_app.command("sign", epilog="Example: bundle trust sign root.json --key ana.key")
def sign(
    context: typer.Context,
    path: RootFile,
    key: Key = None,
    gpg_key: GpgKey = None,
    password_from: PasswordFrom = "",
    prepare: Prepare = False,
    attach: Attach = None,
    public: Annotated[
        Path | None, option(metavar="FILE", text="With --attach: the public key [default: keys of ROOT]")
    ] = None,
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            text="With --prepare: the file to write [default: ROOT.unsigned]",
        ),
    ] = None,
    _json: Json = False,
) -> None:
    """Sign the root.

    Several people sign one after the other. Signatures are files next to the root.
    """
    from bundler.commands.trust_sign import attach_to_root, prepare_root, sign_root
    from bundler.trust.root_files import gap_warnings

    form = signing_form(context, key, gpg_key, prepare, attach, public, output)
    if form == "--prepare":
        made = prepare_root(path, output)
        lines = made.instructions(f"`bundle trust sign {quote(str(path))} --attach SIG`")
        console.result(
            "\n".join(lines),
            lambda: {
                "changed": True,
                "path": str(made.path),
                "fingerprint": made.identity,
            },
        )
        return
    # One time, so that signing and its report agree about expiry.
    now = _now()
    if form == "--attach":
        signed = attach_to_root(path, attach or [], public, now)
    else:
        signed = sign_root(path, required_signers(context, key, gpg_key, password_from), now)
    for warning in gap_warnings(signed.file.root, path):
        console.warn(warning)
    console.result(signed.as_text(now), lambda: signed.as_json(now))


@trust_app.command(
    "sheet", epilog="Example: bundle trust sheet root.json --installer dist/install -o sheet.html"
)
def sheet(
    path: RootFile,
    installer: Annotated[
        Path | None, option(metavar="FILE", text="The executable `install` that is carried with the bundles")
    ] = None,
    output: Annotated[
        Path | None,
        option("-o", "--output", metavar="FILE", text="FILE.html or FILE.txt [default: text on stdout]"),
    ] = None,
    _json: Json = False,
) -> None:
    """Write the trust sheet: fingerprints to compare by hand.

    Carry it separately from the media.
    """
    from bundler.archive.new_file import write_new
    from bundler.commands.trust_sheet import make_sheet

    if output is not None and output.suffix not in ("", ".txt", ".html", ".htm"):
        what = f"cannot be written as {output.suffix}: the sheet is text or HTML"
        raise UsageError(what, where=str(output), hint="give a name that ends in .txt or .html")
    page = make_sheet(path, installer, _now())
    # On stderr, too: the page may be printed without a look at it.
    for warning in page.warnings:
        console.warn(warning)
    if output is None:
        console.result(page.as_text().rstrip(), page.as_json, asked_for=True)
        return
    text = page.as_html() if output.suffix in (".html", ".htm") else page.as_text()
    write_new(output, text.encode(), 0o644)
    console.result(
        f"wrote {output}: print it and carry it separately from the media",
        lambda: {"changed": True, "path": str(output), **page.as_json()},
    )
