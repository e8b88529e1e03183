"""The commands of `install` that maintain the host itself: trust, recovery, setup of the command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from installer.cli.options import Product, Wait, Where, console
from installer.shared.command.cli_options import with_option_groups
from installer.shared.command.run_record import root_row
from installer.shared.command_tree.help import Group

if TYPE_CHECKING:
    from installer.core.trust.root_view import RootView
    from installer.state.standing import Fallen

HostEnvironment = Annotated[
    str,
    typer.Option(
        "--env",
        metavar="ENV",
        help="Environment of this host; it is written to /etc/waybill/environment. If not given, and not set "
        "yet, the command asks for it where the root has policies.",
        show_default=False,
    ),
]

trust_app = typer.Typer(
    cls=Group, rich_markup_mode=None, no_args_is_help=True, help="Manage the keys this host trusts."
)


@trust_app.command("init", epilog="Example: install trust init root.json")
@with_option_groups
def trust_init(
    path: Annotated[Path, typer.Argument(metavar="ROOT", help="The root.json file.", show_default=False)],
    *,
    fingerprint: Annotated[
        str,
        typer.Option(
            metavar="SHA256",
            help="Its fingerprint, from the trust sheet. If not given, the command asks for it.",
            show_default=False,
        ),
    ] = "",
    env: HostEnvironment = "",
    where: Where,
) -> None:
    """Set up trust on a host that has no root yet, after comparing the fingerprint."""
    from installer.commands.trust import trust_init

    shown = trust_init(where.session(), path, fingerprint, env)
    console.result(f"this host now trusts:\n{shown.as_text()}", lambda: _trusted(shown))


@trust_app.command(
    "ensure", epilog="Example: install trust ensure root.json --fingerprint 1a2b… --update /media/usb/trust"
)
@with_option_groups
def trust_ensure(
    path: Annotated[Path, typer.Argument(metavar="ROOT", help="The root.json file.", show_default=False)],
    *,
    fingerprint: Annotated[
        str,
        typer.Option(metavar="SHA256", help="Its fingerprint, from the trust sheet. Compared every time."),
    ],
    update: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Directory with later versions of the root, which are applied as by trust update.",
            show_default=False,
        ),
    ] = None,
    env: HostEnvironment = "",
    where: Where,
) -> None:
    """Make this host trust a root, unless it trusts it, or a later version, already. May be repeated."""
    from installer.commands.trust import trust_ensure, trust_show

    session = where.session()
    done = trust_ensure(session, path, fingerprint, update, env)
    shown = trust_show(session)
    follows = "" if done.given == done.root.version else f", which follows from version {done.given}"
    verb = "now" if done.changed else "already"
    console.result(
        f"this host {verb} trusts version {done.root.version}{follows}\n{shown.as_text()}",
        lambda: {**_trusted(shown), "not_admitted": _rows(done.fallen)},
    )


def _trusted(shown: RootView) -> dict[str, Any]:
    return {"to": root_row(shown.root.version, shown.fingerprint), "trust": shown.as_json()}


def _rows(fallen: Iterable[Fallen]) -> list[dict[str, Any]]:
    return [asdict(each) for each in fallen]


@trust_app.command("update", epilog="Example: install trust update /media/usb/trust")
@with_option_groups
def trust_update(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH|DIR",
            help="The next root.json, or a directory with several versions.",
            show_default=False,
        ),
    ],
    where: Where,
) -> None:
    """Replace the root with a later version that is signed by the thresholds of both versions."""
    from installer.commands.trust import trust_show, trust_update

    session = where.session()
    updated = trust_update(session, path)
    shown, now = trust_show(session), updated.root.version
    head = (
        f"version {now} is already trusted" if now == updated.before else f"version {updated.before} → {now}"
    )
    revoked = [f"{each.product} {each.version}" for each in updated.fallen if each.running and each.revoked]
    document = {"revoked_here": revoked, "not_admitted": _rows(updated.fallen)}
    console.result(f"{head}\n{shown.as_text()}", lambda: {**_trusted(shown), **document})


@trust_app.command("show", epilog="Example: install trust show")
@with_option_groups
def trust_show(where: Where) -> None:
    """Show the keys, roles and policies that this host trusts, and when they expire."""
    from installer.commands.trust import trust_show

    shown = trust_show(where.session())
    console.result(shown.as_text(), lambda: _trusted(shown))


BY_HAND = """\
Example: install recover

\b
If it exits with code 21 and you cannot restore the journal, repair by hand:
  1. Move TXN.log and TXN.backup out of /var/lib/waybill/PRODUCT/txn. TXN.backup
     contains the replaced files as they were before.
  2. cd /var/lib/waybill/PRODUCT; `current` in state.json names the release that
     ran. Point the link to the same release: `ln -sfn releases/CURRENT current`
  3. Run `install rollback VERSION --on-drift replace`, with the version of
     this release. It writes all files of the release again and keeps copies of
     the files that it replaces in kept/. Exception: if the new release has a
     step that cannot be undone, and this step may have run, do not roll back.
     Run `install apply BUNDLE --on-drift replace`, with the bundle of the new
     release. The old release cannot use the new data.
  4. Run `install status`. It must report no drift.
"""


@with_option_groups
def recover(
    *,
    product: Product = None,
    wait: Wait = 0,
    where: Where,
) -> None:
    """Complete or undo an interrupted transaction. Every command that changes something does this first."""
    from installer.commands.recover import recover

    done = recover(where.session(), product, wait=wait)
    console.answer(done.as_json)
    done.require_complete()
    console.result(done.text(), done.as_json)


@with_option_groups
def setup(
    *,
    env: Annotated[
        str,
        typer.Option(
            metavar="ENV",
            help="The environment of this host; it is written to /etc/waybill/environment.",
            show_default=False,
        ),
    ] = "",
    recover_at_boot: Annotated[
        bool,
        typer.Option(
            "--recover-at-boot",
            help="Also install a systemd unit that recovers interrupted transactions at boot.",
        ),
    ] = False,
    where: Where,
) -> None:
    """Copy this executable to /opt/waybill/bin/install and link it as waybill-install on the PATH."""
    from installer.commands.setup import setup

    done = setup(where.session().system, env, recover_at_boot=recover_at_boot)
    console.result(done.text(), done.as_json)


def selftest() -> None:
    """Read every file of this executable and import every module."""
    from installer import __version__
    from installer.shared.standalone.self_report import selftest as check

    text, document = check("install", __version__)
    console.result(text, lambda: document)


def licenses(
    *,
    sbom: Annotated[bool, typer.Option("--sbom", help="Print the SBOM (CycloneDX 1.6) instead.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, with the SBOM, on stdout.")
    ] = False,
) -> None:
    """Print the licences of everything in this executable, or its SBOM."""
    from installer.shared.standalone.self_report import licences

    console.json_output = json
    found = licences()
    console.result(found.text(sbom=sbom), lambda: {"sbom": found.sbom})
