"""Programs that steps carry, in bundle.json: both readers refuse what a host could not choose or run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.features import HELM, TOOLS
from installer.core.format.manifest import Deployment
from installer.shared.review.review import review
from tests.rig import bundlebuild as build

CHART, LICENCE = "deploy/helm/chat-1.0.0.tgz", "deploy/helm.LICENSE"
ONE, OTHER = "deploy/tools/linux-amd64/helm", "deploy/tools/linux-arm64/helm"
TOOL = {"kind": "tool", "mode": 0o755, "platform": "linux/amd64"}
ENTRIES: dict[str, dict[str, Any]] = {
    LICENCE: {"kind": "licence"},
    CHART: {"kind": "chart"},
    ONE: TOOL,
    OTHER: {**TOOL, "platform": "linux/arm64"},
}
OPTIONS = {"chart": CHART, "helm": [ONE, OTHER], "helm_licence": LICENCE}


def plan(options: dict[str, Any] = OPTIONS, **changed: dict[str, Any]) -> build.Plan:
    """Give a bundle for two platforms; `one`, `other` and `licence` change the entries."""
    rows = {
        path: {**row, **changed.get(name, {})}
        for (path, row), name in zip(ENTRIES.items(), NAMES, strict=True)
    }
    platforms = ("linux/amd64", "linux/arm64")
    steps = (Deployment("helm", options),)
    return build.plan(dict.fromkeys(sorted(rows), b"x\n"), entries=rows, deploy=steps, platforms=platforms)


NAMES = ("licence", "chart", "one", "other")


def test_carried_programs_are_read_and_require_their_word() -> None:
    made = plan()
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [HELM, TOOLS]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == OPTIONS


BAD: dict[str, build.Plan] = {
    "no platform": plan(one={"platform": ""}),
    "two for one platform": plan(other={"platform": "linux/amd64"}),
    "not executable": plan(one={"mode": 0o644}),
    "a destination": plan(one={"install": "/usr/bin/helm"}),
    "another kind": plan(one={"kind": "deploy"}),
    "a licence of another kind": plan(licence={"kind": "doc"}),
    "no licence": plan({"chart": CHART, "helm": [ONE]}),
    "no program": plan({"chart": CHART, "helm_licence": LICENCE}),
    "an empty list": plan({**OPTIONS, "helm": []}),
    "a path alone": plan({**OPTIONS, "helm": ONE}),
}


@pytest.mark.parametrize("made", BAD.values(), ids=BAD)
def test_what_a_host_could_not_choose_or_run_is_refused(made: build.Plan) -> None:
    build.refusal(made)


def test_a_reviewer_is_told_of_a_program_that_cannot_be_read_and_of_what_follows() -> None:
    manifest = plan().manifest
    found = review(
        manifest, lambda entry: b"hostPath:" if entry.path == CHART else pytest.fail("it was read")
    )
    root = [each.where for each in found.risks if each.kind == "root"]
    assert root == [ONE, OTHER]
