"""What could not be cleared after a transaction: reported, tried again by every command, never in the way.

Only an open journal stops a command. A file that cannot be removed, because it is immutable, in use or in the
lower layer of an overlay, is told by the command, by `install status` and in the metrics.

Operations clear outside of the state, too, such as a backup next to a replaced file. Where that fails, the
note `txn/NUMBER.left` names it; it is tried again as long as no other transaction has followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import asdict

from installer.core import jsonio
from installer.core.errors import Problem, TamperedError, WaybillError
from installer.core.limits import MIB
from installer.core.remedies import remedy
from installer.deploy.method_registry import handler
from installer.deploy.operation import Op
from installer.host.atomic_file import replace_file
from installer.host.context import Context
from installer.host.directories import parent
from installer.host.system import SyncError
from installer.staging import area
from installer.state.state import State, snapshot_records
from installer.transaction.journal import Journal

NOTE = ".left"
"""Suffix of the note of what the operations of a transaction could not clear."""
_AGAIN = "run `install recover`: it removes it, or says why it cannot"


class Leftovers(list[Problem]):
    """What could not be cleared, with the reasons."""

    @contextmanager
    def collect(self, where: str) -> Iterator[None]:
        """Add a failure to clear something; a failed sync is raised on, since it says more.

        Args:
            where: What is being cleared, for an error that names no path.
        """
        try:
            yield
        except SyncError:
            raise
        except OSError as error:
            what = f"cannot be cleared: {error.strerror or error}"
            self.append(Problem(error.filename or where, what, remedy(error)))
        except WaybillError as error:
            self.append(Problem(error.where or where, error.what, error.hint))

    def report(self, context: Context) -> None:
        """Tell the operator; no command fails for it."""
        for each in self:
            context.progress.warn(f"not cleared yet: {each.where}: {each.what}; hint: {each.hint}")


def finish_operations(context: Context, journal: Journal) -> Leftovers:
    """Let each operation of a committed transaction remove what only its undo would have needed."""
    found = Leftovers()
    for record in journal.records:
        if record.type == "INTENT":
            op = Op.from_json(record.fields["op"])
            with found.collect(op.label or op.kind):
                handler(op.kind).finish(context, op.args, record.fields["preimage"])
    return found


def write_note(context: Context, found: Leftovers) -> None:
    """Write what the operations of the context's transaction could not clear, or remove an earlier note.

    Raises:
        OSError: It cannot be written; then the journal has to stay open.
    """
    system, path = context.system, note_path(context)
    if found:
        replace_file(system, path, jsonio.dumps_lines({"left": [asdict(each) for each in found]}))
    elif system.observe(path, digest=False).kind != "absent":
        system.unlink(path)
        system.sync_dir(parent(path))


def note_path(context: Context) -> str:
    """Return the path of the note of the context's transaction."""
    return context.layout.journal(context.transaction).removesuffix(".log") + NOTE


def try_again(context: Context) -> None:
    """Clear what the operations of the context's transaction had to leave.

    Raises:
        OSError: The note cannot be removed.
    """
    path = context.layout.journal(context.transaction).removesuffix(".log") + ".done"
    write_note(context, finish_operations(context, Journal.open(context.system, path)))


def noted(context: Context, number: str) -> list[Problem]:
    """Return what a note says; none where there is no note, or a damaged one."""
    path = context.layout.journal(number).removesuffix(".log") + NOTE
    with suppress(OSError, TamperedError, TypeError, KeyError):
        rows = jsonio.loads_strict(context.system.read(path, MIB), path, MIB)["left"]
        return [Problem(str(row["where"]), str(row["what"]), str(row["hint"])) for row in rows]
    return []


def look(context: Context, state: State) -> list[Problem]:
    """Return what should have been cleared and is still there. Changes nothing.

    Args:
        context: The product; no transaction is open.
        state: Its state.

    Raises:
        OSError: It cannot be looked at.
    """
    layout = context.layout
    wanted = {entry.name for entry in state.retained}
    records = {entry.record for entry in state.retained}
    return [
        *_unwanted(context, layout.releases, lambda _: wanted),
        *_unwanted(
            context,
            layout.rendered,
            lambda names: records | snapshot_records(layout, state.retained, names),
        ),
        # Whole staged bundles stay on purpose: the next run of the same bundle continues with them.
        *_unwanted(context, layout.staging, lambda names: set(filter(area.is_staged, names))),
        *_transactions(context),
    ]


def _unwanted(
    context: Context, directory: str, wanted: Callable[[Sequence[str]], Set[str]]
) -> Iterator[Problem]:
    kind = context.system.observe(directory, digest=False).kind
    if kind not in ("absent", "dir", "link"):
        yield Problem(directory, "is not a directory", "move it away, then run `install recover`")
        return
    names = context.system.names(directory)
    yield from (_left(context, f"{directory}/{name}") for name in names if name not in wanted(names))


def _transactions(context: Context) -> Iterator[Problem]:
    directory = context.layout.transactions
    there = set(context.system.names(directory))
    for name in sorted(there):
        number = name.partition(".")[0]
        if name == f"{number}{NOTE}":
            yield from noted(context, number)
        elif name == f"{number}.backup" and f"{number}.done" in there and f"{number}{NOTE}" not in there:
            yield _left(context, f"{directory}/{name}")


def _left(context: Context, path: str) -> Problem:
    """Return why something is still there, as far as looking can tell."""
    if mounted := context.system.mounts(path):
        what = f"is not needed any more, but something is mounted at {mounted[0]}"
        return Problem(path, what, f"unmount it, then {_AGAIN}")
    if users := context.system.users(path):
        what = f"is not needed any more, but process {users[0]} runs from it"
        return Problem(path, what, f"restart that program, then {_AGAIN}")
    return Problem(path, "is not needed any more, and is still there", _AGAIN)
