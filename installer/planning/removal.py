"""VERB remove: writes down beforehand what there is of a product, so that afterwards one can look for it.

The account is an operation of the transaction that does nothing: so it is in the journal, and whoever ends
the removal, after whatever crash, looks for the very same things. `proof` does the looking.
"""
# The protocol tells every handler the same.
# ruff: noqa: ARG002

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from installer.core.errors import NotUndoneError, TamperedError
from installer.core.format.manifest import Image, Manifest
from installer.core.oci.documents import platform_matches
from installer.deploy.inventory import InventoryItem
from installer.deploy.method import uses_engine
from installer.deploy.operation import Handler, Json, Op, StepError
from installer.host.context import Context
from installer.images.operations import engine_of, private_name, private_prefix
from installer.images.prune import let_go
from installer.planning.file_changes import Changes
from installer.state.release import Installed, Release
from installer.state.retained import read_manifest
from installer.state.state import Entry, State
from installer.transaction import journal as journals

if TYPE_CHECKING:
    from installer.planning.plan import Plan

KIND = "removal.account"


class Account:
    """`removal.account`: does nothing, and is in the journal."""

    def observe(self, context: Context, args: Json) -> Json:
        """Nothing is needed to undo nothing."""
        return {}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Does nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Has nothing to undo."""


HANDLERS: dict[str, Handler] = {KIND: Account()}


def accounted(context: Context, old: Release | None, plan: Plan) -> Plan:
    """Gives the plan of a removal with its account, and with what people are to know of it beforehand.

    Args:
        context: The host.
        old: The release that runs.
        plan: What will be done.
    """
    things = account(context, plan.state, old.installed if old else (), plan.changes, plan.operations)
    rows = [{name: value for name, value in asdict(each).items() if value} for each in things]
    written = Op(KIND, {"things": rows}, "stage")
    said = (*plan.notes, *_notes(context, plan.state, things))
    return replace(plan, operations=(written, *plan.operations), notes=said)


def account(
    context: Context, state: State, installed: Sequence[Installed], changes: Changes, ops: Sequence[Op]
) -> tuple[InventoryItem, ...]:
    """Lists everything that is there of a product.

    Args:
        context: The host.
        state: What stands.
        installed: What the running release has on the host, by its record.
        changes: What becomes of that.
        ops: What the methods do to take the release down.
    """
    stays = {each.path: "edited here, and kept" for each in changes.drifted if each.treatment == "keep"}
    found = [_placed(item, stays.get(item.path, "")) for item in installed]
    found += [
        InventoryItem("copy", change.kept, why=f"{change.path} as it was edited here")
        for change in changes.changes
        if change.kept
    ]
    for op in ops:
        found += _by_methods(op)
    for entry in state.retained:
        found.append(InventoryItem("release", context.layout.release(entry.name), entry.version))
        found += _images(context, entry)
    return tuple(dict.fromkeys(found))


def _placed(item: Installed, why: str) -> InventoryItem:
    kind = "directory" if item.kind == "dir" else item.kind
    return InventoryItem(kind, item.path, item.sha256 or item.target, why=why)


def _by_methods(op: Op) -> Iterator[InventoryItem]:
    if op.kind == "systemd.before":
        yield from (InventoryItem("unit", unit) for unit in op.args["units"])
    elif op.kind == "compose.before":
        yield InventoryItem("project", op.args["project"])
    elif op.kind == "script.remove":
        yield InventoryItem("script", op.args["old"]["undo"], why="it has run; what it did is its own affair")


def _images(context: Context, entry: Entry) -> Iterator[InventoryItem]:
    """Gives the images that a release has in the engine."""
    if "images" not in entry.methods or not uses_engine(entry.methods, live=context.live):
        return
    with suppress(OSError, TamperedError):
        manifest: Manifest = read_manifest(context.system, context.layout.release(entry.name))[0]
        for image in manifest.images:
            if platform_matches(context.system.platform(), image.platform):
                yield InventoryItem("image", image.reference, image.config, image.manifest)


def _notes(context: Context, state: State, things: Sequence[InventoryItem]) -> Iterator[str]:
    """Says what goes besides the running release, and what stays whatever happens."""
    running = state.current.name if state.current else ""
    others = [entry.version for entry in state.retained if entry.name != running]
    if others:
        yield f"no way back stays: {', '.join(others)}, kept until now, goes too"
    images = [each for each in things if each.kind == "image"]
    if images:
        named = ", ".join(dict.fromkeys(each.name for each in images))
        yield f"images go by id where nobody else uses them: {named}"
    directories = {each.name for each in things if each.kind == "directory"}
    ours = {each.name for each in things if not each.why}
    for directory in sorted(directories):
        with suppress(OSError):
            names = context.system.names(directory)
            strange = [name for name in names if f"{directory}/{name}" not in ours]
            if strange:
                yield f"{directory} stays: {strange[0]} in it is not ours"
    yield f"{context.layout.base} stays with the history, and with the highest sequence: no downgrade later"


def accounts(context: Context, number: str) -> tuple[InventoryItem, ...] | None:
    """Gives the account of a removal that stands and is cleared; None where there is none.

    Args:
        context: The host.
        number: The transaction's.
    """
    path = context.layout.journal(number).removesuffix(".log") + ".done"
    try:
        records = journals.read(context.system.read(path, journals.LIMIT), path).records
    except (OSError, NotUndoneError):
        return None
    if not any(record.type == "COMMIT" for record in records):
        return None
    for record in records:
        if record.type == "INTENT" and record.fields["op"]["kind"] == KIND:
            return tuple(InventoryItem(**row) for row in record.fields["op"]["args"]["things"])
    return None


def last(context: Context, state: State) -> tuple[str, tuple[InventoryItem, ...]] | None:
    """Gives the removal that was the last thing done to a product, where nothing runs; None for another."""
    number = f"{state.transaction:06d}"
    found = accounts(context, number) if state.current is None and state.transaction else None
    return (number, found) if found is not None else None


def let_go_again(context: Context, things: Sequence[InventoryItem]) -> None:
    """Gives up images that were left: a container may have ended since, or the engine been started."""
    images = [Image(each.name, "", each.mark, each.other, ()) for each in things if each.kind == "image"]
    if not images:
        return
    try:
        with engine_of(context) as engine:
            ours = set(engine.names(private_prefix(context)))
            # What has no name of ours any more has been given up: its public name is somebody else's.
            let_go(context, engine, [each for each in images if private_name(context, each, "kept") in ours])
    except StepError as error:
        context.progress.note(f"images are left in the engine: {error.what}")
