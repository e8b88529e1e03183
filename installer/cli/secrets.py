"""The commands of `install` about secrets that values refer to."""

from __future__ import annotations

from typing import Annotated

import typer

from installer.cli.options import Values, Verification, Where, console
from installer.shared.command.cli_options import with_option_groups
from installer.shared.command_tree.help import Group

secrets_app = typer.Typer(
    cls=Group, rich_markup_mode=None, no_args_is_help=True, help="Look at the secrets that values refer to."
)


@secrets_app.command("check", epilog="Example: install secrets check lan-chat-1.4.0.tar")
@with_option_groups
def secrets_check(
    *,
    bundle: Annotated[
        str | None,
        typer.Argument(
            metavar="[BUNDLE]",
            help="A bundle, whose default values count, too. It is verified first.",
            show_default=False,
        ),
    ] = None,
    product: Annotated[
        str | None,
        typer.Option(
            "--product",
            metavar="PRODUCT",
            help="Only this product. By default all that have values in /etc/waybill.",
            show_default=False,
        ),
    ] = None,
    verification: Verification,
    values: Values,
    where: Where,
) -> None:
    """Look which secrets of the values of this host cannot be resolved, and why. Never shows their values."""
    from installer.commands.secrets import secrets_check

    session = where.session()
    chosen = verification.source(bundle or "")
    source = chosen if bundle is not None else None
    found = secrets_check(session, source, product, values.layers(), chosen.environment)
    for note in found.notes:
        console.warn(note)
    console.result(found.text(), found.as_json)
    found.require_resolved()
