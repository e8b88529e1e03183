"""The method `ansible`: runs the playbook of a release on this host, and the one before to undo it.

The plan is what Ansible says in check mode. A task whose module has no check mode is named as one of which
nothing is known before it runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from installer.core.errors import HostNotReadyError, Problem, WaybillError
from installer.core.format.entries.playbook_files import KIND
from installer.core.format.entries.version_range import is_in_range
from installer.core.remedies import remedy
from installer.deploy import release_files
from installer.deploy.ansible import carried
from installer.deploy.ansible.events import Report, TaskResult
from installer.deploy.ansible.host_operations import named, reach
from installer.deploy.ansible.inventory_files import INVENTORY, REACH_TASK
from installer.deploy.ansible.inventory_variables import LOCAL
from installer.deploy.ansible.operations import new_mark
from installer.deploy.ansible.playbook_run import (
    PYTHON_HINT,
    VARIABLE,
    failure,
    playbook_of,
    problems_of,
    run_playbook,
    step_of,
    unreachable_problem,
)
from installer.deploy.ansible.site_inventory import (
    has_inventory,
    key_problems,
    recorded_hosts,
    with_inventory,
    with_old_inventory,
)
from installer.deploy.inventory import InventoryItem, Residue
from installer.deploy.method import LastPlan, Method, Target
from installer.deploy.operation import Json, Op, StepError, ThirdStateError
from installer.deploy.site.rendered_values import has_values, value_problems
from installer.deploy.site.step_memory import memory_problems
from installer.host.context import Context
from installer.host.system import Completed
from installer.shared import strict_yaml

_ITEM = "playbook"
_TASKS = 40
"""Tasks that a plan names."""
_FACTS = ("gather_facts", "setup")
"""Modules that fail in check mode for the reason for which all others would fail."""
_TESTS = ("assert", "fail")
"""Modules by which a playbook itself says that a host is not as it needs it."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a playbook says in check mode."""

    report: Report
    ended: Completed

    @property
    def is_converged(self) -> bool:
        """Whether it is known to change nothing."""
        return self.ended.ok and not self.report.changed and not self.report.unknown


class Ansible(Method):
    """The method `ansible`."""

    name = "ansible"
    item_kinds: ClassVar = (_ITEM,)

    def rendered(
        self, context: Context, target: Target, template: str, data: bytes
    ) -> tuple[bytes, list[Problem]]:
        """Return the rendered variables, and what is wrong with them."""
        return data, value_problems(data, template) or [*_name_problems(data, template)]

    def check(self, context: Context, old: Target | None, new: Target | None) -> list[Problem]:
        """Check the program, the files that may run again, and what the playbook says in check mode."""
        if not context.live:
            what = "runs playbooks on this machine, but --root is a directory"
            return [Problem(self.name, what, "omit --root, or omit it from --only")]
        # Undoing, and removing the product, run the old playbooks; the new ones were just verified.
        again = old and new and old.release.identity == new.release.identity
        problems = self.drift(context, old) if old and not again else []
        # A removal without an undo playbook runs nothing: it needs no Ansible.
        if new is None and (old is None or "undo" not in old.options):
            return problems
        try:
            # Both: a failure is undone by the old playbook, with the old Ansible.
            lacking = carried.lacking(context, None if again else old, new)
            lacking += memory_problems("Ansible has to read secrets")
            if lacking:
                return [*problems, *lacking]
            if new is None:
                return [*problems, *(_removal_problems(context, old) if old else ())]
            if absent := self.absent_files(new):
                return [*problems, *absent]
            if not _is_complete(context, new):
                return problems  # the plan says why it is not
            step = _step(context, new, old)
            if keys := [*key_problems(context, step)]:
                return [*problems, *keys]
            if old:
                # What it addresses has to be there as well: an undo runs it.
                _old_step(context, old, step)
            return [*problems, *_refusals(context, new, _trial(context, old, new))]
        except WaybillError as error:
            return [*problems, Problem(error.where or self.name, error.what, error.hint), *error.problems]
        except OSError as error:
            what = f"cannot be tried: {error.strerror}"
            return [*problems, Problem(self.name, what, remedy(error))]

    def plan(self, context: Context, old: Target | None, new: Target | None) -> list[str]:
        """Return what the playbook would change, task by task."""
        if new is None:
            return [_removal(old)] if old else []
        if not context.live or not _is_complete(context, new):
            return []
        try:
            if [*key_problems(context, _step(context, new, old))]:
                return []
            trial, origin = _trial(context, old, new), carried.require(context, new)
        except (WaybillError, OSError):
            return []  # `check` says why, and nothing is carried out
        if not _needed(trial, old, new):
            return []
        return [*_lines(trial, new, origin), *_host_lines(context, old, new), *_undo_lines(old, new)]

    def operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        """Return the runs, ordered so that undoing runs each while its own release's files are there.

        Raises:
            HostNotReadyError: The playbook cannot be tried any more.
        """
        try:
            return self._operations(context, old, new)
        except (StepError, ThirdStateError) as error:
            raise HostNotReadyError(
                error.what, where=error.where, hint=error.hint, problems=error.problems
            ) from error

    def _operations(self, context: Context, old: Target | None, new: Target | None) -> list[Op]:
        if new is None:
            if old is None or "undo" not in old.options:
                return []
            gone = _step(context, old, None)
            kind = "ansible.remove-hosts" if INVENTORY in gone else "ansible.remove"
            return [Op(kind, {"old": gone, "tag": _tag(old)}, "switch", f"run {gone['undo']}")]
        if not _is_complete(context, new) or not _needed(_trial(context, old, new), old, new):
            return []
        args: Json = {"new": _step(context, new, old), "tag": _tag(new)}
        before = _old_step(context, old, args["new"]) if old else None
        if INVENTORY in args["new"]:
            # Undone after the files are back, as below, and on each host that can be reached.
            back = Op("ansible.undo-hosts", {**args, "old": before}, "switch")
            return [back, Op("ansible.apply-hosts", args, "activate", f"run {playbook_of(new)}")]
        run = Op("ansible.apply", args, "activate", f"run {playbook_of(new)}")
        if before is not None:
            # Undone after the files are back, and so the last: the old playbook needs the old files.
            return [Op("ansible.before", {"old": before, "tag": args["tag"]}, "switch"), run]
        if "undo" in new.options:
            return [run]
        return [Op("ansible.forward", args, "activate", run.label)]

    def drift(self, context: Context, target: Target) -> list[Problem]:
        """Return which files are not those that were installed: undoing and removing run them."""
        return [*release_files.changed(context, target.release, KIND), *carried.changed(context, target)]

    def differs(self, context: Context, target: Target) -> bool:
        """Return whether the playbook would change something, as far as check mode can say."""
        if self.drift(context, target):
            return True
        if not context.live or not _is_complete(context, target):
            return False
        try:
            return bool(_trial(context, target, target).report.changed)
        except (WaybillError, OSError):
            return False  # what cannot be tried has run when the release was installed

    def inventory(self, context: Context, target: Target, *, running: bool) -> list[InventoryItem]:
        """Return the undo playbook of the running release: all that a removal knows of what was done."""
        if not running:
            return []
        undo = target.options.get("undo")
        why = "its undo playbook ran" if undo else "it has no undo playbook: what it changed stays"
        return [InventoryItem(_ITEM, target.release.then(undo or playbook_of(target)), why=why)]

    def residue(self, context: Context, items: Sequence[InventoryItem]) -> Iterator[Residue]:
        """Name the playbooks: they went with the release, and what they did is theirs alone."""
        for item in items:
            if context.system.observe(item.name, digest=False).kind == "absent":
                yield Residue("gone", _ITEM, item.name, f"{item.why}; Waybill cannot check its result")
            else:
                yield Residue("left", _ITEM, item.name, "is still there", "run `install recover`")


def _name_problems(data: bytes, template: str) -> Iterator[Problem]:
    document = strict_yaml.load(data, f"{template} (rendered)")
    for key in document.value or {}:
        if not key.isidentifier():
            hint = "write it with letters, digits and underscores"
            yield Problem(document.where((key,)), f"{key[:60]} cannot be the name of a variable", hint)
        elif key == VARIABLE or key.startswith("ansible_"):
            what = f"{key[:60]} is a name that Waybill or Ansible itself uses"
            yield Problem(document.where((key,)), what, "give the variable another name")


def _tag(target: Target) -> str:
    return playbook_of(target).replace("/", "-")


def _is_complete(context: Context, target: Target) -> bool:
    """Return whether what the site gives to a planned step is there."""
    return has_values(target, METHOD.name) and has_inventory(context, target)


def _step(context: Context, target: Target, old: Target | None) -> Json:
    return with_inventory(context, target, step_of(target, METHOD.name, old))


def _old_step(context: Context, old: Target, new: Json) -> Json:
    return with_old_inventory(context, old, step_of(old, METHOD.name, None), new)


def _removal_problems(context: Context, old: Target) -> list[Problem]:
    step = _step(context, old, None)
    if INVENTORY not in step:
        return []
    return [*key_problems(context, step)] or [*reach(context, step, new_mark()).values()]


_last_plan = LastPlan[_Trial]()


def _trial(context: Context, old: Target | None, new: Target) -> _Trial:
    def run() -> _Trial:
        step = _step(context, new, old)
        return _Trial(*run_playbook(context, step, "playbook", new_mark(), planned=new))

    return _last_plan.found(new, run)


def _refusals(context: Context, new: Target, trial: _Trial) -> Iterator[Problem]:
    """Yield why the playbook cannot run here. What fails only for want of an earlier task is no reason."""
    report, playbook = trial.report, playbook_of(new)
    bounds = str(new.options.get("ansible_core", ""))
    if report.version and bounds and not is_in_range(report.version, bounds):
        what = f"is version {report.version} of ansible-core, but the release needs {bounds}"
        yield Problem(
            carried.PROGRAM, what, "install such a version, or ask the publisher for a release for this one"
        )
        return
    found = problems_of(report)
    # No task has failed: Ansible did not get as far as that.
    if not trial.ended.ok and not found:
        step = step_of(new, METHOD.name, None)
        error = failure(context, step, "playbook", report, trial.ended)
        hint = error.hint or carried.remedy_of(new)
        yield Problem(error.where or playbook, f"cannot be run: {error.what}", hint)
    if report.without_hosts and not report.failed:
        yield found[0]
    for each in report.failed:
        if each.unreachable:
            yield unreachable_problem(each)
        elif each.task == REACH_TASK:
            what = f"lets nobody run a command as the inventory says: {each.text} {' '.join(each.said)}"
            yield Problem(
                each.host, what, "log in there by ssh, and see whether root is reached without asking"
            )
        elif each.action in _FACTS and not trial.ended.ok:
            what = f"{each.task}: {each.text} {' '.join(each.said)}"
            yield Problem(each.host, what, PYTHON_HINT)
        elif each.action in _TESTS and not trial.ended.ok:
            yield Problem(each.host, f"{each.task}: {each.text}", "the playbook itself refuses this host")


def _needed(trial: _Trial, old: Target | None, new: Target) -> bool:
    """Return whether there is anything to do."""
    # A new release always runs: what check mode cannot say may be what is new in it.
    same = old is not None and old.release.identity == new.release.identity and old.options == new.options
    return not same or not trial.is_converged


def _lines(trial: _Trial, new: Target, origin: str) -> Iterator[str]:
    report = trial.report
    yield f"run {playbook_of(new)} with ansible-core {report.version}{origin}"
    changed, unknown = _grouped(report.changed), _grouped(report.unknown)
    for each, hosts in changed[:_TASKS]:
        yield f"change: {_on(each.task, hosts)}"
        yield from (f"    {line}" for line in each.diff)
    if len(changed) > _TASKS:
        yield f"and {len(changed) - _TASKS} more tasks"
    if trial.ended.ok and not changed and not unknown:
        yield "nothing changes, as far as check mode can say"
    for each, hosts in unknown[:_TASKS]:
        yield f"not known before it runs: {_on(each.task, hosts)}"
    if len(unknown) > _TASKS:
        yield f"and {len(unknown) - _TASKS} more tasks of which nothing is known"
    if not trial.ended.ok:
        last = report.failed[-1] if report.failed else None
        why = f" at {_on(last.task, [last.host])}: {last.text}" if last else ""
        yield f"check mode ended{why}; what comes after it is not shown"
        yield "(it may only lack what an earlier task makes: check mode makes nothing)"


def _grouped(results: Sequence[TaskResult]) -> list[tuple[TaskResult, list[str]]]:
    """Return each task once, with the hosts on which it would do the same."""
    found: dict[TaskResult, list[str]] = {}
    for each in results:
        found.setdefault(replace(each, host="", text=""), []).append(each.host)
    return list(found.items())


def _on(task: str, hosts: Sequence[str]) -> str:
    # In the order of their names: each run answers in another one.
    others = sorted({*hosts})
    return task if others == [LOCAL] else f"{task} ({named(others)})"


def _host_lines(context: Context, old: Target | None, new: Target) -> Iterator[str]:
    """Yield on which hosts it runs, and how they differ from those of the release before."""
    step = _step(context, new, old)
    if INVENTORY not in step:
        return
    hosts = step[INVENTORY]["hosts"]
    yield f"on {len(hosts)} hosts: {named(hosts)}" if len(hosts) > 1 else f"on {named(hosts)}"
    before = recorded_hosts(context, old) if old else None
    if old and before is not None:
        if gone := [host for host in before if host not in hosts]:
            yield f"not in the inventory any more, and left as they are: {named(gone)}"
        if come := [host for host in hosts if host not in before]:
            yield f"new in the inventory: {named(come)}; if it fails, they get {old.release.manifest.version}"


def _undo_lines(old: Target | None, new: Target) -> Iterator[str]:
    undo = new.options.get("undo")
    if old is None:
        yield (
            f"if it fails, {undo} runs"
            if undo
            else "it has no undo playbook, and there is no earlier release whose playbook could run again: "
            "what it does cannot be undone"
        )
    else:
        first = f"{undo}, then " if undo else ""
        yield f"if it fails, {first}the playbook of {old.release.manifest.version} runs"


def _removal(old: Target) -> str:
    undo = old.options.get("undo")
    return f"run {undo}" if undo else f"{playbook_of(old)} has no undo playbook: its changes remain"


METHOD = Ansible()
