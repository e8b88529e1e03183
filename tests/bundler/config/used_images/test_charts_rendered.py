"""The images of charts, with both versions of Helm: combinations of values, hooks, upgrades, and faults."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bundler.config.loader import load
from bundler.config.used_images import charts
from tests.rig.needs import needs
from tests.rig.products import add, faults, put

TEMPLATES = {
    "web.yaml": """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      containers:
        - name: web
          image: {{ .Values.image }}
""",
    "more.yaml": """\
{{- if .Values.cache }}
apiVersion: v1
kind: Pod
metadata: {name: cache}
spec: {containers: [{name: c, image: "cache:{{ .Values.cache }}"}]}
{{- end }}
""",
    "hook.yaml": """\
apiVersion: v1
kind: Pod
metadata: {name: hook, annotations: {helm.sh/hook: pre-upgrade}}
spec: {containers: [{name: c, image: "hook:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: try, annotations: {helm.sh/hook: test}}
spec: {containers: [{name: c, image: "try:1"}]}
""",
    "upgrade.yaml": """\
{{- if .Release.IsUpgrade }}
apiVersion: v1
kind: Pod
metadata: {name: migrate}
spec: {containers: [{name: c, image: "migrate:1"}]}
{{- end }}
""",
}
ALWAYS = {"web:1", "hook:1", "try:1", "migrate:1"}


@pytest.fixture(params=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest) -> str:
    """A Helm of each version."""
    return needs(request.param)


def lay_out(directory: Path, **changed: str) -> Path:
    """Write a chart."""
    put(directory, "Chart.yaml", "apiVersion: v2\nname: chat\nversion: 1.0.0\n")
    put(directory, "values.yaml", "image: web:1\n")
    for name, text in {**TEMPLATES, **{f"{key}.yaml": text for key, text in changed.items()}}.items():
        put(directory, f"templates/{name}", text)
    return directory


def chart(directory: Path, **values: bytes) -> charts.Chart:
    made = {data: f"the values for {words}" for words, data in values.items()}
    return charts.Chart("deploy/chat", directory, "chat", "chat", made)


def test_hooks_tests_and_upgrades_are_searched_and_the_template_is_named(helm: str, tmp_path: Path) -> None:
    found, problems = charts.find(chart(lay_out(tmp_path / "c")), helm)
    assert problems == []
    assert {use.reference for use in found} == ALWAYS
    assert ("web:1", "Deployment web", "deploy/chat/templates/web.yaml:9") in [
        (use.reference, use.user, use.where) for use in found
    ]
    assert {use.where for use in found if use.reference == "hook:1"} == {"deploy/chat/templates/hook.yaml"}


def test_every_combination_of_values_is_rendered(helm: str, tmp_path: Path) -> None:
    made = chart(lay_out(tmp_path / "c"), prod=b"cache: '7'\n", lab=b"image: web:2\n")
    found, problems = charts.find(made, helm)
    assert problems == []
    assert {use.reference for use in found} == ALWAYS | {"cache:7", "web:2"}


def test_an_archive_is_searched(helm: str, tmp_path: Path) -> None:
    source = lay_out(tmp_path / "c")
    subprocess.run([helm, "package", source, "-d", tmp_path], check=True, capture_output=True)
    packed = charts.Chart("chat-1.0.0.tgz", tmp_path / "chat-1.0.0.tgz", "chat", "chat")
    found, problems = charts.find(packed, helm)
    assert (problems, {use.reference for use in found}) == ([], ALWAYS)
    assert "chat-1.0.0.tgz/templates/web.yaml" in {use.where for use in found}


def test_a_chart_that_does_not_render_is_named_with_the_values_and_without_our_paths(
    helm: str, tmp_path: Path
) -> None:
    broken = lay_out(tmp_path / "c", bad='{{ required "no door" .Values.door }}')
    _, (problem,) = charts.find(chart(broken, prod=b"cache: '7'\n"), helm)
    assert problem.where == "deploy/chat"
    assert problem.what.startswith("cannot be rendered with the values for prod: ")
    assert "no door" in problem.what
    assert str(tmp_path) not in problem.what


@pytest.fixture
def product(product_dir: Path, helm: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A product with a chart, whose values come from values of hosts."""
    monkeypatch.setenv("PATH", f"{Path(helm).parent}:/usr/bin:/bin")
    lay_out(product_dir / "deploy/chat")
    put(product_dir, "deploy/values.yaml.j2", "image: web:{{ tag }}\ncache: {{ cache }}\n")
    put(product_dir, "config/values.yaml", 'tag: "1"\ncache: ""\n')
    put(product_dir, "config/environments/prod.yaml", 'cache: "7"\n')
    put(product_dir, "config/environments/lab.yaml", 'tag: "2"\n')
    return product_dir


def listing(directory: Path, *images: str) -> Path:
    rows = "".join(f"  - {name}\n" for name in images)
    add(
        directory,
        f"images:\n{rows}values: {{defaults: config/values.yaml, environments: config/environments}}\n"
        "deploy:\n  - {method: helm, chart: deploy/chat, values: deploy/values.yaml.j2}\n",
    )
    return directory


def test_an_image_of_a_chart_that_is_not_listed_fails_create_with_its_place(product: Path) -> None:
    found = faults(listing(product, "web:1", "hook:1", "try:1", "migrate:1"))
    missing = sorted(each for each in found if "is not listed under images" in each)
    assert [each.partition(" uses ")[2].partition(",")[0] for each in missing] == ["cache:7", "web:2"]
    assert missing[1].startswith("deploy/chat/templates/web.yaml:9: Deployment web uses web:2")


def test_a_release_with_all_images_is_accepted_and_one_that_nothing_uses_is_noted(product: Path) -> None:
    loaded = load(
        listing(product, "web:1", "web:2", "cache:7", "hook:1", "try:1", "migrate:1", "old:1"), "v1.4.0"
    )
    notes = [each.what for each in loaded.warnings if each.code == "images-used"]
    assert notes == ["old:1 is used by no step"]


def test_a_machine_without_helm_is_told_that_charts_were_not_searched(
    product: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    loaded = load(listing(product, "web:1"), "v1.4.0")
    notes = [f"{each.where}: {each.what}" for each in loaded.warnings if each.code == "images-used"]
    assert notes == ["deploy/chat: its images were not searched: there is no Helm here"]
