"""What all commands of `install` share: the console, the host, and the options that several of them take."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from installer.console import Console
from installer.core.errors import UsageError
from installer.core.trust import Trust
from installer.hosttrust import known_time, load_trust
from installer.layout import Layout
from installer.operations import Context
from installer.progress import Progress
from installer.system import System

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; for scripts.")]
Root = Annotated[
    Path, typer.Option("--root", metavar="DIR", help="Everything lies below DIR; nothing outside is touched.")
]
BundleName = Annotated[
    str,
    typer.Argument(metavar="BUNDLE", help="The bundle's file, or - for standard input.", show_default=False),
]
Product = Annotated[
    str | None, typer.Option("--product", help="Which product, where there are several.", show_default=False)
]
Names = Annotated[
    list[str] | None,
    typer.Option(metavar="METHOD", help="May be repeated, or comma-separated.", show_default=False),
]
OnDrift = Annotated[
    list[str] | None,
    typer.Option(
        "--on-drift",
        metavar="POLICY[:PATH]",
        help="Files that were edited here: refuse, keep (configuration; the release's own is laid beside), "
        "or replace (a copy is kept). May be repeated.",
        show_default=False,
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="METHOD", help="Drive only these; may be repeated.", show_default=False),
]
Skip = Annotated[
    list[str] | None,
    typer.Option("--skip", metavar="METHOD", help="Do not drive these; may be repeated.", show_default=False),
]
Values = Annotated[
    list[Path] | None,
    typer.Option(
        "--values", metavar="FILE", help="Values on top of the site's; may be repeated.", show_default=False
    ),
]
Env = Annotated[
    str, typer.Option("--env", help="Where /etc/waybill/environment does not say it.", show_default=False)
]
Approvals = Annotated[
    list[Path] | None,
    typer.Option(
        "--approvals",
        metavar="DIR",
        help="Besides those in the bundle and in BUNDLE.approvals.",
        show_default=False,
    ),
]
WorkDir = Annotated[
    Path | None,
    typer.Option(
        "--work-dir",
        metavar="DIR",
        help="Where images wait for the engine, if the main disk is small.",
        show_default=False,
    ),
]

console = Console("install")


def clock() -> datetime:
    """Tells the time, UTC."""
    return datetime.now(UTC)


def host(root: Path) -> System:
    """Gives the host, or the directory that stands for one.

    Raises:
        UsageError: The directory is not there.
    """
    if not root.is_dir():
        raise UsageError(
            "is not a directory", where=str(root), hint="make it first: --root uses what is there"
        )
    return System(root)


def trust_of(system: System) -> Trust:
    """Gives the host's trust.

    Raises:
        UntrustedError: None is set up.
        TamperedError: Its file is damaged.
    """
    root, _ = load_trust(system)
    return Trust(root, clock, known_time(system))


def context(system: System, product: str, progress: Progress | None = None) -> Context:
    """Gives what the verbs work with."""
    return Context(system, Layout(product), progress or Progress())


def product_of(system: System, given: str | None) -> str:
    """Decides which product is meant: the given one, or the only one that is installed.

    Raises:
        UsageError: None or several are installed.
    """
    from installer.status import products

    found = products(context(system, ""))
    if given is not None:
        if given not in found:
            raise UsageError(
                f"{given} was never installed here", hint=f"there are: {', '.join(found) or 'none'}"
            )
        return given
    if len(found) != 1:
        what = (
            "nothing was installed here yet"
            if not found
            else f"several products are here: {', '.join(found)}"
        )
        raise UsageError(what, hint="name one with --product" if found else "install a bundle first")
    return found[0]


def names(given: list[str] | None) -> frozenset[str]:
    """Splits repeated and comma-separated words."""
    return frozenset(word.strip() for each in given or () for word in each.split(",") if word.strip())
