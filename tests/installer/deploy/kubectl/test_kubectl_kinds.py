"""Kinds of objects that a release defines itself: served before they are used, and kept when it goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.format.methods import SPECS
from installer.deploy.kubernetes import namespaces
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.tools import require_site
from installer.host.context import Context
from tests.rig.charted import charted, drift
from tests.rig.kube import Cluster
from tests.rig.manifested import Parts, manifests
from tests.rig.releases import PRODUCT, Notes, install, plan_for, remove

DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: doors.rig.example}
spec:
  group: rig.example
  names: {kind: Door, plural: doors}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties: {spec: {type: object, properties: {width: {type: integer}}}}
"""
DOOR = """\
apiVersion: rig.example/v1
kind: Door
metadata: {name: front}
spec: {width: 90}
"""


@pytest.fixture
def host(api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, "4") as within:
        yield within
    api_cluster.kubectl("delete", "crd", "doors.rig.example", "--ignore-not-found")


def test_a_kind_is_defined_before_an_object_of_it_is_applied_and_stays(
    host: Context, api_cluster: Cluster
) -> None:
    # By its name the object would come first.
    install(host, manifests(1, Parts({"a.yaml": DOOR, "definition.yaml": DEFINITION})))
    assert api_cluster.get("door", "front", "-n", PRODUCT)["spec"] == {"width": 90}
    assert drift(host) == []
    second = manifests(2, Parts({"a.yaml": DOOR.replace("90", "80"), "definition.yaml": DEFINITION}))
    lines = [line for step in plan_for(host, second).methods for line in step.lines]
    assert "    spec.width: 90 → 80" in lines
    install(host, second)
    assert (api_cluster.get("door", "front", "-n", PRODUCT)["spec"], drift(host)) == ({"width": 80}, [])
    remove(host)
    assert api_cluster.get("doors", "-n", PRODUCT)["items"] == []
    # Whoever has a door meanwhile keeps it: neither the definition nor the namespace goes with the release.
    api_cluster.kubectl("apply", "-n", PRODUCT, "-f", "-", stdin=DOOR)
    namespaces.remove_empty(Client(host, require_site(host, None, SPECS["kubectl"]), PRODUCT))
    assert isinstance(host.progress, Notes)
    assert host.progress.lines[-1].endswith("it has Door/front")
    assert api_cluster.get("door", "front", "-n", PRODUCT)["spec"] == {"width": 90}
