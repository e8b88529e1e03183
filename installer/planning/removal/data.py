"""The data of a product: what a removal leaves, and what it deletes if the operator asks for that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from installer.core.errors import HostNotReadyError, WaybillError
from installer.deploy.inventory import KEPT, InventoryItem
from installer.deploy.method import DATA, Method, Target
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


def data_left(context: Context, items: Sequence[InventoryItem]) -> dict[InventoryItem, InventoryItem]:
    """Return the data of an inventory that are still there, each with a copy whose `why` is that of today."""
    found = dict[InventoryItem, InventoryItem]()
    for used in methods():
        if own := [item for item in items if item.kind in used.data_kinds]:
            there = {(row.kind, row.name) for row in used.residue(context, own) if row.how != "gone"}
            for item in own:
                if (item.kind, item.name) in there:
                    found[item] = replace(item, why=_why_today(context, used, item, purge=True))
    return found


def asked_again(
    context: Context, items: Sequence[InventoryItem], *, purge: bool = False
) -> list[InventoryItem]:
    """Return an inventory in which data that stay have the reason of today.

    Args:
        context: The host.
        items: As a removal recorded them.
        purge: Whether they were to be deleted now: then other products are a reason, too.
    """
    kinds = {kind: used for used in methods() for kind in used.data_kinds}
    return [
        replace(item, why=_why_today(context, kinds[item.kind], item, purge=purge) or KEPT)
        if item.why and item.kind in kinds
        else item
        for item in items
    ]


def _why_today(context: Context, used: Method, item: InventoryItem, *, purge: bool) -> str:
    """Return why data are not deleted now. A reason that a removal recorded may have passed since."""
    try:
        if why := used.why_kept(context, item):
            return why
    except StepError:
        # What was recorded still counts. Without a recorded reason, other products are asked all the same:
        # their records say what they use, whether the engine answers or not.
        if item.why not in ("", KEPT):
            return item.why
    # Asking takes the time of each product's Compose: a removal that leaves the data has no need of it.
    return used_by_others(context, item) if purge or item.why != KEPT else ""
