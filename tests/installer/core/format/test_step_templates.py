"""Templates of steps in the manifest: with their word, of their kind, each alone in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.features import COMPOSE_ENV, COMPOSE_OVERRIDE
from installer.core.format.manifest import Deployment
from installer.core.format.methods import FILE_KINDS, rendered_files
from tests.rig import bundlebuild as build

ENV = "deploy/compose.env.j2"
FILES = {
    "docs/CHANGELOG.md": b"# 1.4.0\n",
    "deploy/b/compose.yaml": b"services: {}\n",
    ENV: b"A={{ a }}\n",
    "deploy/compose.yaml": b"services: {}\n",
}
KINDS = {path: {"kind": "compose"} for path in FILES if path.endswith(".yaml")} | {ENV: {"kind": "template"}}
STEP = Deployment("compose", {"file": "deploy/compose.yaml", "env": ENV})
OTHER = Deployment("compose", {"file": "deploy/b/compose.yaml", "project": "b", "env": ENV})


def plan(*steps: Deployment) -> build.Plan:
    made = build.plan(FILES, entries=KINDS)
    return made.resealed(replace(made.manifest, deploy=steps))


def edited(change: Callable[[dict[str, Any]], object], *steps: Deployment) -> build.Plan:
    made = plan(*steps)
    document = json.loads(manifest_json.dump(made.manifest))
    change(document)
    return made.resealed(document=json.dumps(document, indent=0, separators=(",", ":")).encode() + b"\n")


def entry(document: dict[str, Any], path: str = ENV) -> dict[str, Any]:
    (found,) = [each for each in document["files"] if each["path"] == path]
    return found  # type: ignore[no-any-return]


def test_a_step_with_a_template_needs_the_word_and_is_read_by_both_readers() -> None:
    made = plan(STEP, OTHER)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [COMPOSE_ENV]
    assert build.read(made.tar()).manifest == made.manifest
    assert rendered_files(made.manifest.deploy) == {"deploy/.env": ENV, "deploy/b/.env": ENV}
    assert rendered_files(made.manifest.deploy, ("systemd",)) == {}


def test_a_step_without_a_template_has_the_bytes_that_it_had_before() -> None:
    made = plan(replace(STEP, options={"file": "deploy/compose.yaml"}))
    assert "requires" not in json.loads(manifest_json.dump(made.manifest))
    build.read(made.tar())


def test_a_step_that_takes_a_file_of_the_site_needs_its_word() -> None:
    made = plan(replace(STEP, options={"file": "deploy/compose.yaml", "override": "more.yaml"}))
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [COMPOSE_OVERRIDE]
    assert build.read(made.tar()).manifest == made.manifest
    assert rendered_files(made.manifest.deploy) == {"deploy/compose.override.yaml": "more.yaml"}


@pytest.mark.parametrize(
    "name", ["", "/etc/x.yaml", "../x.yaml", "a/b.yaml", "x.txt", ".yaml", "x" * 60 + ".yaml", 5]
)
def test_a_file_of_the_site_has_a_plain_name(name: object) -> None:
    error = build.refusal(edited(lambda m: m["deploy"][0]["options"].update(override=name), STEP))
    assert "override" in str(error) or "compose-override/1" in str(error)


def test_a_template_is_no_kind_that_only_steps_have() -> None:
    assert "template" not in FILE_KINDS


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no word": (lambda m: m.pop("requires"), "requires [], but uses ['compose-env/1']"),
    "a word without a template": (
        lambda m: [step["options"].pop("env") for step in m["deploy"]],
        "requires ['compose-env/1'], but uses []",
    ),
    "a template that is not there": (
        lambda m: m["deploy"][0]["options"].update(env="deploy/x"),
        "not in the bundle",
    ),
    "a file of another kind": (lambda m: entry(m).update(kind="doc"), "is listed as doc, not as template"),
    "a template with a destination": (
        lambda m: entry(m).update(install="/etc/x"),
        "a destination or a platform",
    ),
    "a template for one platform": (
        lambda m: entry(m).update(platform="linux/amd64"),
        "a destination or a platform",
    ),
    "two steps in one directory": (
        lambda m: m["deploy"][1]["options"].update(file="deploy/compose.yaml"),
        "which the bundle has already",
    ),
    "a template that is no text": (
        lambda m: m["deploy"][0]["options"].update(env=5),
        "deploy[0].options.env",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_template_with_a_fault_is_refused_by_both_readers(fault: str) -> None:
    change, words = FAULTS[fault]
    assert words in str(build.refusal(edited(change, STEP, OTHER)))


def test_a_file_of_the_bundle_is_not_replaced_by_what_is_rendered() -> None:
    (first, *rest) = FILES.items()
    made = build.plan(dict([first, ("deploy/.ENV", b"A=1\n"), *rest]), entries=KINDS)
    error = build.refusal(made.resealed(replace(made.manifest, deploy=(STEP,))))
    assert "is written to 'deploy/.env', which the bundle has already" in str(error)
