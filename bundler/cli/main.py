"""The command `bundle`: release engineers and security staff on the connected side.

Words become arguments, results become text or JSON. What is slow to import is imported by the command that
needs it.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bundler import __version__
from bundler.cli import approving, published, release, signing
from bundler.cli.defaults import take_defaults
from bundler.cli.forms import list_templates
from bundler.cli.options import Json, console
from bundler.cli.trust import trust_app
from installer.shared.child.environment import forget_loaders
from installer.shared.command.command_line import run_app
from installer.shared.command_tree.help import Group
from installer.shared.terminal import interrupts, streams
from installer.shared.terminal.version import version_asked_for

app = typer.Typer(
    cls=Group,
    # Its completion starts the program for each Tab, and fails in an executable: see `completion`.
    add_completion=False,
    # No markup: rich would take the brackets of paths and help texts for styles, and costs start-up time.
    rich_markup_mode=None,
    # Typing the bare command is a question.
    no_args_is_help=True,
    # Errors are printed in one place, installer.shared.command.command_line.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Create, sign and inspect release bundles that cross an air gap.",
)


def main() -> None:
    """Run `bundle` and exit with its code."""
    # Before any library is imported that obeys them: this process has a signing key in memory.
    forget_loaders()
    # First of all: from here on no output that cannot be written, and no signal, ends it half way.
    streams.protect()
    interrupts.install()
    asked = version_asked_for(sys.argv[1:])
    if asked == "text":
        print(f"bundle {__version__}")
        return
    if asked:
        from installer.shared.standalone.self_report import version_document

        print(version_document("bundle", __version__))
        return
    try:
        # Everything that a command raises becomes a message and an exit code there.
        sys.exit(run_app(console, app, sys.argv[1:], arranged, take_defaults))
    finally:
        interrupts.ignore()


def without_keys(words: list[str]) -> list[str]:
    """Return a command line as it is; refuse one with a key in it, which no message may repeat.

    Raises:
        UsageError: It has one.
    """
    from bundler.signing.secret_source import refuse_keys

    refuse_keys(words)
    return words


def arranged(words: list[str]) -> list[str]:
    """Return a command line as typer takes it.

    Raises:
        UsageError: There is a key in it.
    """
    return list_templates(without_keys(words))


def _version(value: bool) -> None:
    if value:
        print(f"bundle {__version__}")
        # Eager, so that --version works without a command.
        raise typer.Exit


@app.callback()
def options(
    _log_format: Annotated[
        str,
        typer.Option(
            "--log-format",
            metavar="FORMAT",
            help="Format of log lines on stderr: text or json; allowed anywhere",
        ),
    ] = "text",
    _quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Print only warnings, errors, questions and --json"),
    ] = False,
    _all: Annotated[
        bool, typer.Option("--all", help="Show all of a long list or error, not only how it begins")
    ] = False,
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    """Show in the help which options every command has; `--log-format` is taken before typer sees it."""


# The order of this table is the order of the help: a release from its beginning to its end.
app.add_typer(trust_app, name="trust")
for command, example in (
    (release.init, "Example: bundle init lan-chat --template service"),
    (release.schema, "Example: bundle schema > bundle.schema.json"),
    (release.find_images, "Example: bundle find-images lan-chat"),
    (release.keygen, "Example: bundle keygen release    (writes release.key and release.pub)"),
    (release.create, "Example: bundle create v1.4.0 --key release.key"),
    (signing.sign, "Example: bundle sign dist/lan-chat-1.4.0.tar --key release.key"),
    (
        approving.approve,
        (
            "Example: bundle approve lan-chat-1.4.0.tar --role security --env production --root root.json "
            "--key sec.key"
        ),
    ),
    (signing.verify, "Example: bundle verify lan-chat-1.4.0.tar --key release.pub"),
    (release.inspect, "Example: bundle inspect lan-chat-1.4.0.tar images"),
    (release.diff, "Example: bundle diff lan-chat-1.4.0.tar lan-chat-1.5.0.tar"),
    (
        published.publish,
        "Example: bundle publish lan-chat-1.4.0.tar oci://registry.lan/releases/lan-chat:1.4.0",
    ),
    (published.pull, "Example: bundle pull oci://registry.lan/releases/lan-chat:1.4.0"),
    (release.installer, "Example: bundle installer -o dist/install"),
):
    app.command(epilog=example)(command)


@app.command(epilog="Example: bundle completion bash > ~/.local/share/bash-completion/completions/bundle")
def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell", show_default=False)],
    _json: Json = False,
) -> None:
    """Print the completion script for a shell."""
    from installer.shared.command_tree.printed import completion as made

    text = made(shell, ("bundle",), app)
    console.result(text, lambda: {"text": text}, asked_for=True)


@app.command(epilog="Example: bundle man | man -l -")
def man(_json: Json = False) -> None:
    """Print the manual page, bundle(1)."""
    from installer.shared.command_tree.printed import manual

    text = manual("bundle", __version__, app)
    console.result(text, lambda: {"text": text}, asked_for=True)


@app.command(hidden=True)
# Run by the build of the executables; of no use to people.
def selftest() -> None:
    """Read every file of this executable and import every module."""
    from installer.shared.standalone import self_report

    text, document = self_report.selftest("bundle", __version__)
    console.result(text, lambda: document)


@app.command(epilog="Example: bundle licenses --sbom")
def licenses(
    *,
    sbom: Annotated[bool, typer.Option("--sbom", help="Print the SBOM (CycloneDX 1.6) instead")] = False,
    _json: Json = False,
) -> None:
    """Print the licences of everything in this executable, or its SBOM.

    With --json, the document has the SBOM.
    """
    from installer.shared.standalone.self_report import licences

    found = licences()
    console.result(found.text(sbom=sbom), lambda: {"sbom": found.sbom})
