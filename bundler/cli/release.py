"""The commands `bundle init`, `keygen`, `create`, `inspect`, `diff` and `installer`."""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.options import (
    BundleFile,
    GpgKey,
    Json,
    Key,
    Texts,
    argument,
    console,
    load_signers,
    option,
    prompt,
)
from installer.core.timestamps import format_seconds
from installer.shared.humanize import size_text
from installer.shared.run_record import release_row
from installer.shared.terminal.text import table

if TYPE_CHECKING:
    from bundler.commands.create import Created, Planned
    from bundler.provenance.git import Checkout
    from bundler.provenance.statement import BuildRun


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory; created if it does not exist")
    ] = Path(),
    template: Annotated[str, typer.Option(help="Name of the template: service or compose")] = "service",
    _json: Json = False,
) -> None:
    """Create a bundle.yaml and its files from a template."""
    from bundler.commands.init import init_project

    written = [directory / path for path in init_project(directory, template)]
    lines = [f"wrote {path}" for path in written]
    # The line can be pasted, whatever the directory is called.
    where = "" if directory == Path() else f" -C {shlex.quote(str(directory))}"
    lines.append(f"next: bundle create v0.1.0{where}")
    console.result(
        "\n".join(lines), lambda: {"changed": bool(written), "written": [str(path) for path in written]}
    )


def keygen(
    name: Annotated[Path, argument("NAME", "Writes NAME.key and NAME.pub")], _json: Json = False
) -> None:
    """Generate a key pair in cosign's format.

    The password is COSIGN_PASSWORD, or asked for.
    """
    from bundler.commands.keygen import generate_key_pair

    pair = generate_key_pair(name, prompt)
    text = f"{pair.private}  keep it secret\n{pair.public}  goes into root.json\nkey id {pair.keyid8}"
    console.result(
        text,
        lambda: {
            "changed": True,
            "private": str(pair.private),
            "public": str(pair.public),
            "keyid": pair.keyid,
        },
    )


def create(
    version: Annotated[str, argument("VERSION", "Semantic version; a leading `v` is optional")],
    directory: Annotated[
        Path, typer.Option("-C", "--directory", help="Directory that contains bundle.yaml")
    ] = Path(),
    output: Annotated[
        Path | None, option("-o", "--output", text="File to write [default: DIR/dist/PRODUCT-VERSION.tar]")
    ] = None,
    key: Key = None,
    gpg_key: GpgKey = None,
    platform: Annotated[Texts, option(text="Only this platform, `os/arch`; may be repeated")] = None,
    builder: Annotated[
        str, option(metavar="ID", text="Id of the builder in the provenance [default: detected from CI]")
    ] = "",
    provenance_key: Annotated[
        Path | None,
        option(
            envvar="WAYBILL_PROVENANCE_KEY",
            text="cosign private key with the role provenance, for example of a CI runner",
        ),
    ] = None,
    provenance_gpg_key: Annotated[
        str | None, option(metavar="FPR", text="GPG key with the role provenance")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, but write nothing")] = False,
    _json: Json = False,
) -> None:
    """Check the inputs and write a bundle.

    All problems of the inputs are reported at once. The bundle is signed if a key is given.
    """
    from bundler.commands.create import plan_bundle, write_bundle
    from bundler.config.loader import load
    from bundler.provenance.builder import find_builder
    from bundler.provenance.statement import BuildRun

    # The time before anything is read is when the build started.
    started, identity = datetime.now(UTC), find_builder(builder, os.environ)
    config = load(directory, version, platforms=platform or ())
    # Warnings go to stderr: stdout has the result alone.
    for warning in config.warnings:
        console.warn(f"warning: {warning}")
    manifest = config.manifest
    console.tell(product=manifest.product, to=release_row(manifest.version, manifest.sequence, ""))
    # Passwords are asked for before the long part begins.
    signers = load_signers(key, gpg_key)
    # A runner may hold one key for both roles: then it needs one password only.
    own = "WAYBILL_PROVENANCE_PASSWORD"
    variable = own if own in os.environ else "COSIGN_PASSWORD"
    provenance_signers = load_signers(provenance_key, provenance_gpg_key, variable)
    planned = plan_bundle(config)
    # Next to bundle.yaml, not in the current directory: -C may lead elsewhere.
    target = output or directory / "dist" / f"{config.manifest.product}-{config.manifest.version}.tar"
    # After all checks, before the first byte is written.
    if dry_run:
        console.result(_planned_text(planned, target), lambda: _planned_json(planned, target))
        return
    parameters = {"command": "bundle create", "version": version, "platforms": platform or []}
    run = BuildRun(identity, parameters, started, provenance_signers)
    created = write_bundle(planned, target, signers, console.progress(), run)
    console.result(
        _created_text(created, planned, run),
        # JSON is made only if it is printed.
        lambda: {
            **created.as_json(),
            "builder": identity.identity,
            "source": _source_json(planned.checkout),
        },
    )


def _planned_text(planned: Planned, target: Path) -> str:
    rows = [(item.entry.path, size_text(item.entry.size)) for item in planned.collected.inputs]
    # An upper bound: layers shrink by compression.
    rows += [
        (f"image {image.reference} {image.platform}", f"<= {size_text(image.payload)}")
        for image in planned.images
    ]
    listing = table([("WHAT", "SIZE"), *rows], right=(1,))
    most = size_text(planned.payload_bytes)
    return f"{listing}\n\nwould write {target}, at most {most}; nothing was written"


def _planned_json(planned: Planned, target: Path) -> dict[str, Any]:
    return {
        "path": str(target),
        "dry_run": True,
        "payload_bytes_at_most": planned.payload_bytes,
        "files": len(planned.collected.inputs),
        "inputs": [item.entry.path for item in planned.collected.inputs],
        "images": [image.reference for image in planned.images],
        "source": _source_json(planned.checkout),
    }


def _source_json(checkout: Checkout) -> dict[str, Any]:
    known = {name: value or None for name, value in asdict(checkout).items()}
    when = None if checkout.time is None else format_seconds(checkout.time)
    return {**known, "time": when, "changed": list(checkout.changed)}


def _created_text(created: Created, planned: Planned, run: BuildRun) -> str:
    manifest = created.manifest
    groups: dict[str, list[int]] = {}
    for entry in manifest.files:
        groups.setdefault(entry.path.split("/")[0], []).append(entry.size)
    rows = [("WHAT", "FILES", "SIZE")]
    rows += [(name, str(len(sizes)), size_text(sum(sizes))) for name, sizes in groups.items()]
    lines = [table(rows, right=(1, 2))]
    lines += [f"image {image.reference} {image.platform} {image.config[:19]}" for image in manifest.images]
    # An unsigned bundle is of no use to a host: the next command is shown.
    signed = ", ".join(created.signatures) or "none: run `bundle sign BUNDLE --key NAME.key`"
    provenance = ", ".join(created.provenance) or "already signed by this key"
    lines += [
        "",
        f"{manifest.product} {manifest.version}",
        f"identity    {created.identity}",
        f"source      {planned.checkout.as_text()}",
        f"built by    {run.builder.identity}",
        f"provenance  {provenance}{'' if run.signers else ', not signed'}",
        f"signatures  {signed}",
        f"{'unchanged' if created.unchanged else 'wrote'}   {created.path}, {size_text(created.size)}",
    ]
    return "\n".join(lines)


def inspect(
    bundle: BundleFile,
    view: Annotated[str, argument("[files|images|config|approvals|sbom|docs]", "What to show")] = "",
    _json: Json = False,
) -> None:
    """Show the content of a bundle, without verifying it."""
    from bundler.commands.inspect import inspect_bundle

    report = inspect_bundle(bundle, view)
    console.result(report.text, lambda: report.document)


def diff(
    old: Annotated[Path, argument("OLD", "The earlier bundle")],
    new: Annotated[Path, argument("NEW", "The later bundle")],
    _json: Json = False,
) -> None:
    """Show what changes between two bundles.

    Files, images and layers, configuration and documents, sizes.
    """
    from bundler.commands.diff import diff_bundles

    difference = diff_bundles(old, new)
    console.result(difference.as_text(), difference.as_json)


def installer(
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write")] = Path("dist/install"),
    _json: Json = False,
) -> None:
    """Write the standalone executable `install`.

    It travels with bundles: hosts need no Python.
    """
    from bundler.commands.installer import create_installer

    written = create_installer(output, console.progress())
    console.result(written.as_text(), written.as_json)
