"""The data of a product: what a removal leaves, and what it deletes if the operator asks for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from installer.core.errors import HostNotReadyError, WaybillError
from installer.deploy.inventory import KEPT, InventoryItem
from installer.deploy.method import DATA, Target
from installer.deploy.method_registry import method, methods
from installer.deploy.operation import StepError, ThirdStateError
from installer.host.context import Context
from installer.planning.method_selection import MethodStep, targets
from installer.planning.owners import other_layouts
from installer.state.public import visible_state
from installer.state.release import Release
from installer.state.retained import read_manifest
from installer.state.state import Entry


def product_data(context: Context, steps: Sequence[MethodStep], *, purge: bool) -> list[InventoryItem]:
    """Return the data of a release that goes; of those that stay, `why` says why.

    Args:
        context: The product.
        steps: Of the removal.
        purge: Whether data are to be deleted. What may belong to somebody else stays all the same.

    Raises:
        HostNotReadyError: Data are to be deleted, and cannot be looked at.
    """
    found = list[InventoryItem]()
    for step in steps:
        used = method(step.name)
        try:
            found += used.data(context, step.old) if used and step.old else ()
        except (StepError, ThirdStateError) as error:
            # A removal that leaves data does not depend on them.
            if purge:
                raise HostNotReadyError(error.what, where=error.where, hint=error.hint) from error
    # What has no mark belongs to somebody else, and the release only uses it.
    return [_decided(context, item, purge=purge) for item in found if item.mark]


def _decided(context: Context, item: InventoryItem, *, purge: bool) -> InventoryItem:
    if item.why:
        return item
    return replace(item, why=used_by_others(context, item) if purge else KEPT)


def used_by_others(context: Context, item: InventoryItem) -> str:
    """Return why data of a product stay since another product needs them; empty for no reason."""
    for layout in other_layouts(context):
        other = replace(context, layout=layout)
        try:
            current = visible_state(context.system, layout).current
            theirs = [*_of_release(other, current)] if current else []
        except (OSError, WaybillError):
            return f"may be used by {layout.product}, whose release cannot be read"
        if any((each.kind, each.name) == (item.kind, item.name) for each in theirs):
            return f"is used by {layout.product}, too"
    return ""


def _of_release(context: Context, entry: Entry) -> Iterator[InventoryItem]:
    directory = context.layout.release(entry.name)
    release = Release(*read_manifest(context.system, directory), directory, directory)
    for key, target in targets(release, frozenset(entry.methods)).items():
        used = method(key.method) if key.method in entry.methods else None
        yield from used.data(context, target) if used else ()


def purging(steps: Sequence[MethodStep], items: Sequence[InventoryItem]) -> list[MethodStep]:
    """Return the steps of a removal; those that have data know what becomes of them."""
    decided = {item.name: item.why for item in items}
    return [replace(step, old=_told(step.old, decided)) if decided and step.old else step for step in steps]


def _told(target: Target, decided: Mapping[str, str]) -> Target:
    return replace(target, options={**target.options, DATA: decided})


def left_by_choice(context: Context, items: Sequence[InventoryItem]) -> list[InventoryItem]:
    """Return the data of an inventory that are still there, and that a removal could have deleted."""
    found = list[InventoryItem]()
    for used in methods():
        if own := [item for item in items if item.kind in used.data_kinds and item.why in ("", KEPT)]:
            there = {(row.kind, row.name) for row in used.residue(context, own) if row.how != "gone"}
            found += (item for item in own if (item.kind, item.name) in there)
    return found
