"""ansible-core that steps carry, in bundle.json: both readers refuse what a host could not run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.features import ANSIBLE, ANSIBLE_CORE
from installer.core.format.manifest import Deployment
from installer.shared.review.review import review
from tests.rig import bundlebuild as build

SITE, TOP = "deploy/ansible/site.yml", "deploy/ansible-core"
FIRST, NEXT, OTHER = f"{TOP}/ansible/cli/playbook.py", f"{TOP}/yaml/a.py", "deploy/x/a.py"
ENTRIES: dict[str, dict[str, Any]] = {
    SITE: {"kind": "playbook"},
    **{path: {"kind": "ansible-core"} for path in (FIRST, NEXT, OTHER)},
}


def plan(files: Any = (FIRST, NEXT), kind: str = "ansible-core") -> build.Plan:
    """Return a bundle whose step lists these files of ansible-core."""
    files = list(files) if isinstance(files, tuple) else files
    rows = {path: {"kind": kind} if path == NEXT else row for path, row in ENTRIES.items()}
    step = Deployment("ansible", {"playbook": [SITE], "ansible": files})
    return build.plan(dict.fromkeys(sorted(rows), b"x\n"), entries=rows, deploy=(step,))


def test_a_carried_ansible_is_read_and_requires_its_word() -> None:
    made = plan()
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [ANSIBLE_CORE, ANSIBLE]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options["ansible"] == [FIRST, NEXT]


def test_a_file_that_no_step_names_requires_the_word_as_well() -> None:
    made = build.plan({FIRST: b"x\n"}, entries={FIRST: ENTRIES[FIRST]})
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [ANSIBLE_CORE]


BAD: dict[str, build.Plan] = {
    "another file first": plan((NEXT, FIRST)),
    "a file outside of the directory": plan((FIRST, OTHER)),
    "a file that is missing": plan((FIRST, f"{TOP}/no.py")),
    "a file twice": plan((FIRST, FIRST)),
    "an empty list": plan(()),
    "a path alone": plan(FIRST),
    "a file of another kind": plan(kind="deploy"),
}


@pytest.mark.parametrize("made", BAD.values(), ids=BAD)
def test_what_a_host_could_not_run_is_refused(made: build.Plan) -> None:
    build.refusal(made)


def test_a_reviewer_is_told_once_that_it_runs_as_root_and_was_not_read() -> None:
    found = review(plan().manifest, lambda entry: b"" if entry.path == SITE else pytest.fail("it was read"))
    (risk,) = [each for each in found.risks if each.where.startswith(TOP)]
    assert (risk.kind, risk.where) == ("root", FIRST)
    assert "its files were not examined" in risk.what
