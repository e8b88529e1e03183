"""VERB recover: finishes or undoes what an earlier run left, from the journal alone.

No BEGIN: clear staging. BEGIN without COMMIT: undo in reverse, checked against preimages. COMMIT: finish.
Recovering twice changes nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from installer import housekeeping, transaction, witness
from installer.core.errors import HostNotReadyError, NotUndoneError
from installer.deploy.files import make_directory
from installer.journal import Journal
from installer.operations import Context
from installer.state import State, load

_NOT_OURS = "run as root, or use `--root DIR` with a directory of your own"
_UNWRITABLE = {
    errno.EACCES: _NOT_OURS,
    errno.EPERM: _NOT_OURS,
    errno.EROFS: "mount its file system for writing; if it became read-only by itself, check the disk first",
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.ENOTDIR: "a file is where a directory is needed: move it away",
    errno.EEXIST: "something is where a directory is needed: move it away",
}


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done about one unfinished transaction.

    Attributes:
        transaction: Its id.
        outcome: `never-began`, `undone` or `finished`.
        why: Why it had been given up; empty where it was cut short.
    """

    transaction: str
    outcome: Literal["never-began", "undone", "finished"]
    why: str = ""

    def as_json(self) -> dict[str, Any]:
        """Gives it as a JSON object."""
        return asdict(self)

    def text(self) -> str:
        """Gives it as a line for people."""
        said = {
            "never-began": "had not begun: cleared",
            "undone": "was cut short: undone, the host is on the old release",
            "finished": "stood already: finished, the host is on the new release",
        }
        return f"transaction {self.transaction} {said[self.outcome]}"


@contextmanager
def exclusive(context: Context) -> Iterator[tuple[State, list[Recovered]]]:
    """Takes the lock of a product and recovers; everything that changes something happens inside.

    Args:
        context: The host.

    Yields:
        What stands now, and what was done about unfinished transactions.

    Raises:
        BusyError: Another install runs.
        NotUndoneError: An unfinished transaction can neither be finished nor undone.
        HostNotReadyError: The state's directory cannot be written.
    """
    try:
        make_directory(context.system, context.layout.base)
        lock = context.system.lock(context.layout.lock)
    except OSError as error:
        raise HostNotReadyError(
            f"cannot be written: {error.strerror}",
            where=context.layout.base,
            hint=_UNWRITABLE.get(error.errno or 0, "look at what is there, and at the kernel's log"),
        ) from error
    try:
        recovered = recover(context)
        yield load(context.system, context.layout), recovered
    finally:
        lock.release()


def recover(context: Context) -> list[Recovered]:
    """Finishes or undoes every unfinished transaction. The caller holds the lock.

    Returns:
        What was done, from the oldest to the newest; empty where nothing was left.

    Raises:
        NotUndoneError: One can neither be finished nor undone.
    """
    done = []
    for number in unfinished(context):
        within = replace(context, transaction=number)
        try:
            done.append(_recover_one(within))
        except OSError as error:
            raise transaction.not_undone(within, error, "cut short") from error
    try:
        housekeeping.clear(context)
    except OSError as error:
        raise transaction.not_undone(context, error, "cut short") from error
    witness.settle(context, recovered=True)
    return done


def unfinished(context: Context) -> list[str]:
    """Gives the ids of transactions whose journal is open.

    Raises:
        NotUndoneError: Backups are there whose journal is not: somebody deleted it.
    """
    names = context.system.names(context.layout.transactions)
    journals = {name.removesuffix(".log") for name in names if name.endswith(".log")}
    backups = {name.removesuffix(".backup") for name in names if name.endswith(".backup")}
    if lost := sorted(backups - journals):
        raise NotUndoneError(
            "the journal of an unfinished transaction is gone",
            where=context.layout.journal(lost[0]),
            hint="put it back. Without it: what was replaced lies beside it, in the directory .backup; move "
            "that away and run `install rollback VERSION --on-drift replace` with the version that is to run",
        )
    _check_link(context, journals)
    return sorted(journals)


def _check_link(context: Context, journals: set[str]) -> None:
    """Notices a journal that was deleted after the switch: then the link and the state disagree."""
    if journals:
        return
    state = load(context.system, context.layout)
    seen = context.system.observe(context.layout.current)
    expected = f"releases/{state.current.name}" if state.current else ""
    if seen.kind in ("absent", "link") and seen.target == expected:
        return
    path = context.system.root.rstrip("/") + context.layout.current
    words = {"link": f"points to {seen.target}", "absent": "is not there"}
    is_ = words.get(seen.kind, f"is a {seen.kind}, not a link")
    aside = "" if seen.kind in ("absent", "link") else f"mv -T {path} {path}.saved && "
    if expected:
        way = f"if {expected} is to run: {aside}ln -sfn {expected} {path}"
    else:
        way = f"if nothing is to run: {aside.removesuffix(' && ') or f'rm {path}'}"
    raise NotUndoneError(
        f"{is_}, and the state says {expected or 'that nothing runs'}",
        where=context.layout.current,
        hint=f"a journal was deleted, or it was changed by hand. {way}; `install status` says more",
    )


def _recover_one(context: Context) -> Recovered:
    layout, number = context.layout, context.transaction
    journal = Journal.open(context.system, layout.journal(number))
    if not journal.has("BEGIN"):
        housekeeping.never_began(context)
        return Recovered(number, "never-began")
    context.progress.note(f"recover transaction {number}")
    if journal.has("COMMIT"):
        housekeeping.after_commit(context, journal)
        return Recovered(number, "finished")
    why = next((record.fields["why"] for record in journal.records if record.type == "ABORT"), "")
    transaction.undo(context, journal, why or "cut short")
    housekeeping.after_rollback(context, journal)
    return Recovered(number, "undone", why)
