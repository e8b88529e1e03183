"""What a product has on the host, written down before a removal so that it can be looked for afterwards.

The inventory is an operation of the transaction. So it is in the journal, and whoever ends the removal, after
any crash, looks for the same things. `installer.audit.removal_check` does the looking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from installer.core.errors import NotUndoneError, TamperedError
from installer.deploy.inventory import RECORD, InventoryItem, contents
from installer.deploy.method_registry import method, methods
from installer.deploy.operation import Json, Op
from installer.host.context import Context
from installer.host.resolved import Resolver
from installer.planning.changes import Changes
from installer.planning.method_selection import targets
from installer.planning.owners import OtherProducts, other_products
from installer.state.release import Installed, Release
from installer.state.retained import read_manifest
from installer.state.state import Entry, State
from installer.transaction import journal as journals


def inventory(
    context: Context, state: State, old: Release | None, changes: Changes
) -> tuple[InventoryItem, ...]:
    """Return everything that a product has on the host.

    Args:
        context: The product.
        state: Its state.
        old: The release that runs.
        changes: What becomes of its files.
    """
    stays = {each.path: "edited on this host, kept" for each in changes.drifted if each.treatment == "keep"}
    stays |= changes.stays
    items = [_installed(item, stays.get(item.path, "")) for item in (old.installed if old else ())]
    items += [
        InventoryItem("copy", change.kept, why=f"{change.path} as edited on this host")
        for change in changes.changes
        if change.kept
    ]
    items += _of_methods(context, state.current, running=True) if state.current else ()
    for entry in state.retained:
        items.append(InventoryItem("release", context.layout.release(entry.name), entry.version))
        items += _of_methods(context, entry, running=False)
    # Two retained releases have most images in common; each is looked for once.
    return tuple(dict.fromkeys(items))


def _installed(item: Installed, why: str) -> InventoryItem:
    kind = "directory" if item.kind == "dir" else item.kind
    return InventoryItem(kind, item.path, item.sha256 or item.target, why=why)


def _of_methods(context: Context, entry: Entry, *, running: bool) -> Iterator[InventoryItem]:
    directory = context.layout.release(entry.name)
    # A damaged retained release does not stop a removal; what it has in the engine stays unknown.
    with suppress(OSError, TamperedError):
        release = Release(*read_manifest(context.system, directory), directory, directory)
        for key, target in targets(release, frozenset(entry.methods)).items():
            used = method(key.method) if key.method in entry.methods else None
            yield from used.inventory(context, target, running=running) if used else ()


def record_operation(items: Sequence[InventoryItem], removed: Entry | None = None) -> Op:
    """Return the operation that does nothing but keep the inventory in the journal.

    Args:
        items: The inventory.
        removed: The release that an earlier transaction removed; None where this one does.
    """
    earlier = {"removed": removed.as_json()} if removed else {}
    return Op(RECORD, {"things": [item.as_json() for item in items], **earlier}, "stage")


def removal_notes(context: Context, state: State, items: Sequence[InventoryItem]) -> Iterator[str]:
    """Yield what goes besides the running release, and what stays in any case."""
    running = state.current.name if state.current else ""
    others = [entry.version for entry in state.retained if entry.name != running]
    if others:
        many = "releases" if len(others) > 1 else "release"
        versions = f"{', '.join(others[:-1])} and {others[-1]}" if len(others) > 1 else others[0]
        yield f"retained {many} {versions} will be deleted; no rollback will be possible"
    images = [item for item in items if item.kind == "image"]
    if images:
        names = ", ".join(dict.fromkeys(item.name for item in images))
        yield f"images will be removed unless something else uses them: {names}"
    ours = {item.name for item in items if not item.why}
    kept = {item.name for item in items if item.why and item.kind in ("file", "link", "copy")}
    directories = {item.name: item.why for item in items if item.kind == "directory"}
    for directory, why in sorted(directories.items()):
        if why:
            yield f"{directory} is not removed: it {why}"
            continue
        with suppress(OSError):
            names_there = context.system.names(directory)
            foreign = [name for name in names_there if f"{directory}/{name}" not in ours]
            if foreign:
                yield f"{directory} is not removed: it {contents(directory, foreign, kept)}"
    yield (
        f"{context.layout.base} is not removed: it contains the history and the highest sequence "
        "number, which prevent a later downgrade"
    )


def recorded_inventory(context: Context, number: str) -> tuple[InventoryItem, ...] | None:
    """Return the inventory of a removal that has committed and ended; None where `number` is not one.

    Args:
        context: The host.
        number: The transaction's.
    """
    _, recorded = _recorded(context, number)
    return tuple(InventoryItem(**row) for row in recorded["things"]) if recorded else None


def removed_release(context: Context, number: str) -> Entry | None:
    """Return the release that a removal has removed; None where that is not known."""
    begin, recorded = _recorded(context, number)
    if "removed" in recorded:
        return Entry.from_json(recorded["removed"])
    rows = begin["state"]["releases"] if begin else []
    return next((Entry.from_json(row) for row in rows if row["name"] == begin["old"]), None)


def _recorded(context: Context, number: str) -> tuple[Json, Json]:
    """Return the record BEGIN of a removal, and what the operation with its inventory keeps, or nothing."""
    path = context.layout.journal(number).removesuffix(".log") + ".done"
    try:
        records = journals.read(context.system.read(path, journals.LIMIT), path).records
    except (OSError, NotUndoneError):
        return {}, {}
    # An undone removal has removed nothing that would have to be looked for.
    if any(record.type == "COMMIT" for record in records):
        for record in records:
            if record.type == "INTENT" and record.fields["op"]["kind"] == RECORD:
                return records[0].fields, record.fields["op"]["args"]
    return {}, {}


def last_removal(context: Context, state: State) -> tuple[str, tuple[InventoryItem, ...]] | None:
    """Return the number and inventory of a removal after which nothing was installed; None for none."""
    number = f"{state.transaction:06d}"
    items = recorded_inventory(context, number) if state.current is None and state.transaction else None
    return (number, items) if items is not None else None


def remove_again(context: Context, items: Sequence[InventoryItem]) -> bool:
    """Try again to remove what an earlier removal had to leave, unless another product has it by now.

    Returns:
        Whether something went.
    """
    resolver = Resolver(context.system)
    others = other_products(context, resolver)
    # Whose a directory is cannot be told while the record of a product is unknown.
    is_known = not others.unknown
    mine = [
        item
        for item in items
        if item.kind != "directory" or (is_known and not _is_theirs(others, resolver, item.name))
    ]
    went = False
    for used in methods():
        if own := [item for item in mine if item.kind in used.item_kinds]:
            went |= used.remove_residue(context, own)
    return went


def _is_theirs(others: OtherProducts, resolver: Resolver, path: str) -> bool:
    try:
        return resolver.place(path) in others.places
    except OSError:
        return True  # a path that cannot be resolved is left alone
