"""The method `helm` on a cluster whose pods run: waiting, hooks, tests, and what a failure says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.core.errors import RolledBackError
from installer.host.context import Context
from tests.rig.charted import CONFIG, HELMS, WEB, Parts, chart, charted, drift, load_image
from tests.rig.kube import Cluster
from tests.rig.releases import PRODUCT, ReleaseSpec, install, planned

JOB = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  annotations:
    "helm.sh/hook": {hook}
    "helm.sh/hook-delete-policy": before-hook-creation
spec:
  restartPolicy: Never
  containers:
    - name: main
      image: rig.example/web:1
      imagePullPolicy: IfNotPresent
      args: {args}
"""
ENDS = "[sh, -c, 'echo done']"
FAILS = "[sh, -c, 'echo the database is too old >&2; exit 7']"


@pytest.fixture(scope="module")
def node(cluster: Cluster) -> Cluster:
    load_image(cluster)
    return cluster


@pytest.fixture
def host(request: pytest.FixtureRequest, node: Cluster, tmp_path: Path) -> Iterator[Context]:
    """A host with Helm 4, or with the version that a test asks for."""
    with charted(node, tmp_path, getattr(request, "param", "4")) as within:
        yield within


def release(number: int, *, web: str = WEB, hook: str = "", test: str = "", timeout: int = 60) -> ReleaseSpec:
    templates = {"config.yaml": CONFIG.replace(".Values.level", f'"{number}"'), "web.yaml": web}
    if hook:
        templates["hook.yaml"] = JOB.format(name="migrate", hook="pre-install,pre-upgrade", args=hook)
    if test:
        templates["test.yaml"] = JOB.format(name="try", hook="test", args=test)
    options = {"timeout": timeout} | ({"test": True} if test else {})
    return chart(number, Parts(templates, options=options))


def level(cluster: Cluster) -> str:
    return str(cluster.get("configmap", "settings", "-n", PRODUCT)["data"]["level"])


def failure(within: Context, spec: ReleaseSpec) -> str:
    """Return what a failed installation says."""
    with pytest.raises(RolledBackError) as caught:
        install(within, spec)
    error = caught.value
    return "\n".join([str(error), *(f"{each.where}: {each.what}" for each in error.problems)])


@pytest.mark.parametrize("host", HELMS, indirect=True)
def test_pods_are_waited_for_hooks_and_tests_are_run(host: Context, node: Cluster) -> None:
    spec = release(1, hook=ENDS, test=ENDS)
    with planned(host, spec) as plan:
        lines = [line for step in plan.methods for line in step.lines]
    assert "hook Pod/migrate: pre-install, pre-upgrade" in lines
    assert f"run the tests of {PRODUCT}" in lines
    install(host, spec)
    (pod,) = node.get("pods", "-n", PRODUCT, "-l", "app=web")["items"]
    assert pod["status"]["containerStatuses"][0]["ready"]
    assert node.kubectl("logs", "migrate", "-n", PRODUCT).stdout == "done\n"
    assert node.kubectl("logs", "try", "-n", PRODUCT).stdout == "done\n"
    assert drift(host) == []


@pytest.mark.parametrize("host", HELMS, indirect=True)
def test_a_failure_says_which_pod_is_not_ready_and_why(host: Context, node: Cluster) -> None:
    install(host, release(1))
    crash = WEB.replace("{{ .Values.args | toJson }}", FAILS)
    text = failure(host, release(2, web=crash, timeout=12))
    assert "ended with exit code 7 (Error)" in text
    assert "(web): the database is too old" in text
    assert level(node) == "1"


def test_an_image_that_no_node_has_is_named(host: Context) -> None:
    absent = WEB.replace("{{ .Values.image }}", "rig.example/web:9").replace("IfNotPresent", "Never")
    text = failure(host, release(1, web=absent, timeout=8))
    assert "waits: ErrImageNeverPull" in text
    assert "rig.example/web:9" in text


@pytest.mark.parametrize("host", ["3"], indirect=True)
def test_a_hook_that_fails_undoes_the_release_and_says_its_last_lines(host: Context, node: Cluster) -> None:
    install(host, release(1))
    text = failure(host, release(2, hook=FAILS))
    assert "the database is too old" in text
    assert level(node) == "1"


def test_a_test_that_fails_undoes_the_release(host: Context, node: Cluster) -> None:
    install(host, release(1))
    text = failure(host, release(2, test=FAILS))
    assert "helm test" in text
    assert "the database is too old" in text
    assert level(node) == "1"


def test_a_pod_that_no_node_takes_is_told_by_its_condition(host: Context) -> None:
    huge = WEB.replace("imagePullPolicy", "resources: {requests: {cpu: 900}}\n          imagePullPolicy")
    assert "Insufficient cpu" in failure(host, release(1, web=huge, timeout=6))
