"""The commands of `install` that verify, apply, roll back and show releases."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from installer.cli.audit import audit, metrics, support
from installer.cli.config import config_app
from installer.cli.host import BY_HAND, licenses, recover, selftest, setup, trust_app
from installer.cli.options import (
    AllowQuorumLoss,
    BundleName,
    Choice,
    Keep,
    OnDrift,
    Product,
    RetryFailed,
    RootFingerprint,
    TrustRoot,
    Values,
    Verification,
    Wait,
    Where,
    WhereListed,
    WorkDir,
    Yes,
    console,
)
from installer.cli.secrets import secrets_app
from installer.cli.words import COMMANDS
from installer.shared.command.cli_options import with_option_groups
from installer.shared.command_tree.help import WithDefault

DIFFERS = 3
"""The exit code for "would change" and "drifted", where a script asks for it."""


class _Program(WithDefault):
    order = COMMANDS


app = typer.Typer(
    cls=_Program,
    # Its completion starts the program for each Tab, and fails in an executable: see `completion`.
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Verify a release bundle and install it on this host; roll back if it is not healthy.",
    epilog="Example: ./install lan-chat-1.4.0.tar --verify",
)


def _version(value: bool) -> None:
    if value:
        from installer import __version__

        console.result(f"install {__version__}", dict, asked_for=True)
        # Eager, so that --version works without a command.
        raise typer.Exit


@app.callback()
def options(
    _log_format: Annotated[
        str,
        typer.Option("--log-format", metavar="FORMAT", help="Format of log lines on stderr: text or json."),
    ] = "text",
    _quiet: Annotated[
        bool, typer.Option("--quiet", help="Print only warnings, errors and questions, and --json.")
    ] = False,
    _all: Annotated[
        bool, typer.Option("--all", help="Show all of a long list or error, not only how it begins.")
    ] = False,
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Declare for `--help` the options that every command takes; they are read before Typer sees them."""


app.add_typer(config_app, name="config")
app.add_typer(secrets_app, name="secrets")
app.add_typer(trust_app, name="trust")
app.command(epilog="Example: install audit --since 7d")(audit)
app.command(epilog="Example: install metrics")(metrics)
app.command(epilog="Example: install support /media/usb/airgap-7.tar")(support)
app.command(epilog=BY_HAND)(recover)
app.command(epilog="Example: install setup --env production --recover-at-boot")(setup)
app.command(epilog="Example: install licenses --sbom")(licenses)
app.command(hidden=True)(selftest)


@app.command(
    "apply", epilog="Example: install apply lan-chat-1.4.0.tar --yes    (as `install BUNDLE`; for scripts)"
)
@with_option_groups
def apply_(
    bundle: BundleName,
    *,
    verify_: Annotated[
        bool, typer.Option("--verify", help="Print each signature, approval and check.")
    ] = False,
    verify_only: Annotated[bool, typer.Option("--verify-only", help="Stop after verification.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Stop after showing the plan; change nothing.")
    ] = False,
    verification: Verification,
    values: Values,
    choice: Choice,
    work_dir: WorkDir = None,
    keep: Keep = None,
    yes: Yes = False,
    retry_failed: RetryFailed = False,
    allow_quorum_loss: AllowQuorumLoss = False,
    wait: Wait = 0,
    timeout: Annotated[
        int,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            min=0,
            max=604800,
            help="Stop after this time, and roll back what was begun; 0 for no limit.",
        ),
    ] = 0,
    where: WhereListed,
) -> None:
    """Verify a bundle, show the plan, install it and check its health; commit or roll back."""
    if verify_only:
        console.record.command = "verify"
        verify(bundle, verification, where)
    elif dry_run:
        console.record.command = "plan"
        plan(
            bundle, verification=verification, values=values, choice=choice,
            work_dir=work_dir, keep=keep, retry_failed=retry_failed,
            allow_quorum_loss=allow_quorum_loss, where=where,
        )  # fmt: skip
    else:
        from installer.commands.apply import apply

        options = replace(
            choice.options(values, keep), retry_failed=retry_failed, allow_quorum_loss=allow_quorum_loss
        )
        done = apply(
            where.session(wait), verification.source(bundle), options,
            work_dir=work_dir, yes=yes, show_evidence=verify_, timeout=timeout,
        )  # fmt: skip
        console.result(done.text(), done.as_json)


def verify(bundle: BundleName, verification: Verification, where: WhereListed) -> None:
    """Verify a bundle and exit. Needs neither root privileges nor disk space."""
    from installer.commands.verify import verify

    verified = verify(where.session(), verification.source(bundle))
    for note in verified.notes:
        console.warn(note)
    console.result(verified.text(), verified.as_json)


app.command(epilog="Example: install verify lan-chat-1.4.0.tar")(with_option_groups(verify))


def plan(
    bundle: BundleName,
    *,
    verification: Verification,
    values: Values,
    choice: Choice,
    work_dir: WorkDir = None,
    keep: Keep = None,
    trust_root: TrustRoot = None,
    fingerprint: RootFingerprint = "",
    retry_failed: RetryFailed = False,
    allow_quorum_loss: AllowQuorumLoss = False,
    exit_code: Annotated[
        bool,
        typer.Option("--exit-code", help="Exit with 3 if the plan would change something; 0 if nothing."),
    ] = False,
    where: WhereListed,
) -> int:
    """Verify a bundle and show what installing it would change. Changes nothing."""
    from installer.commands.plan import plan
    from installer.planning.plan_text import plan_text

    session = where.session()
    options = replace(
        choice.options(values, keep), retry_failed=retry_failed, allow_quorum_loss=allow_quorum_loss
    )
    source = verification.source(bundle, trust_root, fingerprint)
    planned = plan(session, source, options, work_dir=work_dir)
    console.result(plan_text(planned, everything=console.everything), planned.as_json)
    planned.require_ready()
    return DIFFERS if exit_code and not planned.nothing else 0


app.command(epilog="Example: install plan lan-chat-1.4.0.tar")(with_option_groups(plan))


@app.command(epilog="Example: install status")
@with_option_groups
def status(
    *,
    product: Product = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Exit with 3 if a product has drifted, is INCOMPLETE or is interrupted half-way."
        ),
    ] = False,
    verify_retained: Annotated[
        bool,
        typer.Option(
            "--verify-retained",
            help="Read every byte of retained releases: normally only sizes are compared.",
        ),
    ] = False,
    health: Annotated[
        bool,
        typer.Option(
            "--health",
            help="Ask the health checks of the installed release once, and exit with 3 if one fails.",
        ),
    ] = False,
    where: WhereListed,
) -> int:
    """Show the installed release, who signed it, and any drift of the host."""
    from installer.commands.status import status

    found = status(where.session(), product, verify_retained=verify_retained, health=health)
    if found.products or not found.failures:
        console.result(found.text(everything=console.everything), found.as_json)
    for other in found.failures[1:]:
        console.alert(f"error: {other}")
    found.require_readable()
    return DIFFERS if found.unhealthy or (check and found.differs) else 0


@app.command(epilog="Example: install history")
@with_option_groups
def history(*, product: Product = None, where: Where) -> None:
    """Show what was installed, rolled back and removed on this host, and which bundles were refused.

    `install audit` has every other command that was refused, too.
    """
    from installer.commands.history import history

    found = history(where.session(), product)
    console.result(found.text(), found.as_json)


@app.command(epilog="Example: install rollback 1.4.0    (`install rollback` goes to the previous release)")
@with_option_groups
def rollback(
    *,
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="[VERSION]",
            help="A retained release; default: the previous one.",
            show_default=False,
        ),
    ] = None,
    product: Product = None,
    choice: Choice,
    data_restored: Annotated[
        bool,
        typer.Option(
            "--data-restored",
            help="Allow a rollback past a step that cannot be undone. Use it only if the data was "
            "restored, or if the older release can use the data as it is.",
        ),
    ] = False,
    data_fits: Annotated[bool, typer.Option("--data-fits", hidden=True)] = False,  # its name before 1.0
    approvals: Annotated[
        list[Path] | None,
        typer.Option(
            "--approvals",
            metavar="DIR",
            help="Directory with approvals of the role break-glass, for a release that the root does not "
            "admit any more. May be repeated.",
            show_default=False,
        ),
    ] = None,
    allow_quorum_loss: AllowQuorumLoss = False,
    yes: Yes = False,
    wait: Wait = 0,
    where: WhereListed,
) -> None:
    """Roll back to a retained release, after verifying it again."""
    from installer.commands.rollback import rollback

    options = replace(
        choice.options(data_restored=data_restored or data_fits), allow_quorum_loss=allow_quorum_loss
    )
    done = rollback(where.session(wait), product, version, options, approvals=tuple(approvals or ()), yes=yes)
    console.result(done.text(), done.as_json)


@app.command(epilog="Example: install remove lan-chat")
@with_option_groups
def remove(
    product: Annotated[
        str, typer.Argument(metavar="PRODUCT", help="The product to remove.", show_default=False)
    ],
    *,
    on_drift: OnDrift = None,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge", help="Delete the data of the product, too: the named volumes of its Compose projects."
        ),
    ] = False,
    allow_quorum_loss: AllowQuorumLoss = False,
    yes: Yes = False,
    wait: Wait = 0,
    where: WhereListed,
) -> None:
    """Remove a product from this host, and check that nothing of it is left.

    Data stay unless --purge is given; it can follow a removal, too. A product that is not there is no error:
    scripts can repeat the command.
    """
    from installer.commands.remove import remove

    session = where.session(wait)
    drift = Choice(on_drift=on_drift).options().drift
    done = remove(session, product, drift, yes=yes, allow_quorum_loss=allow_quorum_loss, purge=purge)
    console.result(done.text(everything=console.everything), done.as_json)
    if done.removal is not None:
        done.removal.require_clean()


PrintsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
NAMES = ("waybill-install", "./install")
"""How people start the program. `install` alone is that of coreutils."""


@app.command(epilog="Example: install completion bash > /etc/bash_completion.d/waybill-install")
def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell.", show_default=False)],
    *,
    json: PrintsJson = False,
) -> None:
    """Print the completion script for a shell."""
    from installer.shared.command_tree.printed import completion as made

    console.json_output = json
    text = made(shell, NAMES, app)
    console.result(text, lambda: {"text": text}, asked_for=True)


@app.command(epilog="Example: install man | man -l -")
def man(*, json: PrintsJson = False) -> None:
    """Print the manual page, waybill-install(1)."""
    from installer import __version__
    from installer.shared.command_tree.printed import manual

    console.json_output = json
    text = manual("waybill-install", __version__, app)
    console.result(text, lambda: {"text": text}, asked_for=True)
