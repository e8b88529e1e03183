"""Manifests in bundle.yaml: files and directories, their images, and what no cluster could be given."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundler.config.loader import load
from tests.rig.products import add, faults, hints, put

OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: c, image: 'IMAGE'}]}\n"
STEP = "deploy:\n  - {method: kubectl, manifests: deploy/kubernetes}\n"
BOTH = STEP.replace("kubernetes}", "kubernetes, template: deploy/site.yaml.j2}")
SECRET = '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}'


@pytest.fixture
def product_dir(product_dir: Path) -> Path:
    put(product_dir, "deploy/kubernetes/web/a.yaml", OBJECT.replace("NAME", "a"))
    put(
        product_dir,
        "deploy/kubernetes/b.json",
        '{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}}',
    )
    put(product_dir, "deploy/kubernetes/README.md", "# Nothing to apply\n")
    return product_dir


def test_the_manifests_of_a_directory_travel_and_nothing_else(product_dir: Path) -> None:
    add(product_dir, STEP)
    config = load(product_dir, "v1.4.0")
    (step,) = config.manifest.deploy
    assert step.options == {"manifests": ["deploy/kubernetes/b.json", "deploy/kubernetes/web/a.yaml"]}
    named = [item for item in config.items if item.member in step.options["manifests"]]
    assert {item.kind for item in named} == {"kubernetes"}
    assert not [item for item in config.items if item.member.endswith("README.md")]


def test_one_file_elsewhere_and_a_template_travel(product_dir: Path) -> None:
    put(product_dir, "made/all.yaml", OBJECT.replace("NAME", "a"))
    put(product_dir, "deploy/site.yaml.j2", OBJECT.replace("NAME", "{{ waybill.product }}"))
    add(
        product_dir,
        "deploy:\n  - {method: kubectl, manifests: made/all.yaml, template: deploy/site.yaml.j2}\n",
    )
    (step,) = load(product_dir, "v1.4.0").manifest.deploy
    assert step.options == {"manifests": ["deploy/kubernetes/all.yaml"], "template": "deploy/site.yaml.j2"}


def test_a_template_can_be_all_that_a_release_has(product_dir: Path) -> None:
    put(product_dir, "deploy/site.yaml.j2", OBJECT.replace("NAME", "a"))
    head = "schema: waybill/v1\nproduct: lan-chat\nplatforms: [linux/amd64]\n"
    step = "deploy:\n  - {method: kubectl, template: deploy/site.yaml.j2}\n"
    put(product_dir, "bundle.yaml", head + step)
    load(product_dir, "v1.4.0")


def test_images_of_manifests_and_of_what_a_template_makes_have_to_be_listed(product_dir: Path) -> None:
    put(product_dir, "deploy/kubernetes/pod.yaml", POD.replace("IMAGE", "web:1"))
    put(product_dir, "deploy/site.yaml.j2", POD.replace("web", "more").replace("IMAGE", "more:{{ tag }}"))
    put(product_dir, "config/values.yaml", "tag: '2'\n")
    add(product_dir, BOTH + "values: {defaults: config/values.yaml}\n")
    found = "\n".join(faults(product_dir))
    assert "deploy/kubernetes/pod.yaml:4" in found
    assert "web:1" in found
    assert "deploy/site.yaml.j2 (rendered" in found
    assert "more:2" in found


BAD = {
    "no name": ("x.yaml", "apiVersion: v1\nkind: Secret\n", "document 1 (Secret) has no name"),
    "an object twice": ("x.yaml", OBJECT.replace("NAME", "a"), "has ConfigMap a, which"),
    "a kustomization": (
        "kustomization.yaml",
        "resources: []\n",
        "has a kustomization, which is not rendered",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_no_cluster_could_be_given_is_refused(product_dir: Path, name: str) -> None:
    file, text, fault = BAD[name]
    put(product_dir, f"deploy/kubernetes/{file}", text)
    add(product_dir, STEP)
    assert any(fault in each for each in faults(product_dir))


def test_the_command_that_renders_a_kustomization_is_named(product_dir: Path) -> None:
    put(product_dir, "deploy/kubernetes/base/kustomization.yml", "resources: []\n")
    add(product_dir, STEP)
    assert "run `kubectl kustomize deploy/kubernetes > deploy/kubernetes.yaml`" in hints(product_dir)


def test_what_a_template_makes_for_some_hosts_is_checked(product_dir: Path) -> None:
    put(product_dir, "deploy/site.yaml.j2", OBJECT.replace("NAME", "{{ name | tojson }}"))
    put(product_dir, "config/values.yaml", "name: x\n")
    put(product_dir, "config/environments/production.yaml", "name: ''\n")
    add(product_dir, BOTH + "values: {defaults: config/values.yaml, environments: config/environments}\n")
    (found,) = faults(product_dir)
    assert "deploy/site.yaml.j2 (rendered with the values for environment production)" in found
    assert "has no name" in found


def test_names_that_are_no_manifests_are_refused(product_dir: Path) -> None:
    put(product_dir, "deploy/all.txt", OBJECT)
    put(product_dir, "deploy/empty/README.md", "x\n")
    for given, fault in (("deploy/all.txt", "is no manifest"), ("deploy/empty", "has 0 files")):
        add(product_dir, f"deploy:\n  - {{method: kubectl, manifests: {given}}}\n")
        assert any(fault in each for each in faults(product_dir))
