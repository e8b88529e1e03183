"""ansible-core that travels with a release: hosts without Ansible install, undo and remove with it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.commands.status import product_status
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.deploy.ansible.carried import command, lacking
from installer.deploy.ansible.playbook_run import step_of
from installer.deploy.method import Target
from installer.host.context import Context
from installer.host.system import Completed, System
from tests.rig.faulty import Killed
from tests.rig.playbooks import (
    Parts,
    WithoutAnsible,
    ansible_core,
    copied,
    playbook,
    settings,
    with_ansible_core,
)
from tests.rig.releases import (
    ReleaseSpec,
    context,
    install,
    plan_for,
    planned,
    recovered,
    remove,
    roll_back,
    root,
    stage,
)

WRITE = """\
    - name: write the settings
      ansible.builtin.copy:
        content: "level NUMBER by {{ ansible_version.full }}"
        dest: "{{ waybill.root }}/settings"
    - name: say what Python it is
      ansible.builtin.copy:
        content: "{{ ansible_playbook_python | python_here }}"
        dest: "{{ waybill.root }}/python"
"""
# Runs inside of Ansible.
FILTER = """\
import json, os, sys

def here(modules):
    variables = [name for name in os.environ if name.startswith("PYTHON")]
    return json.dumps({"path": sys.path, "flags": str(sys.flags), "variables": variables, "modules": modules})

class FilterModule:
    def filters(self):
        return {"python_here": here}
"""
FAIL = """\
    - name: migrate
      ansible.builtin.command: {argv: ["false"]}
"""
CARRIED = "var/lib/waybill/lan-chat/releases/1-*/deploy/ansible-core"


class Dying(WithoutAnsible):
    """The same host, on which the installer is killed when a playbook has ended."""

    def run(self, argv: Sequence[str], **options: Any) -> Completed:
        ended = super().run(argv, **options)
        if argv[-1].endswith("/site.yml") and "--check" not in argv:
            self._die()
        return ended


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ansible_core(tmp_path_factory.mktemp("made") / "ansible-core")


@pytest.fixture(scope="module")
def host(core: Path, tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A host without Ansible, on which a release with its own has been installed."""
    place = tmp_path_factory.mktemp("carried") / "host"
    place.mkdir()
    within = context(WithoutAnsible(place))
    install(within, release(core, 1))
    return within


def release(core: Path, number: int, **parts: Any) -> ReleaseSpec:
    """Return a release whose ansible-core says that its version is 2.99 and the number of the release."""
    files = {"filter_plugins/here.py": FILTER}
    spec = playbook(number, Parts(**{"tasks": WRITE, "files": files, **parts}))
    return with_ansible_core(spec, core, f"2.99.{number}")


def bad(core: Path) -> ReleaseSpec:
    """Return a release that replaces the first one, fails, and is undone by the playbook of that."""
    return release(core, 2, tasks=WRITE + FAIL, undo="")


def test_a_host_without_ansible_runs_the_one_of_the_release(host: Context) -> None:
    assert settings(root(host)) == "level 1 by 2.99.1"


def test_nothing_of_the_host_is_loaded_and_nothing_is_written_below_the_files(host: Context) -> None:
    said = json.loads((root(host) / "python").read_text())
    first, *others = said["path"]
    assert "/.run-" in first
    assert first.endswith("/deploy/ansible-core")
    assert not [path for path in others if "-packages" in path or path == ""]
    assert "isolated=1" in said["flags"]
    assert "no_site=1" in said["flags"]
    (place,) = root(host).glob(CARRIED)
    assert (place / "ansible/cli/playbook.py").is_file()
    assert not [*place.rglob("__pycache__"), *place.rglob("*.pyc")]
    assert product_status(host).drift == ()


def test_modules_run_with_the_python_of_the_host_and_see_nothing_of_the_release(host: Context) -> None:
    said = json.loads((root(host) / "python").read_text())
    assert Path(said["modules"]).name.startswith("python3")
    assert said["variables"] == ["PYTHONDONTWRITEBYTECODE"]


def test_a_bad_upgrade_is_undone_by_the_old_playbook_with_the_old_ansible(host: Context, core: Path) -> None:
    with pytest.raises(RolledBackError):
        install(host, bad(core))
    assert settings(root(host)) == "level 1 by 2.99.1"


def test_a_killed_upgrade_is_undone_with_the_old_ansible(host: Context, core: Path, tmp_path: Path) -> None:
    place = copied(root(host), tmp_path / "host")
    with pytest.raises(Killed):
        install(context(Dying(place)), bad(core))
    assert settings(place) == "level 2 by 2.99.2"
    recovered(context(WithoutAnsible(place)))
    assert settings(place) == "level 1 by 2.99.1"


def test_a_changed_file_of_ansible_is_told_and_nothing_is_run_with_it(host: Context) -> None:
    (place,) = root(host).glob(f"{CARRIED}/ansible/constants.py")
    before = place.read_bytes()
    place.write_bytes(before + b"# edited\n")
    try:
        (drift,) = product_status(host).drift
        with pytest.raises(HostNotReadyError) as caught:
            remove(host)
    finally:
        place.write_bytes(before)
    assert "was changed since it was installed" in drift.what
    assert "ansible/constants.py: was changed since it was installed" in str(caught.value)
    assert settings(root(host)) == "level 1 by 2.99.1"


def test_an_upgrade_a_rollback_and_a_removal_use_the_ansible_of_their_releases(
    host: Context, core: Path
) -> None:
    with planned(host, release(core, 2)) as plan:
        execute_plan(host, plan)
    (shown, *_) = [line for step in plan.methods for line in step.lines]
    assert "with ansible-core 2.99.2 from the release, on Python 3." in shown
    assert settings(root(host)) == "level 2 by 2.99.2"
    roll_back(host)
    assert settings(root(host)) == "level 1 by 2.99.1"
    remove(host)
    assert settings(root(host)) == ""


def with_requirement(core: Path, line: str) -> ReleaseSpec:
    """Return a release whose ansible-core says something else of the Python that it needs."""
    spec = release(core, 1)
    path = next(path for path in spec.members if path.endswith("/METADATA") and "/ansible_core-" in path)
    data = re.sub(rb"Requires-Python: .*", line.encode(), spec.members[path].data)
    return replace(spec, members={**spec.members, path: replace(spec.members[path], data=data)})


def target(within: Context, spec: ReleaseSpec) -> Target:
    """Return the step of a release that has been staged."""
    return Target(stage(root(within), spec).release("/somewhere"), spec.deploy[0].options)


class WithoutPython(WithoutAnsible):
    """A host that has neither."""

    def which(self, tool: str) -> str | None:
        return None if tool.startswith("python") else super().which(tool)


def refusal(system: System, spec: ReleaseSpec) -> str:
    """Return what a plan for a host is refused with."""
    with pytest.raises(HostNotReadyError) as caught:
        plan_for(context(system), spec).require_ready()
    return str(caught.value)


def test_a_host_without_python_is_refused_with_the_remedy(core: Path, tmp_path: Path) -> None:
    said = refusal(WithoutPython(tmp_path), release(core, 1))
    assert "python3: is not installed, and ansible-core 2." in said
    assert "of the release needs Python >=3." in said
    assert "install python3; or use --skip ansible" in said


def test_a_host_whose_python_is_too_old_is_refused_with_the_remedy(core: Path, tmp_path: Path) -> None:
    said = refusal(WithoutAnsible(tmp_path), with_requirement(core, "Requires-Python: >=3.99"))
    assert re.search(r"/python3: is Python 3\.[0-9.]+, but ansible-core 2\.\S+ of the release needs", said)
    assert "install such a Python next to it: it is found by a name such as python3.12" in said


def test_an_operation_finds_the_carried_ansible_before_its_release_is_in_its_place(
    core: Path, tmp_path: Path
) -> None:
    within = context(WithoutAnsible(tmp_path))
    step = step_of(target(within, release(core, 1)), "ansible", None)
    with command(within, step, None) as words:
        ended = within.system.run([*words, "--version"], timeout=60, env={"LC_ALL": "C.UTF-8"})
    assert ended.stdout.startswith(b"ansible-playbook [core 2.99.1]")


def test_an_old_release_whose_ansible_is_gone_from_the_host_is_told_before_the_switch(
    core: Path, tmp_path: Path
) -> None:
    within = context(WithoutAnsible(tmp_path))
    old, new = (target(within, spec) for spec in (playbook(1), release(core, 2)))
    (found,) = lacking(within, old, new)
    assert (found.where, found.what) == (
        "ansible-playbook",
        "is not installed; 1.0.0 needs it, which comes back if this fails",
    )
