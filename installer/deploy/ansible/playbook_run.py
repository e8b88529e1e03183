"""Runs a playbook with the `ansible-playbook` of the host, with nothing of the environment of a person.

Ansible gets a private copy of the files of the playbook, checked while it was made, and its variables in a
file in memory, which is removed as soon as they are read. It finds no settings, plugins, roles and
collections but those of the release, and no input and no terminal to ask for any.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from importlib.resources import files
from typing import Any

from installer.core.errors import Problem
from installer.core.format.entries.playbook_files import KIND
from installer.deploy import release_files
from installer.deploy.ansible import carried
from installer.deploy.ansible.events import Report, TaskResult
from installer.deploy.ansible.inventory_files import (
    INVENTORY,
    REACH,
    REACH_TASK,
    SECRET_FILES,
    SSH_SETTINGS,
    inventory_files,
    reach_words,
)
from installer.deploy.ansible.inventory_variables import LOCAL
from installer.deploy.ansible.own_errors import own_error
from installer.deploy.ansible.variables import as_they_are
from installer.deploy.method import Target, full_path
from installer.deploy.operation import Json, StepError
from installer.deploy.site.rendered_values import recorded_values, values_with_secrets
from installer.deploy.site.step_memory import step_memory
from installer.host.context import Context
from installer.host.private_copy import forget
from installer.host.system import Completed
from installer.shared.child.marked_processes import MARK, end_marked

TIMEOUT = 600
"""Seconds that a playbook may take, where the step does not say it."""
_WARNINGS = 50
"""Lines that Ansible itself writes and that a log gets."""
_WIDTH = 300
VARIABLE = "waybill"
"""The variable with what Waybill tells a playbook."""
_CONFIG = "ansible.cfg"
_PLUGIN = "waybill_events"
_SCRATCH = "WAYBILL_SCRATCH"
_HOST = {
    "ansible_connection": "local",
    "ansible_python_interpreter": "{{ ansible_playbook_python }}",
    # Of this host alone: another one that a task is delegated to has no such directory.
    "ansible_remote_tmp": f"{{{{ lookup('ansible.builtin.env', '{_SCRATCH}') }}}}",
}
# Where Ansible looks for each kind of plugin: next to the playbook, not where this host has its own.
_PLUGINS = (
    *("action", "become", "cache", "cliconf", "connection", "filter", "httpapi", "inventory", "lookup"),
    *("netconf", "strategy", "terminal", "test", "vars"),
)
_SETTINGS: Mapping[str, str] = {
    # Ansible refuses to start in a locale that is not UTF-8.
    "LC_ALL": "C.UTF-8",
    "ANSIBLE_STDOUT_CALLBACK": _PLUGIN,
    # A full disk has no copy: then the release's own directory must not get compiled plugins.
    "PYTHONDONTWRITEBYTECODE": "1",
    "ANSIBLE_NOCOLOR": "1",
    "ANSIBLE_FORCE_COLOR": "0",
    "ANSIBLE_NOCOWS": "1",
    "ANSIBLE_RETRY_FILES_ENABLED": "0",
    "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "0",
    # Modules get their arguments through a pipe: no disk has them.
    "ANSIBLE_PIPELINING": "1",
    "ANSIBLE_KEEP_REMOTE_FILES": "0",
    # Modules would write their arguments to the log of the system, secrets included.
    "ANSIBLE_NO_TARGET_SYSLOG": "1",
    # Nothing of ssh stays behind when the playbook has ended.
    "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=no -o ControlPath=none",
}


def step_of(target: Target, method: str, old: Target | None) -> Json:
    """Return what operations have to know of a step: no secret, for the journal has it.

    Args:
        target: The step.
        method: The name of its method.
        old: The same step of the release that runs now; None where there is none.
    """
    manifest = target.release.manifest
    return {
        "directory": target.release.directory,
        "playbook": playbook_of(target),
        **({"undo": target.options["undo"]} if "undo" in target.options else {}),
        "files": release_files.listed(manifest, KIND),
        "values": recorded_values(target, method),
        "timeout": int(target.options.get("timeout", TIMEOUT)),
        "product": manifest.product,
        "version": manifest.version,
        "old_version": old.release.manifest.version if old else "",
        **carried.recorded(target),
    }


def playbook_of(target: Target) -> str:
    """Return the path of the playbook of a step in the bundle."""
    named = target.options["playbook"]
    return str(named[0] if isinstance(named, list) else named)


def run_playbook(
    context: Context,
    step: Json,
    which: str,
    mark: str,
    *,
    planned: Target | None = None,
    limit: Collection[str] = (),
) -> tuple[Report, Completed]:
    """Run a playbook of a step; in check mode while planning, after all of its hosts were reached.

    Args:
        context: The host.
        step: What `step_of` returned.
        which: `playbook` or `undo`; `REACH` to reach the hosts and do nothing there.
        mark: What all processes of the run are known by.
        planned: While planning, the step: its files are not in the directory of the release yet.
        limit: Only these hosts; empty for all of the step.

    Raises:
        StepError: A secret cannot be had, there is no such program, or no memory for private files.
        ChangedFileError: A file is not what was verified. Nothing was run.
    """
    # Nothing of the release is needed to reach hosts, and it may not be in its place yet.
    step = {**step, "files": {}, "values": None} if which == REACH else step
    system, playbook = context.system, step.get(which, "")
    directory = planned.release.staged if planned else step["directory"]
    values = values_with_secrets(context, step["values"], planned)
    private = _private(context, step, {**values, VARIABLE: _told(context, step, directory)}, limit)
    files_copy = release_files.checked_directory(context, directory, step["files"], KIND, alone=True)
    with (
        files_copy if playbook else nullcontext(directory) as copy,
        carried.command(context, step, planned) as program,
        step_memory(lambda _: private) as memory,
    ):
        # On a full disk there is no copy, and the release's own directory stays as it is.
        scratch = memory if copy == directory else system.real(copy)
        real = {"copy": system.real(copy) if playbook else memory, "memory": memory, "scratch": scratch}
        report = Report(
            context.secrets,
            told=(lambda _: None) if planned else context.progress.note,
            began=lambda: _forget(memory, private),
        )
        argv = [*program, "--inventory", f"{memory}/{'hosts.yaml' if INVENTORY in step else 'host.json'}"]
        argv += ["--extra-vars", f"@{memory}/variables.yaml"]
        argv += ["--check", "--diff"] if planned else []
        argv += ["--limit", f"@{memory}/limit"] if limit else []
        # While planning in the same run: each start of Ansible takes a second.
        argv += reach_words(step, memory) if INVENTORY in step and (planned or which == REACH) else []
        argv += [f"{real['copy']}/{playbook}"] if playbook else []
        try:
            ended = system.run(
                argv,
                timeout=step["timeout"],
                env={**_environment(step, playbook, real), MARK: mark},
                cwd=f"{real['copy']}/{posixpath.dirname(playbook)}",
                heard=report.hear,
            )
        except BaseException:
            # Interrupted: what Ansible started has sessions of its own.
            end_processes(context, mark)
            raise
        if ended.timed_out or ended.status < 0:
            end_processes(context, mark)
        # The private copy is gone by the time that somebody reads this.
        report.without(f"{real['copy']}/")
        report.own_error = own_error(ended.stderr, real["copy"], context.secrets)
    if playbook and not planned:
        warnings = context.secrets.last_lines(ended.stderr.decode("utf-8", "replace"), _WARNINGS, _WIDTH)
        context.progress.output(playbook, [*report.lines, *warnings])
    return report, ended


def _forget(memory: str, private: Collection[str]) -> None:
    for name in SECRET_FILES:
        if name in private:
            forget(f"{memory}/{name}")


def end_processes(context: Context, mark: str) -> bool:
    """End what a run left running, as one effect of the host; return whether nothing is left."""
    return context.system.effect("processes.end", lambda: end_marked(mark))


def _told(context: Context, step: Json, directory: str) -> dict[str, str]:
    return {
        "product": step["product"],
        "version": step["version"],
        "old_version": step["old_version"],
        # Where the files of the bundle are now: while planning not yet where they stay.
        "files": full_path(context, directory),
        "release": full_path(context, step["directory"]),
        "root": context.system.root,
    }


def _private(
    context: Context, step: Json, variables: dict[str, Any], limit: Collection[str]
) -> dict[str, bytes]:
    plugin = files("installer.deploy.ansible").joinpath(f"{_PLUGIN}.py.txt").read_bytes()
    hosts = {"host.json": json.dumps({"all": {"hosts": {LOCAL: _HOST}}}).encode()}
    return {
        "variables.yaml": as_they_are(variables),
        **(inventory_files(context, step, _HOST, limit) if INVENTORY in step else hosts),
        _CONFIG: b"[defaults]\n",
        f"plugins/{_PLUGIN}.py": plugin,
    }


def _environment(step: Json, playbook: str, real: Mapping[str, str]) -> dict[str, str]:
    folder = posixpath.dirname(playbook)
    here, scratch = f"{real['copy']}/{folder}", f"{real['scratch']}/.ansible"
    plugins = {f"ANSIBLE_{kind.upper()}_PLUGINS": f"{here}/{kind}_plugins" for kind in _PLUGINS}
    own = f"{folder}/{_CONFIG}" in step["files"]
    return {
        **_SETTINGS,
        **(SSH_SETTINGS if INVENTORY in step else {}),
        **plugins,
        "ANSIBLE_CALLBACK_PLUGINS": f"{real['memory']}/plugins:{here}/callback_plugins",
        "ANSIBLE_LIBRARY": f"{here}/library",
        "ANSIBLE_MODULE_UTILS": f"{here}/module_utils",
        "ANSIBLE_ROLES_PATH": f"{here}/roles",
        "ANSIBLE_COLLECTIONS_PATH": f"{here}/collections",
        # Not those of /etc and of root's home: they are not part of the release.
        "ANSIBLE_CONFIG": f"{here if own else real['memory']}/{_CONFIG}",
        "ANSIBLE_HOME": scratch,
        "ANSIBLE_LOCAL_TEMP": f"{scratch}/local",
        _SCRATCH: f"{scratch}/modules",
    }


def failure(context: Context, step: Json, which: str, report: Report, ended: Completed) -> StepError:
    """Return the error for a playbook that failed: each host by its name, with its task and the message."""
    problems = problems_of(report)
    # First: what was killed has failed as well, but not for a reason of its own.
    if ended.timed_out:
        during = f" during the task {report.task}" if report.task else ""
        what = f"timed out after {step['timeout']} s and was killed{during}"
        hint = "find out what waits, or ask the publisher for a longer `timeout`"
        # Its output are events for this program; people get its errors.
        return StepError(what, where=step[which], hint=hint).of(replace(ended, stdout=b""), context.secrets)
    if not problems and (own := report.own_error):
        return StepError(own.what, where=own.where or step[which])
    if not problems:
        return StepError(ended.reason(context.secrets), where=step[which]).of(ended, context.secrets)
    first = problems[0]
    what = f"{first.where}: {first.what}"
    error = StepError(what, where=step[which], hint=first.hint, problems=problems[1:])
    error.output = next((each.said for each in report.failed if each.said), ())
    return error


PYTHON_HINT = "Ansible needs a Python there: install one, or name it as ansible_python_interpreter"


def unreachable_problem(each: TaskResult) -> Problem:
    """Return the problem that a host cannot be reached, or that it ended the connection of a task."""
    if each.task != REACH_TASK and "Broken pipe" in each.text:
        # Whatever was to read the module there has ended, and it may have ended before it said why.
        what = f"ended the connection of the task {each.task}: {each.text}"
        return Problem(each.host, what, f"look whether it runs. {PYTHON_HINT}")
    task = "" if each.task == REACH_TASK else f" for the task {each.task}"
    hint = "look whether it runs, and whether root of this host may log in there without a password"
    if "Host key verification failed" in each.text:
        hint = (
            "compare the key of that host, and add it to the known_hosts of this one: `ssh-keyscan` prints it"
        )
    return Problem(each.host, f"cannot be reached{task}: {each.text}", hint)


def problems_of(report: Report) -> list[Problem]:
    """Return what failed in a run, host by host; what the playbook itself rescued is no failure."""
    found = []
    # Where all hosts of a play are lost, it has none; the reason is the one of these hosts.
    if report.without_hosts and not report.failed:
        hint = "it can address `all`, `localhost`, and the `groups` of the step: there are no others"
        found.append(Problem("hosts", "a play has no hosts, and did nothing", hint))
    for each in report.failed:
        # The playbook has rescued it.
        if report.hosts_failed and each.host not in report.hosts_failed:
            continue
        if each.unreachable:
            found.append(unreachable_problem(each))
        else:
            place = f" ({each.where})" if each.where else ""
            found.append(Problem(each.host, f"the task {each.task}{place} failed: {each.text}"))
            found += [Problem(each.host, line) for line in each.said]
    return found
