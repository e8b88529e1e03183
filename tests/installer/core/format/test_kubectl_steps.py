"""Steps of kubectl in bundle.json: what they may name, their word in `requires`, and both readers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.features import KUBECTL
from installer.core.format.manifest import Deployment
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build

FILES = ["deploy/kubernetes/a.yaml", "deploy/kubernetes/web/b.json"]
TEMPLATE = "deploy/site.yaml.j2"
ALL = {"manifests": FILES, "template": TEMPLATE, "namespace": "talk", "timeout": 60}


def plan(options: dict[str, Any], kind: str = "kubernetes", *more: str) -> build.Plan:
    """Give a bundle with one step, and the files that it may name."""
    paths = sorted([*FILES, TEMPLATE, *more])
    entries = {path: {"kind": "template" if path == TEMPLATE else kind} for path in paths}
    step = Deployment("kubectl", options)
    return build.plan(dict.fromkeys(paths, b"x\n"), entries=entries, deploy=(step,))


@pytest.mark.parametrize("options", [ALL, {"manifests": FILES[:1]}, {"template": TEMPLATE}])
def test_a_step_is_read_and_requires_its_word(options: dict[str, Any]) -> None:
    made = plan(options)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [KUBECTL]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == options


def test_a_file_of_the_kind_requires_the_word_without_a_step() -> None:
    made = build.plan({FILES[0]: b"x\n"}, entries={FILES[0]: {"kind": "kubernetes"}})
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [KUBECTL]
    build.read(made.tar())


BAD: dict[str, dict[str, Any]] = {
    "neither manifests nor a template": {"namespace": "talk"},
    "an empty list": {"manifests": []},
    "one path": {"manifests": FILES[0]},
    "a file twice": {"manifests": [FILES[0], FILES[0]]},
    "a file that is missing": {"manifests": [*FILES, "deploy/kubernetes/no.yaml"]},
    "a template among the manifests": {"manifests": [TEMPLATE]},
    "a manifest as the template": {"manifests": FILES, "template": FILES[0]},
    "a namespace that is an option": {"manifests": FILES, "namespace": "-n"},
    "a time limit of nothing": {"manifests": FILES, "timeout": 0},
    "a program without its licence": {"manifests": FILES, "kubectl": [FILES[0]]},
    "an option of later versions": {"manifests": FILES, "prune": True},
}


@pytest.mark.parametrize("options", BAD.values(), ids=BAD)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    document = json.loads(manifest_json.dump(plan({"manifests": FILES}).manifest))
    document["deploy"] = [{"method": "kubectl", "options": options}]
    build.refusal(plan({"manifests": FILES}).resealed(document=dumps_lines(document)))


def test_a_file_of_another_kind_or_name_is_refused() -> None:
    build.refusal(plan({"manifests": FILES}, "deploy"))
    name = "deploy/kubernetes/a.txt"
    build.refusal(plan({"manifests": [*FILES, name]}, "kubernetes", name))


@pytest.mark.parametrize(
    ("options", "place"),
    [(ALL, "deploy/kubernetes/site-manifests.yaml"), ({"template": TEMPLATE}, "deploy/site-manifests.yaml")],
)
def test_a_file_in_the_place_of_the_rendered_manifests_is_refused(
    options: dict[str, Any], place: str
) -> None:
    build.read(plan(options).tar())
    build.refusal(plan(options, "kubernetes", place))
