"""What the plan refuses before anything is changed: objects of others, and what the cluster does not take."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.commands.common.plan_execution import execute_plan
from installer.core.errors import RolledBackError
from installer.host.context import Context
from installer.planning.plan import PlanNotReadyError
from tests.rig.charted import charted, drift, with_kubectl
from tests.rig.kube import Cluster
from tests.rig.manifested import SETTINGS, Parts, levels, manifests
from tests.rig.releases import PRODUCT, ReleaseSpec, install, plan_for, planned, remove, root

KINDS = """\
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: nowhere}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: rig-chat, namespace: lan-chat}
rules: []
"""


@pytest.fixture
def host(api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, "4") as within:
        yield within


def said(within: Context, spec: ReleaseSpec) -> str:
    with pytest.raises(PlanNotReadyError) as caught, planned(within, spec) as plan:
        plan.require_ready()
    return "\n".join(f"{each.where}: {each.what} ({each.hint})" for each in caught.value.problems)


def test_an_object_of_somebody_else_is_refused_and_can_be_handed_over(
    host: Context, api_cluster: Cluster
) -> None:
    api_cluster.kubectl("create", "namespace", PRODUCT)
    api_cluster.kubectl("create", "configmap", "settings", "-n", PRODUCT)
    text = said(host, manifests(1))
    assert "ConfigMap/settings: is in the cluster already, and Waybill did not create it" in text
    (command,) = re.findall(r"`kubectl (label [^`]+)`", text)
    api_cluster.kubectl(*command.split())
    install(host, manifests(1))
    assert levels(api_cluster) == {"settings": "1"}
    # What belongs to another product by now is neither changed nor deleted.
    other = ("label", "configmap", "settings", "-n", PRODUCT, "waybill.product=other", "--overwrite")
    api_cluster.kubectl(*other)
    assert "and it belongs to the product other" in said(host, manifests(2))
    assert any("belongs to the product other" in line for line in drift(host))
    remove(host)
    assert api_cluster.get("configmap", "settings", "-n", PRODUCT)["data"] == {"level": "1"}


def test_what_the_cluster_does_not_have_or_take_is_named(host: Context) -> None:
    text = said(host, manifests(1, Parts({"kinds.yaml": KINDS})))
    assert "does not have policy/v1 PodDisruptionBudget, which the release uses for" in text
    assert "namespace nowhere: is not in the cluster" in text
    assert "ClusterRole/rig-chat: has the namespace lan-chat, but objects of its kind are in none" in text


def test_a_field_that_cannot_be_changed_is_told_before_anything_is(
    host: Context, api_cluster: Cluster
) -> None:
    fixed = {number: SETTINGS.format(level=number) + "immutable: true\n" for number in (1, 2)}
    install(host, manifests(1, Parts({"settings.yaml": fixed[1]})))
    text = said(host, manifests(2, Parts({"settings.yaml": fixed[2]})))
    assert 'ConfigMap "settings" is invalid: data: Forbidden: field is immutable' in text
    assert "give the object another name in the release" in text
    assert levels(api_cluster) == {"settings": "1"}


def test_an_object_that_comes_after_the_plan_is_left_alone(host: Context, api_cluster: Cluster) -> None:
    api_cluster.kubectl("create", "namespace", PRODUCT)
    with planned(host, manifests(1)) as plan:
        api_cluster.kubectl("create", "configmap", "settings", "-n", PRODUCT)
        with pytest.raises(RolledBackError) as caught:
            execute_plan(host, plan)
    assert "Waybill did not create it" in str(caught.value)
    assert "data" not in api_cluster.get("configmap", "settings", "-n", PRODUCT)


def test_rendered_manifests_that_cannot_be_applied_are_named(host: Context) -> None:
    text = said(host, manifests(1, Parts(template=SETTINGS.replace("name: settings", "generateName: x-"))))
    assert "deploy/site.yaml.j2 (rendered): document 1 (ConfigMap) has generateName" in text


def test_a_manifest_that_was_changed_on_the_host_is_not_applied(host: Context, api_cluster: Cluster) -> None:
    install(host, manifests(1))
    path = Path(f"{root(host)}{host.layout.current}/deploy/kubernetes/settings.yaml")
    path.write_text(SETTINGS.format(level=666))
    (found,) = drift(host)
    assert found.endswith("deploy/kubernetes/settings.yaml was changed since it was installed")
    assert "tar -xf BUNDLE" in said(host, manifests(2))
    path.write_text(SETTINGS.format(level=1))
    assert drift(host) == []
    assert levels(api_cluster) == {"settings": "1"}


@pytest.mark.parametrize(
    ("client", "server", "what"),
    [
        ("1.19.9", "1.20.2", "kubectl: is kubectl v1.19.9"),
        ("1.20.2", "1.19.9", "cluster: is Kubernetes v1.19.9"),
    ],
)
def test_versions_that_nobody_tested_it_with_are_refused(
    host: Context, client: str, server: str, what: str
) -> None:
    said_by = {"clientVersion": {"gitVersion": f"v{client}"}, "serverVersion": {"gitVersion": f"v{server}"}}
    program = root(host) / "usr/bin/kubectl"
    program.unlink()
    program.write_text(f"#!/bin/sh\necho '{json.dumps(said_by)}'\n")
    program.chmod(0o755)
    text = said(host, manifests(1))
    assert what in text
    assert "1.20 or later" in text


def test_a_host_takes_kubectl_from_the_release(api_cluster: Cluster, tmp_path: Path) -> None:
    with charted(api_cluster, tmp_path, "") as bare:
        assert "kubectl: is not installed" in said(bare, manifests(1))
        spec = with_kubectl(manifests(1))
        lines = [line for step in plan_for(bare, spec).methods for line in step.lines]
        assert any(re.fullmatch(r"programs: kubectl 1\.\S+ from the release", line) for line in lines)
        install(bare, spec)
        assert (levels(api_cluster), drift(bare)) == ({"settings": "1"}, [])
        done = remove(bare)
        assert done.removal is not None
        assert not done.removal.of("left")
        assert levels(api_cluster) == {}
