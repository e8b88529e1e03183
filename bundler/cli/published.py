"""The words of `bundle publish` and `bundle pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from bundler.cli.options import BundleFile, Json, argument, console, option

_ADDRESS = "`oci://HOST[:PORT]/REPOSITORY:TAG`, or `https://HOST[:PORT]/PATH/NAME.tar`"
CaFile = Annotated[
    Path | None,
    option(
        "--ca-file",
        metavar="FILE",
        text="Certificates, in PEM, of which one must have issued that of the server"
        " [default: those that this machine trusts]",
    ),
]


def publish(
    bundle: BundleFile,
    target: Annotated[str, argument("TARGET", f"Where: {_ADDRESS}")],
    ca_file: CaFile = None,
    _json: Json = False,
) -> None:
    """Store a bundle in a registry or on a web server of the site.

    Its bytes stay as they are signed. A registry stores only what no other version has. The login is that of
    `docker login HOST`.
    """
    from bundler.commands.published.publish import publish_bundle

    done = publish_bundle(bundle, target, console.progress(), ca_file=ca_file)
    console.result(done.as_text(), done.as_json)


def pull(
    source: Annotated[str, argument("SOURCE", f"From where: {_ADDRESS}")],
    output: Annotated[
        Path | None,
        option("-o", "--output", metavar="FILE", text="File to write [default: the name in the address]"),
    ] = None,
    ca_file: CaFile = None,
    _json: Json = False,
) -> None:
    """Get a published bundle back, byte for byte.

    Nobody has checked its signatures then: `bundle verify` does, as hosts do.
    """
    from bundler.commands.published.pull import pull_bundle

    done = pull_bundle(source, output, console.progress(), ca_file=ca_file)
    console.result(done.as_text(), done.as_json)
