"""Takes the lock of a product, and finishes or undoes what an interrupted run left, from the journal alone.

No BEGIN: clear staging. BEGIN without COMMIT: undo in reverse, checked against preimages; but roll forward
where FORWARD was written. COMMIT: finish. Recovering twice changes nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import Any, Literal

from installer.audit import recorder
from installer.audit.floor import with_floor
from installer.core.errors import BusyError, HostNotReadyError, NotUndoneError, WaybillError
from installer.core.remedies import MISPLACED, remedy
from installer.deploy.health.watch import ProbeResult, watch_release
from installer.deploy.method_registry import handler
from installer.deploy.operation import Op
from installer.deploy.site.image_places import image_places
from installer.host.context import Context
from installer.host.directories import make_directory
from installer.host.host import A_KIND
from installer.host.lock import Lock, LockError
from installer.secrets.site_registry import has_site_registry
from installer.shared.command.ui import Ui
from installer.shared.terminal import interrupts
from installer.staging import area
from installer.state.place import check_place
from installer.state.release import open_release
from installer.state.retained import read_manifest
from installer.state.state import Entry, State, host_readable, load
from installer.state.trust_store import remove_partial_files
from installer.transaction import execute, failures, finalize
from installer.transaction.journal import Journal
from installer.transaction.old_release import watch_old_release
from installer.transaction.state_repair import refuse_before_reboot, refuse_truncated, repair_state


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done about one unfinished transaction.

    Attributes:
        transaction: Its id.
        outcome: `not-started`, `undone`, `finished` (it was committed), or `rolled-forward` (it was past the
            point of no return); `repaired` where it is not about a transaction, nor is `unstaged`, where
            staged files were removed.
        why: Why the transaction had failed, what was repaired or removed, or which step failed although the
            release is committed; empty where the run was interrupted.
        installed: The version that is installed after it; empty for none.
    """

    transaction: str
    outcome: Literal["not-started", "undone", "finished", "rolled-forward", "repaired", "unstaged"]
    why: str = ""
    installed: str = field(default="", compare=False)

    @property
    def incomplete(self) -> bool:
        """True if the new release is committed, but a step of it failed."""
        return self.outcome in ("finished", "rolled-forward") and bool(self.why)

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"transaction": self.transaction or None, "outcome": self.outcome, "reason": self.why or None}

    def text(self) -> str:
        """Return it as a line for people."""
        if self.outcome in ("repaired", "unstaged"):
            return self.why
        now = f"{self.installed or 'nothing'} is installed"
        became = {
            "not-started": "had not started: cleaned up",
            "undone": f"was interrupted and is now undone: {now}, as before",
            "finished": f"was committed and is now completed: {now}",
            "rolled-forward": f"was past the point of no return and is now completed: {now}",
        }
        if self.incomplete:
            return (
                f"transaction {self.transaction} is committed, but a step failed: {failures.brief(self.why)}"
            )
        return f"transaction {self.transaction} {became[self.outcome]}"


def report_recovered(ui: Ui, recovered: Sequence[Recovered]) -> None:
    """Report what a command recovered before it did its own work."""
    for each in recovered:
        ui.warn(each.text())
    if recovered:
        ui.tell(changed=True)


@contextmanager
def exclusive(
    context: Context, wait: float = 0.0, ui: Ui | None = None
) -> Iterator[tuple[State, list[Recovered]]]:
    """Take the lock of a product and recover; everything that changes a product happens inside.

    Args:
        context: The product.
        wait: Seconds to wait for another install.
        ui: Reports what was recovered; None for a command whose result that is.

    Yields:
        Its state, and what was recovered.

    Raises:
        BusyError: Another install runs.
        NotUndoneError: An unfinished transaction can neither be finished nor undone.
        HostNotReadyError: The state's directory cannot be written.
    """
    system, layout = context.system, context.layout
    with host_readable(layout.base):
        check_place(system, layout)
    try:
        # Only root can open it, and so lock it; everybody can open the directory of the product.
        make_directory(system, layout.transactions)
        lock = _locked(context, wait)
    except OSError as error:
        raise HostNotReadyError(
            f"cannot {'lock' if isinstance(error, LockError) else 'write'}: {error.strerror}",
            where=(error.errno in (*MISPLACED, errno.EPERM) and error.filename) or layout.base,
            hint=remedy(error),
        ) from error
    with lock:
        # Recovery comes first in every command: nothing may be planned from a half-changed host. A signal is
        # heard after it, before the command's own work.
        with interrupts.deferred() as recovery:
            recovery.shield()
            recovered = recover(context)
            # Before a signal or a time limit ends the command, which would then say that nothing was changed.
            if ui is not None:
                report_recovered(ui, recovered)
            # Hosts of earlier versions have no public view; the first command that may write makes it.
            if system.observe(layout.state_file, digest=False).kind != "absent":
                finalize.publish_view(context)
        # A state that somebody deleted must not open the way to a downgrade.
        yield with_floor(system, layout.product, load(system, layout)), recovered


def _locked(context: Context, wait: float) -> Lock:
    """Take the lock of a product; say so before a wait."""
    system, layout = context.system, context.layout
    private = layout.transactions.rpartition("/")[2]
    try:
        return system.lock(layout.lock, private=private)
    except BusyError as error:
        if not wait:
            raise
        context.progress.note(f"{error.what}: waiting for up to {wait:g} s")
    return system.lock(layout.lock, wait, private=private)


def recover(context: Context) -> list[Recovered]:
    """Finish or undo every unfinished transaction. The caller holds the lock.

    Returns:
        What was recovered, from the oldest to the newest; empty where nothing was unfinished.

    Raises:
        NotUndoneError: One can neither be finished nor undone.
    """
    done = list[Recovered]()
    try:
        if repaired := repair_state(context):
            done.append(Recovered("", "repaired", repaired))
    except OSError as error:
        raise _stuck(error, "the state", context.layout.state_file) from error
    for number in unfinished(context):
        within = replace(context, transaction=number)
        try:
            recovered = _recover_one(within)  # a later one was begun on what an earlier one left
            current = load(context.system, context.layout).current
            done.append(replace(recovered, installed=current.version if current else ""))
        except (OSError, WaybillError) as error:
            raise _stuck(error, f"transaction {number}", within.layout.journal(number)) from error
    # Best effort: only an open journal may keep a command from its work.
    done += _cleared(context)
    with suppress(OSError):
        remove_partial_files(context.system)
    # Last: the records of how transactions ended are derived from their journals.
    recorder.settle(context, recovered=True)
    return done


def _cleared(context: Context) -> Iterator[Recovered]:
    """Clear what no transaction needs; yield what had been staged, and is gone now."""
    staged = dict[str, str]()
    with suppress(OSError):
        staged = area.staged_releases(context.system, context.layout)
    finalize.clear(context)
    for name, what in staged.items():
        path = f"{context.layout.staging}/{name}"
        if context.system.observe(path, digest=False).kind == "absent":
            yield Recovered("", "unstaged", f"removed the staged files of {what}")


def _stuck(error: OSError | WaybillError, what: str, where: str) -> NotUndoneError:
    if isinstance(error, NotUndoneError):
        return error
    return NotUndoneError(
        f"cannot recover {what}: {failures.reason(error)}",
        where=where,
        hint="fix this problem, then run `install recover`: it continues from this point",
        problems=error.problems if isinstance(error, WaybillError) else (),
    )


def unfinished(context: Context) -> list[str]:
    """Return the ids of transactions whose journal is open.

    Raises:
        NotUndoneError: Backups are there whose journal is not: somebody deleted it.
    """
    there = context.system.names(context.layout.transactions)
    names = [name for name in there if name.partition(".")[0].isdecimal()]  # other names are not ours
    journals = {name.removesuffix(".log") for name in names if name.endswith(".log")}
    ended = {name.removesuffix(".done") for name in names if name.endswith(".done")}
    backups = {name.removesuffix(".backup") for name in names if name.endswith(".backup")}
    # Backups are deleted after their journal has ended: without it somebody deleted it, and undoing would
    # be a guess.
    if lost := sorted(backups - journals - ended):
        raise NotUndoneError(
            "the journal of an unfinished transaction is missing",
            where=context.layout.journal(lost[0]),
            hint=_without_journal(context, lost[0]),
        )
    _check_link(context, journals)
    return sorted(journals)


def _without_journal(context: Context, number: str) -> str:
    """Return all steps for a transaction whose journal is gone, as commands to type."""
    state, layout = load(context.system, context.layout), context.layout
    root = context.system.root.rstrip("/")
    link = quote(f"{root}{layout.current}")
    backup = f"{root}{layout.backup(number)}"
    saved = f"{backup.removesuffix('.backup')}.saved"
    steps = [f"`mv {quote(backup)} {quote(saved)}` (it contains the replaced files)"]
    if state.current:
        steps.append(f"`ln -sfn releases/{state.current.name} {link}`")
        steps.append(f"`install rollback {state.current.version} --on-drift replace`")
    else:
        steps += [f"`rm -f {link}`", "`install apply BUNDLE --on-drift replace`"]
    numbered = "; ".join(f"{place}. {step}" for place, step in enumerate(steps, start=1))
    return (
        f"restore the journal from a backup. If you have no backup: {numbered}. See `install recover --help`"
    )


def _check_link(context: Context, journals: set[str]) -> None:
    """Detect a journal that was deleted after the switch: then the link and the state disagree."""
    if journals:
        return
    state = load(context.system, context.layout)
    seen = context.system.observe(context.layout.current)
    expected = f"releases/{state.current.name}" if state.current else ""
    if seen.kind in ("absent", "link") and seen.target == expected:
        return
    path = context.system.root.rstrip("/") + context.layout.current
    words = {"link": f"points to {seen.target}", "absent": "is missing"}
    is_ = words.get(seen.kind, f"is {A_KIND.get(seen.kind)}, not a link")
    aside = "" if seen.kind in ("absent", "link") else f"mv -T {path} {path}.saved && "
    if expected:
        way = f"To run {expected}: {aside}ln -sfn {expected} {path}"
    else:
        way = f"To run no release: {aside.removesuffix(' && ') or f'rm {path}'}"
    # The files may be those of either release: the rollback puts those of one there.
    again = f"`install rollback {state.current.version} --on-drift replace`, and " if state.current else ""
    then = f"{again}`install status`"
    raise NotUndoneError(
        f"{is_}, but state.json names {expected or 'no running release'}",
        where=context.layout.current,
        hint=f"a journal was deleted, or the link was changed by hand. {way}; then run {then}",
    )


def _recover_one(context: Context) -> Recovered:
    layout, number = context.layout, context.transaction
    journal = Journal.open(context.system, layout.journal(number))
    refuse_truncated(context, journal)
    if not journal.has("BEGIN"):
        finalize.not_started(context)
        return Recovered(number, "not-started")
    refuse_before_reboot(context, journal)
    context.progress.note(f"recover transaction {number}")
    try:
        # What is only in the cache may be gone after the next power cut, with the journal saying otherwise.
        _on_the_disk(context, journal)
        goes_on = journal.has("FORWARD") and not journal.has("COMMIT")
        if goes_on:
            _start_new_release(context, journal)
        if journal.has("COMMIT"):
            _repair_images(context, journal, finalize.committed_state(context, journal))
            finalize.after_commit(context, journal)
            why = journal.last("COMMIT").get("why", "")
            return Recovered(number, "rolled-forward" if goes_on else "finished", why)
        why = next((record.fields["why"] for record in journal.records if record.type == "ABORT"), "")
        _repair_images(context, journal, load(context.system, context.layout))
        execute.undo(context, journal, why or "interrupted")
        finalize.after_rollback(context, journal)
        watch_old_release(context, journal, load(context.system, context.layout).current)
    except OSError as error:
        journal.require_reboot(error)  # after a failed fsync the kernel may show what is not on the disk
        raise
    return Recovered(number, "undone", why)


def _on_the_disk(context: Context, journal: Journal) -> None:
    """Flush to the disk what a kill left in the cache: recovery decides by what it reads."""
    begun = [Op.from_json(record.fields["op"]) for record in journal.records if record.type == "INTENT"]
    context.system.sync_all(
        {context.layout.base, *(place for op in begun for place in handler(op.kind).places(op.args))}
    )


def _start_new_release(context: Context, journal: Journal) -> None:
    """Start the new release of a transaction that is past the point of no return."""
    new = Entry.from_json(journal.records[0].fields["new"])
    _repair_images(context, journal, State(new))

    def watch() -> list[ProbeResult]:
        return watch_release(context, open_release(context.system, context.layout, new), new.methods)

    execute.roll_forward(context, journal, watch)


def _repair_images(context: Context, journal: Journal, stands: State) -> None:
    """Repair the images of the release that remains, if the host was booted since they were changed."""
    # Only a reboot can lose images of an engine: they are checked after one, if we changed any.
    touched = any(op.kind.startswith("image.") for _, op, _ in execute.begun_operations(journal))
    entry = stands.current
    if not touched or journal.records[0].fields["boot"] == context.system.boot_id():
        return
    registry = has_site_registry(context.system)
    if entry is not None and image_places(entry.methods, live=context.live, registry=registry).engine:
        from installer.images.repair import repair_images

        directory = context.layout.release(entry.name)
        manifest, _ = read_manifest(context.system, directory)
        repair_images(context, manifest, directory)
