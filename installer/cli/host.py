"""The commands of `install` that care for the host itself: trust, recovery, setting up the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from installer.cli.options import (
    Product,
    Where,
    attempting,
    clock,
    console,
    context,
    host,
    loud,
    product_of,
    shaped,
)
from installer.core.errors import HostNotReadyError, IncompleteError, Problem, WaybillError

trust_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Whom this host believes: set up, and show."
)


@trust_app.command("init", epilog="Example: install trust init root.json")
@shaped
def trust_init(
    path: Annotated[Path, typer.Argument(metavar="ROOT", help="The root.json.", show_default=False)],
    *,
    fingerprint: Annotated[
        str, typer.Option(help="From the trust sheet; asked for where it is not given.", show_default=False)
    ] = "",
    where: Where,
) -> None:
    """Set up trust on a host that has none, after comparing the fingerprint."""
    from installer.audit.recorder import happened, require
    from installer.core.trust.root_view import view
    from installer.state.trust_store import init_trust, load_trust

    console.json_output = where.json
    system = host(where.root)

    def ask(question: str) -> str:
        return console.ask(question, "--fingerprint")

    with attempting(system, "trust init", medium=str(path)):
        require(system)
        trusted, digits = init_trust(system, path, fingerprint, ask, clock)
        now = {"verb": "trust init", "version": str(trusted.version), "fingerprint": digits, "exit": 0}
        happened(system, "trust", now, loud)
    shown = view(*load_trust(system), clock())
    console.result(f"this host now trusts:\n{shown.as_text()}", shown.as_json)


@trust_app.command("update", epilog="Example: install trust update /media/usb/trust")
@shaped
def trust_update(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH|DIR", help="The next root.json, or a folder with several.", show_default=False
        ),
    ],
    where: Where,
) -> None:
    """Replace the root by its successor, signed by those whom both name."""
    from installer.audit.recorder import happened, require
    from installer.commands.trust_update import update_trust
    from installer.core.trust.root_view import view
    from installer.state.trust_store import load_trust

    console.json_output = where.json
    system = host(where.root)
    with attempting(system, "trust update", medium=str(path)):
        require(system)
        updated = update_trust(system, path, clock)
        after = {"version": str(updated.root.version), "fingerprint": updated.fingerprint}
        done = {"verb": "trust update", "before": str(updated.before), **after, "exit": 0}
        happened(system, "trust", done, loud)
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
@shaped
def trust_show(where: Where) -> None:
    """Show who may do what, until when."""
    from installer.core.trust.root_view import view
    from installer.state.trust_store import load_trust

    console.json_output = where.json
    shown = view(*load_trust(host(where.root)), clock())
    console.result(shown.as_text(), shown.as_json)


BY_HAND = """\
Example: install recover

\b
Where it stops with exit code 21 and a journal cannot be put back, by hand:
  1. Move TXN.log and TXN.backup away from /var/lib/waybill/PRODUCT/txn; the
     latter has every file as it was before.
  2. cd /var/lib/waybill/PRODUCT; `current` in state.json names the release that
     ran. Let the link name it too: ln -sfn releases/CURRENT current
  3. install rollback VERSION --on-drift replace, with its version: every file
     of it is placed again; what is replaced is kept in kept/. But where the new
     release has a step that cannot be undone, and it may have run: install the
     new one's BUNDLE --on-drift replace. The old one would not know the data.
  4. install status has to say that there is no drift.
"""


@shaped
def recover(*, product: Product = None, where: Where) -> None:
    """Finish or undo what was cut short; every command that changes something does this first."""
    from installer.commands.recover import exclusive
    from installer.commands.status import products

    console.json_output = where.json
    system = host(where.root)
    wanted = [product_of(system, product)] if product else products(context(system, ""))
    done = []
    for name in wanted:
        within = context(system, name, console.progress())
        with attempting(system, "recover", name), exclusive(within) as (_, recovered):
            done += [(name, each) for each in recovered]
    failed = [
        Problem(name, each.text(), "install status says more") for name, each in done if each.incomplete
    ]
    if failed:
        raise IncompleteError(
            "what was cut short had no way back, and could not be done whole", problems=failed
        )
    text = "\n".join(f"{name}: {each.text()}" for name, each in done) or "nothing was left unfinished"
    console.result(text, lambda: {"recovered": [{"product": name} | each.as_json() for name, each in done]})


@shaped
def setup(
    *,
    env: Annotated[
        str, typer.Option(help="Write this into /etc/waybill/environment too.", show_default=False)
    ] = "",
    recover_at_boot: Annotated[
        bool,
        typer.Option(
            "--recover-at-boot", help="Have systemd finish or undo at boot what was cut short: one unit."
        ),
    ] = False,
    where: Where,
) -> None:
    """Copy this executable to /opt/waybill/bin/install and link it as waybill-install on the PATH."""
    from installer.commands.setup import setup as put

    console.json_output = where.json
    try:
        put_there = put(host(where.root), env, recover_at_boot=recover_at_boot)
    except OSError as error:
        raise HostNotReadyError(
            f"cannot be written: {error.strerror}", where=error.filename or "/opt/waybill", hint="run as root"
        ) from error
    console.result(put_there.text(), put_there.as_json)


def selftest() -> None:
    """Import every module of this executable."""
    from installer.shared.frozen import modules
    from installer.shared.frozen import selftest as check

    failed = check()
    text = f"{len(modules()) - len(failed)} of {len(modules())} modules import"
    if failed:
        raise WaybillError(text, where="; ".join(f"{name}: {why}" for name, why in failed.items()))
    console.result(text, lambda: {"modules": len(modules())})
