"""The commands of `install` that care for the host itself: trust, recovery, setting up the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from installer.cli_options import Json, Product, Root, clock, console, context, host
from installer.core.errors import HostNotReadyError, WaybillError

trust_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Whom this host believes: set up, and show."
)


@trust_app.command("init", epilog="Example: install trust init root.json")
def trust_init(
    path: Annotated[Path, typer.Argument(metavar="ROOT", help="The root.json.", show_default=False)],
    fingerprint: Annotated[
        str, typer.Option(help="From the trust sheet; asked for where it is not given.", show_default=False)
    ] = "",
    root: Root = Path("/"),
    json: Json = False,
) -> None:
    """Set up trust on a host that has none, after comparing the fingerprint."""
    from installer.core.rootview import view
    from installer.hosttrust import init_trust, load_trust

    console.json_output = json
    system = host(root)

    def ask(question: str) -> str:
        return console.ask(question, "--fingerprint")

    init_trust(system, path, fingerprint, ask, clock)
    shown = view(*load_trust(system), clock())
    console.result(f"this host now trusts:\n{shown.as_text()}", shown.as_json)


@trust_app.command("update", epilog="Example: install trust update /media/usb/trust")
def trust_update(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH|DIR", help="The next root.json, or a folder with several.", show_default=False
        ),
    ],
    root: Root = Path("/"),
    json: Json = False,
) -> None:
    """Replace the root by its successor, signed by those whom both name."""
    from installer.core.rootview import view
    from installer.hosttrust import load_trust
    from installer.trustupdate import update_trust

    console.json_output = json
    system = host(root)
    updated = update_trust(system, path, clock)
    for each in updated.affected:
        console.log(
            f"{each}, which runs here, is revoked now: install the release that replaces it", "warning"
        )
    shown = view(*load_trust(system), clock())
    now = updated.root.version
    head = (
        f"version {now} is trusted already" if now == updated.before else f"version {updated.before} → {now}"
    )
    document = {"before": updated.before, "revoked_here": list(updated.affected)}
    console.result(f"{head}\n{shown.as_text()}", lambda: {**shown.as_json(), **document})


@trust_app.command("show", epilog="Example: install trust show")
def trust_show(root: Root = Path("/"), json: Json = False) -> None:
    """Show who may do what, until when."""
    from installer.core.rootview import view
    from installer.hosttrust import load_trust

    console.json_output = json
    shown = view(*load_trust(host(root)), clock())
    console.result(shown.as_text(), shown.as_json)


def recover(root: Root = Path("/"), product: Product = None, json: Json = False) -> None:
    """Finish or undo what was cut short; every command that changes something does this first."""
    from installer.cli_options import product_of
    from installer.recover import exclusive
    from installer.status import products

    console.json_output = json
    system = host(root)
    wanted = [product_of(system, product)] if product else products(context(system, ""))
    done = []
    for name in wanted:
        with exclusive(context(system, name, console.progress())) as (_, recovered):
            done += [(name, each) for each in recovered]
    text = "\n".join(f"{name}: {each.text()}" for name, each in done) or "nothing was left unfinished"
    console.result(text, lambda: {"recovered": [{"product": name} | each.as_json() for name, each in done]})


def setup(
    recover_at_boot: Annotated[
        bool,
        typer.Option(
            "--recover-at-boot", help="Have systemd finish or undo at boot what was cut short: one unit."
        ),
    ] = False,
    root: Root = Path("/"),
    json: Json = False,
) -> None:
    """Copy this executable to /opt/waybill/bin/install and link it as waybill-install on the PATH."""
    from installer.setup import setup as put

    console.json_output = json
    try:
        put_there = put(host(root), recover_at_boot=recover_at_boot)
    except OSError as error:
        raise HostNotReadyError(
            f"cannot be written: {error.strerror}", where=error.filename or "/opt/waybill", hint="run as root"
        ) from error
    console.result(put_there.text(), put_there.as_json)


def selftest() -> None:
    """Import every module of this executable."""
    from installer.frozen import modules
    from installer.frozen import selftest as check

    failed = check()
    text = f"{len(modules()) - len(failed)} of {len(modules())} modules import"
    if failed:
        raise WaybillError(text, where="; ".join(f"{name}: {why}" for name, why in failed.items()))
    console.result(text, lambda: {"modules": len(modules())})
