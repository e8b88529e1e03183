"""The commands of `install config`: values of this host, their origin, what is wrong, what changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from installer.cli.options import Product, Values, Verification, Where, console
from installer.core.errors import UsageError
from installer.shared.command.cli_options import with_option_groups
from installer.shared.command_tree.help import Group

if TYPE_CHECKING:
    from installer.commands.common.bundle_verifier import BundleInput

OptionalBundle = Annotated[
    str | None,
    typer.Argument(
        metavar="[BUNDLE]",
        help="The bundle file, or - for standard input; default: the installed release.",
        show_default=False,
    ),
]


def _source(verification: Verification, bundle: str | None) -> BundleInput:
    # A script with an empty variable must not be answered about another release.
    if bundle == "":
        raise UsageError("the name of the bundle is empty", hint="omit it to ask about the installed release")
    return verification.source(bundle or "")


config_app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show and check the values of this host: release, environment, cluster, host, --values, --set.",
)


@config_app.command("show", epilog="Example: install config show ports    (all values in the group `ports`)")
@with_option_groups
def show(
    *,
    key: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="Only this value, or this group of values.", show_default=False),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle",
            metavar="BUNDLE",
            help="Show the values for this bundle, not for the installed release.",
            show_default=False,
        ),
    ] = None,
    product: Product = None,
    verification: Verification,
    values: Values,
    where: Where,
) -> None:
    """Show the values that templates get on this host, each with the file and line that set it.

    Secrets are shown as ***.
    """
    from installer.commands.config.show import show

    session, source = where.session(), _source(verification, bundle)
    shown = show(session, key, source, product=product, given=values.layers())
    console.result(shown.text(), shown.as_json)
    shown.require_valid()


@config_app.command("validate", epilog="Example: install config validate lan-chat-1.5.0.tar")
@with_option_groups
def validate(
    *,
    bundle: OptionalBundle = None,
    product: Product = None,
    verification: Verification,
    values: Values,
    where: Where,
) -> None:
    """Check the values of this host: all problems of all files, and of the templates, at once.

    Exits with 15 if there is a problem.
    """
    from installer.commands.config.validate import validate

    session, source = where.session(), _source(verification, bundle)
    found = validate(session, source, product=product, given=values.layers())
    console.answer(found.as_json)
    found.require_valid()
    console.result(found.text(), found.as_json)


@config_app.command("diff", epilog="Example: install config diff lan-chat-1.5.0.tar")
@with_option_groups
def diff(
    *,
    bundle: Annotated[
        str | None,
        typer.Argument(
            metavar="[BUNDLE]", help="The bundle file, or - for standard input.", show_default=False
        ),
    ] = None,
    release: Annotated[
        str | None,
        typer.Option(
            "--release",
            metavar="VERSION",
            help="Compare with this retained release: what a rollback would change.",
            show_default=False,
        ),
    ] = None,
    product: Product = None,
    verification: Verification,
    values: Values,
    where: Where,
) -> None:
    """Show which values change from the installed release to a bundle, or to a retained release."""
    from installer.commands.config.diff import diff

    session, source = where.session(), _source(verification, bundle)
    found = diff(session, source, release, product=product, given=values.layers())
    console.result(found.text(), found.as_json)
