"""Steps of helm in bundle.json: what they may name, their word in `requires`, and both readers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.features import HELM
from installer.core.format.manifest import Deployment
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build

TOP = "deploy/helm/chat"
FILES = [f"{TOP}/Chart.yaml", f"{TOP}/templates/all.yaml", f"{TOP}/values.yaml"]
ARCHIVE = "deploy/helm/chat-1.0.0.tgz"
VALUES = "deploy/values.yaml.j2"
ALL = {"chart": FILES, "release": "chat", "namespace": "talk", "values": VALUES, "timeout": 60, "test": True}


def plan(options: dict[str, Any], kind: str = "chart") -> build.Plan:
    """Give a bundle with one step, and the files that it may name."""
    paths = sorted([*FILES, ARCHIVE, VALUES])
    entries = {path: {"kind": "template" if path == VALUES else kind} for path in paths}
    step = Deployment("helm", options)
    return build.plan(dict.fromkeys(paths, b"x\n"), entries=entries, deploy=(step,))


@pytest.mark.parametrize("options", [ALL, {"chart": ARCHIVE}, {"chart": FILES}])
def test_a_step_is_read_and_requires_its_word(options: dict[str, Any]) -> None:
    made = plan(options)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [HELM]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == options


def test_a_file_of_the_kind_requires_the_word_without_a_step() -> None:
    made = build.plan({FILES[0]: b"x\n"}, entries={FILES[0]: {"kind": "chart"}})
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [HELM]
    build.read(made.tar())


BAD: dict[str, dict[str, Any]] = {
    "no chart": {"release": "chat"},
    "an empty list": {"chart": []},
    "a file twice": {"chart": [FILES[0], FILES[0]]},
    "a file that is missing": {"chart": [*FILES, f"{TOP}/no.yaml"]},
    "a list that does not begin with its metadata": {"chart": FILES[1:]},
    "a file outside of the directory": {"chart": [*FILES, ARCHIVE]},
    "a release that is no name": {"chart": FILES, "release": "Chat_1"},
    "a release that is too long": {"chart": FILES, "release": "c" * 54},
    "a namespace that is an option": {"chart": FILES, "namespace": "-n"},
    "values of another kind": {"chart": FILES, "values": FILES[2]},
    "a time limit of nothing": {"chart": FILES, "timeout": 0},
    "a test that is a word": {"chart": FILES, "test": "yes"},
    "an option of later versions": {"chart": FILES, "atomic": True},
}


@pytest.mark.parametrize("options", BAD.values(), ids=BAD)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    document = json.loads(manifest_json.dump(plan({"chart": FILES}).manifest))
    document["deploy"] = [{"method": "helm", "options": options}]
    build.refusal(plan({"chart": FILES}).resealed(document=dumps_lines(document)))


def test_a_file_of_another_kind_is_refused() -> None:
    build.refusal(plan({"chart": FILES}, kind="deploy"))


def test_a_file_in_the_place_of_the_rendered_values_is_refused() -> None:
    paths = [*FILES, f"{TOP}/site-values.yaml", VALUES]
    entries = {path: {"kind": "template" if path == VALUES else "chart"} for path in paths}
    step = Deployment("helm", {"chart": FILES, "values": VALUES})
    build.refusal(build.plan(dict.fromkeys(sorted(paths), b"x\n"), entries=entries, deploy=(step,)))
