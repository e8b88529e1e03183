"""What is changed in a rendered chart: references to images and claims, and nothing else."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from installer.deploy.kubernetes.objects import Edits, KubeObject, edited, for_site, objects_in
from installer.deploy.operation import StepError

DEPLOYMENT = """\
# Source: chat/templates/web.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {image: "shop/web:1"}}
spec:
  replicas: 010
  template:
    metadata: {annotations: {image: "shop/web:1"}}
    spec:
      initContainers:
      - {name: first, image: "shop/web:1"}
      containers:
      - name: web
        image: shop/web:1
        args: [yes, 1e3, "no", 2024-01-01, 0x1F, ~]
        env:
        - {name: image, value: "shop/web:1"}
      - {image: other/db:2, name: db}
"""
CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data{annotations}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Mi}}}}}}
"""
SITE = {"shop/web:1": "registry.lan:5000/shop/web:1"}


def sited(text: str) -> list[KubeObject]:
    return list(for_site(objects_in(text, "chart"), SITE))


def test_references_of_the_bundle_become_those_of_the_site() -> None:
    (found,) = sited(DEPLOYMENT)
    spec = yaml.safe_load(found.text)["spec"]["template"]["spec"]
    assert [each["image"] for each in spec["initContainers"]] == ["registry.lan:5000/shop/web:1"]
    assert [each["image"] for each in spec["containers"]] == ["registry.lan:5000/shop/web:1", "other/db:2"]
    assert spec["containers"][0]["env"] == [{"name": "image", "value": "shop/web:1"}]


def test_no_other_value_changes_its_type_or_its_text() -> None:
    (found,) = sited(DEPLOYMENT)
    before, after = yaml.safe_load(DEPLOYMENT), yaml.safe_load(found.text)
    pod = after["spec"]["template"]["spec"]
    for each in (*pod["initContainers"], *pod["containers"]):
        each["image"] = each["image"].removeprefix("registry.lan:5000/")
    assert after == before


def test_an_object_without_such_a_reference_keeps_every_byte() -> None:
    text = DEPLOYMENT.replace("shop/web:1", "shop/web:2")
    (found,) = sited(text)
    assert found.text == text.rstrip("\n")


@pytest.mark.parametrize(
    "annotations",
    ["", "\n  annotations: {a: b}", "\n  annotations:\n    a: b"],
    ids=["none", "flow", "block"],
)
def test_a_claim_says_that_it_stays(annotations: str) -> None:
    (found,) = sited(CLAIM.format(annotations=annotations))
    assert found.annotations["helm.sh/resource-policy"] == "keep"
    assert ("a" in found.annotations) == bool(annotations)


def test_a_claim_of_which_the_chart_decides_is_left_as_it_is() -> None:
    text = CLAIM.format(annotations='\n  annotations: {"helm.sh/resource-policy": "delete"}')
    (found,) = sited(text)
    assert found.annotations["helm.sh/resource-policy"] == "delete"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: [", "is not YAML"),
        ("a: 1", "it has no kind and apiVersion"),
        ("- 1", "it has no kind and apiVersion"),
        ("kind: A\nkind: B\napiVersion: v1", "has the key kind twice"),
    ],
)
def test_what_is_no_object_is_refused_with_its_template(text: str, what: str) -> None:
    with pytest.raises(StepError, match=what) as caught:
        objects_in(f"---\n# Source: chat/templates/bad.yaml\n{text}\n", "chart")
    assert caught.value.where == "chat/templates/bad.yaml"


def test_documents_without_content_are_no_objects() -> None:
    assert objects_in("---\n# Source: a\n---\n\n--- # nothing\n", "chart") == []


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40))
def test_any_text_of_a_value_survives_the_change_of_another(value: str) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [{"image": "shop/web:1", "args": [value]}]},
    }
    (found,) = sited(yaml.safe_dump(document))
    assert yaml.safe_load(found.text)["spec"]["containers"][0]["args"] == [value]


@pytest.mark.parametrize(
    "metadata",
    [
        "{name: a}",
        "{name: a, labels: {}}",
        "{labels: {app: web}, name: a}",
        "\n  name: a\n  labels:\n    app: web",
    ],
)
def test_labels_are_added_to_those_that_an_object_has(metadata: str) -> None:
    (each,) = objects_in(f"apiVersion: v1\nkind: Secret\nmetadata: {metadata}\n", "a.yaml")
    found = edited(each, Edits(place="labels", added={"waybill.product": "true"}))
    own = {"app": "web"} if "app" in metadata else {}
    assert yaml.safe_load(found.text)["metadata"] == {
        "name": "a",
        "labels": {**own, "waybill.product": "true"},
    }
    assert found.metadata == yaml.safe_load(found.text)["metadata"]


@pytest.mark.parametrize("labels", ["", "*all"])
def test_labels_that_nothing_can_be_added_to_are_refused(labels: str) -> None:
    text = f"apiVersion: v1\nkind: Secret\nx: &all {{a: b}}\nmetadata: {{name: a, labels: {labels}}}\n"
    (each,) = objects_in(text, "a.yaml")
    with pytest.raises(StepError, match=r"metadata\.labels is no mapping"):
        edited(each, Edits(place="labels", added={"waybill.product": "chat"}))


def test_secrets_take_the_places_of_references_whatever_signs_they_have() -> None:
    secret = 'a: "b"\n- {c}\ttrue # \u00e9'
    text = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {x: secret://file/a, y: secret://file/ab}\n"
    (each,) = objects_in(text, "a.yaml")
    found = edited(each, Edits(values={"secret://file/a": secret}))
    assert yaml.safe_load(found.text)["stringData"] == {"x": secret, "y": "secret://file/ab"}
