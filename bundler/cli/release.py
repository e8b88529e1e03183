"""The commands `bundle init`, `keygen`, `create`, `inspect`, `diff` and `installer`."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from bundler.cli.forms import prefer_typed_key
from bundler.cli.options import (
    BundleFile,
    GpgKey,
    Json,
    Key,
    PasswordFrom,
    Texts,
    argument,
    console,
    given_password,
    load_signers,
    option,
    prompt,
)
from installer.shared.command.run_record import release_row
from installer.shared.terminal.narrow import fitted

DEFAULT_INSTALLER = Path("dist/install")


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory; created if it does not exist")
    ] = Path(),
    template: Annotated[
        str, typer.Option(metavar="TEMPLATE", help="Name of the template; without one, all are listed")
    ] = "service",
    show_list: Annotated[
        bool, typer.Option("--list", help="Print the templates, as --template does without a name")
    ] = False,
    _json: Json = False,
) -> None:
    """Create a bundle.yaml and its files from a template, or add one, such as a pipeline, to a product.

    The templates are service (or systemd), compose, helm, quadlet and script, which create a product, and
    ansible, ci, monitoring and salt, which add a directory to one.
    """
    from bundler.commands.init import init_project, is_addition, templates

    if show_list:
        found = templates()
        console.result(
            fitted([("TEMPLATE", "CREATES"), *found]), lambda: {"templates": dict(found)}, asked_for=True
        )
        return
    written = [directory / path for path in init_project(directory, template)]
    lines = [f"wrote {path}" for path in written]
    # The line can be pasted, whatever the directory is called.
    where = "" if directory == Path() else f" -C {shlex.quote(str(directory))}"
    if is_addition(template):
        lines = lines or [f"every file of {directory / template} is there already"]
        lines.append(f"next: read {directory / template / 'README.md'}")
    else:
        lines.append(f"next: `bundle create v0.1.0{where}`")
    console.result(
        "\n".join(lines), lambda: {"changed": bool(written), "written": [str(path) for path in written]}
    )


def schema(_json: Json = False) -> None:
    """Print the JSON Schema of bundle.yaml, for editors.

    `bundle init` writes it to bundle.schema.json, and bundle.yaml names that file.
    """
    from bundler.commands.schema import bundle_schema

    found = bundle_schema()
    console.result(found.text, lambda: {"document": found.document}, asked_for=True)


def find_images(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Directory of the product; by default this one")
    ] = Path(),
    at: Annotated[
        Path | None, typer.Option("-C", "--directory", metavar="DIR", help="The same, as for `create`")
    ] = None,
    _json: Json = False,
) -> None:
    """List the images that a product uses, ready to paste into bundle.yaml.

    With a bundle.yaml in the directory, its steps are searched: Compose projects, quadlets with the manifests
    that they name, and charts with every combination of values. Without one, all files are. Charts need Helm.
    """
    from bundler.commands.find_images import find_images as search

    found = search(at or directory)
    for each in found.unsearched:
        console.warn_about(replace(each, what=f"not searched: {each.what}"))
    console.result(found.text, found.as_json, asked_for=True)


def keygen(
    name: Annotated[Path, argument("NAME", "Writes NAME.key and NAME.pub")],
    password_from: PasswordFrom = "",
    _json: Json = False,
) -> None:
    """Generate a key pair in cosign's format.

    The password is COSIGN_PASSWORD, or asked for.
    """
    from bundler.commands.keygen import generate_key_pair

    pair = generate_key_pair(name, prompt(), given_password(password_from))
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
    context: typer.Context,
    version: Annotated[str, argument("VERSION", "Semantic version; a leading `v` is optional")],
    directory: Annotated[
        Path, typer.Option("-C", "--directory", metavar="DIR", help="Directory that contains bundle.yaml")
    ] = Path(),
    output: Annotated[
        Path | None,
        option(
            "-o", "--output", metavar="FILE", text="File to write [default: DIR/dist/PRODUCT-VERSION.tar]"
        ),
    ] = None,
    key: Key = None,
    gpg_key: GpgKey = None,
    password_from: PasswordFrom = "",
    platform: Annotated[
        Texts, option(metavar="OS/ARCH", text="Only this platform, `os/arch`; may be repeated")
    ] = None,
    builder: Annotated[
        str, option(metavar="ID", text="Id of the builder in the provenance [default: detected from CI]")
    ] = "",
    provenance_key: Annotated[
        str | None,
        option(
            envvar="WAYBILL_PROVENANCE_KEY",
            metavar="KEY",
            text="cosign private key with the role provenance, for example of a CI runner; as --key",
        ),
    ] = None,
    provenance_gpg_key: Annotated[
        str | None, option(metavar="FPR", text="GPG key with the role provenance")
    ] = None,
    provenance_password_from: Annotated[
        str,
        option(
            metavar="SOURCE",
            text="Password of the provenance key; as --password-from [default: WAYBILL_PROVENANCE_PASSWORD]",
        ),
    ] = "",
    require: Annotated[
        Texts,
        option(
            metavar="WHAT",
            text="Refuse a source without a commit (`source`), with uncommitted changes (`clean`), or "
            "without a tag of this version (`tag`); a list with commas",
        ),
    ] = None,
    tag_prefix: Annotated[
        str,
        option(metavar="TEXT", text="The text before the version in tags of this product, such as `svc-a/`"),
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, but write nothing")] = False,
    # Declared for the help: it is read before Typer sees it.
    _all: Annotated[bool, typer.Option("--all", help="List every file, not only a summary")] = False,
    _json: Json = False,
) -> None:
    """Check the inputs and write a bundle.

    All problems of the inputs are reported at once. The bundle is signed if a key is given.
    """
    from bundler.cli.create_text import created_text, planned_json, planned_text
    from bundler.commands.create import check_directory, plan_bundle, write_bundle
    from bundler.config.loader import load
    from bundler.provenance.builder import find_builder
    from bundler.provenance.source_rules import source_rules
    from bundler.provenance.statement import BuildRun
    from bundler.signing.secret_source import require_separate

    key, gpg_key, password_from = prefer_typed_key(context, key, gpg_key, password_from)
    provenance_key, provenance_gpg_key, provenance_password_from = prefer_typed_key(
        context, provenance_key, provenance_gpg_key, provenance_password_from, "provenance-"
    )
    require_separate(
        {
            "--key": key,
            "--password-from": password_from,
            "--provenance-key": provenance_key,
            "--provenance-password-from": provenance_password_from,
        }
    )
    # The time before anything is read is when the build started.
    started, identity = datetime.now(UTC), find_builder(builder, os.environ)
    rules = source_rules(require or (), tag_prefix, os.environ)
    config = load(directory, version, platforms=platform or ())
    # Warnings go to stderr: stdout has the result alone.
    for warning in config.warnings:
        console.warn_about(warning)
    manifest = config.manifest
    console.tell(product=manifest.product, to=release_row(manifest.version, manifest.sequence, ""))
    planned = plan_bundle(config, rules)
    for warning in planned.warnings[len(config.warnings) :]:
        console.warn_about(warning)
    # Passwords are asked for before the long part begins.
    signers = load_signers(key, gpg_key, password_from=password_from)
    # A runner may hold one key for both roles: then it needs one password only.
    own = "WAYBILL_PROVENANCE_PASSWORD"
    variable = own if own in os.environ else "COSIGN_PASSWORD"
    provenance_signers = load_signers(
        provenance_key, provenance_gpg_key, variable, provenance_password_from, "provenance-"
    )
    # Next to bundle.yaml, not in the current directory: -C may lead elsewhere.
    target = output or directory / "dist" / f"{config.manifest.product}-{config.manifest.version}.tar"
    if output:
        check_directory(output)
    # After all checks, before the first byte is written.
    if dry_run:
        console.result(
            planned_text(planned, target, show_all=console.everything), lambda: planned_json(planned, target)
        )
        return
    parameters: dict[str, Any] = {"command": "bundle create", "version": version, "platforms": platform or []}
    # Only if given: whoever rebuilds the release needs it then.
    parameters |= {"tagPrefix": tag_prefix} if tag_prefix else {}
    run = BuildRun(identity, parameters, started, provenance_signers)
    created = write_bundle(planned, target, signers, console.progress(), run)
    for warning in created.warnings:
        console.warn_about(warning)
    console.result(
        created_text(created, planned, run, show_all=console.everything),
        # JSON is made only if it is printed.
        lambda: {
            **created.as_json(),
            "builder": identity.identity,
            "source": planned.checkout.as_json(),
            "excluded": sum(len(tree.excluded) for tree in config.trees),
            "secrets_allowed": [each._asdict() for each in (*config.allowed, *created.allowed)],
        },
    )


def inspect(
    bundle: BundleFile,
    view: Annotated[
        str, argument("[deploy|scripts|risks|files|images|config|approvals|sbom|docs]", "What to show")
    ] = "",
    _json: Json = False,
) -> None:
    """Show the content of a bundle, without verifying it."""
    from bundler.commands.inspect import inspect_bundle

    report = inspect_bundle(bundle, view, everything=console.everything)
    console.result(report.text, lambda: report.document)


def diff(
    old: Annotated[Path, argument("OLD", "The earlier bundle")],
    new: Annotated[Path, argument("NEW", "The later bundle")],
    _json: Json = False,
) -> None:
    """Show what changes between two bundles.

    Files with their sizes, modes, owners and places, images and layers, configuration and documents, and all
    else that bundle.json says.
    """
    from bundler.commands.diff import diff_bundles

    difference = diff_bundles(old, new)
    console.result(difference.as_text(everything=console.everything), difference.as_json)


def installer(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="File to write")
    ] = DEFAULT_INSTALLER,
    platform: Annotated[
        Texts,
        option(
            metavar="PLATFORM",
            text="What it runs on: `linux/amd64`, `linux/arm64`, either with `-musl`, or `all`;"
            " may be repeated [default: that of this machine]",
        ),
    ] = None,
    _json: Json = False,
) -> None:
    """Write the standalone executable `install`.

    It travels with bundles: hosts need no Python. One file can be for several platforms.
    """
    from bundler.commands.create import check_directory
    from bundler.commands.installer import create_installer

    # The default directory is made; one that somebody typed may be a typing error.
    if output != DEFAULT_INSTALLER:
        check_directory(output)
    written = create_installer(output, platform or (), console.progress())
    console.result(written.as_text(), written.as_json)
