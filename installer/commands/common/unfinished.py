"""The state of a product for commands that only look: with a transaction that is open, or was interrupted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from installer.core.errors import NotUndoneError
from installer.host.atomic_file import temporary_path
from installer.host.context import Context
from installer.host.kernel import sees_every_process
from installer.state.state import State
from installer.transaction import activity
from installer.transaction.activity import Activity
from installer.transaction.finalize import committed_state
from installer.transaction.journal import Journal
from installer.transaction.state_repair import read_state, refuse_before_reboot, refuse_truncated

_SAYS = "run `install recover`"


@dataclass(frozen=True, slots=True)
class Found:
    """The state of a product, and what is going on.

    Attributes:
        state: The state.
        unfinished: What recovery has to do or would refuse, in words; empty where nothing.
        activity: The command that is at work; None where none is seen.
        partial: Whether this user may not read the journals, so that nothing is known of them.
    """

    state: State
    unfinished: str = ""
    activity: Activity | None = None
    partial: bool = False

    @property
    def is_changing(self) -> bool:
        """Whether a command that is at work has begun to change the host."""
        return self.activity is not None and bool(self.activity.transaction)

    @property
    def note(self) -> str:
        """What a plan begins with; empty for nothing."""
        if self.is_changing and self.activity is not None:
            return f"IN PROGRESS {self.activity.text()}"
        return f"UNFINISHED {self.unfinished}" if self.unfinished else ""


def find_unfinished(context: Context) -> Found:
    """Return the state, and what is open.

    A committed transaction whose cleanup was interrupted counts as done.

    Raises:
        NotUndoneError: The state is damaged, missing, or behind the journal.
        HostNotReadyError: This user may not read it.
        OSError: It cannot be looked at.
    """
    system, layout = context.system, context.layout
    # Backups are listed before the journals are read: each has its record before it is made.
    try:
        there = set(system.names(layout.transactions))
    except NotADirectoryError:
        there = set[str]()  # `read_state` says what is wrong with the place
    except PermissionError:
        return _as_seen_by_others(context)
    # Asked for before the journals are read: a command that ends meanwhile leaves none that is open. Only
    # where something is open: all descriptors of all processes are looked at.
    busy = any(name.endswith(".log") for name in there) or _is_staging(context)
    holders = activity.holders(context) if busy else ()
    found = Found(read_state(context), "", Activity("", 0, "", holders) if holders else None)
    for number in sorted(name.partition(".")[0] for name in there if name.partition(".")[0].isdecimal()):
        within = replace(context, transaction=number)
        if f"{number}.log" in there:
            found = _open(within, found)
        elif f"{number}.backup" in there and f"{number}.done" not in there:
            missing = f"transaction {number}: its journal is missing; {_SAYS}"
            found = replace(found, unfinished=found.unfinished or missing)
    return found


def _is_staging(context: Context) -> bool:
    try:
        return bool(context.system.names(context.layout.staging))
    except NotADirectoryError:  # told where it matters
        return False


def _as_seen_by_others(context: Context) -> Found:
    """Return what an ordinary user may see: the journals are root's."""
    state = read_state(context)
    # Written before BEGIN, gone after COMMIT, and visible to everybody.
    reserved = context.system.observe(temporary_path(context.layout.state_file), digest=False)
    open_ = "a transaction is running, or was interrupted; run `install status` as root to see which"
    return Found(state, "" if reserved.kind == "absent" else open_, partial=True)


def _open(context: Context, found: Found) -> Found:
    """Look at an open journal: of a transaction that is running, or was interrupted."""
    system, number = context.system, context.transaction
    backups = system.names(context.layout.backup(number))
    try:
        journal = Journal.open(system, context.layout.journal(number))
        refuse_truncated(context, journal, backups)
        if not journal.has("BEGIN"):
            return found
        if journal.has("COMMIT"):
            found = replace(found, state=committed_state(context, journal))
        refuse_before_reboot(context, journal)
    except FileNotFoundError:  # it ended meanwhile
        return found
    except NotUndoneError as error:
        return replace(found, unfinished=found.unfinished or f"transaction {number}: {error.what}; {_SAYS}")
    if journal.has("COMMIT") or journal.has("ROLLED-BACK"):
        return found
    what, since = activity.described(journal.records[0].fields)
    if found.activity is not None:
        return replace(found, activity=replace(found.activity, what=what, since=since, transaction=number))
    ended, says = "was interrupted", "completes or undoes the transaction"
    # Processes of other users, and of other containers, are not seen.
    if not sees_every_process():
        ended += ", or is running where this user cannot see it"
        says += ", or says that another command is running"
    unfinished = f"transaction {number} ({what}) {ended}; {_SAYS}: it {says}"
    return replace(found, unfinished=found.unfinished or unfinished)
