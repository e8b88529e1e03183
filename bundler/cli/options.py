"""What the commands of `bundle` share: the console, and options that several of them have."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bundler.cli.documents import SHAPES
from bundler.cli.forms import prefer_typed_key
from installer.core.errors import UsageError
from installer.shared.command.console import Console
from installer.shared.terminal import streams
from installer.shared.terminal.text import safe

if TYPE_CHECKING:
    from bundler.signing import Prompt, Signer

# One console for all commands: --json and --log-format are set once.
# What was asked for on stdout is what most of its commands are for: if it is lost, they have failed.
console = Console("bundle", shapes=SHAPES, output_counts=True)


def option(*names: str, text: str, metavar: str | None = None, envvar: str | None = None) -> Any:
    """Declare an option whose help does not show the default value.

    Args:
        names: `--name`, `-n`; without any, the name of the parameter.
        text: The help.
        metavar: The placeholder of the value.
        envvar: The variable of the environment that may have the value.
    """
    # Empty defaults would be shown as `[default: ]`; real ones stand in the text.
    return typer.Option(*names, help=text, metavar=metavar, envvar=envvar, show_default=False)


def argument(metavar: str, text: str = "") -> Any:
    """Declare an argument.

    Args:
        metavar: Its placeholder.
        text: The help.
    """
    return typer.Argument(metavar=metavar, help=text, show_default=False)


Texts = list[str] | None
Paths = list[Path] | None


def _set_json(value: bool) -> None:
    # Set while options are read, before a command can fail: its errors are JSON, too.
    console.json_output = value


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout", callback=_set_json)]
BundleFile = Annotated[Path, argument("BUNDLE", "The bundle")]
# Never the key itself or its password: arguments show up in process lists.
Key = Annotated[
    str | None,
    option(
        "--key",
        metavar="KEY",
        text="cosign private key: a file, env:NAME, fd:N, or - for stdin",
    ),
]
PasswordFrom = Annotated[
    str,
    option(
        "--password-from",
        metavar="SOURCE",
        text="Password of the key: a file, env:NAME, fd:N, or - [default: COSIGN_PASSWORD, or asked for]",
    ),
]
GpgKey = Annotated[
    str | None, option("--gpg-key", metavar="FPR", text="Fingerprint of a GPG key, held by gpg-agent")
]
Prepare = Annotated[
    bool, typer.Option("--prepare", help="Only write the file to sign, for a key on another machine")
]
Attach = Annotated[
    Paths, option("--attach", metavar="SIG", text="Signature made on another machine; may be repeated")
]


def prompt() -> Prompt | None:
    """Return what asks for a password; None where there is no terminal."""
    # A pipeline must fail with the name of the variable, not wait for an answer.
    return _ask if sys.stdin.isatty() else None


def _ask(question: str) -> str:
    # Escaped: the path of a key may have control characters.
    with streams.question():
        return getpass.getpass(safe(question))


def given_password(source: str) -> bytes | None:
    """Return the password that `--password-from` names; None if it is not given.

    Raises:
        UsageError: It cannot be read, or is empty.
    """
    if not source:
        return None
    from bundler.signing.secret_source import read_password

    return read_password(source)


def load_signers(
    key: str | None,
    gpg_key: str | None,
    variable: str = "COSIGN_PASSWORD",
    password_from: str = "",
    prefix: str = "",
) -> list[Signer]:
    """Return the signers of `--key` and `--gpg-key`; none if neither is given.

    Args:
        key: A cosign private key.
        gpg_key: A GPG fingerprint.
        variable: The environment variable that may have the password of the key.
        password_from: Where the password comes from; empty: the variable, or a prompt.
        prefix: What the names of these options begin with: `provenance-`.

    Raises:
        UsageError: A key cannot be used.
    """
    from bundler.signing.secret_source import require_separate

    option = f"--{prefix}password-from"
    require_separate({f"--{prefix}key": key, option: password_from})
    signers: list[Signer] = []
    password = given_password(password_from)
    if key is not None:
        # Imported only if such a key is given: cryptography takes long to load.
        from bundler.signing.cosign import CosignSigner

        signers.append(CosignSigner.load(key, prompt(), variable, password, option))
    if gpg_key is not None:
        from bundler.signing.gpg import GpgSigner

        signers.append(GpgSigner(gpg_key, passphrase=os.fsdecode(password) if password else None))
    return signers


def required_signers(
    context: typer.Context, key: str | None, gpg_key: str | None, password_from: str = ""
) -> list[Signer]:
    """Return the signers of `--key` and `--gpg-key`.

    Raises:
        UsageError: A key cannot be used, or none is given.
    """
    key, gpg_key, password_from = prefer_typed_key(context, key, gpg_key, password_from)
    signers = load_signers(key, gpg_key, password_from=password_from)
    if not signers:
        raise UsageError("no key is given", hint="give --key NAME.key or --gpg-key FINGERPRINT")
    return signers


def required_public(public: Path | None) -> Path:
    """Return the public key that an attached signature is verified with.

    Raises:
        UsageError: None is given.
    """
    if public is None:
        # Without it nobody would know whether the right key has signed before a host refuses.
        what = "the public key is missing: a signature is verified before it is attached"
        raise UsageError(what, hint="give --public KEY.pub or --public root.json")
    return public
