"""The operations on the states of a release: apply, and remove.

States say how a host should be, so applying them again after a kill at any moment ends where one run would
have ended. An undo applies others: the state that the release declares for it, then those of the old release.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import ClassVar

from installer.core.errors import Cause
from installer.deploy.operation import Handler, Json, Op, ThirdStateError
from installer.deploy.salt.client import apply_state, end_run
from installer.deploy.salt.results import StateResult
from installer.host.context import Context
from installer.host.directories import parent, write_mark
from installer.host.private_copy import clear_memory

_SHOWN = 40
"""States that changed something, of which progress tells."""


class _Marked(Handler):
    """What all of these have in common."""

    cause: ClassVar[Cause] = "script"

    def observe(self, context: Context, args: Json) -> Json:
        """Return the path of the file that says that the new states have begun, and the mark of the run."""
        begun = f"{context.layout.backup(context.transaction)}/begun-states-{args['tag']}"
        return {"begun": begun, "run": secrets.token_hex(16)}

    def finish(self, context: Context, args: Json, preimage: Json) -> None:
        """Remove what a run that was killed left in memory."""
        clear_memory()


class Before(_Marked):
    """`salt.before`: does nothing; undone, applies the old states again if the new ones have begun."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Apply the old states, now that the old files are back."""
        if args["old"] and context.system.observe(preimage["begun"]).kind == "file":
            # Said here, not as the label of the undo: mostly there is nothing to do.
            context.progress.note(f"undo: applying the states of {args['old']['facts']['version']}")
            _apply(context, args["old"], args["old"]["state"], preimage["run"])


class Apply(_Marked):
    """`salt.apply`: applies the states of the new release; its inverse is the state declared for it."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Mark that they have begun, then apply them."""
        write_mark(context.system, preimage["begun"])
        _apply(context, args["new"], args["new"]["state"], preimage["run"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Apply the state that undoes them, if they have begun and there is one."""
        if context.system.observe(preimage["begun"]).kind != "file":
            return
        step = args["new"]
        # What they started goes on when Salt is killed, and would change what is undone.
        end_run(context, preimage["run"])
        if step["undo"]:
            context.progress.note(f"undo: applying the state {step['undo']}")
            _apply(context, step, step["undo"], preimage["run"])

    def undo_label(self, op: Op) -> str:
        """Return nothing: what is applied is said when it is, and mostly nothing has begun."""
        return ""


class Forward(_Marked):
    """`salt.forward`: applies states that nothing can undo; the journal has FORWARD before it."""

    point_of_no_return = True

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Apply the states."""
        _apply(context, args["new"], args["new"]["state"], preimage["run"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Refuse: a transaction with FORWARD in its journal is never undone.

        Raises:
            ThirdStateError: Always.
        """
        raise ThirdStateError("cannot be undone", where=name_of(args["new"]))


class Remove(_Marked):
    """`salt.remove`: applies the state that undoes the old release; its inverse is the old states."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Apply the state that undoes them."""
        _apply(context, args["old"], args["old"]["undo"], preimage["run"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Apply the old states."""
        _apply(context, args["old"], args["old"]["state"], preimage["run"])

    def undo_label(self, op: Op) -> str:
        """Name the states: the label of the operation names the one that undoes them."""
        return f"undo: applying {name_of(op.args['old'])}"


def name_of(step: Json) -> str:
    """Return what the states of a step are called: the state, or the file that says which ones."""
    return str(step["state"] or f"{step['root']}/top.sls")


def _apply(context: Context, step: Json, state: str, run: str) -> None:
    end_run(context, run)
    results = apply_state(context, step, state, run=run)
    changed = [each for each in results if each.changes]
    for each in changed[:_SHOWN]:
        label = context.secrets.hide(each.label)
        context.progress.note(f"changed {label}: {each.said(context.secrets)}")
        context.progress.output(label, each.details(context.secrets))
    if len(changed) > _SHOWN:
        context.progress.note(f"and {len(changed) - _SHOWN} more states")
    _sync(context, changed)


def _sync(context: Context, changed: list[StateResult]) -> None:
    """Sync the file systems of files that states wrote: Salt does not, and the next step relies on them."""
    root, seen = context.system.root.rstrip("/"), set[int]()
    for each in changed:
        if not each.function.startswith(_FILES) or not each.name.startswith(f"{root}/"):
            continue
        directory = parent(each.name.removeprefix(root))
        # A state may have removed it; what is not there needs no sync.
        with suppress(FileNotFoundError, NotADirectoryError):
            if (device := context.system.space(directory).device) not in seen:
                seen.add(device)
                context.system.sync_fs(directory)


_FILES = ("file.", "archive.", "git.", "ini.")
"""Modules whose states have the path of what they write as their name."""


HANDLERS: dict[str, Handler] = {
    "salt.before": Before(),
    "salt.apply": Apply(),
    "salt.forward": Forward(),
    "salt.remove": Remove(),
}
