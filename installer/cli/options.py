"""What all commands of `install` share: the console, the host, and the options that several of them take."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from installer.core.errors import UsageError
from installer.core.trust.verifier import Trust
from installer.host.context import Context
from installer.host.layout import STATE, Layout
from installer.host.system import System
from installer.shared.console import Console
from installer.shared.progress import Progress
from installer.state.trust_store import known_time, load_trust

if TYPE_CHECKING:
    from installer.audit.recorder import AuditedCommand
    from installer.planning.plan import Options
    from installer.shared.values import Layer

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
WorkDir = Annotated[
    Path | None,
    typer.Option(
        "--work-dir",
        metavar="DIR",
        help="Where images wait for the engine, if the main disk is small.",
        show_default=False,
    ),
]
Methods = list[str] | None

console = Console("install")


@dataclass(frozen=True, slots=True)
class Where:
    """What every command takes: the host, and how the result is printed."""

    root: Root = Path("/")
    json: Json = False


@dataclass(frozen=True, slots=True)
class Judging:
    """What every command takes that decides on a bundle."""

    env: Annotated[
        str, typer.Option("--env", help="Where /etc/waybill/environment does not say it.", show_default=False)
    ] = ""
    approvals: Annotated[
        list[Path] | None,
        typer.Option(
            "--approvals",
            metavar="DIR",
            help="Besides those in the bundle and in BUNDLE.approvals.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What every command takes that plans how a release becomes the running one."""

    only: Annotated[
        Methods,
        typer.Option(
            "--only", metavar="METHOD", help="Drive only these; may be repeated.", show_default=False
        ),
    ] = None
    skip: Annotated[
        Methods,
        typer.Option(
            "--skip", metavar="METHOD", help="Do not drive these; may be repeated.", show_default=False
        ),
    ] = None
    on_drift: OnDrift = None


def shaped(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the fields of the dataclasses among its parameters as options of its own.

    So what several commands take alike is written once, and reaches them as one value.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    shapes: dict[str, Any] = {each.name: each.annotation for each in own if is_dataclass(each.annotation)}
    parameters = []
    for each in own:
        shape = shapes.get(each.name)
        if shape is None:
            parameters.append(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        hints = get_type_hints(shape, include_extras=True)
        for field in fields(shape):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            parameters.append(
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hints[field.name]
                )
            )

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        for name, shape in shapes.items():
            given[name] = shape(**{field.name: given.pop(field.name) for field in fields(shape)})
        command(**given)

    vars(wrapper)["__signature__"] = inspect.Signature(parameters)
    wrapper.__annotations__ = {}
    return wrapper


@contextmanager
def attempting(system: System, verb: str, product: str = "", medium: str = "") -> Iterator[AuditedCommand]:
    """Goes around what a command does to the host: it has refusals written down, and then the metrics.

    Args:
        system: The host.
        verb: What was typed.
        product: Of which product, where that is known beforehand.
        medium: What the operator called the bundle or file.
    """
    from installer.audit.recorder import AuditedCommand, audited
    from installer.commands.metrics import publish

    doing = AuditedCommand(verb, product, medium)
    try:
        with audited(system, doing, loud):
            yield doing
    finally:
        publish(system, str(doing.known().get("product", "")), loud)


@contextmanager
def looking() -> Iterator[None]:
    """Goes around what only looks at the host: what cannot be looked at is the host's fault, not ours.

    Raises:
        HostNotReadyError: Something cannot be looked at.
    """
    from installer.state.state import cannot_access_error

    try:
        yield
    except OSError as error:
        raise cannot_access_error(error, STATE) from error


def loud(text: str) -> None:
    """Says what must not be overlooked."""
    console.log(text, "error")


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
    from installer.commands.status import products

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


def options_of(
    choice: Choice,
    values: tuple[Layer, ...] = (),
    env: str = "",
    keep: int | None = None,
    data_fits: bool = False,
) -> Options:
    """Gives what the operator chose, as a plan takes it.

    Raises:
        UsageError: A word makes no sense.
    """
    from installer.planning.drift import Policy
    from installer.planning.plan import Options

    drift = Policy.parse(choice.on_drift or ())
    return Options(names(choice.only), names(choice.skip), drift, values, env, keep or 0, data_fits)


def layers_of(values: Sequence[Path] | None) -> tuple[Layer, ...]:
    """Reads the values files of the command line.

    Raises:
        UsageError: One cannot be read.
    """
    from installer.shared.strict_yaml import MAX_BYTES
    from installer.shared.values import Layer

    layers = []
    for path in values or ():
        try:
            with path.open("rb") as file:
                layers.append(Layer(str(path), file.read(MAX_BYTES + 1)))
        except OSError as error:
            raise UsageError(f"the values cannot be read: {error.strerror}", where=str(path)) from None
    return tuple(layers)
