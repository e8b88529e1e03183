"""lan-chat in a real cluster by its chart: a member with etcd, store and gateway in one pod."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.rig.engine import wait_for
from tests.rig.kube import Cluster
from tests.rig.lanchat import FIRST, SECOND, TOKEN, Releases
from tests.rig.needs import needs

pytestmark = pytest.mark.needs("go", "etcd", "kube")
NAMESPACE = "lan-chat"
REGISTRY = "registry.lan:5000"
IMAGES = ("etcd", "store", "gateway")


def load(cluster: Cluster, releases: Releases, version: str) -> None:
    """Put the images of a release into the node, as a registry would have them."""
    releases.release(version)
    layouts = releases.desk.home / f"lan-chat-{version}" / "build/image"
    for name in IMAGES:
        own = f"lan-chat/{name}:{version}"
        index = (
            (layouts / name / "index.json").read_bytes().replace(own.encode(), f"{REGISTRY}/{own}".encode())
        )
        archive = cluster.home / f"{name}.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(layouts / name / "oci-layout", "oci-layout")
            tar.add(layouts / name / "blobs", "blobs")
            entry = tarfile.TarInfo("index.json")
            entry.size = len(index)
            tar.addfile(entry, io.BytesIO(index))
        cluster.load(archive)
        assert cluster.node
        assert f"{REGISTRY}/{own}" in cluster.node.images()


def helm(cluster: Cluster, *words: str) -> None:
    """Run Helm, and wait until the pod is ready."""
    command = [needs("helm4"), "--kubeconfig", str(cluster.kubeconfig), "--namespace", NAMESPACE, *words]
    done = subprocess.run(
        [*command, "--wait", "--timeout", "120s"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (
        f"{done.stderr}\n{cluster.kubectl('describe', 'pod', '-n', NAMESPACE).stdout}"
    )


def install(cluster: Cluster, releases: Releases, version: str) -> None:
    """Do what the guide says, for a version; the overrides of staging are for one member."""
    load(cluster, releases, version)
    chart = releases.desk.home / f"lan-chat-{version}" / "deploy/helm"
    overrides = str(chart / "environments/staging/overrides.yaml")
    words = ("upgrade", "--install", "lan-chat", str(chart / "lan-chat"), "-f", overrides)
    helm(cluster, *words, "--set", f"image.tag={version}")


def version_of(cluster: Cluster) -> str:
    """Return what the store said of itself when it started."""
    lines = cluster.kubectl("logs", "lan-chat-0", "-c", "store", "-n", NAMESPACE).stdout.splitlines()
    return str(json.loads(lines[0])["version"])


@pytest.fixture(scope="module")
def chat(cluster: Cluster, lan_chat: Releases) -> Iterator[str]:
    """The address of the first release's service."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    cluster.kubectl(
        "create", "secret", "generic", "lan-chat", "-n", NAMESPACE, f"--from-literal=token={TOKEN}"
    )
    install(cluster, lan_chat, FIRST)
    yield f"http://{cluster.get('service', 'lan-chat', '-n', NAMESPACE)['spec']['clusterIP']}:8080"
    cluster.kubectl("delete", "namespace", NAMESPACE)


def post(address: str, text: str) -> str:
    """Send a message until it is taken, and return which replica took it; services follow their pods late."""
    data = json.dumps({"author": "ann", "text": text}).encode()
    url = f"{address}/api/channels/lobby/messages"
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    nodes: list[str] = []

    def taken() -> bool:
        with suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:
            nodes.append(json.load(answer)["node"])
        return nodes != []

    wait_for(f"a taker of {text!r}", taken, 60)
    return nodes[0]


def test_people_chat_and_load_the_web_client(chat: str) -> None:
    assert post(chat, "Pods talk.") == "lan-chat-0"
    with urllib.request.urlopen(chat, timeout=20) as page:
        assert b"<title>lan-chat</title>" in page.read()
    with urllib.request.urlopen(f"{chat}/api/channels/lobby/events", timeout=20) as events:
        while b"Pods talk." not in (line := events.readline()):
            assert line


def test_the_pod_has_no_rights_and_logs_json(cluster: Cluster, chat: str) -> None:
    post(chat, "Logged.")
    (pod,) = cluster.get("pods", "-n", NAMESPACE)["items"]
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["readOnlyRootFilesystem"]
    lines = cluster.kubectl("logs", "lan-chat-0", "-c", "gateway", "-n", NAMESPACE).stdout.splitlines()
    assert any(json.loads(line)["message"] == "request" for line in lines)


def test_an_upgrade_replaces_the_pod_and_a_rollback_returns(
    cluster: Cluster, lan_chat: Releases, chat: str
) -> None:
    install(cluster, lan_chat, SECOND)
    assert post(chat, "Again.") == "lan-chat-0"
    assert version_of(cluster) == SECOND
    helm(cluster, "rollback", "lan-chat")
    assert post(chat, "And back.") == "lan-chat-0"
    assert version_of(cluster) == FIRST
