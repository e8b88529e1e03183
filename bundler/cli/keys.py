"""The part of `bundle` that makes keys and roots: `keygen` and `trust`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bundler.cli.options import Json, console, prompt

trust_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Make and show root.json: whom hosts trust."
)


def keygen(
    name: Annotated[
        Path, typer.Argument(metavar="NAME", help="Writes NAME.key and NAME.pub.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Make a key pair in cosign's format; the password is COSIGN_PASSWORD, or asked for."""
    from bundler.commands.keygen import keygen as make

    console.json_output = json
    pair = make(name, prompt)
    text = f"{pair.private}  keep it secret\n{pair.public}  goes into root.json\nkey id {pair.keyid8}"
    console.result(
        text, lambda: {"private": str(pair.private), "public": str(pair.public), "keyid": pair.keyid}
    )


@trust_app.command(
    "init", epilog="Example: bundle trust init root.json --release-key release.pub --owner release-team"
)
def trust_init(
    path: Annotated[Path, typer.Argument(metavar="ROOT", help="The file to write.", show_default=False)],
    release_key: Annotated[
        list[Path] | None,
        typer.Option("--release-key", help="A .pub that may release; may be repeated.", show_default=False),
    ] = None,
    gpg_release: Annotated[
        list[str] | None,
        typer.Option(
            "--gpg-release",
            metavar="FPR",
            help="A GPG key that may release; may be repeated.",
            show_default=False,
        ),
    ] = None,
    owner: Annotated[
        list[str] | None,
        typer.Option("--owner", help="Who holds the keys: one for all, or one each.", show_default=False),
    ] = None,
    expires: Annotated[str, typer.Option(help="For how long, or until when, the root is good.")] = "365d",
    threshold: Annotated[int, typer.Option(help="How many owners have to sign a release.")] = 1,
    root_key: Annotated[
        list[Path] | None,
        typer.Option("--root-key", help="A .pub that may sign the next root.", show_default=False),
    ] = None,
    gpg_root: Annotated[
        list[str] | None,
        typer.Option(
            "--gpg-root", metavar="FPR", help="A GPG key that may sign the next root.", show_default=False
        ),
    ] = None,
    root_threshold: Annotated[int, typer.Option(help="How many owners have to sign the next root.")] = 1,
    json: Json = False,
) -> None:
    """Make the first root.json."""
    from bundler.commands.trust_init import init as make

    console.json_output = json
    view = make(
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
    console.result(f"wrote {path}\n{view.as_text()}", view.as_json)


@trust_app.command("show", epilog="Example: bundle trust show root.json")
def trust_show(
    path: Annotated[Path, typer.Argument(metavar="ROOT", show_default=False)], json: Json = False
) -> None:
    """Show who may do what, until when, and the fingerprint."""
    from datetime import UTC, datetime

    from bundler.commands.trust_init import show
    from bundler.trust.root_files import load

    console.json_output = json
    view, now = show(path), datetime.now(UTC)
    stands = load(path).stands(now)
    said = "\n".join(stand.text() for stand in stands)
    signed = {str(stand.version): list(stand.signed) for stand in stands}
    console.result(f"{view.as_text()}\n\n{said}", lambda: {**view.as_json(), "signed": signed})
