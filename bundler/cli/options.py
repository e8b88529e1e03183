"""What all commands of `bundle` share: the console, and the options that several of them take."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated

import typer

from installer.core.errors import UsageError
from installer.shared.console import Console, safe

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
BundleFile = Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle.", show_default=False)]
Key = Annotated[Path | None, typer.Option("--key", help="cosign private key, NAME.key.", show_default=False)]
GpgKey = Annotated[
    str | None,
    typer.Option(
        "--gpg-key", metavar="FPR", help="Fingerprint of a GPG key in the agent.", show_default=False
    ),
]

console = Console("bundle")


def prompt(question: str) -> str:
    """Ask for a password.

    Raises:
        UsageError: There is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        what = "a password is needed, and there is no terminal to ask on"
        raise UsageError(what, hint="set COSIGN_PASSWORD")
    return getpass.getpass(safe(question))
