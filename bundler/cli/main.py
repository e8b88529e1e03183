"""The command `bundle`: release engineers and security staff on the connected side.

Words become arguments, results become text or JSON. What is slow to import is imported by the command that
needs it.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bundler import __version__
from bundler.cli import release, signing
from bundler.cli.options import console
from bundler.cli.trust import trust_app
from installer.shared.child_env import forget_loaders
from installer.shared.console import run_app

app = typer.Typer(
    # No markup: rich would take the brackets of paths and help texts for styles, and costs start-up time.
    rich_markup_mode=None,
    # Typing the bare command is a question.
    no_args_is_help=True,
    # Errors are printed in one place, installer.shared.console.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Create, sign and inspect release bundles that cross an air gap.",
)


def main() -> None:
    """Run `bundle` and exit with its code."""
    # This process has a signing key in memory.
    forget_loaders()
    # Everything that a command raises becomes a message and an exit code there.
    sys.exit(run_app(console, app, sys.argv[1:]))


def _version(value: bool) -> None:
    if value:
        print(f"bundle {__version__}")
        # Eager, so that --version works without a command.
        raise typer.Exit


@app.callback()
def options(
    _log_format: Annotated[
        str,
        typer.Option("--log-format", help="Format of log lines on stderr: text or json; allowed anywhere"),
    ] = "text",
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    """Show in the help which options every command has; `--log-format` is taken before typer sees it."""


# The order of this table is the order of the help: a release from its beginning to its end.
app.add_typer(trust_app, name="trust")
for command, example in (
    (release.init, "bundle init lan-chat --template service"),
    (release.keygen, "bundle keygen release    (writes release.key and release.pub)"),
    (release.create, "bundle create v1.4.0 --key release.key"),
    (signing.sign, "bundle sign dist/lan-chat-1.4.0.tar --key release.key"),
    (
        signing.approve,
        "bundle approve lan-chat-1.4.0.tar --role security --env production --key security.key",
    ),
    (signing.verify, "bundle verify lan-chat-1.4.0.tar --key release.pub"),
    (release.inspect, "bundle inspect lan-chat-1.4.0.tar images"),
    (release.diff, "bundle diff lan-chat-1.4.0.tar lan-chat-1.5.0.tar"),
    (release.installer, "bundle installer -o dist/install"),
):
    app.command(epilog=f"Example: {example}")(command)


@app.command(hidden=True)
# Run by the build of the executables; of no use to people.
def selftest() -> None:
    """Import every module of this executable."""
    from installer.shared import frozen

    failed = frozen.selftest()
    console.result("\n".join(f"{name}: {reason}" for name, reason in failed.items()) or "ok", lambda: failed)
    if failed:
        # The build stops at it.
        raise typer.Exit(1)
