"""What the pods of manifests get of the host, as reviewers see it."""

from __future__ import annotations

from installer.core.risk.host_paths import opened
from installer.core.risk.kube_files import examine_objects
from installer.core.risk.quadlet_files import examine_quadlet
from installer.shared.review.yaml_values import yaml_documents

SOCKET = "/var/run/docker.sock"
_OPENED = f": {opened(SOCKET)}"
POD = b"""
kind: Pod
metadata: {name: shop}
spec:
  hostNetwork: true
  hostPID: false
  volumes:
    - {name: d, hostPath: {path: /var/run/docker.sock}}
  containers:
    - image: a:1
      ports: [{containerPort: 80, hostPort: 8080}]
      securityContext: {privileged: true, capabilities: {add: [NET_ADMIN]}}
---
kind: ConfigMap
metadata: {name: c}
data: {hostNetwork: "true"}
"""


def found(data: bytes) -> list[str]:
    return [
        f"{each.kind} {each.where}: {each.what}" for each in examine_quadlet("a.yaml", yaml_documents(data))
    ]


def test_what_a_pod_gets_of_the_host_is_found() -> None:
    at = "a.yaml (Pod shop)"
    assert found(POD) == [
        f"host {at}: shares the namespace of the host: hostNetwork",
        f"host {at}: mounts {SOCKET} from the host{_OPENED} (hostPath)",
        f"port {at}: publishes 8080",
        f"root {at}: has all rights of the host (privileged)",
        f"host {at}: gets the capabilities NET_ADMIN",
    ]


def test_a_pod_that_opens_nothing_is_no_risk() -> None:
    assert found(b"kind: Pod\nspec: {containers: [{image: a:1}]}\n") == []


def test_an_anchor_of_one_document_means_nothing_in_the_next() -> None:
    assert yaml_documents(b"a: &x 1\nb: *x\n---\nc: 2\n") == [{"a": "1", "b": "1"}, {"c": "2"}]


def test_an_image_file_that_fetches_is_a_risk_and_one_of_the_store_is_none() -> None:
    fetching = [each.what for each in examine_quadlet("a.image", "[Image]\nImage=x.lan/a:1\n")]
    assert fetching == ["fetches an image that is not in the release"]
    assert list(examine_quadlet("a.image", "[Image]\nImage=containers-storage:x.lan/a:1\n")) == []


def test_what_objects_of_a_cluster_grant_is_found_next_to_what_pods_open() -> None:
    data = (
        POD
        + b"---\nkind: ClusterRoleBinding\nmetadata: {name: all}\n---\nkind: ValidatingWebhookConfiguration\n"
    )
    rows = [f"{each.where}: {each.what}" for each in examine_objects("a.yaml", yaml_documents(data))]
    assert "a.yaml (Pod shop): shares the namespace of the host: hostNetwork" in rows
    assert rows[-2:] == [
        "a.yaml (ClusterRoleBinding all): grants rights in the whole cluster",
        "a.yaml (ValidatingWebhookConfiguration): sees or changes what others create",
    ]
