"""The operations of a playbook on the hosts of an inventory, where some may fail and others not.

A failure on one host is undone on all of them. All of that happens at one place, after the files of the old
release are back on this host: a host that cannot be reached then must not keep the others, or this one, from
being brought back. What it lacks is told, and `install recover` tries it again.
"""

from __future__ import annotations

from collections.abc import Collection

from installer.core.errors import Problem, WaybillError
from installer.deploy.ansible.events import Report
from installer.deploy.ansible.inventory_files import INVENTORY, REACH, SITE_FILE
from installer.deploy.ansible.operations import Marked, end_run, new_mark, run_step
from installer.deploy.ansible.playbook_run import failure, problems_of, run_playbook
from installer.deploy.ansible.site_inventory import names_now
from installer.deploy.operation import Handler, Json, Op, StepError, ThirdStateError
from installer.host.context import Context
from installer.host.directories import write_mark

_NAMED = 20
"""Hosts that one line names."""


class HostsLeftError(ThirdStateError):
    """Hosts are not as they were, and nothing can be done on them now: no use in trying again at once."""


def named(hosts: Collection[str]) -> str:
    """Return the names of hosts for people; of many, the first ones and a number."""
    names = [*hosts]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])


def not_reached(report: Report) -> dict[str, Problem]:
    """Return why hosts could not be reached, or let nobody become root, by their names."""
    found = dict[str, Problem]()
    for each in problems_of(report):
        # Behind the first one comes what the command wrote.
        found.setdefault(each.where, each)
    return found


def reach(context: Context, step: Json, mark: str, limit: Collection[str] = ()) -> dict[str, Problem]:
    """Reach all hosts of a step at once, and return those that could not be, each with its reason.

    Args:
        context: The host.
        step: A step with an inventory.
        mark: What the processes of the run are known by.
        limit: Only these hosts; empty for all.

    Raises:
        StepError: Ansible could not be run.
    """
    report, ended = run_playbook(context, step, REACH, mark, limit=limit)
    found = not_reached(report)
    if ended.ok or (found and not ended.timed_out):
        return found
    raise failure(context, {**step, REACH: step["playbook"]}, REACH, report, ended)


class UndoHosts(Marked):
    """`ansible.undo-hosts`: does nothing; undone, brings back all hosts that may have been changed."""

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Do nothing."""

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the undo playbook, then that of the release before, on all hosts that can be reached.

        Raises:
            HostsLeftError: Some cannot be reached.
            StepError: A playbook failed on some.
        """
        if context.system.observe(preimage["begun"]).kind != "file":
            return
        runs = [(args["new"], "undo"), *([(args["old"], "playbook")] if args["old"] else [])]
        bring_back(context, runs, preimage["run"])


def bring_back(context: Context, runs: list[tuple[Json, str]], mark: str) -> None:
    """Run playbooks that bring hosts back, each on those on which the ones before it succeeded.

    Args:
        context: The host.
        runs: Steps and which of their playbooks, in order; the first one names the hosts.
        mark: What the processes of the runs are known by.

    Raises:
        HostsLeftError: Some hosts cannot be reached.
        StepError: A playbook failed on some.
    """
    first = runs[0][0]
    hosts = _still_there(context, first)
    end_run(context, first, mark)
    # First: a playbook with `serial` or `any_errors_fatal` would stop at a host that is down.
    lost = reach(context, first, mark, hosts) if hosts else {}
    failed = set[str]()
    for step, which in runs:
        context.progress.note(f"undo: running {step[which]} ({step['version']})")
        if INVENTORY not in step:
            run_step(context, step, which, mark)
            continue
        rest = [host for host in hosts if host not in lost and host in step[INVENTORY]["hosts"]]
        # Ansible fails where a limit leaves no host.
        if not rest:
            continue
        report, ended = run_playbook(context, step, which, mark, limit=rest)
        if ended.ok:
            continue
        found = [each for each in problems_of(report) if each.where in report.hosts_failed]
        if ended.timed_out or not found:
            raise failure(context, step, which, report, ended)
        for each in found:
            # Of a host, the first reason: what follows from it says less.
            lost.setdefault(each.where, each)
        failed |= {each.host for each in report.failed if not each.unreachable} & {*report.hosts_failed}
    if lost:
        raise _left(first, hosts, lost, failed)


def _still_there(context: Context, step: Json) -> list[str]:
    """Return the hosts to bring back: those that the site has taken out of its inventory stay as they are."""
    # Where the file cannot be read, nobody has taken a host out of it.
    now = names_now(context, step)
    hosts = [*step[INVENTORY]["hosts"]]
    gone = [host for host in hosts if now is not None and host not in now]
    for host in gone:
        context.progress.warn(f"{host} is not in {step[SITE_FILE]} any more: it is left as it is")
    return [host for host in hosts if host not in gone]


def _left(step: Json, hosts: list[str], lost: dict[str, Problem], failed: set[str]) -> WaybillError:
    """Return the error that hosts are not undone: one that is tried again where a playbook failed on some."""
    what = f"not undone on {len(lost)} of {len(hosts)} hosts: {named(lost)}"
    gone = f"if it is gone for good, remove it from {step[SITE_FILE]} before"
    down, broken = "bring it back", "correct there what the task says"
    # Of each host, for the error of the transaction has a hint of its own.
    problems = [
        Problem(host, each.what, f"{broken if host in failed else down}, and run `install recover`; {gone}")
        for host, each in lost.items()
    ]
    return (StepError if failed else HostsLeftError)(what, where=step["undo"], problems=problems)


class ApplyHosts(Marked):
    """`ansible.apply-hosts`: runs the new playbook on all hosts; `ansible.undo-hosts` undoes it."""

    def require_unchanged(self, context: Context, args: Json) -> None:
        """Require that all hosts can still be reached: images may have been loaded for an hour.

        Raises:
            StepError: One cannot be.
        """
        require_reached(context, args["new"])

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Mark that the playbook has begun, then run it."""
        write_mark(context.system, preimage["begun"])
        run_step(context, args["new"], "playbook", preimage["run"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """End what is left of the run."""
        end_run(context, args["new"], preimage["run"])

    def undo_label(self, op: Op) -> str:
        """Return nothing: `ansible.undo-hosts` says what runs."""
        return ""


def require_reached(context: Context, step: Json) -> None:
    """Require that all hosts of a step can be reached.

    Raises:
        StepError: One cannot be.
    """
    problems = list(reach(context, step, new_mark()).values())
    if problems:
        first = problems[0]
        raise StepError(first.what, where=first.where, hint=first.hint, problems=problems[1:])


class RemoveHosts(Marked):
    """`ansible.remove-hosts`: runs the old undo playbook on all hosts; its inverse is the old playbook."""

    def require_unchanged(self, context: Context, args: Json) -> None:
        """Require that all hosts can still be reached.

        Raises:
            StepError: One cannot be.
        """
        require_reached(context, args["old"])

    def do(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the old undo playbook."""
        run_step(context, args["old"], "undo", preimage["run"])

    def undo(self, context: Context, args: Json, preimage: Json) -> None:
        """Run the old playbook on all hosts that can be reached.

        Raises:
            HostsLeftError: Some cannot be reached.
            StepError: It failed on some.
        """
        bring_back(context, [(args["old"], "playbook")], preimage["run"])

    def undo_label(self, op: Op) -> str:
        """Return nothing: the undo says itself what runs."""
        return ""


HANDLERS: dict[str, Handler] = {
    "ansible.undo-hosts": UndoHosts(),
    "ansible.apply-hosts": ApplyHosts(),
    "ansible.remove-hosts": RemoveHosts(),
}
