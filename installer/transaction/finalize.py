"""What follows COMMIT or ROLLED-BACK: derived from the journal, and done again after an interruption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from installer.core import jsonio
from installer.core.errors import HostNotReadyError, TamperedError, WaybillError
from installer.core.format.manifest import Manifest
from installer.deploy.site.image_places import NOWHERE, ImagePlaces, image_places
from installer.deploy.site.images import fetch_from
from installer.host.atomic_file import remove_partial, remove_present
from installer.host.context import Context
from installer.host.directories import parent
from installer.host.layout import Layout
from installer.host.system import System
from installer.images import registry_prune
from installer.images.prune import forget, sweep
from installer.secrets.site_registry import has_site_registry
from installer.staging import area
from installer.state.public import public_view, publish
from installer.state.retained import read_manifest
from installer.state.state import Entry, State, cannot_read_error, load, save, snapshot_records
from installer.transaction import cleanup, leftovers
from installer.transaction.journal import Journal
from installer.transaction.leftovers import Leftovers

KEEP_JOURNALS = 10
REASON = 400
"""Characters of a failure in the state: more was not reserved for it."""
HISTORY_LIMIT = 256 * 1024 * 1024
_SECONDS = range(-62135596800, 253402300800)
"""Seconds since 1970 of the years 1 to 9999, which can be formatted."""
_KINDS = {
    "transaction": str, "verb": str, "outcome": str, "began": int, "ended": int, "version": str,
    "identity": str, "evidence": dict,
}  # fmt: skip


def committed_state(context: Context, journal: Journal) -> State:
    """Return the state after a committed journal, whether or not it is written already."""
    state = load(context.system, context.layout)
    number = int(context.transaction)
    # Already saved before an interruption: deriving it again would count the release twice.
    if state.transaction >= number:
        return state
    return derive_state(state, number, journal.records[0].fields, journal.last("COMMIT"))


def derive_state(before: State, number: int, begin: Mapping[str, Any], commit: Mapping[str, Any]) -> State:
    """Return the state after a transaction, from the state before and two of its records."""
    ended = {"installed": commit["at"], "incomplete": commit.get("why", "")[:REASON]}
    new = Entry.from_json({**begin["new"], **ended}) if begin["new"] else None
    keep = begin.get("state", {}).get("keep", before.keep)  # the operator may have chosen another number
    return replace(before, keep=keep).after(number, new)


def after_commit(context: Context, journal: Journal) -> State:
    """Write state and history, remove backups, staging and old releases, and end the journal.

    Raises:
        OSError: It could not be done; the next command does it again.
    """
    system, layout = context.system, context.layout
    # Noted on the disk before the journal ends: what cannot be cleared must not keep it open.
    leftovers.write_note(context, left := leftovers.finish_operations(context, journal))
    before, state = load(system, layout), committed_state(context, journal)
    # Before the state is written: only the old state knows how the removed releases were installed.
    _sweep(context, before.retained, state)
    # From here on `status` shows the new release; everything after it can be done again.
    save(system, layout, state)
    _forget(context, before.retained, state)
    begin, commit = journal.records[0].fields, journal.last("COMMIT")
    _clear(context, state, left)
    left.report(context)
    _end(journal)
    # The line after END: the space that END frees is needed for it on a full disk.
    # Journals of older versions do not tell which health checks passed.
    more: dict[str, Any] = {name: commit[name] for name in ("why", "health") if name in commit}
    add_history(
        context, {**_line(context, begin, "incomplete" if "why" in more else "done", commit["at"]), **more}
    )
    _archive(context, journal)
    return state


def after_rollback(context: Context, journal: Journal) -> None:
    """Write the history, remove backups, staging and rendered files, and end the journal.

    Raises:
        OSError: It could not be done; the next command does it again.
    """
    begin, abort = journal.records[0].fields, journal.last("ABORT")
    line = _line(context, begin, "rolled back", journal.last("ROLLED-BACK")["at"])
    # On a full disk what is removed first makes space for the line; without space the line is left out.
    state = load(context.system, context.layout)
    _sweep(context, (Entry.from_json(begin["new"]),) if begin["new"] else (), state, undone=True)
    _clear(context, state, left := Leftovers())
    left.report(context)
    _end(journal)
    with suppress(OSError):
        # Journals of older versions have no cause.
        cause = {"cause": abort["cause"]} if abort.get("cause") else {}
        add_history(context, {**line, "why": abort["why"], **cause})
    _archive(context, journal)


def not_started(context: Context) -> None:
    """Remove what a transaction without BEGIN has created.

    Raises:
        OSError: It could not be removed.
    """
    context.system.remove_tree(context.layout.journal(context.transaction))
    clear(context)


def clear(context: Context) -> None:
    """Remove staging, and records and releases that are not retained; report what cannot be removed."""
    left, state = Leftovers(), load(context.system, context.layout)
    # No transaction depends on it, so even a failed sync stops nothing: the next command clears again.
    try:
        _clear(context, state, left)
    except OSError as error:
        with left.collect(context.layout.base):
            raise OSError(error.errno, error.strerror, error.filename) from error
    left.report(context)


def _clear(context: Context, state: State, left: Leftovers) -> None:
    system, layout = context.system, context.layout
    with left.collect(layout.state_file):
        remove_partial(system, layout.state_file)
    with left.collect(layout.staging):
        area.clear(system, layout, context.progress, context.resume, left.collect)
    with left.collect(layout.base):
        records = {entry.record for entry in state.retained}
        records |= snapshot_records(layout, state.retained, system.names(layout.rendered))
        cleanup.remove_releases(context, {entry.name for entry in state.retained}, left)
        cleanup.remove_records(context, records, left)
    with left.collect(layout.transactions):
        _clear_transactions(context, state, left)


def _clear_transactions(context: Context, state: State, left: Leftovers) -> None:
    """Remove the backups of transactions that ended, and the oldest journals."""
    system, layout = context.system, context.layout
    there = system.names(layout.transactions)
    ended = [name.removesuffix(".done") for name in there if name.endswith(".done") and name[:-5].isdecimal()]
    last = f"{state.transaction:06d}"
    for number in (number for number in ended if f"{number}{leftovers.NOTE}" in there):
        if number == last:
            with left.collect(layout.journal(number)):
                leftovers.try_again(replace(context, transaction=number))
        left += leftovers.noted(context, number)
    there = system.names(layout.transactions)
    noted = {name.removesuffix(leftovers.NOTE) for name in there if name.endswith(leftovers.NOTE)}
    for number in dict.fromkeys([*ended, context.transaction] if context.transaction else ended):
        # A power cut can keep the new name of a journal and bring back the directory of its backups. A
        # note says that they are still needed.
        if number not in noted and f"{number}.backup" in there:
            with left.collect(layout.backup(number)):
                system.remove_tree(layout.backup(number))
    # The newest journals stay: the state can be derived from them again.
    backups = {name.removesuffix(".backup") for name in system.names(layout.transactions)}
    for number in (number for number in ended[:-KEEP_JOURNALS] if number not in noted):
        # Backups without a journal look like those of a transaction whose journal was deleted.
        if number not in backups:
            with left.collect(layout.transactions):
                system.remove_tree(f"{layout.transactions}/{number}.done")


def _sweep(context: Context, before: Iterable[Entry], state: State, *, undone: bool = False) -> None:
    """Untag the images of removed releases in the engine; without such images it is not contacted."""
    wanted = {entry.name for entry in state.retained}
    gone = [entry for entry in before if entry.name not in wanted]
    if gone:
        sweep(context, _in_engine(context, gone), _in_engine(context, state.retained), undone=undone)
    # The engine may have images of the same releases: a site can get its registry later.
    if gone and has_site_registry(context.system):
        registry_prune.sweep(
            context, _in_registry(context, gone), _in_registry(context, state.retained), undone=undone
        )


def _forget(context: Context, before: Iterable[Entry], state: State) -> None:
    wanted = {entry.name for entry in state.retained}
    if _in_engine(context, [entry for entry in before if entry.name not in wanted]):
        forget(context, _in_engine(context, state.retained))


def _in_engine(context: Context, entries: Iterable[Entry]) -> list[Manifest]:
    return [manifest for manifest, places, _ in _with_images(context, entries) if places.engine]


def _in_registry(context: Context, entries: Iterable[Entry]) -> list[registry_prune.Pushed]:
    rows = _with_images(context, entries)
    return [(manifest, fetch_from(context, place)) for manifest, places, place in rows if places.registry]


def _with_images(context: Context, entries: Iterable[Entry]) -> Iterator[tuple[Manifest, ImagePlaces, str]]:
    """Yield the manifest of each release, where its images are, and its directory."""
    registry = has_site_registry(context.system)
    for entry in entries:
        places = image_places(entry.methods, live=context.live, registry=registry)
        if places != NOWHERE:
            directory = context.layout.release(entry.name)
            with suppress(OSError, TamperedError):
                yield read_manifest(context.system, directory)[0], places, directory


def _end(journal: Journal) -> None:
    """End the journal; the space that this frees is what a full disk has for the rest."""
    if not journal.has("END"):
        journal.append("END")


def publish_view(context: Context) -> None:
    """Write what every user may read; where that fails, nothing is left that says something else."""
    system, layout = context.system, context.layout
    try:
        publish(system, layout, load(system, layout), readable_rows(system, layout))
    except (OSError, WaybillError) as error:
        # It is derived, and the next command writes it again: a full disk must not keep a transaction open.
        with suppress(OSError):
            remove_present(system, layout.public)
        why = error.what if isinstance(error, WaybillError) else error.strerror
        context.progress.note(f"{layout.public} cannot be written: {why}; until it is, status needs root")


def _archive(context: Context, journal: Journal) -> None:
    system = context.system
    publish_view(context)
    # The last step: as long as the journal is open, the next command does all of this again.
    system.rename(journal.path, journal.path.removesuffix(".log") + ".done")
    system.sync_dir(parent(journal.path))


def _line(context: Context, begin: dict[str, Any], outcome: str, ended: int) -> dict[str, Any]:
    new = begin["new"] or {}
    return {
        "transaction": context.transaction,
        "verb": begin["verb"],
        "outcome": outcome,
        "began": begin["at"],
        "ended": ended,
        "from": begin["old"],
        "to": new.get("name", ""),
        "version": new.get("version", ""),
        "identity": new.get("identity", ""),
        "evidence": new.get("evidence", {}),
    }


def add_history(context: Context, line: dict[str, Any]) -> None:
    """Add a line to the history unless it is there; a truncated last line is overwritten."""
    system, path = context.system, context.layout.history
    create_history(context)
    rows, end = _rows(system.read(path, HISTORY_LIMIT), path)
    # A damaged line is reported by `history`; it must not keep a transaction from ending.
    if all(row is None or row["transaction"] != line["transaction"] for row in rows):
        system.write_at(path, end, jsonio.dumps(line), truncate=True)
    system.sync_dir(parent(path))


def create_history(context: Context) -> None:
    """Create an empty history if there is none, while there is space for it.

    Raises:
        OSError: It cannot be created.
    """
    if context.system.observe(context.layout.history, digest=False).kind == "absent":
        context.system.write_new(context.layout.history, b"", 0o600)


def _rows(data: bytes, path: str) -> tuple[list[dict[str, Any] | None], int]:
    """Return the lines of a history, None for a damaged one, and the offset of the next line."""
    lines = data.split(b"\n")[:-1]
    rows = [_row(line, path) for line in lines]
    if rows and rows[-1] is None:
        del rows[-1]
    return rows, sum(len(line) + 1 for line in lines[: len(rows)])


def _row(line: bytes, path: str) -> dict[str, Any] | None:
    """Read a line as `_line` returns it; return None if it is damaged."""
    try:
        row = jsonio.loads_strict(line, path, HISTORY_LIMIT)
    except TamperedError:
        return None
    known = isinstance(row, dict) and all(type(row.get(name)) is kind for name, kind in _KINDS.items())
    return row if known and isinstance(row.get("why", ""), str) and row["began"] in _SECONDS else None


def history(context: Context) -> list[dict[str, Any]]:
    """Read the history, from the oldest to the newest line, without a truncated last one.

    An ordinary user gets what is public of it.

    Raises:
        HostNotReadyError: A line is damaged, or this user may not read the file.
    """
    path = context.layout.history
    try:
        data = context.system.read(path, HISTORY_LIMIT)
    except FileNotFoundError:
        return []
    except PermissionError as error:
        try:
            return list(public_view(context.system, context.layout).history)
        except HostNotReadyError:
            raise cannot_read_error(path) from error
    rows, _ = _rows(data, path)
    if None in rows:
        raise HostNotReadyError(
            "is damaged",
            where=f"{path}:{rows.index(None) + 1}",
            hint="the disk lost data, or somebody edited the file: restore it from a backup; "
            "`install audit` shows the same information from another file",
        )
    return [row for row in rows if row]


def transactions(system: System, layout: Layout) -> list[str]:
    """Return the transactions of a history, without damaged lines.

    Raises:
        OSError: It cannot be read.
    """
    return [row["transaction"] for row in readable_rows(system, layout)]


def readable_rows(system: System, layout: Layout) -> list[dict[str, Any]]:
    """Return the lines of a history, from the oldest to the newest, without damaged ones.

    An ordinary user gets what is public of it.

    Raises:
        HostNotReadyError: There is nothing that this user may read.
        OSError: It cannot be read.
    """
    try:
        data = system.read(layout.history, HISTORY_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except PermissionError:
        return list(public_view(system, layout).history)
    return [row for row in _rows(data, layout.history)[0] if row]
