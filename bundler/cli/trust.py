"""The part of `bundle trust` that maintains a root once `init` has made it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bundler.cli.keys import trust_app
from bundler.cli.options import GpgKey, Json, Key, console
from bundler.cli.sign import Attach, closing, signers_of
from installer.core.errors import UsageError

__all__ = ["trust_app"]

if TYPE_CHECKING:
    from bundler.trust.root_files import Edited
    from installer.core.trust.signatures import TrustedKey

RootFile = Annotated[Path, typer.Argument(metavar="ROOT", help="The root.json.", show_default=False)]
Names = Annotated[list[str] | None, typer.Option(help="May be repeated.", show_default=False)]


def _now() -> datetime:
    return datetime.now(UTC)


def _edited(done: Edited, what: str) -> None:
    from installer.core.trust.root_view import view

    file = done.file
    shown = view(file.root, file.data, _now())
    lines = [what]
    if done.kept is not None:
        lines.append(f"version {file.root.version - 1} may be with hosts: it is kept as {done.kept.name}")
    elif done.dropped:
        lines.append(f"removed signatures of what it was before: {', '.join(done.dropped)}")
    lines += [stand.text() for stand in file.stands(_now())]
    kept = str(done.kept) if done.kept else ""
    console.result(
        "\n".join([*lines, "", shown.as_text()]),
        lambda: {**shown.as_json(), "kept": kept, "dropped": list(done.dropped)},
    )


@trust_app.command(
    "add-key", epilog="Example: bundle trust add-key root.json bo.pub --role security --owner Bo"
)
def add_key(
    path: RootFile,
    keys: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[KEY.pub]...", help="cosign or armored GPG keys.", show_default=False),
    ] = None,
    gpg: Annotated[
        list[str] | None,
        typer.Option(
            "--gpg", metavar="FPR", help="A key of your GPG keyring; may be repeated.", show_default=False
        ),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            help="release, root, provenance, security, ops, break-glass; may be repeated.",
            show_default=False,
        ),
    ] = None,
    owner: Annotated[
        str, typer.Option(help="Who holds them [default: the file's stem]", show_default=False)
    ] = "",
    not_after: Annotated[
        str, typer.Option(help="When they stop counting: 365d, or a time.", show_default=False)
    ] = "",
    threshold: Annotated[
        int,
        typer.Option(help="How many owners the roles ask for from now on; 0: as before.", show_default=False),
    ] = 0,
    json: Json = False,
) -> None:
    """Add keys, or give keys further roles."""
    from dataclasses import replace

    from bundler.commands.trust_edit import add_key as add
    from bundler.commands.trust_init import key_from_file, key_from_gpg
    from bundler.config.durations import parse_expiry

    console.json_output = json
    found = [*(key_from_file(each) for each in keys or ()), *(key_from_gpg(each) for each in gpg or ())]
    if not found or not role:
        raise UsageError("say which keys get which role", hint="give KEY.pub or --gpg FPR, and --role ROLE")
    until = parse_expiry(not_after, _now()) if not_after else None
    found = [replace(each, owner=owner or each.owner, not_after=until) for each in found]
    done = add(path, found, role, _now(), threshold)
    _edited(done, "\n".join(f"{each.keyid8} of {each.owner}: {', '.join(role)}" for each in found))


@trust_app.command("set-policy", epilog="Example: bundle trust set-policy root.json production --max-age 14d")
def set_policy(
    path: RootFile,
    environment: Annotated[str, typer.Argument(metavar="ENV", show_default=False)],
    require: Annotated[
        list[str] | None,
        typer.Option(
            "--require", metavar="ROLE[=N]", help="So many owners of it; may be repeated.", show_default=False
        ),
    ] = None,
    change_id: Annotated[
        bool | None,
        typer.Option("--change-id/--no-change-id", help="Must approvals name a change?", show_default=False),
    ] = None,
    rollback_plan: Annotated[
        bool | None,
        typer.Option(
            "--rollback-plan/--no-rollback-plan", help="Must there be a way back?", show_default=False
        ),
    ] = None,
    builder: Annotated[
        list[str] | None,
        typer.Option("--builder", metavar="ID", help="Only built by these.", show_default=False),
    ] = None,
    repository: Annotated[
        list[str] | None,
        typer.Option("--repository", metavar="URL", help="Only built from these.", show_default=False),
    ] = None,
    clean_tree: Annotated[
        bool | None,
        typer.Option(
            "--clean-tree/--no-clean-tree", help="Must the source be as committed?", show_default=False
        ),
    ] = None,
    max_age: Annotated[str, typer.Option(help="How long approvals count: 14d.", show_default=False)] = "",
    product: Annotated[
        list[str] | None, typer.Option("--product", help="Only these; may be repeated.", show_default=False)
    ] = None,
    break_glass: Annotated[
        bool | None,
        typer.Option("--break-glass/--no-break-glass", help="May that role stand in?", show_default=False),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the policy away.")] = False,
    json: Json = False,
) -> None:
    """Set what an environment asks for; `production` starts with all roles, change id and rollback plan."""
    from bundler.commands.trust_edit import make_policy
    from bundler.commands.trust_edit import set_policy as put
    from bundler.trust.root_files import load

    console.json_output = json
    policy = make_policy(
        environment,
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
    done = put(path, environment, None if remove else policy, _now())
    _edited(done, f"{environment}: {'no policy any more' if remove else 'set'}")


@trust_app.command("set-product", epilog="Example: bundle trust set-product root.json lan-chat --floor 1.4.2")
def set_product(
    path: RootFile,
    product: Annotated[str, typer.Argument(metavar="PRODUCT", show_default=False)],
    floor: Annotated[
        str,
        typer.Option(
            metavar="VERSION", help="Nothing older is installed; or a sequence number.", show_default=False
        ),
    ] = "",
    reset: Annotated[
        bool, typer.Option("--reset", help="Have hosts forget the highest sequence number they have seen.")
    ] = False,
    json: Json = False,
) -> None:
    """Set the security floor of a product, or have hosts forget a sequence number that leapt too far."""
    from bundler.commands.trust_edit import set_product as put

    console.json_output = json
    if not floor and not reset:
        raise UsageError("nothing is to be set", hint="give --floor VERSION or --reset")
    _edited(put(path, product, _now(), floor=floor, reset=reset), f"{product}: set")


@trust_app.command("revoke", epilog="Example: bundle trust revoke root.json --bundle lan-chat-1.4.0.tar")
def revoke(
    path: RootFile,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", metavar="ID", help="A key; may be repeated.", show_default=False),
    ] = None,
    bundle: Annotated[
        list[str] | None,
        typer.Option("--bundle", metavar="BUNDLE", help="A bundle, or its identity.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Revoke keys and bundles. Hosts act on it as soon as they have the new root."""
    from bundler.commands.trust_edit import revoke as put

    console.json_output = json
    _edited(put(path, key or (), bundle or (), _now()), "revoked")


@trust_app.command("rotate", epilog="Example: bundle trust rotate root.json --replace 1a2b3c4d=new.pub")
def rotate(
    path: RootFile,
    expires: Annotated[str, typer.Option(help="For how long, or until when, it is good.")] = "365d",
    replace: Annotated[
        list[str] | None,
        typer.Option(
            "--replace",
            metavar="ID=KEY.pub",
            help="The new key takes over owner and roles.",
            show_default=False,
        ),
    ] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="ID", help="Take a key out.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Renew the root before it expires, with new keys where they are due."""
    from bundler.commands.trust_edit import rotate as renew
    from bundler.commands.trust_init import key_from_file

    console.json_output = json
    swaps: dict[str, TrustedKey] = {}
    for each in replace or ():
        keyid, _, file = each.partition("=")
        if not file:
            raise UsageError(f"{each!r:.80} is not ID=KEY.pub", where="--replace")
        swaps[keyid] = key_from_file(Path(file))
    done = renew(path, _now(), expires=expires, replaced=swaps, removed=remove or ())
    _edited(done, f"version {done.file.root.version}")


@trust_app.command("sign", epilog="Example: bundle trust sign root.json --key ana.key")
def sign(
    path: RootFile,
    key: Key = None,
    gpg_key: GpgKey = None,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Only write the bytes to sign, for a key that lives elsewhere.")
    ] = False,
    attach: Attach = None,
    public: Annotated[
        Path | None,
        typer.Option(
            "--public", help="For --attach: the key's public half [default: ROOT]", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="For --prepare [default: ROOT.unsigned]", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """Sign the root. Several people do so one after the other; the signatures lie beside it."""
    from bundler.commands import trust_edit as verb

    console.json_output = json
    if prepare:
        made = verb.prepare(path, output)
        said = made.lines(f"bundle trust sign {path} --attach SIG")
        console.result("\n".join(said), lambda: {"path": str(made.path), "fingerprint": made.identity})
        return
    signers = [] if attach else signers_of(key, gpg_key, need=True)
    with closing(signers):
        done = verb.attach(path, attach, public, _now()) if attach else verb.sign(path, signers, _now())
    stands = done.file.stands(_now())
    added = [f"wrote {name}" for name in done.added] or ["this key had signed it already"]
    complete = done.file.complete(_now())
    last = "hosts take it: carry it and its signatures to them" if complete else "hosts do not take it yet"
    console.result(
        "\n".join([*added, *(stand.text() for stand in stands), last]),
        lambda: {
            "added": list(done.added),
            "fingerprint": done.file.fingerprint,
            "complete": complete,
            "signed": {str(stand.version): list(stand.signed) for stand in stands},
        },
    )


@trust_app.command(
    "sheet", epilog="Example: bundle trust sheet root.json --installer dist/install -o sheet.html"
)
def sheet(
    path: RootFile,
    installer: Annotated[
        Path | None,
        typer.Option("--installer", help="The program that travels with bundles.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="FILE.html or FILE.txt; default: text on stdout.", show_default=False
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make the one page that travels apart from the medium: fingerprints to compare by hand."""
    from bundler.archive.new_file import write_new
    from bundler.commands.trust_sheet import sheet as make

    console.json_output = json
    page = make(path, installer, _now())
    for warning in page.warnings:
        console.log(warning, "warning")
    if output is None:
        console.result(page.text().rstrip(), page.as_json)
        return
    text = page.html() if output.suffix in (".html", ".htm") else page.text()
    write_new(output, text.encode(), 0o644)
    console.result(f"wrote {output}: print it, and carry it apart from the medium", page.as_json)
