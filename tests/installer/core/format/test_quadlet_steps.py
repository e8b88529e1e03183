"""Steps of quadlet in bundle.json: what they may name, their word in `requires`, and both readers agree."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.format import manifest_json
from installer.core.format.entries.quadlet_files import QuadletFile
from installer.core.format.features import QUADLET, QUADLET_KUBE
from installer.core.format.manifest import Deployment
from installer.core.format.methods import installed_by_method
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build

FILES = ["deploy/quadlet/data.volume", "deploy/quadlet/web.container"]


def plan(files: list[str], kind: str = "podman") -> build.Plan:
    """Give a bundle with one step."""
    entries = {path: {"kind": kind} for path in files}
    step = Deployment("quadlet", {"files": files})
    return build.plan(dict.fromkeys(sorted(files), b"x\n"), entries=entries, deploy=(step,))


def test_a_step_is_read_requires_its_word_and_installs_its_files() -> None:
    made = plan(FILES)
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [QUADLET]
    (step,) = build.read(made.tar()).manifest.deploy
    assert step.options == {"files": FILES}
    places = [installed_by_method(entry) for entry in made.manifest.files]
    assert places == ["/etc/containers/systemd/data.volume", "/etc/containers/systemd/web.container"]


def test_a_file_of_the_kind_requires_the_word_without_a_step() -> None:
    made = build.plan({FILES[0]: b"x\n"}, entries={FILES[0]: {"kind": "podman"}})
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [QUADLET]
    build.read(made.tar())


@pytest.mark.parametrize("name", ["shop.kube", "web.image", "pod.yaml", "pod.yml"])
def test_a_pod_or_an_image_requires_a_word_of_its_own(name: str) -> None:
    made = plan([*FILES, f"deploy/quadlet/{name}"])
    assert json.loads(manifest_json.dump(made.manifest))["requires"] == [QUADLET_KUBE, QUADLET]
    build.read(made.tar())


BAD: dict[str, dict[str, Any]] = {
    "no files": {},
    "an empty list": {"files": []},
    "a file twice": {"files": [FILES[0], FILES[0]]},
    "a file that is missing": {"files": ["deploy/quadlet/no.container"]},
    "one file, not a list": {"files": FILES[0]},
    "an option of later versions": {"files": FILES, "kube": FILES},
}


@pytest.mark.parametrize("options", BAD.values(), ids=BAD)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    document = json.loads(manifest_json.dump(plan(FILES).manifest))
    document["deploy"] = [{"method": "quadlet", "options": options}]
    build.refusal(plan(FILES).resealed(document=dumps_lines(document)))


@pytest.mark.parametrize(
    "name", ["web.build", "web.json", "web@.container", ".web.pod", "web.container.conf"]
)
def test_a_name_that_is_none_of_the_generator_is_refused(name: str) -> None:
    build.refusal(plan([f"deploy/{name}"]))


def test_a_file_of_another_kind_is_refused() -> None:
    build.refusal(plan(FILES, kind="unit"))


@pytest.mark.parametrize(
    ("name", "text", "service"),
    [
        ("web.container", "[Container]\n", "web.service"),
        ("web.pod", "[Pod]\n", "web-pod.service"),
        ("data.volume", "[Volume]\nVolumeName=x\n", "data-volume.service"),
        ("lan.network", "[Network]\n", "lan-network.service"),
        ("shop.kube", "[Kube]\n", "shop.service"),
        ("web.image", "[Image]\n", "web-image.service"),
        ("web.container", "[Unit]\nServiceName=no\n[Container]\nServiceName=shop\n", "shop.service"),
    ],
)
def test_the_service_of_a_file_has_the_name_that_podman_gives_it(name: str, text: str, service: str) -> None:
    assert QuadletFile(name, text).service == service
