"""The operations on what follows a change of configuration: commands, and units that read it again.

`on_change.back` does nothing, and is undone once the old files are back: then commands run again and units
read the old configuration. `on_change.commands` and `on_change.units` act once the new files are in place; a
mark on the disk says that they have begun, so that undoing touches nothing that was never told anything.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from installer.core.errors import Cause
from installer.core.format.entries.config_file import COMMAND_SECONDS
from installer.deploy.operation import Handler, Json, StepError, output_lines
from installer.deploy.systemctl import RUNNING, has_new_job, require, show, systemctl
from installer.host.context import Context
from installer.host.directories import write_mark

_LINES = 50
_STATE = ("ActiveState", "InvocationID", "Job")


def _mark(context: Context, what: str) -> str:
    return f"{context.layout.backup(context.transaction)}/begun-on-change-{what}"


def _run(context: Context, command: Json) -> None:
    words: Sequence[str] = command["words"]
    # Journals of versions in which no file said how long it may take have no time.
    ended = context.system.run(words, timeout=command.get("seconds", COMMAND_SECONDS), cwd="/")
    context.progress.output(words[0], output_lines(ended, context.secrets, _LINES))
    if not ended.ok:
        what = f"{shlex.join(words)}: {ended.reason(context.secrets)}"
        raise StepError(what).of(ended, context.secrets)


@contextmanager
def _tolerated(context: Context, is_gone: bool) -> Iterator[None]:
    """Go on after a failure if no file is there that was to be read.

    Many a command fails without its file. A release that could not go for that would be worse.
    """
    try:
        yield
    except StepError as error:
        if not is_gone:
            raise
        context.progress.warn(f"{error.what} (going on: its configuration is gone)")


class Back(Handler):
    """`on_change.back`: does nothing; undone, runs commands again and lets units read the old files."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the state of every unit, and where the marks are."""
        return {
            "commands": _mark(context, "commands"),
            "units": _mark(context, "units"),
            "states": {each["unit"]: show(context, each["unit"], *_STATE) for each in args["units"]},
        }

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the commands again, and reload or restart the units, where the new files were acted on."""
        if context.system.observe(preimage["commands"], digest=False).kind == "file":
            for each in args["commands"]:
                words = each["words"]
                context.progress.note(f"undo: running {shlex.join(words)} again")
                # The release may have brought the program: then it is gone, and so is its work.
                if context.system.which(words[0]) is None:
                    context.progress.note(f"undo: {words[0]} is not on this host any more")
                    continue
                with _tolerated(context, each["fresh"]):
                    _run(context, each)
        if context.system.observe(preimage["units"], digest=False).kind == "file":
            for each in args["units"]:
                with _tolerated(context, each["fresh"]):
                    _bring_back(context, each, preimage["states"][each["unit"]])


def _bring_back(context: Context, act: Json, before: Json) -> None:
    unit, now = act["unit"], show(context, act["unit"], *_STATE)
    runs, ran = now["ActiveState"] in RUNNING, before["ActiveState"] in RUNNING
    queued = has_new_job(before, now)
    if runs and act["does"] == "reload":
        context.progress.note(f"undo: reload {unit}")
        # Never a restart: a service of the host that cannot reload now might not come back from one.
        require(context, "reload", unit)
    # Of the others only those of the host that were stopped or restarted: its step brings back one of ours.
    elif ran and not act["own"] and (not runs or queued or now["InvocationID"] != before["InvocationID"]):
        context.progress.note(f"undo: restart {unit}")
        systemctl(context, "reset-failed", unit)
        require(context, "restart", unit)


class Commands(Handler):
    """`on_change.commands`: runs the commands of configuration files that have changed."""

    cause: ClassVar[Cause] = "script"

    def observe(self, context: Context, args: Json) -> Json:
        """Return the path of the file that marks that the first command has begun."""
        return {"mark": _mark(context, "commands")}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Run each of them once."""
        write_mark(context.system, preimage["mark"])
        for each in args["commands"]:
            with _tolerated(context, each["ended"]):
                _run(context, each)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing: undoing `on_change.back` runs them again, once the old files are back."""

    def undo_label(self, op: object) -> str:
        """Return nothing: nothing is done."""
        return ""


class Units(Handler):
    """`on_change.units`: lets units that run read configuration files that have changed."""

    def observe(self, context: Context, args: Json) -> Json:
        """Return the path of the file that marks that the first unit was told."""
        return {"mark": _mark(context, "units")}

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Reload or restart each of them once. A unit that does not run reads the files when it starts."""
        write_mark(context.system, preimage["mark"])
        for each in args["units"]:
            unit = each["unit"]
            if show(context, unit, *_STATE)["ActiveState"] not in RUNNING:
                context.progress.note(f"{unit} does not run: there is nothing to {each['does']}")
                continue
            with _tolerated(context, each["ended"]):
                require(context, each["does"], unit)

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing: undoing `on_change.back` tells them again, once the old files are back."""

    def undo_label(self, op: object) -> str:
        """Return nothing: nothing is done."""
        return ""


HANDLERS: dict[str, Handler] = {
    "on_change.back": Back(),
    "on_change.commands": Commands(),
    "on_change.units": Units(),
}
