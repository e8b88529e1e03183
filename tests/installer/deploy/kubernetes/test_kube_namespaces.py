"""The namespace that a first installation created: an undo removes it only if nothing of others is in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from installer.core.format.methods import SPECS
from installer.deploy.kubernetes import namespaces
from installer.deploy.kubernetes.client import Client
from installer.deploy.kubernetes.tools import require_site
from installer.host.context import Context
from tests.rig.charted import WEB, Faulty, Parts, chart, charted
from tests.rig.faulty import Killed
from tests.rig.kube import Cluster
from tests.rig.releases import PRODUCT, Notes, context, install, recovered, root

SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "theirs"}, "stringData": {"a": "b"}}
TOKEN = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "theirs", "annotations": {"kubernetes.io/service-account.name": "default"}},
    "type": "kubernetes.io/service-account-token",
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "theirs"},
    "spec": {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "resources": {"requests": {"storage": "1Mi"}},
    },
}
# Of kinds that no list of ours knows; a custom resource is in `test_kubectl_kinds.py`.
LEASE = {
    "apiVersion": "coordination.k8s.io/v1",
    "kind": "Lease",
    "metadata": {"name": "theirs"},
    "spec": {"holderIdentity": "them"},
}
TEMPLATE = {
    "apiVersion": "v1",
    "kind": "PodTemplate",
    "metadata": {"name": "theirs"},
    "template": {"spec": {"containers": [{"name": "a", "image": "a:1"}]}},
}
THEIRS = (SECRET, TOKEN, CLAIM, LEASE, TEMPLATE)


@pytest.fixture
def host(api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, "4") as within:
        yield within


def create_namespace(cluster: Cluster) -> None:
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PRODUCT}})
    # What Kubernetes puts there comes a moment later.
    made = ("get", "serviceaccount/default", "configmap/kube-root-ca.crt", "-n", PRODUCT)
    cluster.wait_for(lambda: cluster.kubectl(*made, check=False).returncode == 0)


def has_namespace(cluster: Cluster) -> bool:
    return cluster.kubectl("get", "namespace", PRODUCT, check=False).returncode == 0


def removed(within: Context) -> str:
    """Remove the namespace if it is empty, and return what was said."""
    namespaces.remove_empty(Client(within, require_site(within, None, SPECS["helm"]), PRODUCT))
    assert isinstance(within.progress, Notes)
    return "\n".join(within.progress.lines)


def add(cluster: Cluster, *objects: dict[str, Any]) -> None:
    cluster.apply(*({**each, "metadata": {**each["metadata"], "namespace": PRODUCT}} for each in objects))


def test_an_undo_after_a_kill_keeps_a_namespace_in_which_others_have_something(
    host: Context, api_cluster: Cluster
) -> None:
    with pytest.raises(Killed):
        install(context(Faulty(root(host), "upgrade", "kill after")), chart(1))
    add(api_cluster, SECRET)
    again = context(type(host.system)(root(host)))
    recovered(again)
    assert api_cluster.get("secret", "theirs", "-n", PRODUCT)["data"]
    # Of the release itself nothing is left.
    assert not api_cluster.get("configmaps", "-n", PRODUCT, "-l", "app.kubernetes.io/managed-by=Helm")[
        "items"
    ]
    assert isinstance(again.progress, Notes)
    said = f"namespace {PRODUCT} stays, though this transaction created it: it has Secret/theirs"
    assert said in again.progress.lines


def test_an_undo_after_a_kill_waits_for_the_pods_of_the_release_and_removes_the_namespace(
    host: Context, api_cluster: Cluster
) -> None:
    with pytest.raises(Killed):
        install(context(Faulty(root(host), "upgrade", "kill half")), chart(1, Parts({"web.yaml": WEB})))
    assert api_cluster.get("pods", "-n", PRODUCT)["items"]
    recovered(context(type(host.system)(root(host))))
    assert not has_namespace(api_cluster)


def test_a_namespace_with_anything_of_others_stays_and_an_empty_one_goes(
    host: Context, api_cluster: Cluster
) -> None:
    create_namespace(api_cluster)
    for theirs in THEIRS:
        add(api_cluster, theirs)
        assert removed(host).endswith(f"it has {theirs['kind']}/theirs")
        api_cluster.kubectl("delete", theirs["kind"].lower(), "theirs", "-n", PRODUCT)
    assert has_namespace(api_cluster)
    removed(host)
    assert not has_namespace(api_cluster)


def test_a_namespace_stays_if_the_login_may_not_see_all_that_is_in_it(
    host: Context, api_cluster: Cluster
) -> None:
    create_namespace(api_cluster)
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    reader = [{"apiGroups": ["*"], "resources": ["namespaces", "secrets"], "verbs": ["*"]}]
    api_cluster.apply(
        {**kind, "kind": "ClusterRole", "metadata": {"name": "rig-some"}, "rules": reader},
        {
            **kind,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "rig-some"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "rig-some",
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "rig-other"}],
        },
    )
    path = root(host) / "etc/waybill/kubeconfig"
    document = json.loads(path.read_text())
    document["users"][0]["user"]["as"] = "rig-other"
    path.write_text(json.dumps(document))
    try:
        said = removed(host)
    finally:
        api_cluster.kubectl("delete", "clusterrole/rig-some", "clusterrolebinding/rig-some")
    assert "it cannot be seen what is in it" in said
    assert has_namespace(api_cluster)
