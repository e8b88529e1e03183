"""The images of Kubernetes manifests: of every pod, wherever its template is, and of custom resources."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundler.config.used_images import manifests

POD = {"containers": [{"name": "a", "image": "shop/web:1"}]}


def images(text: str | bytes) -> list[str]:
    """Give the images of a text that can be read."""
    found, problems = manifests.find(text.encode() if isinstance(text, str) else text, "a.yaml")
    assert problems == []
    return [use.reference for use in found]


def test_an_image_is_found_with_its_object_line_and_policy() -> None:
    text = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      initContainers:
        - image: shop/init:1
          imagePullPolicy: Always
      containers:
        - {image: "shop/web:1"}
      ephemeralContainers: [{image: shop/debug:1}]
      volumes: [{name: d, image: {reference: shop/data:1}}]
"""
    found, problems = manifests.find(text.encode(), "deploy/web.yaml")
    assert problems == []
    assert {(use.reference, use.user, use.where, use.policy) for use in found} == {
        ("shop/init:1", "Deployment web", "deploy/web.yaml:8", "Always"),
        ("shop/web:1", "Deployment web", "deploy/web.yaml:11", ""),
        ("shop/debug:1", "Deployment web", "deploy/web.yaml:12", ""),
        ("shop/data:1", "Deployment web", "deploy/web.yaml:13", ""),
    }


def _wrapped(kind: str) -> dict[str, Any]:
    template = {"spec": POD}
    return {
        "Pod": {"spec": POD},
        "PodTemplate": {"template": template},
        "CronJob": {"spec": {"jobTemplate": {"spec": {"template": template}}}},
    }.get(kind, {"spec": {"template": template}})


KINDS = ["Pod", "PodTemplate", "CronJob", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"]


@pytest.mark.parametrize("kind", [*KINDS, "ReplicationController"])
def test_every_kind_of_kubernetes_that_has_pods_is_searched(kind: str) -> None:
    assert images(json.dumps({"apiVersion": "v1", "kind": kind, **_wrapped(kind)})) == ["shop/web:1"]


def test_every_document_and_every_item_of_a_list_is_searched() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": POD}
    listed = {"apiVersion": "v1", "kind": "List", "items": [pod, pod]}
    assert images(f"{json.dumps(pod)}\n---\n{json.dumps(listed)}") == ["shop/web:1"] * 3


CUSTOM = {
    "an image of Prometheus": ("monitoring.coreos.com/v1", {"spec": {"image": "quay.lan/prom:1"}}),
    "an image of CloudNativePG": ("postgresql.cnpg.io/v1", {"spec": {"imageName": "quay.lan/prom:1"}}),
    "a base image": ("monitoring.coreos.com/v1", {"spec": {"baseImage": "quay.lan/prom:1"}}),
    "a step of Tekton": ("tekton.dev/v1", {"spec": {"steps": [{"image": "quay.lan/prom:1"}]}}),
    "a pod of a rollout": (
        "argoproj.io/v1alpha1",
        {"spec": {"template": {"spec": {"containers": [{"image": "quay.lan/prom:1"}]}}}},
    ),
}


@pytest.mark.parametrize(("version", "fields"), CUSTOM.values(), ids=CUSTOM)
def test_the_image_of_a_custom_resource_is_found_once(version: str, fields: dict[str, Any]) -> None:
    assert images(json.dumps({"apiVersion": version, "kind": "X", **fields})) == ["quay.lan/prom:1"]


def test_an_image_that_an_operator_is_told_of_is_found() -> None:
    container = {
        "image": "op:1",
        "env": [{"name": "RELATED_IMAGE_DB", "value": "db:2"}, {"name": "IMAGE", "value": "no:1"}],
    }
    assert images(json.dumps({"kind": "Pod", "spec": {"containers": [container]}})) == ["op:1", "db:2"]


NO_IMAGES = {
    "a definition": {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "spec": {"image": "a:1"},
    },
    "a field of Kubernetes itself that is none": {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "data": {"image": "a:1"},
    },
    "a word of a custom resource": {"apiVersion": "x.lan/v1", "kind": "X", "spec": {"image": "large"}},
    "a mapping": {"apiVersion": "x.lan/v1", "kind": "X", "spec": {"image": {"tag": "1"}}},
    "nothing": None,
}


@pytest.mark.parametrize("document", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_is_not_taken_for_one(document: Any) -> None:
    assert images(json.dumps(document)) == []


BAD = {
    "no YAML": (b"a: [", "is not YAML: "),
    "no text": (b"\xff\xfe\x00", "a.yaml: is not YAML in UTF-8"),
    "a circle of aliases": (b"a: &a {b: *a}", "more than"),
    "aliases that multiply": (
        b"\n".join(
            [
                b"x0: &x0 [a]",
                *(b"x%d: &x%d [%s]" % (n, n, b", ".join([b"*x%d" % (n - 1)] * 10)) for n in range(1, 9)),
            ]
        ),
        "more than",
    ),
    "too deep": (b"[" * 100 + b"]" * 100, "more than"),
    "too large": (b"#" * (manifests.MAX_BYTES + 1), "is larger than 16 MiB"),
}


@pytest.mark.parametrize(("data", "what"), BAD.values(), ids=BAD)
def test_what_cannot_be_searched_is_named(data: bytes, what: str) -> None:
    found, (problem, *_) = manifests.find(data, "a.yaml")
    assert (found, what in str(problem)) == ([], True)


@given(st.lists(st.sampled_from(["spec", "template", "jobTemplate", "predictor"]), max_size=12))
def test_a_pod_is_found_at_any_depth(path: list[str]) -> None:
    value: Any = POD
    for key in path:
        value = {key: value}
    assert images(json.dumps({"apiVersion": "v1", "kind": "X", "spec": value})) == ["shop/web:1"]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    found, problems = manifests.find(data, "a.yaml")
    assert found == [] or problems == []
