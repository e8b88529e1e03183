"""The command `bundle`: release engineers and security staff on the connected side.

Wiring only: words become arguments, results become text or JSON. What is slow to import is imported by the
command that needs it.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler import __version__
from bundler.cli.keys import keygen
from bundler.cli.options import BundleFile, GpgKey, Json, Key, console
from bundler.cli.sign import approve, closing, sign, signers_of, verify
from bundler.cli.trust import trust_app
from installer.shared.console import run_app, table
from installer.shared.humanize import size_text as size

if TYPE_CHECKING:
    from bundler.commands.create import Created, Planned
    from bundler.provenance.statement import Run

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make, sign and look at release bundles that cross an air gap.",
)
app.add_typer(trust_app, name="trust")


def main() -> None:
    """Run `bundle` and exits with its code."""
    sys.exit(run_app(console, app, sys.argv[1:]))


def _version(value: bool) -> None:
    if value:
        print(f"bundle {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _log_format: Annotated[
        str, typer.Option("--log-format", help="How lines on stderr look, text or json; may stand anywhere.")
    ] = "text",
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Return in the help which options every command takes; `--log-format` is taken before."""


@app.command(epilog="Example: bundle init lan-chat --template service")
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if missing.")] = Path(),
    template: Annotated[str, typer.Option(help="What to lay down; see docs for the names.")] = "service",
    json: Json = False,
) -> None:
    """Lay down a bundle.yaml and its files, ready for `create`."""
    from bundler.commands.init import init as lay_down

    console.json_output = json
    written = [directory / path for path in lay_down(directory, template)]
    lines = [f"wrote {path}" for path in written]
    where = "" if directory == Path() else f" -C {shlex.quote(str(directory))}"
    lines.append(f"next: bundle create v0.1.0{where}")
    console.result("\n".join(lines), lambda: {"written": [str(path) for path in written]})


app.command(epilog="Example: bundle keygen release    (writes release.key and release.pub)")(keygen)


@app.command(epilog="Example: bundle create v1.4.0 --key release.key")
def create(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Semantic version, `v` optional.", show_default=False)
    ],
    directory: Annotated[Path, typer.Option("-C", "--directory", help="Where bundle.yaml is.")] = Path(),
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The file to write [default: DIR/dist/PRODUCT-VERSION.tar]",
            show_default=False,
        ),
    ] = None,
    key: Key = None,
    gpg_key: GpgKey = None,
    platform: Annotated[
        list[str] | None,
        typer.Option(
            "--platform", help="Only this platform, `os/arch`; may be repeated.", show_default=False
        ),
    ] = None,
    builder: Annotated[
        str,
        typer.Option(
            metavar="ID", help="Who builds, for the provenance [default: what CI says].", show_default=False
        ),
    ] = "",
    provenance_key: Annotated[
        Path | None,
        typer.Option(
            "--provenance-key",
            envvar="WAYBILL_PROVENANCE_KEY",
            help="cosign private key of the role provenance: a CI runner's.",
            show_default=False,
        ),
    ] = None,
    provenance_gpg_key: Annotated[
        str | None,
        typer.Option(
            "--provenance-gpg-key", metavar="FPR", help="The same in gpg-agent.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and stop before writing.")
    ] = False,
    json: Json = False,
) -> None:
    """Collect, check and write a bundle; sign it where a key is given."""
    from bundler.commands.create import create as write
    from bundler.commands.create import plan
    from bundler.config.loader import load
    from bundler.provenance.builder import find as find_builder
    from bundler.provenance.statement import Run

    console.json_output = json
    started, who = datetime.now(UTC), find_builder(builder, os.environ)
    config = load(directory, version, platforms=platform or ())
    for warning in config.warnings:
        console.log(f"warning: {warning}", "warning")
    signers = signers_of(key, gpg_key, need=False)
    own = "WAYBILL_PROVENANCE_PASSWORD"
    variable = own if own in os.environ else "COSIGN_PASSWORD"
    builders = signers_of(provenance_key, provenance_gpg_key, need=False, variable=variable)
    planned = plan(config)
    target = output or directory / "dist" / f"{config.product}-{config.version}.tar"
    if dry_run:
        console.result(_planned_text(planned, target), lambda: _planned_json(planned, target))
        return
    asked = {"command": "bundle create", "version": version, "platforms": platform or []}
    run = Run(who, asked, started, builders)
    with closing([*signers, *builders]):
        created = write(planned, config, target, signers, console.progress(), run)
    console.result(
        _created_text(created, planned, run),
        lambda: {**created.as_json(), "builder": who.identity, "source": asdict(planned.checkout)},
    )


def _planned_text(planned: Planned, target: Path) -> str:
    rows = [(item.entry.path, size(item.entry.size)) for item in planned.collected.inputs]
    rows += [
        (f"image {image.reference} {image.platform}", f"<= {size(image.payload)}") for image in planned.images
    ]
    listing = table([("WHAT", "SIZE"), *rows], right=(1,))
    return f"{listing}\n\nwould write {target}, at most {size(planned.payload_bytes)}; nothing was written"


def _planned_json(planned: Planned, target: Path) -> dict[str, Any]:
    return {
        "path": str(target),
        "product": planned.manifest.product,
        "version": planned.manifest.version,
        "payload_bytes_at_most": planned.payload_bytes,
        "files": [item.entry.path for item in planned.collected.inputs],
        "images": [image.reference for image in planned.images],
    }


def _created_text(created: Created, planned: Planned, run: Run) -> str:
    manifest = created.manifest
    groups: dict[str, list[int]] = {}
    for entry in manifest.files:
        groups.setdefault(entry.path.split("/")[0], []).append(entry.size)
    rows = [("WHAT", "FILES", "SIZE")]
    rows += [(name, str(len(sizes)), size(sum(sizes))) for name, sizes in groups.items()]
    lines = [table(rows, right=(1, 2))]
    lines += [f"image {image.reference} {image.platform} {image.config[:19]}" for image in manifest.images]
    signed = ", ".join(created.signatures) or "not signed yet: bundle sign BUNDLE --key NAME.key"
    lines += [
        "",
        f"{manifest.product} {manifest.version}",
        f"identity    {created.identity}",
        f"source      {planned.checkout.text()}",
        f"built by    {run.builder.identity}",
        f"provenance  {', '.join(created.provenance) or 'signed by this key already'}"
        + ("" if run.signers else ", not signed"),
        f"signatures  {signed}",
        f"{'was there' if created.unchanged else 'wrote'}   {created.path}, {size(created.size)}",
    ]
    return "\n".join(lines)


app.command(epilog="Example: bundle sign dist/lan-chat-1.4.0.tar --key release.key")(sign)
app.command(
    epilog="Example: bundle approve lan-chat-1.4.0.tar --role security --env production --key security.key"
)(approve)
app.command(epilog="Example: bundle verify lan-chat-1.4.0.tar --key release.pub")(verify)


@app.command(epilog="Example: bundle inspect lan-chat-1.4.0.tar images")
def inspect(
    bundle: BundleFile,
    view: Annotated[
        str,
        typer.Argument(
            metavar="[files|images|config|approvals|sbom|docs]", help="What to look at.", show_default=False
        ),
    ] = "",
    json: Json = False,
) -> None:
    """Show what a bundle says of itself, from its head only."""
    from bundler.commands.inspect import VIEWS
    from bundler.commands.inspect import inspect as look
    from installer.core.errors import UsageError

    console.json_output = json
    if view and view not in VIEWS:
        raise UsageError(f"there is no view {view!r}", hint=f"one of {', '.join(VIEWS)}")
    found = look(bundle, view)
    console.result(found.text, lambda: found.document)


@app.command(epilog="Example: bundle diff lan-chat-1.4.0.tar lan-chat-1.5.0.tar")
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", show_default=False)],
    new: Annotated[Path, typer.Argument(metavar="NEW", show_default=False)],
    json: Json = False,
) -> None:
    """Show what a release changes: files, images and layers, texts, sizes."""
    from bundler.commands.diff import diff as compare

    console.json_output = json
    found = compare(old, new)
    console.result(found.as_text(), found.as_json)


@app.command(epilog="Example: bundle installer -o dist/install")
def installer(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("dist/install"),
    json: Json = False,
) -> None:
    """Write the standalone executable `install` that travels with bundles."""
    from bundler.freeze.build import write_installer
    from installer.core.digest import file_digest

    console.json_output = json
    write_installer(output, console.progress())
    digest, written = file_digest(output), output.stat().st_size
    text = f"wrote {output}, {size(written)}\nsha256 {digest}"
    console.result(text, lambda: {"path": str(output), "size": written, "sha256": digest})


@app.command(hidden=True)
def selftest() -> None:
    """Import every module of this executable."""
    from installer.shared.frozen import selftest as check

    failed = check()
    console.result("\n".join(f"{name}: {reason}" for name, reason in failed.items()) or "ok", lambda: failed)
    if failed:
        raise typer.Exit(1)
