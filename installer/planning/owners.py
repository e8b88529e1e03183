"""What other products have on this host: destinations, units, image names and projects are one space for all.

Read from their state and records while planning, again for every plan. Nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from installer.core.errors import NotUndoneError, Problem, TamperedError, WaybillError
from installer.core.format.destinations import extended_unit, unit_of
from installer.deploy.inventory import InventoryItem
from installer.deploy.method_registry import method
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.resolved import Resolver
from installer.planning.method_selection import StepKey, targets
from installer.planning.views.visible_release import visible_release
from installer.state.public import visible_state
from installer.state.release import Installed, Release
from installer.state.retained import read_manifest
from installer.state.state import Entry
from installer.transaction import journal as journals


class Owner(NamedTuple):
    """Whose something is.

    Attributes:
        product: The other product.
        item: What its record says of the path.
    """

    product: str
    item: Installed


@dataclass(slots=True)
class OtherProducts:
    """What the other products of a host have there.

    Attributes:
        places: Everything of theirs, by the place that it leads to.
        units: Units whose files they installed, each with its product.
        names: What their methods have by name, such as images, each with its product.
        unknown: Products whose records cannot be read, each with the problem.
    """

    places: dict[str, Owner] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    names: dict[tuple[str, str], tuple[str, InventoryItem]] = field(default_factory=dict)
    unknown: list[Problem] = field(default_factory=list)

    def claim(self, product: str, items: Iterable[Installed], resolver: Resolver) -> None:
        """Add what the record of a product lists."""
        for item in items:
            # A path that cannot be resolved leads nowhere, so nobody else can have its place.
            with suppress(OSError):
                place = resolver.place(item.path)
                self.places.setdefault(place, Owner(product, item))
                if unit := unit_of(place):
                    self.units.setdefault(unit, product)

    def unit_owner(self, place: str) -> tuple[str, str] | None:
        """Return a unit that a file at `place` is, or changes, and the other product that has it."""
        unit = unit_of(place) or extended_unit(place)
        return (unit, self.units[unit]) if unit in self.units else None


def other_products(context: Context, resolver: Resolver) -> OtherProducts:
    """Return what the other products of a host have there.

    Args:
        context: The product that is planned for.
        resolver: Resolves their paths.
    """
    found = OtherProducts()
    for other in other_layouts(context):
        name = other.product
        try:
            _collect(replace(context, layout=other), found, resolver)
        except OSError as error:
            # An ordinary user may plan; what he may not read he is told of, and it is no problem of the host.
            found.unknown.append(Problem(other.base, f"cannot be read: {error.strerror}", "run as root"))
        except WaybillError as error:
            hint = error.hint or f"run `install recover --product {name}`"
            found.unknown.append(Problem(error.where or other.base, error.what, hint))
    return found


def other_layouts(context: Context) -> Iterator[Layout]:
    """Yield the paths of each other product of a host."""
    system, layout = context.system, context.layout
    for name in system.names(layout.state):
        other = Layout(name, layout.state)
        # Files of Waybill's own have a dot in their names; a product never has.
        if name != layout.product and "." not in name and system.is_dir(other.base):
            yield other


def _collect(context: Context, found: OtherProducts, resolver: Resolver) -> None:
    product, system, layout = context.layout.product, context.system, context.layout
    state = visible_state(system, layout)
    if state.current is not None:
        found.claim(product, visible_release(context, state.current).release.installed, resolver)
        for item in _by_name(context, state.current):
            found.names.setdefault((item.kind, item.name), (product, item))
    # What an unfinished transaction has placed is not in a record yet. Only root sees journals, and only root
    # applies a plan.
    with suppress(PermissionError):
        found.claim(product, _unfinished(context), resolver)


def _unfinished(context: Context) -> Iterator[Installed]:
    system, layout = context.system, context.layout
    for name in system.names(layout.transactions):
        if not name.endswith(".log"):
            continue
        path = layout.journal(name.removesuffix(".log"))
        # A journal that is damaged stops the commands of its product; they say so.
        with suppress(NotUndoneError, KeyError, TypeError):
            for record in journals.read(system.read(path, journals.LIMIT), path).records:
                entries = record.fields["op"]["args"].get("entries", ()) if record.type == "INTENT" else ()
                yield from (Installed(e["path"], e["kind"]) for e in entries if e["kind"] != "absent")


def _by_name(context: Context, entry: Entry) -> Iterator[InventoryItem]:
    """Yield what the methods of an installed release have on the host by name."""
    directory = context.layout.release(entry.name)
    with suppress(OSError, TamperedError):
        release = Release(*read_manifest(context.system, directory), directory, directory)
        yield from names_of(context, release, frozenset(entry.methods))


def names_of(context: Context, release: Release, used: frozenset[str]) -> Iterator[InventoryItem]:
    """Yield what a release has on the host by name, such as images and projects.

    Args:
        context: Its product.
        release: The release.
        used: The methods that deploy it.
    """
    key: StepKey
    for key, target in targets(release, used).items():
        found = method(key.method) if key.method in used else None
        if found is not None:
            for running in (True, False):
                yield from (
                    item for item in found.inventory(context, target, running=running) if not item.why
                )


def name_problems(others: OtherProducts, items: Sequence[InventoryItem]) -> Iterator[Problem]:
    """Yield what a release wants by name and another product has.

    The same image under the same name may belong to several products: none of them changes it for the others.
    """
    for item in dict.fromkeys(items):
        product, theirs = others.names.get((item.kind, item.name), ("", item))
        if product and not (item.mark and (item.mark, item.other) == (theirs.mark, theirs.other)):
            what = f"belongs to {product}, which is installed on this host"
            yield Problem(f"{item.kind} {item.name}", what, ask_for_another_name(product))


def ask_for_another_name(product: str) -> str:
    """Return the remedy for what another product has."""
    return (
        f"ask the team that built the bundle to use another name in bundle.yaml; or remove {product} "
        f"first: `install remove {product}`"
    )
