"""lan-chat in a real cluster by one command each: installed, upgraded, rolled back, removed."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.rig.clustermanager import Manager
from tests.rig.engine import wait_for
from tests.rig.kube import Cluster
from tests.rig.lanchat import FIRST, SECOND, TOKEN, Releases
from tests.rig.registry import Registry

pytestmark = pytest.mark.needs("go", "etcd", "kube", "mount", "registry")
NAMESPACE = "lan-chat"
ONLY = ("--only", "images,helm")


@pytest.fixture
def manager(cluster: Cluster, registry: Registry, lan_chat: Releases, tmp_path: Path) -> Iterator[Manager]:
    """A host that trusts the team, knows cluster and registry, and has the one secret of the site."""
    made = Manager.set_up(tmp_path, lan_chat.desk, cluster, registry, "--env", "plant")
    secret = f"""
        install -d -m 0700 /etc/waybill/lan-chat/secrets && umask 077
        echo '{TOKEN}' >/etc/waybill/lan-chat/secrets/token
    """
    assert made.run("sh", "-ec", secret).returncode == 0
    yield made
    cluster.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s", check=False)


def version_of(cluster: Cluster) -> str:
    """Return what the store said of itself when it started."""
    lines = cluster.kubectl("logs", "lan-chat-0", "-c", "store", "-n", NAMESPACE).stdout.splitlines()
    return str(json.loads(lines[0])["version"])


def images_of(cluster: Cluster) -> list[str]:
    """Return the references that the pod runs."""
    (pod,) = cluster.get("pods", "-n", NAMESPACE)["items"]
    return [str(each["image"]) for each in pod["spec"]["containers"]]


def talks(cluster: Cluster) -> bool:
    """Return whether a message is taken within a minute: services follow their pods late."""
    address = cluster.get("service", "lan-chat", "-n", NAMESPACE)["spec"]["clusterIP"]
    data = json.dumps({"author": "ann", "text": "Pods talk."}).encode()
    url = f"http://{address}:8080/api/channels/lobby/messages"
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})

    def taken() -> bool:
        with suppress(OSError), urllib.request.urlopen(request, timeout=20) as answer:
            return bool(json.load(answer)["node"] == "lan-chat-0")
        return False

    wait_for("a taker of a message", taken, 60)
    return True


def test_one_command_each_installs_upgrades_rolls_back_and_removes(
    manager: Manager, cluster: Cluster, registry: Registry, lan_chat: Releases
) -> None:
    first, second = str(lan_chat.release(FIRST)), str(lan_chat.release(SECOND))
    plan = manager.install("plan", first, *ONLY)
    assert "create StatefulSet/lan-chat" in plan
    assert TOKEN not in plan
    manager.install(first, *ONLY, "--yes")
    assert version_of(cluster) == FIRST
    assert talks(cluster)
    here = f"{registry.name}/plant/lan-chat/"
    assert all(each.startswith(here) and "@sha256:" in each for each in images_of(cluster))
    assert json.loads(manager.install(first, *ONLY, "--yes", "--json"))["changed"] is False

    manager.install(second, *ONLY, "--yes")
    assert version_of(cluster) == SECOND
    assert talks(cluster)

    manager.install("rollback", *ONLY, "--yes")
    assert version_of(cluster) == FIRST
    assert talks(cluster)
    (status,) = json.loads(manager.install("status", "--json"))["products"]
    assert status["drift"] == []

    manager.install("remove", "lan-chat", "--yes")
    assert cluster.get("statefulsets", "-n", NAMESPACE)["items"] == []
