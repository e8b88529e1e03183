"""Steps of scripts with values in bundle.json: their word in `requires`, and both readers agree."""

from __future__ import annotations

import json
from typing import Any

from installer.core.format import manifest_json
from installer.core.format.features import SCRIPT_VALUES
from installer.core.format.manifest import Deployment
from tests.rig import bundlebuild as build

SCRIPTS = ["deploy/apply.sh", "deploy/undo.sh"]
VALUES = "deploy/values.yaml.j2"
STEP = {"apply": SCRIPTS[0], "undo": SCRIPTS[1]}


def plan(options: dict[str, Any], *more: str, kind: str = "template") -> build.Plan:
    """Give a bundle with one step, and the files that it may name."""
    paths = sorted([*SCRIPTS, VALUES, *more])
    entries: dict[str, Any] = {path: {"kind": "script", "mode": 0o755} for path in paths}
    entries |= {VALUES: {"kind": kind}}
    return build.plan(dict.fromkeys(paths, b"x\n"), entries=entries, deploy=(Deployment("script", options),))


def test_a_step_with_values_requires_its_word_and_one_without_does_not() -> None:
    for options, words in ((STEP, None), ({**STEP, "values": VALUES}, [SCRIPT_VALUES])):
        made = plan(options)
        assert json.loads(manifest_json.dump(made.manifest)).get("requires") == words
        (step,) = build.read(made.tar()).manifest.deploy
        assert step.options == options


def test_values_of_another_kind_are_refused() -> None:
    build.refusal(plan({**STEP, "values": VALUES}, kind="doc"))


def test_a_file_in_the_place_of_the_rendered_values_is_refused() -> None:
    build.refusal(plan({**STEP, "values": VALUES}, "deploy/site-values.yaml"))
