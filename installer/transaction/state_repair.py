"""Repair of the state before recovery, if it is missing, damaged or old; refusal of a truncated journal.

The newest journal has the state before its transaction, the new release, and whether it was committed: the
state can always be derived from it. A damaged state file is kept next to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from installer.core.errors import NotUndoneError, TamperedError
from installer.host.context import Context
from installer.host.layout import Layout
from installer.host.system import System
from installer.state.place import check_place
from installer.state.public import visible_state
from installer.state.state import DamagedStateError, State, host_readable, load, save
from installer.transaction import journal as journals
from installer.transaction.finalize import derive_state
from installer.transaction.journal import Journal, Record

GUIDE = "See `install recover --help`"


@dataclass(frozen=True, slots=True)
class FoundState:
    """The state as far as it is known, before any repair.

    Attributes:
        state: The state.
        problem: What is wrong with `state.json`, in words; empty if nothing is.
        damaged: Whether it exists and cannot be read.
    """

    state: State
    problem: str = ""
    damaged: bool = False


def find_state(context: Context) -> FoundState:
    """Return the state by `state.json`, or by the newest journal if that is newer. Nothing is changed.

    Raises:
        NotUndoneError: Neither has it.
        HostNotReadyError: This user may not read it.
    """
    system, layout = context.system, context.layout
    there = system.observe(layout.state_file, digest=False).kind != "absent"
    derived = _newest(system, layout)
    try:
        state = load(system, layout)
    # Without a journal the damaged file is all there is: the error says what to do.
    except DamagedStateError as error:
        if derived is None:
            raise
        return FoundState(derived, error.what, damaged=True)
    if derived is not None and (not there or state.transaction < derived.transaction):
        # A first transaction that was rolled back leaves a journal and no state.
        if not there and derived == State():
            return FoundState(state)  # no transaction was ever committed
        return FoundState(derived, f"the state is {'older than the journal' if there else 'missing'}")
    if not there and derived is None and (system.names(layout.releases) or _has_history(system, layout)):
        raise NotUndoneError(
            "the state is missing, and no journal contains it",
            where=layout.state_file,
            hint=f"restore it from a backup; until then, Waybill changes nothing. {GUIDE}",
        )
    return FoundState(state)


def _has_history(system: System, layout: Layout) -> bool:
    """Return whether the history has a line, although neither state nor journal exists."""
    return system.observe(layout.history, digest=False).size > 0


def read_state(context: Context) -> State:
    """Return the state for a command that changes nothing; to an ordinary user what is public of it.

    Raises:
        DamagedStateError: `state.json` is missing, damaged or old; `recover` derives it again.
        NotUndoneError: It cannot be derived, or another version of the installer wrote it.
        HostNotReadyError: It cannot be read, by this user or at all.
    """
    with host_readable(context.layout.base):
        check_place(context.system, context.layout)
        try:
            found = find_state(context)
        except PermissionError:  # the journals are root's
            return visible_state(context.system, context.layout)
    if found.problem:
        raise DamagedStateError(
            found.problem,
            where=context.layout.state_file,
            hint="run `install recover`: it rebuilds the state from the journal",
        )
    return found.state


def repair_state(context: Context) -> str:
    """Write the state of the newest journal if `state.json` is missing, damaged or older.

    Args:
        context: The host; its lock is held.

    Returns:
        What was done, in words; empty if nothing was wrong.

    Raises:
        NotUndoneError: It cannot be derived; nothing was changed.
        OSError: It cannot be written.
    """
    system, layout, found = context.system, context.layout, find_state(context)
    if not found.problem:
        return ""
    # Kept, not overwritten: it may tell somebody what happened to the disk.
    if found.damaged:
        system.rename(layout.state_file, f"{layout.state_file}.damaged")
    save(system, layout, found.state)
    kept = "; the damaged file is now state.json.damaged" if found.damaged else ""
    return f"{found.problem.replace(' is ', ' was ', 1)}: rebuilt from the journal{kept}"


def _newest(system: System, layout: Layout) -> State | None:
    """Return the state by the newest journal that has one; None if none does."""
    for number, path in _journals(system, layout):
        # A damaged journal is no reason to stop: an older one may have the state.
        with suppress(NotUndoneError, OSError, TamperedError, KeyError, TypeError):
            records = journals.read(system.read(path, journals.LIMIT), path).records
            if records and "state" in records[0].fields:
                return _state_of(number, records, ended=path.endswith(".done"))
    return None


def _state_of(number: int, records: list[Record], *, ended: bool) -> State:
    before = State.from_json(records[0].fields["state"])
    commit = next((record.fields for record in records if record.type == "COMMIT"), None)
    # An open transaction is recovered afterwards, and that writes its own result.
    return derive_state(before, number, records[0].fields, commit) if ended and commit else before


def _journals(system: System, layout: Layout) -> Iterator[tuple[int, str]]:
    names = [name for name in system.names(layout.transactions) if name.endswith((".log", ".done"))]
    numbered = [(int(stem), name) for name in names if (stem := name.partition(".")[0]).isdigit()]
    # The newest first: it has the state after all others.
    for number, name in sorted(numbered, reverse=True):
        yield number, f"{layout.transactions}/{name}"


def refuse_truncated(context: Context, journal: Journal, backups: Sequence[str] | None = None) -> None:
    """Refuse a journal that somebody emptied or truncated, or that a newer installer wrote.

    A power cut leaves none of these: the whole file was allocated and synced before BEGIN.

    Args:
        context: The host.
        journal: The journal of the context's transaction.
        backups: The names in its `.backup`; None to list them now.

    Raises:
        NotUndoneError: It is such a journal; nothing was changed.
    """
    system, backup = context.system, context.layout.backup(context.transaction)
    if not journal.has("BEGIN"):
        if backups if backups is not None else system.observe(backup, digest=False).kind != "absent":
            raise _refusal(journal, "the journal is empty, but files were replaced")
        return
    begin = journal.records[0].fields
    schema = begin.get("schema", journals.SCHEMA)
    if schema != journals.SCHEMA:
        raise NotUndoneError(
            f"the journal was written by another version of the installer ({schema}; "
            f"this one reads {journals.SCHEMA})",
            where=journal.path,
            hint="run `install recover` with the version of `install` that started the "
            "transaction, or with a newer one",
        )
    # END truncates the file; a power cut can lose the record and keep the shorter length.
    decided = journal.has("COMMIT") or journal.has("ROLLED-BACK")
    # The allocated size was synced before BEGIN; a shorter file was cut, and its missing end may list
    # effects.
    if journal.size < begin.get("room", 0) and not decided:
        raise _refusal(
            journal, f"the journal has {journal.size} bytes, not the {begin['room']} that were allocated"
        )
    # Backups that no INTENT names: their records are missing from the journal.
    known = {
        value
        for record in journal.records
        if record.type == "INTENT"
        for value in _strings(record.fields["preimage"])
        if value.startswith(backup)
    }
    names = system.names(backup) if backups is None else backups
    lacking = [name for name in names if f"{backup}/{name}" not in known]
    if lacking:
        raise _refusal(journal, f"the end of the journal is missing (no record of the backup {lacking[0]})")


def refuse_before_reboot(context: Context, journal: Journal) -> None:
    """Refuse to continue before a reboot if a sync failed in this boot.

    Raises:
        NotUndoneError: The host was not rebooted since.
    """
    boots = [record.fields["boot"] for record in journal.records if record.type == "DISTRUST"]
    if context.system.boot_id() in boots:
        raise NotUndoneError(
            "the disk failed to write; a reboot is required before anything continues",
            where=journal.path,
            hint="check dmesg and the disk, reboot, then run `install recover`; until then, "
            "Waybill changes nothing",
        )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


def _refusal(journal: Journal, what: str) -> NotUndoneError:
    return NotUndoneError(
        f"{what}: somebody truncated it, or the disk lost data",
        where=journal.path,
        hint=(
            "restore the journal from a backup, then run `install recover`; the replaced files "
            "are in .backup next to the journal. "
        )
        + GUIDE,
    )
