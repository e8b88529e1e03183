"""What the plan refuses before anything is changed: the cluster, the login, the chart, names of others."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.errors import Problem
from installer.host.context import Context
from installer.planning.plan import PlanNotReadyError
from tests.rig.charted import CONFIG, WEB, Parts, chart, charted, write_settings
from tests.rig.kube import Cluster
from tests.rig.kubefiles import write_kubeconfig
from tests.rig.needs import needs
from tests.rig.releases import PRODUCT, ReleaseSpec, install, planned, root


@pytest.fixture
def host(api_cluster: Cluster, tmp_path: Path) -> Iterator[Context]:
    with charted(api_cluster, tmp_path, "3") as within:
        yield within


def refused(within: Context, spec: ReleaseSpec | None = None) -> list[Problem]:
    """Return the problems of a plan."""
    with pytest.raises(PlanNotReadyError) as caught, planned(within, spec or chart(1)) as plan:
        plan.require_ready()
    return list(caught.value.problems)


def said(within: Context, spec: ReleaseSpec | None = None) -> str:
    return "\n".join(f"{each.where}: {each.what} ({each.hint})" for each in refused(within, spec))


def login(within: Context, cluster: Cluster, user: dict[str, str], **more: str) -> None:
    write_kubeconfig(root(within) / "etc/waybill/kubeconfig", cluster.settings, user, **more)


def test_a_host_that_is_told_no_cluster_is_refused(host: Context) -> None:
    (root(host) / "etc/waybill/kubernetes.yaml").unlink()
    assert "kubernetes.yaml: does not exist: this host does not know which cluster to use" in said(host)


def test_settings_that_say_something_else_are_refused_with_their_line(host: Context) -> None:
    write_settings(root(host), kubeconfig="/etc/waybill/kubeconfig", contxt="rig")
    assert "/etc/waybill/kubernetes.yaml:2" in said(host)


def test_a_kubeconfig_that_others_can_read_is_refused(host: Context) -> None:
    (root(host) / "etc/waybill/kubeconfig").chmod(0o644)
    assert "can be read by other users" in said(host)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "kubeconfig: names no cluster"),
        ("kind: Config\nclusters: []\n", "kubeconfig: names no cluster"),
        ("clusters: [\n", "kubeconfig:2: is not YAML"),
    ],
)
def test_a_kubeconfig_that_is_none_is_refused_before_a_cluster_is_asked(
    host: Context, text: str, what: str
) -> None:
    (root(host) / "etc/waybill/kubeconfig").write_text(text)
    (problem,) = refused(host)
    assert what in str(problem)
    assert "copy the kubeconfig from the cluster again" in problem.hint


def test_a_cluster_that_does_not_answer_is_refused(host: Context) -> None:
    path = root(host) / "etc/waybill/kubeconfig"
    document = json.loads(path.read_text())
    document["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    path.write_text(json.dumps(document))
    text = said(host)
    assert "https://127.0.0.1:1: does not answer" in text
    assert "look whether the API server runs" in text


def test_a_context_that_the_kubeconfig_does_not_have_is_refused(host: Context) -> None:
    write_settings(root(host), kubeconfig="/etc/waybill/kubeconfig", context="other")
    assert "correct `context` in /etc/waybill/kubernetes.yaml" in said(host)


def test_a_login_that_has_expired_is_refused(host: Context, api_cluster: Cluster) -> None:
    login(host, api_cluster, {"token": "old"})
    assert "the login of the kubeconfig is not valid any more" in said(host)


def test_a_login_without_rights_is_told_which_it_needs(host: Context, api_cluster: Cluster) -> None:
    api_cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PRODUCT}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "rig-view"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "rig-reader"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "rig-user"}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "rig-reader"},
            "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}],
        },
    )
    login(host, api_cluster, {"token": "rig-token"})
    text = said(host)
    assert f"namespace {PRODUCT}: this login may not create, patch, delete configmaps" in text
    assert f"namespace {PRODUCT}: this login may not create, patch, delete, update secrets" in text


def test_a_kind_that_the_cluster_does_not_have_is_named_with_its_user(host: Context) -> None:
    budget = "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\n"
    text = said(host, chart(1, Parts({"config.yaml": CONFIG, "budget.yaml": budget})))
    assert (
        "does not have policy/v1 PodDisruptionBudget, which the release uses for PodDisruptionBudget/web"
        in text
    )


def test_a_chart_that_does_not_render_is_refused_with_its_template(host: Context) -> None:
    text = said(host, chart(1, Parts({"config.yaml": '{{ fail "no level was chosen" }}'})))
    assert "no level was chosen" in text
    assert "chat/templates/config.yaml" in text


def test_values_that_the_chart_refuses_are_named(host: Context) -> None:
    schema = '{"type": "object", "properties": {"replicas": {"type": "integer"}}}'
    parts = Parts(files={"values.schema.json": schema}, site='replicas: "many"\n')
    assert "replicas" in said(host, chart(1, parts))


def test_rendered_values_that_are_no_yaml_are_refused_with_their_line(host: Context) -> None:
    text = said(host, chart(1, Parts(site="level: 1\n  page: x\n")))
    assert "deploy/values.yaml.j2 (rendered):2: is not YAML" in text


def test_an_object_that_the_server_refuses_is_named(host: Context, api_cluster: Cluster) -> None:
    api_cluster.kubectl("create", "namespace", PRODUCT)
    text = said(host, chart(1, Parts({"config.yaml": CONFIG.replace("name: settings", "name: No_Name")})))
    assert 'ConfigMap "No_Name" is invalid' in text


def test_a_quota_that_is_too_small_is_named(host: Context, api_cluster: Cluster) -> None:
    api_cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PRODUCT}},
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "small", "namespace": PRODUCT},
            "spec": {"hard": {"pods": "2"}},
        },
    )
    api_cluster.wait_for(
        lambda: api_cluster.get("resourcequota", "small", "-n", PRODUCT).get("status", {}).get("hard")
    )
    text = said(host, chart(1, Parts({"web.yaml": WEB.replace("{{ .Values.replicas }}", "3")})))
    assert f"quota small in namespace {PRODUCT}: allows pods: 2, of which 0 are used" in text


def test_a_release_of_somebody_else_is_refused_with_its_owner(host: Context, api_cluster: Cluster) -> None:
    by_hand(api_cluster, root(host) / "theirs", "install")
    text = said(host)
    assert (
        f"release {PRODUCT} in namespace {PRODUCT}: exists already and was not installed by Waybill" in text
    )


def test_an_object_of_somebody_else_is_refused_with_its_owner(host: Context, api_cluster: Cluster) -> None:
    api_cluster.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PRODUCT}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": PRODUCT}},
    )
    assert "ConfigMap/settings: is in the cluster already, and no release of Helm made it" in said(host)


def test_a_release_that_a_person_is_changing_is_refused(host: Context, api_cluster: Cluster) -> None:
    install(host, chart(1))
    by_hand(api_cluster, root(host) / "theirs", "upgrade", kill=True)
    text = said(host, chart(2, Parts({"config.yaml": CONFIG.replace(".Values.level", '"2"')})))
    assert "is pending-upgrade: somebody changes it without Waybill" in text


def by_hand(cluster: Cluster, place: Path, verb: str, *, kill: bool = False) -> None:
    """Install or upgrade the release as a person does, or be killed while its pods are waited for."""
    spec = chart(1, Parts({"web.yaml": WEB}) if kill else Parts())
    for name, member in spec.members.items():
        path = place / name.removeprefix("deploy/helm/chat/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(member.data)
    command = [
        needs("helm3"),
        verb,
        PRODUCT,
        str(place),
        "--kubeconfig",
        str(cluster.kubeconfig),
        "-n",
        PRODUCT,
    ]
    command += ["--create-namespace"] if verb == "install" else []
    if not kill:
        subprocess.run(command, check=True, capture_output=True)
        return
    process = subprocess.Popen([*command, "--wait"], stdout=subprocess.DEVNULL)
    selector = ("secrets", "-n", PRODUCT, "-l", "owner=helm,status=pending-upgrade")
    try:
        cluster.wait_for(lambda: cluster.get(*selector)["items"])
    finally:
        process.kill()
        process.wait()
