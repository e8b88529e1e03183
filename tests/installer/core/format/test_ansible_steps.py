"""Steps of ansible in bundle.json: what they may name, their word in `requires`, and both readers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.features import ANSIBLE, ANSIBLE_INVENTORY
from installer.core.format.manifest import Deployment
from installer.core.format.methods import rendered_files
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build

TOP = "deploy/ansible"
FILES = [f"{TOP}/site.yml", f"{TOP}/roles/chat/tasks/main.yml", f"{TOP}/undo.yml"]
OTHER, VALUES = "deploy/other.yml", "deploy/variables.yaml.j2"
HOSTS = {"playbook": FILES, "undo": FILES[2], "inventory": "inventory.yaml", "groups": ["chat", "store"]}
ALL = {"playbook": FILES, "undo": FILES[2], "values": VALUES, "timeout": 60, "ansible_core": ">=2.15, <2.20"}


def plan(options: dict[str, Any], kind: str = "playbook") -> build.Plan:
    """Give a bundle with one step, and the files that it may name."""
    paths = sorted([*FILES, OTHER, VALUES])
    entries = {path: {"kind": "template" if path == VALUES else kind} for path in paths}
    step = Deployment("ansible", options)
    return build.plan(dict.fromkeys(paths, b"x\n"), entries=entries, deploy=(step,))


@pytest.mark.parametrize("options", [ALL, {"playbook": FILES[0]}, {"playbook": FILES}])
def test_a_step_is_read_and_requires_its_word(options: dict[str, Any]) -> None:
    made = plan(options)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [ANSIBLE]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == options


def test_a_step_with_an_inventory_requires_its_word_and_takes_the_file_of_the_site() -> None:
    made = plan(HOSTS)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [ANSIBLE_INVENTORY, ANSIBLE]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == HOSTS
    assert rendered_files([step]) == {f"{TOP}/site-inventory.yaml": "inventory.yaml"}


def test_a_file_of_the_kind_requires_the_word_without_a_step() -> None:
    made = build.plan({FILES[0]: b"x\n"}, entries={FILES[0]: {"kind": "playbook"}})
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [ANSIBLE]
    build.read(made.tar())


BAD: dict[str, dict[str, Any]] = {
    "no playbook": {"timeout": 60},
    "an empty list": {"playbook": []},
    "a file twice": {"playbook": [FILES[0], FILES[0]]},
    "a file that is missing": {"playbook": [*FILES, f"{TOP}/no.yml"]},
    "a list that does not begin with a playbook": {"playbook": [VALUES]},
    "a file outside of the directory": {"playbook": [*FILES, OTHER]},
    "an undo outside of the list": {"playbook": FILES, "undo": OTHER},
    "an undo in a directory of its own": {"playbook": FILES, "undo": FILES[1]},
    "an undo of a playbook without a list": {"playbook": FILES[0], "undo": FILES[2]},
    "values of another kind": {"playbook": FILES, "values": FILES[2]},
    "a range without numbers": {"playbook": FILES, "ansible_core": ">=two"},
    "a range without a sign": {"playbook": FILES, "ansible_core": "2.15"},
    "a time limit of nothing": {"playbook": FILES, "timeout": 0},
    "an option of later versions": {"playbook": FILES, "hosts": OTHER},
    "an inventory with a directory": HOSTS | {"inventory": "hosts/inventory.yaml"},
    "an inventory that is a program": HOSTS | {"inventory": "inventory.py"},
    "an inventory without groups": {key: HOSTS[key] for key in ("playbook", "undo", "inventory")},
    "groups without an inventory": {key: HOSTS[key] for key in ("playbook", "undo", "groups")},
    "an inventory without an undo": {key: HOSTS[key] for key in ("playbook", "inventory", "groups")},
    "no group": HOSTS | {"groups": []},
    "a group twice": HOSTS | {"groups": ["chat", "chat"]},
    "the group of all hosts": HOSTS | {"groups": ["all"]},
    "a group that is a pattern": HOSTS | {"groups": ["chat:!store"]},
}


@pytest.mark.parametrize("options", BAD.values(), ids=BAD)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    document = json.loads(manifest_json.dump(plan({"playbook": FILES}).manifest))
    document["deploy"] = [{"method": "ansible", "options": options}]
    build.refusal(plan({"playbook": FILES}).resealed(document=dumps_lines(document)))


def test_a_file_of_another_kind_is_refused() -> None:
    build.refusal(plan({"playbook": FILES}, kind="deploy"))


def test_a_file_in_the_place_of_the_rendered_variables_is_refused() -> None:
    paths = [*FILES, f"{TOP}/site-values.yaml", VALUES]
    entries = {path: {"kind": "template" if path == VALUES else "playbook"} for path in paths}
    step = Deployment("ansible", {"playbook": FILES, "values": VALUES})
    build.refusal(build.plan(dict.fromkeys(sorted(paths), b"x\n"), entries=entries, deploy=(step,)))
