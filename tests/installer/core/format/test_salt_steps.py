"""Steps of salt in bundle.json: what they may name, their word in `requires`, and both readers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.entries.salt_states import root_of, state_of
from installer.core.format.features import SALT
from installer.core.format.manifest import Deployment
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build

ROOT = "deploy/salt"
STATE = [f"{ROOT}/chat/init.sls", f"{ROOT}/chat/chat.conf", f"{ROOT}/chat/undo.sls"]
TREE = [f"{ROOT}/top.sls", *STATE]
PILLAR, OTHER = "deploy/pillar.yaml.j2", "deploy/other.sls"
ALL = {
    "state": STATE,
    "undo": "chat.undo",
    "pillar": PILLAR,
    "salt_version": ">=3006.1,<3010, != 3007",
    "timeout": 60,
}


def plan(options: dict[str, Any], kind: str = "deploy", *more: str) -> build.Plan:
    """Give a bundle with one step, and the files that it may name."""
    paths = sorted([*TREE, OTHER, PILLAR, *more])
    entries = {path: {"kind": "template" if path == PILLAR else kind} for path in paths}
    step = Deployment("salt", options)
    return build.plan(dict.fromkeys(paths, b"x\n"), entries=entries, deploy=(step,))


@pytest.mark.parametrize(
    ("options", "root", "state"),
    [
        (ALL, ROOT, "chat"),
        ({"state": STATE[:1]}, ROOT, "chat"),
        ({"state": TREE, "undo": "chat.undo"}, ROOT, ""),
        ({"state": TREE, "undo": "chat"}, ROOT, ""),
    ],
    ids=["all", "one-file", "file-root", "undo-of-a-directory"],
)
def test_a_step_is_read_and_requires_its_word(options: dict[str, Any], root: str, state: str) -> None:
    made = plan(options)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [SALT]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == options
    assert (root_of(step.options["state"]), state_of(step.options["state"])) == (root, state)


BAD: dict[str, dict[str, Any]] = {
    "no state": {"undo": "chat.undo"},
    "an empty list": {"state": []},
    "a file twice": {"state": [STATE[0], STATE[0]]},
    "a file that is missing": {"state": [*STATE, f"{ROOT}/chat/no.sls"]},
    "one path": {"state": STATE[0]},
    "a list that begins with another file": {"state": STATE[1:]},
    "a file outside of the directory": {"state": [*STATE, OTHER]},
    "a directory that is the section itself": {"state": ["deploy/top.sls"]},
    "an undo that is no state of it": {"state": STATE, "undo": "chat.revert"},
    "an undo without its directory": {"state": STATE, "undo": "undo"},
    "an undo that leaves the directory": {"state": STATE, "undo": "../other"},
    "a pillar of another kind": {"state": STATE, "pillar": STATE[1]},
    "a version without a condition": {"state": STATE, "salt_version": "3006"},
    "a time limit of nothing": {"state": STATE, "timeout": 0},
    "an option of later versions": {"state": STATE, "saltenv": "prod"},
}


@pytest.mark.parametrize("options", BAD.values(), ids=BAD)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    document = json.loads(manifest_json.dump(plan({"state": STATE}, "deploy", "deploy/top.sls").manifest))
    document["deploy"] = [{"method": "salt", "options": options}]
    build.refusal(plan({"state": STATE}, "deploy", "deploy/top.sls").resealed(document=dumps_lines(document)))


def test_a_file_of_another_kind_is_refused() -> None:
    build.refusal(plan({"state": STATE}, kind="script"))


@pytest.mark.parametrize("name", ["a.b", "größe", "a b"])
def test_a_directory_whose_name_is_none_of_a_state_is_refused(name: str) -> None:
    path = f"{ROOT}/{name}/init.sls"
    build.refusal(plan({"state": [path]}, "deploy", path))


def test_a_file_in_the_place_of_the_rendered_pillar_is_refused() -> None:
    build.refusal(plan(ALL, "deploy", f"{ROOT}/chat/site-pillar.yaml"))
