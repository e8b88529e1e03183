"""Mends what recovery stands on: a state that is gone, damaged or behind. Refuses a journal cut by hand.

The newest journal says what stood before its transaction, what was to come, and whether it stands: the state
can always be derived from it again. What was damaged is kept beside it.
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
from installer.state.state import DamagedStateError, State, cannot_access_error, load, save
from installer.transaction import journal as journals
from installer.transaction.finalize import derive_state
from installer.transaction.journal import Journal, Record

GUIDE = "`install recover --help` says how to go on"


@dataclass(frozen=True, slots=True)
class FoundState:
    """What is known of what stands, before anything is mended.

    Attributes:
        state: What stands.
        wrong: What is wrong with `state.json`, in words; empty where nothing is.
        damaged: Whether there is one that cannot be read.
    """

    state: State
    wrong: str = ""
    damaged: bool = False


def find_state(context: Context) -> FoundState:
    """Return what stands, by `state.json`, or by the newest journal where that says more. Changes nothing.

    Raises:
        NotUndoneError: Neither tells.
        HostNotReadyError: This user may not read it.
    """
    system, layout = context.system, context.layout
    there = system.observe(layout.state_file, digest=False).kind != "absent"
    stood = _newest(system, layout)
    try:
        state = load(system, layout)
    except DamagedStateError as error:
        if stood is None:
            raise
        return FoundState(stood, error.what, damaged=True)
    if stood is not None and (not there or state.transaction < stood.transaction):
        if not there and stood == State():
            return FoundState(state)  # no transaction ever stood
        return FoundState(stood, f"the state is {'older than the journal' if there else 'missing'}")
    if not there and stood is None and (system.names(layout.releases) or _had(system, layout)):
        raise NotUndoneError(
            "the state is missing, and no journal tells it",
            where=layout.state_file,
            hint=f"put it back from a backup; nothing is touched until then. {GUIDE}",
        )
    return FoundState(state)


def _had(system: System, layout: Layout) -> bool:
    """Whether the history has it that something was installed here, though neither state nor journal does."""
    return system.observe(layout.history, digest=False).size > 0


def read_state(context: Context) -> State:
    """Return what stands to whoever may only look.

    Raises:
        DamagedStateError: `state.json` is missing, damaged or old; recovery derives it again.
        NotUndoneError: It cannot be derived, or is of another installer.
        HostNotReadyError: This user may not read it, or it cannot be looked at.
    """
    try:
        found = find_state(context)
    except OSError as error:
        raise cannot_access_error(error, context.layout.base) from error
    if found.wrong:
        raise DamagedStateError(
            found.wrong,
            where=context.layout.state_file,
            hint="`install recover` derives it from the journal again",
        )
    return found.state


def repair_state(context: Context) -> str:
    """Derive the state from the newest journal, where it is missing, damaged or older than that.

    Args:
        context: The host; its lock is held.

    Returns:
        What was done, in words; empty where the state is as it should be.

    Raises:
        NotUndoneError: It cannot be derived; nothing was changed.
        OSError: It cannot be written.
    """
    system, layout, found = context.system, context.layout, find_state(context)
    if not found.wrong:
        return ""
    if found.damaged:
        system.rename(layout.state_file, f"{layout.state_file}.damaged")
    save(system, layout, found.state)
    kept = ", and kept as state.json.damaged" if found.damaged else ""
    return f"{found.wrong.replace(' is ', ' was ', 1)}: derived from the journal again{kept}"


def _newest(system: System, layout: Layout) -> State | None:
    """Return what stands by the newest journal that says it; None where none does."""
    for number, path in _journals(system, layout):
        with suppress(NotUndoneError, OSError, TamperedError, KeyError, TypeError, ValueError):
            records = journals.read(system.read(path, journals.LIMIT), path).records
            if records and "state" in records[0].fields:
                return _stands(number, records, ended=path.endswith(".done"))
    return None


def _stands(number: int, records: list[Record], *, ended: bool) -> State:
    before = State.from_json(records[0].fields["state"])
    commit = next((record.fields for record in records if record.type == "COMMIT"), None)
    # An open one is recovered, and then brings about what it says itself.
    return derive_state(before, number, records[0].fields, commit) if ended and commit else before


def _journals(system: System, layout: Layout) -> Iterator[tuple[int, str]]:
    names = [name for name in system.names(layout.transactions) if name.endswith((".log", ".done"))]
    numbered = [(int(stem), name) for name in names if (stem := name.partition(".")[0]).isdigit()]
    for number, name in sorted(numbered, reverse=True):
        yield number, f"{layout.transactions}/{name}"


def refuse_truncated(context: Context, journal: Journal, backups: Sequence[str] | None = None) -> None:
    """Refuse a journal that somebody emptied, cut off or brought here from a newer installer.

    A power cut leaves none of these: the file was allocated whole, and on the disk, before BEGIN.

    Args:
        context: The host.
        journal: The journal of the context's transaction.
        backups: What lies in its `.backup`; None: looked for now.

    Raises:
        NotUndoneError: It is one; nothing was changed.
    """
    system, backup = context.system, context.layout.backup(context.transaction)
    if not journal.has("BEGIN"):
        if backups if backups is not None else system.observe(backup, digest=False).kind != "absent":
            raise _refusal(journal, "the journal is empty, and yet something was replaced")
        return
    begin = journal.records[0].fields
    schema = begin.get("schema", journals.SCHEMA)
    if schema != journals.SCHEMA:
        raise NotUndoneError(
            f"the journal was written by another version of the installer ({schema}; "
            f"this one reads {journals.SCHEMA})",
            where=journal.path,
            hint="run `recover` with the installer that began the transaction, or with a newer one",
        )
    # END gives the room back; the power may take it and leave the shorter file.
    decided = journal.has("COMMIT") or journal.has("ROLLED-BACK")
    if journal.size < begin.get("room", 0) and not decided:
        raise _refusal(
            journal, f"the journal has {journal.size} bytes, not the {begin['room']} it began with"
        )
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
        raise _refusal(journal, f"the journal does not know the backup {lacking[0]}: its end is missing")


def refuse_before_reboot(context: Context, journal: Journal) -> None:
    """Refuse to go on with a journal in the boot in which the disk failed to write.

    Raises:
        NotUndoneError: This is that boot.
    """
    boots = [record.fields["boot"] for record in journal.records if record.type == "DISTRUST"]
    if context.system.boot_id() in boots:
        raise NotUndoneError(
            "the disk failed to write, and what this kernel shows of it may not be there",
            where=journal.path,
            hint="look at dmesg, see that the disk is sound, and reboot; then run `install recover`. "
            "Nothing is changed until then",
        )


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)


def _refusal(journal: Journal, what: str) -> NotUndoneError:
    return NotUndoneError(
        f"{what}: somebody cut it, or the disk has lost data",
        where=journal.path,
        hint="put the journal back and run `install recover`; what was replaced lies in .backup beside it. "
        + GUIDE,
    )
