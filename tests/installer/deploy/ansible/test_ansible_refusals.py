"""What of a playbook is told before anything is changed: by the plan, with real Ansible where it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from installer.core.errors import HostNotReadyError
from installer.core.format.entries.version_range import is_in_range
from installer.deploy.ansible.events import TaskResult
from installer.deploy.ansible.method import METHOD
from installer.deploy.ansible.own_errors import own_error
from installer.deploy.ansible.playbook_run import unreachable_problem
from installer.deploy.method import Target
from installer.host import private_copy
from installer.host.context import Context
from installer.shared.secrecy.known import Secrets
from tests.rig.playbooks import DELETE, FOLDER, WRITE, OnDirectory, Parts, playbook, settings, with_ansible
from tests.rig.releases import ReleaseSpec, context, plan_for, root, stage

PING = """\
    - name: ask the database
      ansible.builtin.ping:
      delegate_to: database
      vars: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
"""
ASSERT = """\
    - name: look at the kernel
      ansible.builtin.assert: {that: "ansible_check_mode is not defined", fail_msg: "the kernel is too old"}
"""
NEEDS_EARLIER = """\
    - name: make the list
      ansible.builtin.command: {cmd: "touch {{ waybill.root }}/list"}
    - name: read the list
      ansible.builtin.set_fact: {found: "{{ lookup('ansible.builtin.file', waybill.root ~ '/list') }}"}
"""
ASKS = """\
- hosts: all
  gather_facts: false
  vars_prompt: [{name: level, prompt: Which level}]
  tasks:
    - name: wait for a key
      ansible.builtin.pause: {prompt: Go on}
"""


@pytest.fixture
def host(tmp_path: Path) -> Context:
    return with_ansible(tmp_path / "host")


def refusal(within: Context, spec: ReleaseSpec) -> str:
    """Return what a plan is refused with. Nothing is changed."""
    plan = plan_for(within, spec)
    with pytest.raises(HostNotReadyError) as caught:
        plan.require_ready()
    assert settings(root(within)) == ""
    return str(caught.value)


def lines(within: Context, spec: ReleaseSpec) -> list[str]:
    plan = plan_for(within, spec)
    plan.require_ready()
    return [line for step in plan.methods for line in step.lines]


def test_a_host_that_cannot_be_reached_is_named(host: Context) -> None:
    said = refusal(host, playbook(1, Parts(PING)))
    assert "database" in said
    assert "ask the database" in said
    assert "log in" in said


def test_a_host_whose_shell_ends_before_it_has_the_module_is_told_of_its_python() -> None:
    pipe = "Task failed: Data could not be sent to remote host '127.0.1.1'. [Errno 32] Broken pipe"
    problem = unreachable_problem(TaskResult("node1", "look at the host", text=pipe, unreachable=True))
    assert problem.where == "node1"
    assert problem.what == f"ended the connection of the task look at the host: {pipe}"
    assert "look whether it runs" in problem.hint
    assert "name it as ansible_python_interpreter" in problem.hint


def test_a_host_that_the_playbook_itself_refuses_is_refused(host: Context) -> None:
    said = refusal(host, playbook(1, Parts(ASSERT)))
    assert "localhost: look at the kernel: the kernel is too old" in said
    assert "the playbook itself refuses this host" in said


def test_a_module_that_is_not_there_is_refused(host: Context) -> None:
    said = refusal(host, playbook(1, Parts("    - no_such.collection.module:\n")))
    assert "1 problem" in said
    assert f"{FOLDER}/site.yml:4: cannot be run: " in said
    assert "no_such.collection.module" in said
    assert "/.waybill" not in said


def test_a_trial_that_hangs_is_refused_with_its_task(host: Context) -> None:
    waits = "    - {name: wait, ansible.builtin.command: sleep 1000, check_mode: false}\n"
    said = refusal(host, playbook(1, Parts(waits, options={"timeout": 12})))
    assert "cannot be run: timed out after 12 s and was killed during the task wait" in said
    assert "longer `timeout`" in said
    assert '"event"' not in said


def test_a_version_outside_of_the_range_of_the_release_is_refused(host: Context) -> None:
    said = refusal(host, playbook(1, Parts(options={"ansible_core": ">=2.4, <2.10"})))
    assert "of ansible-core, but the release needs >=2.4, <2.10" in said


def test_a_play_for_other_hosts_is_refused(host: Context) -> None:
    spec = playbook(1)
    site = spec.members[f"{FOLDER}/site.yml"]
    site.data = site.data.replace(b"hosts: all", b"hosts: web")
    assert "a play has no hosts" in refusal(host, spec)


def test_a_failure_in_check_mode_for_want_of_an_earlier_task_is_no_refusal(host: Context) -> None:
    said = lines(host, playbook(1, Parts(WRITE + NEEDS_EARLIER)))
    assert "change: write the settings" in said
    assert "not known before it runs: make the list" in said
    assert any(line.startswith("check mode ended at read the list: ") for line in said)


def test_a_playbook_that_asks_gets_no_answer_and_does_not_hang(host: Context) -> None:
    spec = playbook(1, Parts(undo=DELETE))
    spec.members[f"{FOLDER}/site.yml"].data = ASKS.encode()
    assert lines(host, spec)[-1] == f"if it fails, {FOLDER}/undo.yml runs"


def test_a_host_without_ansible_is_refused(tmp_path: Path) -> None:
    class Bare(OnDirectory):
        def which(self, tool: str) -> str | None:
            return None if tool == "ansible-playbook" else super().which(tool)

    said = refusal(context(Bare(tmp_path)), playbook(1))
    assert "ansible-playbook: is not installed" in said
    assert "install ansible-core" in said


def test_a_host_without_a_file_system_in_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_copy, "_PLACES", ("/",))
    said = refusal(with_ansible(tmp_path / "host"), playbook(1))
    assert "/dev/shm: is no file system in memory, where Ansible has to read secrets" in said
    assert "mount a tmpfs on it" in said


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("waybill", "is a name that Waybill or Ansible itself uses"),
        ("ansible_connection", "is a name that Waybill or Ansible itself uses"),
        ("log-level", "cannot be the name of a variable"),
    ],
)
def test_a_variable_with_a_name_that_cannot_be_is_refused(name: str, why: str, tmp_path: Path) -> None:
    target = Target(stage(tmp_path, playbook(1)).release("/somewhere"), {})
    _, (problem,) = METHOD.rendered(
        context(OnDirectory(tmp_path)), target, "a.j2", f"b: 1\n{name}: x\n".encode()
    )
    assert str(problem).startswith(f"a.j2 (rendered):2: {name} {why}")


def test_variables_that_are_no_mapping_are_refused_and_nothing_is_tried(host: Context) -> None:
    said = refusal(host, playbook(1, Parts(site="- {{ level }}\n", defaults="level: low\n")))
    assert "1 problem" in said
    assert "deploy/variables.yaml.j2 (rendered): is not a mapping of values" in said


def test_a_secret_that_is_not_there_is_refused(host: Context) -> None:
    site = root(host) / "etc/waybill/lan-chat/values.yaml"
    site.parent.mkdir(parents=True)
    site.write_text("password: secret://file/login\n")
    parts = Parts(site="password: {{ password | tojson }}\n", defaults="password: ''\n")
    assert "secret://file/login" in refusal(host, playbook(1, parts))


def test_a_first_installation_without_an_undo_playbook_is_said_to_be_final(host: Context) -> None:
    plan = plan_for(host, playbook(1, Parts(undo="")))
    assert plan.final_steps == [f"run {FOLDER}/site.yml"]
    assert "what it does cannot be undone" in [line for step in plan.methods for line in step.lines][-1]


def test_a_directory_is_no_host_to_run_a_playbook_on(host: Context) -> None:
    host.system.live = False
    spec = playbook(1)
    plan = plan_for(host, replace(spec, health=()))
    assert "ansible" in plan.skipped


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("2.19.14", ">=2.15,<2.20", True),
        ("2.20.0rc1", ">=2.15, <2.20", False),
        ("2.15", "==2.15.0", True),
        ("2.9.27", ">2.10", False),
        ("devel", ">=2.0", False),
    ],
)
def test_a_version_is_compared_by_its_numbers(version: str, bounds: str, fits: bool) -> None:
    assert is_in_range(version, bounds) is fits


NEW = """\
[WARNING]: x
[ERROR]: couldn't resolve module/action 'a.b'. This often
indicates a misspelling.
Origin: /copy/deploy/site.yml:4:7

2   tasks:
4     - a.b:
        ^ column 7
"""
OLD = """\
ERROR! couldn't resolve module/action 'a.b'. This often
indicates a misspelling.

The error appears to be in '/copy/deploy/site.yml': line 4, column 7, but may
be elsewhere in the file depending on the exact syntax problem.
"""
UNRESOLVED = "deploy/site.yml:4: couldn't resolve module/action 'a.b'. This often indicates a misspelling."
ERRORS = {
    "2.19": (NEW, UNRESOLVED),
    "2.15": (OLD, UNRESOLVED),
    "without a place": ("ERROR! the password is no hunter22\n", "the password is no ***"),
}


@pytest.mark.parametrize("version", ERRORS)
def test_the_error_of_ansible_itself_is_one_line_with_its_place(version: str) -> None:
    said, wanted = ERRORS[version]
    assert str(own_error(said.encode(), "/copy", Secrets().also(["hunter22"]))) == wanted


def test_what_is_no_error_of_ansible_itself_is_none() -> None:
    assert own_error(b"[WARNING]: x\n", "/copy", Secrets()) is None
