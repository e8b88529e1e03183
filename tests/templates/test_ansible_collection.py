"""The collection of templates/ansible as a package: built, installed offline, documented; wrong input."""

from __future__ import annotations

import json
import tarfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from installer.cli.app import app
from tests.rig.ansibled import COLLECTION, Controller, Play

pytestmark = pytest.mark.needs("ansible")
TOP = Path(__file__).parents[2]
MODULES = ["bundle", "executable", "facts", "trust"]
# What the action plugins take, and which of it becomes an option of which command.
ARGUMENTS = """\
import importlib, json, os, sys
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionFinder
_AnsibleCollectionFinder(paths=[os.path.abspath("installed")])._install()
below = "ansible_collections.waybill.release.plugins.action."
found = {name: importlib.import_module(below + name) for name in sys.argv[1:]}
arguments = {name: each.ARGUMENTS for name, each in found.items()}
print(json.dumps({"arguments": arguments, "options": found["bundle"].OPTIONS}))
"""
WRONG = """\
- hosts: localhost
  gather_facts: false
  ignore_errors: true
  module_defaults:
    waybill.release.bundle: &here
      executable: "{{ playbook_dir }}/absent"
      dest: "{{ playbook_dir }}/copies"
    waybill.release.facts: {executable: "{{ playbook_dir }}/other"}
  tasks:
    - {name: no source, waybill.release.bundle: {}}
    - {name: no version, waybill.release.bundle: {state: rolled_back, product: lan-chat}}
    - {name: no such file, waybill.release.bundle: {src: lan-chat-9.tar}}
    - {name: no bundle, waybill.release.bundle: {src: site.yml}}
    - {name: no executable, waybill.release.bundle: {src: /b.tar, remote_src: true}}
    - {name: another program, waybill.release.facts: {}}
    - name: environment
      waybill.release.facts: {executable: "{{ playbook_dir }}/telling"}
      environment: {SITE: plant 3}
    - name: another fingerprint
      waybill.release.trust: {src: root.json, fingerprint: 00ff, executable: "{{ playbook_dir }}/untrusting"}
      check_mode: true
"""
# The approvals next to a bundle, on a controller that is its own host; the executable only says yes.
APPROVALS = """\
- hosts: localhost
  gather_facts: false
  module_defaults:
    waybill.release.bundle:
      src: small.tar
      state: verified
      executable: "{{ playbook_dir }}/agreeing"
      dest: "{{ playbook_dir }}/approved"
  tasks:
    - {name: first, waybill.release.bundle: {}}
    - {name: again, waybill.release.bundle: {}}
    - name: withdraw
      ansible.builtin.file: {path: "{{ playbook_dir }}/small.tar.approvals/ops.json", state: absent}
    - {name: after, waybill.release.bundle: {}}
    - {name: finally, waybill.release.bundle: {}}
"""
SAYS = {
    "no source": "state is installed but all of the following are missing: src",
    "no version": "state is rolled_back but all of the following are missing: version",
    "no such file": "lan-chat-9.tar",
    "no bundle": "site.yml: is no bundle: SHA256SUMS is not its first file",
    "no executable": "exit 127: no document of install came: ",
    "another program": "exit 0: no document of install came: ",
    "another fingerprint": "root.json: has not the fingerprint that the task gives",
}


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """A controller on which the collection was built and installed from its archive."""
    made = Controller.set_up(tmp_path_factory.mktemp("ansible"))
    galaxy = ("ansible-galaxy", "collection")
    for words in (
        (*galaxy, "build", COLLECTION, "--output-path", "built"),
        (*galaxy, "install", "--offline", "-p", "installed", "built/waybill-release-0.1.0.tar.gz"),
    ):
        done = elsewhere(made).run(*words)
        assert done.returncode == 0, done.stderr
    return made


def elsewhere(controller: Controller) -> Controller:
    """Return the controller with the installed collection instead of the one next to the playbook."""
    environment = {**controller.environment, "ANSIBLE_COLLECTIONS_PATH": "installed"}
    return Controller(controller.directory, environment)


@pytest.fixture(scope="module")
def taken(controller: Controller) -> Any:
    done = controller.run("python", "-c", ARGUMENTS, *MODULES)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def documented(controller: Controller, kind: str, *names: str) -> Any:
    words = (f"waybill.release.{name}" for name in names)
    done = elsewhere(controller).run("ansible-doc", "--json", "-t", kind, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_archive_has_what_the_template_has_and_installs_offline(controller: Controller) -> None:
    source = controller.directory / COLLECTION
    wanted = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()}
    with tarfile.open(controller.directory / "built/waybill-release-0.1.0.tar.gz") as archive:
        found = {member.name for member in archive if member.isfile()}
    # Ansible writes the description of the archive instead of galaxy.yml.
    assert found == wanted - {"galaxy.yml"} | {"FILES.json", "MANIFEST.json"}
    assert (controller.directory / "installed/ansible_collections/waybill/release/MANIFEST.json").is_file()


def test_the_collection_has_the_version_of_the_product() -> None:
    galaxy = yaml.safe_load((TOP / "templates/ansible" / COLLECTION / "galaxy.yml").read_text())
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert (galaxy["version"], galaxy["license"]) == (project["version"], [project["license"]])


def test_ansible_doc_shows_every_argument_as_the_plugin_takes_it(controller: Controller, taken: Any) -> None:
    shown = documented(controller, "module", *MODULES)
    for name in MODULES:
        described = shown[f"waybill.release.{name}"]
        options: Mapping[str, Any] = described["doc"]["options"]
        keys = ("type", "default", "choices", "elements", "required")
        plain = {
            argument: {key: said[key] for key in keys if said.get(key) not in (None, False)}
            for argument, said in options.items()
        }
        wanted = {
            argument: {key: value for key, value in spec.items() if value is not False}
            for argument, spec in taken["arguments"][name].items()
        }
        assert plain == wanted, name
        assert yaml.safe_load(described["examples"])
        assert {"exit", "code", "problems", "hint"} <= described["return"].keys()


def test_ansible_doc_shows_every_variable_of_the_role(controller: Controller) -> None:
    shown = documented(controller, "role", "install")["waybill.release.install"]
    options = shown["entry_points"]["main"]["options"]
    defaults = yaml.safe_load(
        (controller.directory / COLLECTION / "roles/install/defaults/main.yml").read_text()
    )
    assert {name: said["default"] for name, said in options.items() if "default" in said} == defaults


def test_every_argument_that_becomes_an_option_is_an_option_of_that_command(taken: Any) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for command, arguments in taken["options"].items():
        options = {option for parameter in commands[command].params for option in parameter.opts}
        assert {f"--{name.replace('_', '-')}" for name in arguments} <= options, command


@pytest.fixture(scope="module")
def wrong(controller: Controller) -> Play:
    controller.write("other", '#!/bin/sh\necho \'{"schema": "another/v1"}\'\n').chmod(0o755)
    telling = '{"schema": "waybill/cli/status/v1", "host": "\'"$SITE"\'"}'
    controller.write("telling", f"#!/bin/sh\necho '{telling}'\n").chmod(0o755)
    answer = '{"schema": "waybill/cli/trust-show/v1", "trust": null}'
    controller.write("untrusting", f"#!/bin/sh\necho '{answer}'\nexit 10\n").chmod(0o755)
    controller.write("wrong.yml", WRONG)
    return controller.play("wrong.yml")


@pytest.mark.parametrize("name", SAYS)
def test_wrong_input_is_named(wrong: Play, name: str) -> None:
    told = wrong.of(name)
    assert told.status == "failed"
    assert SAYS[name] in told.result["msg"], told.result["msg"]


def test_an_executable_that_is_not_there_has_a_remedy(wrong: Play) -> None:
    assert "waybill.release.executable" in wrong.of("no executable").result["hint"]


def test_wrong_input_leaves_nothing_on_the_host(wrong: Play, controller: Controller) -> None:
    assert wrong.changed() == []
    assert not (controller.directory / "copies").exists()


def test_approvals_next_to_a_bundle_come_and_go_with_it(controller: Controller) -> None:
    agreeing = '{"schema": "waybill/cli/verify/v1"}'
    controller.write("agreeing", f"#!/bin/sh\necho '{agreeing}'\n").chmod(0o755)
    with tarfile.open(controller.directory / "small.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("SHA256SUMS"))
    beside = controller.directory / "small.tar.approvals"
    beside.mkdir()
    for name in ("ops.json", "se curity.json"):
        (beside / name).write_text(name)
    (beside / "link").symlink_to("ops.json")
    controller.write("approvals.yml", APPROVALS)
    play = controller.play("approvals.yml")
    assert play.exit == 0, play.output
    assert [task for _, task in play.changed()] == ["first", "withdraw", "after"]
    copies = controller.directory / "approved/small.tar.approvals"
    (left,) = copies.iterdir()
    assert (left.name, left.read_text(), left.stat().st_mode & 0o777) == ("se curity.json",) * 2 + (0o600,)


def test_the_environment_of_a_task_reaches_the_executable(wrong: Play) -> None:
    assert wrong.of("environment").result["ansible_facts"]["waybill"]["host"] == "plant 3"
