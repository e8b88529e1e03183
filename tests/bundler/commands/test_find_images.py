"""`bundle find-images`: the list that is pasted into bundle.yaml, with and without a bundle.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.cli.main import app, arranged, console
from bundler.commands.find_images import find_images
from bundler.config.loader import load
from installer.core.errors import UsageError
from installer.shared.command.command_line import run_app
from tests.rig.needs import needs
from tests.rig.products import add, put

COMPOSE = """\
services:
  web:
    image: lan-chat/web:${WAYBILL_VERSION}
  db:
    image: redis:7
    profiles: [full]
"""
CONTAINER = "[Container]\nImage=registry.lan/shop/app:1\nPull=never\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{image: pod:1}]}\n"
DIGEST = f"sha256:{'1' * 64}"


@pytest.fixture(autouse=True)
def no_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a test that asks for it has Helm."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")


def test_the_files_of_a_directory_without_a_bundle_yaml_are_searched(tmp_path: Path) -> None:
    put(tmp_path, "deploy/compose.yaml", COMPOSE)
    put(tmp_path, "units/app.container", CONTAINER)
    put(tmp_path, "k8s/pod.yaml", POD)
    put(
        tmp_path,
        "k8s/other.yaml",
        f"apiVersion: v1\nkind: Pod\nspec: {{containers: [{{image: 'a/b:1@{DIGEST}'}}]}}\n",
    )
    put(tmp_path, "node_modules/x/compose.yaml", "services: {x: {image: no:1}}\n")
    put(tmp_path, ".git/pod.yaml", POD.replace("pod:1", "no:2"))
    put(tmp_path, "notes.yaml", "image: no:3\n")
    found = find_images(tmp_path)
    assert found.unsearched == ()
    assert found.text.splitlines() == [
        "images:",
        f"  - registry: a/b:1@{DIGEST}  # k8s/other.yaml:3 Pod",
        f"  - {'lan-chat/web:{version}':<{len(DIGEST) + 16}}  # deploy/compose.yaml:3 service web",
        f"  - {'pod:1':<{len(DIGEST) + 16}}  # k8s/pod.yaml:4 Pod p",
        f"  - {'redis:7':<{len(DIGEST) + 16}}  # deploy/compose.yaml:5 service db",
        f"  - {'registry.lan/shop/app:1':<{len(DIGEST) + 16}}  # units/app.container:2 service app.service",
    ]


def test_the_list_can_be_pasted_and_then_nothing_is_missing(product_dir: Path) -> None:
    put(product_dir, "deploy/compose.yaml", COMPOSE)
    step = "deploy:\n  - {method: compose, file: deploy/compose.yaml}\n"
    add(product_dir, step)
    listed = find_images(product_dir)
    assert [(each.reference, each.is_listed) for each in listed.images] == [
        ("lan-chat/web:{version}", False),
        ("redis:7", False),
    ]
    add(product_dir, f"{listed.text}\n{step}")
    load(product_dir, "v1.4.0")
    again = find_images(product_dir)
    assert again.text == "# 2 of 2 images are listed in bundle.yaml already"


def test_an_image_that_is_listed_and_not_used_is_a_comment(product_dir: Path) -> None:
    put(product_dir, "deploy/compose.yaml", COMPOSE)
    images = "images: ['lan-chat/web:{version}', redis:7, 'old:{version}']\n"
    add(product_dir, f"{images}deploy:\n  - {{method: compose, file: deploy/compose.yaml}}\n")
    assert find_images(product_dir).text.splitlines() == [
        "# 2 of 2 images are listed in bundle.yaml already",
        "# listed in bundle.yaml, and used by no step: old:{version}",
    ]


def test_inputs_that_are_not_built_yet_are_no_obstacle(product_dir: Path) -> None:
    put(product_dir, "deploy/compose.yaml", COMPOSE)
    add(product_dir, "deploy:\n  - {method: compose, file: deploy/compose.yaml}\n")
    (product_dir / "build/linux-amd64/chatd").unlink()
    assert len(find_images(product_dir).images) == 2


CHART = {
    "Chart.yaml": "apiVersion: v2\nname: c\nversion: 1.0.0\n",
    "values.yaml": "tag: '1'\n",
    "overrides-prod.yaml": "tag: '2'\n",
    "templates/p.yaml": POD.replace("pod:1", "pod:{{ .Values.tag }}"),
}


@pytest.mark.parametrize("component", ["helm3", "helm4"])
def test_a_chart_in_a_directory_is_rendered_with_its_files_of_values(
    tmp_path: Path, component: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{Path(needs(component)).parent}:/usr/bin:/bin")
    for name, text in CHART.items():
        put(tmp_path, f"chart/{name}", text)
    found = find_images(tmp_path)
    assert ([each.reference for each in found.images], found.unsearched) == (["pod:1", "pod:2"], ())


BAD = {
    "a chart without Helm": (CHART, "chart: is a chart, and there is no Helm here to render it"),
    "an image that only the host knows": (
        {"compose.yaml": "services: {a: {image: 'x:${TAG}'}}\n"},
        "the image of service a depends on $TAG",
    ),
    "an image that is built": ({"compose.yaml": "services: {a: {build: .}}\n"}, "service a has build:"),
    "a Compose file that is no YAML": (
        {"compose.yaml": "services:\n  a: {image: x:1\nb: [\n"},
        "chart/compose.yaml:3",
    ),
    "a manifest that is none": ({"p.yaml": "apiVersion: v1\nkind: Pod\na: [\n"}, "is not YAML"),
}


@pytest.mark.parametrize(("files", "what"), BAD.values(), ids=BAD)
def test_what_cannot_be_searched_is_named(tmp_path: Path, files: dict[str, str], what: str) -> None:
    for name, text in files.items():
        put(tmp_path, f"chart/{name}", text)
    (problem,) = find_images(tmp_path).unsearched
    assert what in f"{problem.where}: {problem.what}"


def test_a_compose_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").symlink_to("none")
    (problem,) = find_images(tmp_path).unsearched
    assert str(problem).startswith("compose.yaml: cannot be read: No such file")


def test_a_compose_file_of_a_step_that_is_no_yaml_is_named(product_dir: Path) -> None:
    put(product_dir, "deploy/compose.yaml", "services:\n  a: {image: x:1\nb: [\n")
    add(product_dir, "deploy:\n  - {method: compose, file: deploy/compose.yaml}\n")
    (problem,) = find_images(product_dir).unsearched
    assert problem.where.startswith("deploy/compose.yaml:")


def test_what_is_not_searched_has_place_reason_and_remedy_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path, "compose.yaml", "services: {a: {image: 'x:${TAG}'}}\n")
    try:
        assert run_app(console, app, ["find-images", str(tmp_path), "--json"], arranged) == 0
    finally:
        console.json_output = False
    (warning,) = json.loads(capsys.readouterr().out)["warnings"]
    assert warning["where"] == "compose.yaml:1"
    assert warning["what"].startswith("not searched: the image of service a depends on $TAG")
    assert warning["hint"]
    assert "\n" not in warning["what"]


def test_an_image_with_its_version_in_a_file_is_the_one_that_is_listed_by_it(product_dir: Path) -> None:
    put(product_dir, "deploy/compose.yaml", "services: {a: {image: 'lan-chat/web:0.1.0'}}\n")
    step = "deploy:\n  - {method: compose, file: deploy/compose.yaml}\n"
    add(product_dir, f"images: ['lan-chat/web:{{version}}']\n{step}")
    assert find_images(product_dir).text == "# 1 of 1 images are listed in bundle.yaml already"


def test_a_tag_that_is_no_version_is_another_image(product_dir: Path) -> None:
    put(product_dir, "deploy/compose.yaml", "services: {a: {image: 'lan-chat/web:latest'}}\n")
    step = "deploy:\n  - {method: compose, file: deploy/compose.yaml}\n"
    add(product_dir, f"images: ['lan-chat/web:{{version}}']\n{step}")
    found = find_images(product_dir)
    assert [(each.reference, each.is_listed) for each in found.images] == [("lan-chat/web:latest", False)]
    assert found.unused == ("lan-chat/web:{version}",)


def test_an_empty_directory_has_none_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    assert find_images(tmp_path).text == f"# no images found in {tmp_path}"
    with pytest.raises(UsageError, match="is no directory"):
        find_images(tmp_path / "none")
