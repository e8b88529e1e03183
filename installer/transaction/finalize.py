"""What comes after a transaction's last decision: derived from the journal, and done again if cut short."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from installer.core import jsonio
from installer.core.errors import HostNotReadyError, TamperedError
from installer.core.format.manifest import Manifest
from installer.core.format.methods import images_in_engine
from installer.deploy.operation import Op
from installer.deploy.registry import handler
from installer.host.atomic_file import remove_partial
from installer.host.context import Context
from installer.host.directories import parent
from installer.host.layout import Layout
from installer.host.system import System
from installer.images.prune import forget, sweep
from installer.staging import area
from installer.state.retained import read_manifest
from installer.state.state import Entry, State, cannot_read_error, load, save, snapshot_records
from installer.transaction import cleanup
from installer.transaction.journal import Journal

KEEP_JOURNALS = 10
REASON = 400
"""Characters of what failed that the state keeps; it has room for no more."""
HISTORY_LIMIT = 256 * 1024 * 1024
_SECONDS = range(-62135596800, 253402300800)
"""Since 1970, of the years 1 to 9999: what a clock may say, and what can be shown."""
_KINDS = {
    "transaction": str, "verb": str, "outcome": str, "began": int, "ended": int, "version": str,
    "identity": str, "evidence": dict,
}  # fmt: skip


def committed_state(context: Context, journal: Journal) -> State:
    """Return the state that a committed journal brings about, whatever of it is written already."""
    state = load(context.system, context.layout)
    number = int(context.transaction)
    if state.transaction >= number:
        return state
    return derive_state(state, number, journal.records[0].fields, journal.last("COMMIT"))


def derive_state(before: State, number: int, begin: Mapping[str, Any], commit: Mapping[str, Any]) -> State:
    """Return the state that a transaction brings about, from what stood before and two of its records."""
    ended = {"installed": commit["at"], "incomplete": commit.get("why", "")[:REASON]}
    new = Entry.from_json({**begin["new"], **ended}) if begin["new"] else None
    keep = begin.get("state", {}).get("keep", before.keep)  # the operator may have chosen another number
    return replace(before, keep=keep).after(number, new)


def after_commit(context: Context, journal: Journal) -> State:
    """Write the state and the history, clears backups, staging and old releases, and end the journal.

    Raises:
        OSError: It could not be done; it will be done again.
    """
    system, layout = context.system, context.layout
    for record in journal.records:
        if record.type == "INTENT":
            op = Op.from_json(record.fields["op"])
            handler(op.kind).finish(context, op.args, record.fields["preimage"])
    before, state = load(system, layout), committed_state(context, journal)
    # Before the state is written: it alone knows how the releases that go were installed.
    _sweep(context, before.retained, state)
    save(system, layout, state)
    _forget(context, before.retained, state)
    begin, commit = journal.records[0].fields, journal.last("COMMIT")
    _clear(context, state)
    _end(journal)
    why = {"why": commit["why"]} if "why" in commit else {}
    add_history(context, {**_line(context, begin, "incomplete" if why else "done", commit["at"]), **why})
    _put_away(context, journal)
    return state


def after_rollback(context: Context, journal: Journal) -> None:
    """Write the history, clears backups, staging and what the transaction rendered, and end the journal.

    Raises:
        OSError: It could not be done; it will be done again.
    """
    begin, abort = journal.records[0].fields, journal.last("ABORT")
    line = _line(context, begin, "rolled back", journal.last("ROLLED-BACK")["at"])
    # A full disk must not stand in the way of the end: what is cleared first makes room for the line.
    state = load(context.system, context.layout)
    _sweep(context, (Entry.from_json(begin["new"]),) if begin["new"] else (), state, undone=True)
    _clear(context, state)
    _end(journal)
    with suppress(OSError):
        add_history(context, {**line, "why": abort["why"]})
    _put_away(context, journal)


def not_started(context: Context) -> None:
    """Clear what a transaction without BEGIN has laid down.

    Raises:
        OSError: It could not be cleared.
    """
    context.system.remove_tree(context.layout.journal(context.transaction))
    _clear(context, load(context.system, context.layout))


def clear(context: Context) -> None:
    """Clear staging, unused records and releases; what runs and what is kept stays.

    Raises:
        OSError: It could not be cleared.
    """
    _clear(context, load(context.system, context.layout))


def _clear(context: Context, state: State) -> None:
    system, layout = context.system, context.layout
    remove_partial(system, layout.state_file)
    if context.transaction:
        system.remove_tree(layout.backup(context.transaction))
    area.clear(system, layout, context.progress, context.resume)
    wanted = {entry.name for entry in state.retained}
    records = {entry.record for entry in state.retained}
    records |= snapshot_records(layout, state.retained, system.names(layout.rendered))
    cleanup.remove_releases(context, wanted)
    cleanup.remove_records(context, records)
    there = system.names(layout.transactions)
    ended = [name for name in there if name.endswith(".done") and name[:-5].isdecimal()]
    for number in (name.removesuffix(".done") for name in ended):
        if f"{number}.backup" in there:  # the power went between two names of one directory
            system.remove_tree(layout.backup(number))
    for name in ended[:-KEEP_JOURNALS]:
        system.remove_tree(f"{layout.transactions}/{name}")


def _sweep(context: Context, before: Iterable[Entry], state: State, *, undone: bool = False) -> None:
    """Return up the images in the engine of releases that go; a release that used none leaves it in peace."""
    wanted = {entry.name for entry in state.retained}
    gone = [entry for entry in before if entry.name not in wanted]
    if gone:
        sweep(context, _in_engine(context, gone), _in_engine(context, state.retained), undone=undone)


def _forget(context: Context, before: Iterable[Entry], state: State) -> None:
    wanted = {entry.name for entry in state.retained}
    if _in_engine(context, [entry for entry in before if entry.name not in wanted]):
        forget(context, _in_engine(context, state.retained))


def _in_engine(context: Context, entries: Iterable[Entry]) -> list[Manifest]:
    found = []
    for entry in entries:
        if images_in_engine(entry.methods, live=context.live):
            with suppress(OSError, TamperedError):
                found.append(read_manifest(context.system, context.layout.release(entry.name))[0])
    return found


def _end(journal: Journal) -> None:
    """End the journal; the room that it gives back is what a full disk has for the rest."""
    if not journal.has("END"):
        journal.append("END")


def _put_away(context: Context, journal: Journal) -> None:
    system = context.system
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
    """Add a line to the history, once; a torn last line of an earlier crash is overwritten."""
    system, path = context.system, context.layout.history
    create_history(context)
    rows, end = _rows(system.read(path, HISTORY_LIMIT), path)
    # a damaged line is named by `history`; it keeps no transaction from ending
    if all(row is None or row["transaction"] != line["transaction"] for row in rows):
        system.write_at(path, end, jsonio.dumps(line), truncate=True)
    system.sync_dir(parent(path))


def create_history(context: Context) -> None:
    """Make an empty history where there is none; while there is room for it.

    Raises:
        OSError: It cannot be made.
    """
    if context.system.observe(context.layout.history, digest=False).kind == "absent":
        context.system.write_new(context.layout.history, b"", 0o600)


def _rows(data: bytes, path: str) -> tuple[list[dict[str, Any] | None], int]:
    """Return the lines of a history, None for a damaged one, and where the next goes; a torn last is none."""
    lines = data.split(b"\n")[:-1]
    rows = [_row(line, path) for line in lines]
    if rows and rows[-1] is None:
        del rows[-1]
    return rows, sum(len(line) + 1 for line in lines[: len(rows)])


def _row(line: bytes, path: str) -> dict[str, Any] | None:
    """Read a line as `_line` gives it; None where it is damaged."""
    try:
        row = jsonio.loads_strict(line, path, HISTORY_LIMIT)
    except TamperedError:
        return None
    known = isinstance(row, dict) and all(type(row.get(name)) is kind for name, kind in _KINDS.items())
    return row if known and isinstance(row.get("why", ""), str) and row["began"] in _SECONDS else None


def history(context: Context) -> list[dict[str, Any]]:
    """Read the history, from the oldest to the newest; a torn last line is left out.

    Raises:
        HostNotReadyError: A line is damaged, or this user may not read it.
    """
    path = context.layout.history
    try:
        data = context.system.read(path, HISTORY_LIMIT)
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise cannot_read_error(path) from error
    rows, _ = _rows(data, path)
    if None in rows:
        raise HostNotReadyError(
            "is damaged",
            where=f"{path}:{rows.index(None) + 1}",
            hint="the disk has lost data or somebody edited the file: put it back from a backup; "
            "`install audit` tells the same from another file",
        )
    return [row for row in rows if row]


def transactions(system: System, layout: Layout) -> list[str]:
    """Return the transactions that a history has, as far as it is not damaged.

    Raises:
        OSError: It cannot be read.
    """
    try:
        data = system.read(layout.history, HISTORY_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [row["transaction"] for row in _rows(data, layout.history)[0] if row]
