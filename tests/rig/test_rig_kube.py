"""The cluster is what tests take it for: pods run, probes count, logs are read, and nothing outlives it."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.rig.kube import LOGS, Cluster
from tests.rig.kubenode import busybox
from tests.rig.needs import needs

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "namespace": "rig"},
    "spec": {
        "containers": [
            {
                "name": "web",
                "image": "rig.example/web:1",
                "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            }
        ]
    },
}


@pytest.fixture(scope="module")
def rig(cluster: Cluster) -> Cluster:
    archive = cluster.home / "web.tar"
    archive.write_bytes(
        busybox("rig.example/web:1", "httpd", "-f", "-vv", "-p", "8080", files={"/index.html": b"hi"})
    )
    cluster.load(archive)
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "rig"}}, POD)
    return cluster


def test_a_pod_of_an_imported_image_becomes_ready_and_logs(rig: Cluster) -> None:
    rig.kubectl("wait", "pod/web", "-n", "rig", "--for=condition=Ready", "--timeout=60s")
    assert "response:200" in rig.kubectl("logs", "web", "-n", "rig").stdout


def test_the_logs_of_its_pods_are_out_of_reach_of_another_cluster(rig: Cluster) -> None:
    uid = rig.get("pod", "web", "-n", "rig")["metadata"]["uid"]
    assert (rig.home / "pods" / f"rig_web_{uid}").is_dir()
    # Another kubelet would remove what is there of pods that it does not know.
    assert not Path(LOGS, f"rig_web_{uid}").exists()


def test_a_service_leads_to_its_pod(rig: Cluster) -> None:
    rig.kubectl("label", "pod/web", "-n", "rig", "app=web")
    rig.kubectl("create", "service", "clusterip", "web", "-n", "rig", "--tcp=80:8080")
    address = rig.get("service", "web", "-n", "rig")["spec"]["clusterIP"]

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://{address}/", timeout=5) as answer:
                return answer.read() == b"hi"
        except OSError:
            return False

    rig.wait_for(answers)


def test_the_server_is_of_the_version_that_was_built(rig: Cluster) -> None:
    assert "v1.20.2" in rig.kubectl("version").stdout


@pytest.mark.parametrize(("name", "version"), [("helm3", "v3.17."), ("helm4", "v4.3.")])
def test_helm_is_of_its_version(name: str, version: str) -> None:
    said = subprocess.run([needs(name), "version", "--short"], check=True, capture_output=True, text=True)
    assert said.stdout.startswith(version)
