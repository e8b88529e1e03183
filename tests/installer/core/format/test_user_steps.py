"""Steps of systemd for a user in bundle.json: what they may name, their word, and both readers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.errors import NeedsNewerError
from installer.core.format import features, manifest_json
from installer.core.format.features import SYSTEMD, USER_UNITS
from installer.core.format.manifest import Deployment
from installer.core.format.methods import installed_by_method
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build

UNIT = "deploy/systemd/user/chat.service"
DROP_IN = "deploy/systemd/user/chat.service.d/10-nice.conf"
STEP = {"user": "chat", "units": [UNIT]}


def plan(*steps: dict[str, Any], kind: str = "user-unit", more: tuple[str, ...] = ()) -> build.Plan:
    """Give a bundle with such steps."""
    files = sorted((UNIT, *more))
    entries = {path: {"kind": kind} for path in files}
    deploy = tuple(Deployment("systemd", step) for step in steps)
    return build.plan(dict.fromkeys(files, b"x\n"), entries=entries, deploy=deploy)


def test_a_step_is_read_requires_its_word_and_installs_its_units_for_users() -> None:
    made = plan(STEP)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [USER_UNITS]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == STEP
    assert [installed_by_method(each) for each in made.manifest.files] == ["/etc/systemd/user/chat.service"]


def test_a_drop_in_and_an_instance_require_the_word_of_systemd_too() -> None:
    template = "deploy/systemd/user/chat@.service"
    options = {"user": "chat", "units": [UNIT, DROP_IN, template], "instances": ["chat@1.service"]}
    made = plan(options, more=(DROP_IN, template))
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [SYSTEMD, USER_UNITS]
    build.read(made.tar())
    places = {installed_by_method(entry) for entry in made.manifest.files}
    assert "/etc/systemd/user/chat.service.d/10-nice.conf" in places


def test_a_file_of_the_kind_requires_the_word_without_a_step() -> None:
    made = plan()
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [USER_UNITS]
    build.read(made.tar())


BAD: dict[str, list[dict[str, Any]]] = {
    "root as the user": [{"user": "root", "units": [UNIT]}],
    "a user that is an option of a program": [{"user": "-x", "units": [UNIT]}],
    "a user in capitals": [{"user": "Chat", "units": [UNIT]}],
    "no user": [{"user": "", "units": [UNIT]}],
    "a user without units": [{"user": "chat"}],
    "settings of the host": [{"user": "chat", "units": [UNIT], "sysctl": [UNIT]}],
    "an instance without its template": [{**STEP, "instances": ["chat@1.service"]}],
    "units of a user in a step of the system": [{"units": [UNIT]}],
    "two steps of one user": [STEP, STEP],
}


@pytest.mark.parametrize("steps", BAD.values(), ids=BAD)
def test_a_bad_step_is_refused(steps: list[dict[str, Any]]) -> None:
    document = json.loads(manifest_json.dump(plan(STEP).manifest))
    document["deploy"] = [{"method": "systemd", "options": options} for options in steps]
    build.refusal(plan(STEP).resealed(document=dumps_lines(document)))


def test_units_of_the_system_in_a_step_of_a_user_are_refused() -> None:
    build.refusal(plan(STEP, kind="unit"))


def test_a_reader_that_does_not_know_the_word_asks_for_a_newer_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = manifest_json.dump(plan(STEP).manifest)
    monkeypatch.setattr(features, "KNOWN", features.KNOWN - {USER_UNITS})
    with pytest.raises(NeedsNewerError, match="requires user-units/1"):
        manifest_json.parse(data)
