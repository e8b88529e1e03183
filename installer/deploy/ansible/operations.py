"""The operations of a playbook: run it, run it again for the release before, run the one that undoes it.

A playbook says what is to be, and may run again at any time. So an upgrade is undone by the playbook of the
release before, once the files of that release are back. What an interrupted run left is ended first: its
processes have sessions of their own, and go on when Ansible and the installer are killed.
"""

from __future__ import annotations

import secrets
from typing import ClassVar

from installer.core.errors import Cause
from installer.deploy.ansible.playbook_run import end_processes, failure, run_playbook
from installer.deploy.operation import Handler, Json, Op, StepError, ThirdStateError
from installer.host.context import Context
from installer.host.directories import write_mark


def new_mark() -> str:
    """Return what all processes of a run are known by."""
    return secrets.token_hex(16)


def run_step(context: Context, step: Json, which: str, mark: str) -> None:
    """Run a playbook of a step on all of its hosts, once nothing of an earlier run is left.

    Raises:
        StepError: It failed.
    """
    end_run(context, step, mark)
    report, ended = run_playbook(context, step, which, mark)
    if not ended.ok or report.without_hosts:
        raise failure(context, step, which, report, ended)


def end_run(context: Context, step: Json, mark: str) -> None:
    """End what an interrupted run of the same operation left running."""
    if not end_processes(context, mark):
        what = "processes of an interrupted run do not end"
        raise StepError(
            what, where=step["playbook"], hint="look for them with ps; reboot the host if they stay"
        )


class Marked(Handler):
    """What all of these have in common."""

    cause: ClassVar[Cause] = "script"

    def observe(self, context: Context, args: Json) -> Json:
        """Return the path of the file that says that the new playbook has begun, and the mark of the run."""
        begun = f"{context.layout.backup(context.transaction)}/begun-playbook-{args['tag']}"
        return {"begun": begun, "run": new_mark()}


class Before(Marked):
    """`ansible.before`: does nothing; undone, runs the old playbook if the new one has begun."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the old playbook, now that the old files are back."""
        if context.system.observe(preimage["begun"]).kind != "file":
            return
        old = args["old"]
        # Said here, not as the label of the undo: mostly there is nothing to do.
        context.progress.note(f"undo: running {old['playbook']} ({old['version']})")
        run_step(context, old, "playbook", preimage["run"])


class Apply(Marked):
    """`ansible.apply`: runs the new playbook; its inverse is the undo playbook, where there is one."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Mark that the playbook has begun, then run it."""
        write_mark(context.system, preimage["begun"])
        run_step(context, args["new"], "playbook", preimage["run"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """End what is left of the run, and run the undo playbook."""
        if context.system.observe(preimage["begun"]).kind != "file":
            return
        end_run(context, args["new"], preimage["run"])
        if "undo" in args["new"]:
            run_step(context, args["new"], "undo", preimage["run"])

    def undo_label(self, op: Op) -> str:
        """Name the playbook that runs."""
        undo = op.args["new"].get("undo")
        return f"undo: running {undo}" if undo else ""


class Forward(Marked):
    """`ansible.forward`: runs a playbook that nothing can undo; the journal has FORWARD before it."""

    point_of_no_return = True

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the playbook."""
        run_step(context, args["new"], "playbook", preimage["run"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Refuse: a transaction with FORWARD in its journal is never undone.

        Raises:
            ThirdStateError: Always.
        """
        raise ThirdStateError("cannot be undone", where=args["new"]["playbook"])


class Remove(Marked):
    """`ansible.remove`: runs the old undo playbook; its inverse is the old playbook."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the old undo playbook."""
        run_step(context, args["old"], "undo", preimage["run"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the old playbook."""
        run_step(context, args["old"], "playbook", preimage["run"])

    def undo_label(self, op: Op) -> str:
        """Name the playbook that runs: the label of the operation names the other one."""
        return f"undo: running {op.args['old']['playbook']} ({op.args['old']['version']})"


HANDLERS: dict[str, Handler] = {
    "ansible.before": Before(),
    "ansible.apply": Apply(),
    "ansible.forward": Forward(),
    "ansible.remove": Remove(),
}
