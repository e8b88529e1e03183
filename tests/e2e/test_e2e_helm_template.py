"""The product of the template `helm` in a real cluster: installed, upgraded, broken, rolled back, removed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.clustermanager import Manager
from tests.rig.desk import Desk
from tests.rig.engine import Engine
from tests.rig.executables import Executables
from tests.rig.kube import Cluster
from tests.rig.registry import Registry
from tests.rig.templated import lay_out, product_of

pytestmark = pytest.mark.needs("kube", "mount", "registry", "helm4", "kubectl")
PRODUCT = product_of("helm")


@pytest.fixture
def releases(
    programs: Executables, docker_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Desk, dict[str, str]]:
    """What a release engineer makes of it with Docker, and where."""
    (tmp_path / "desk").mkdir()
    desk = Desk(tmp_path / "desk", programs).set_up()
    monkeypatch.setenv("DOCKER_HOST", docker_engine.host)
    return desk, {version: str(path) for version, path in lay_out(desk, docker_engine, "helm").items()}


@pytest.fixture
def manager(
    releases: tuple[Desk, dict[str, str]], cluster: Cluster, registry: Registry, tmp_path: Path
) -> Iterator[Manager]:
    (tmp_path / "manager").mkdir()
    yield Manager.set_up(tmp_path / "manager", releases[0], cluster, registry)
    cluster.kubectl("delete", "namespace", PRODUCT, "--ignore-not-found", "--wait=false", check=False)


def says(cluster: Cluster, version: str) -> bool:
    """Return whether the one pod that is not going is ready, and of a version."""
    pods = cluster.get("pods", "-n", PRODUCT)["items"]
    (pod,) = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
    (status,) = pod["status"]["containerStatuses"]
    return bool(status["ready"]) and f":{version}@" in pod["spec"]["containers"][0]["image"]


def test_a_product_of_the_template_goes_through_its_whole_life(
    manager: Manager, cluster: Cluster, releases: tuple[Desk, dict[str, str]]
) -> None:
    _, bundles = releases
    manager.install(bundles["0.1.0"], "--verify", "--yes")
    assert says(cluster, "0.1.0")
    manager.install(bundles["0.2.0"], "--verify", "--yes")
    assert says(cluster, "0.2.0")

    bad = manager.run(str(manager.programs / "install"), bundles["0.3.0"], "--verify", "--yes")
    assert bad.returncode == 20
    assert "cannot ring" in bad.stderr
    assert says(cluster, "0.2.0")
    (status,) = json.loads(manager.install("status", "--json"))["products"]
    assert (status["installed"]["version"], status["drift"]) == ("0.2.0", [])

    manager.install("rollback", "--yes")
    assert says(cluster, "0.1.0")
    manager.install("remove", PRODUCT, "--yes")
    assert cluster.get("deployments", "-n", PRODUCT)["items"] == []
