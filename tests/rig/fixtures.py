"""The rig as fixtures; tests/conftest.py imports them for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig.containerd import Containerd
from tests.rig.engine import KINDS, Engine, Engines
from tests.rig.host import Host
from tests.rig.kube import Cluster
from tests.rig.needs import needs
from tests.rig.podman import PodmanEngine
from tests.rig.registry import Registry
from tests.rig.registrygate import Gate
from tests.rig.signing import Cosign


@pytest.fixture(scope="session")
def engines() -> Iterator[Engines]:
    """All engines of the session, by kind, started when first used."""
    running = Engines()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def docker_engine(engines: Engines) -> Engine:
    """The engine given by WAYBILL_DOCKER_HOST or DOCKER_HOST, else Docker 20.10."""
    return engines.default()


@pytest.fixture(scope="session")
def docker20(engines: Engines) -> Engine:
    """Docker 20.10, which saves images as `<id>/layer.tar`."""
    return engines.get("20")


@pytest.fixture(scope="session")
def docker26(engines: Engines) -> Engine:
    """Docker 26.1, which saves images as an OCI layout."""
    return engines.get("26")


@pytest.fixture(scope="session")
def docker28(engines: Engines) -> Engine:
    """Docker 28."""
    return engines.get("28")


@pytest.fixture(scope="session")
def docker28_containerd(engines: Engines) -> Engine:
    """Docker 28 with containerd's image store."""
    return engines.get("28-containerd")


@pytest.fixture(scope="session")
def containerd() -> Iterator[Containerd]:
    """A containerd without Docker."""
    needs("containerd")
    running = Containerd.launch()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster with a node that runs pods. A test takes a namespace of its own."""
    needs("kube")
    running = Cluster.launch()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def api_cluster() -> Iterator[Cluster]:
    """A cluster without a node: its pods stay pending. A test takes a namespace of its own."""
    needs("kube")
    running = Cluster.launch(node=False)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def docker_network(engines: Engines) -> Engine:
    """Docker 20.10 in a network namespace of its own, with bridge and published ports (see Engine.inside)."""
    return engines.get("20", network=True)


@pytest.fixture(scope="session")
def podman_engine() -> Iterator[PodmanEngine]:
    """Podman 4.3 as an engine: its service with Docker's API."""
    running = PodmanEngine.open()
    yield running
    running.stop()


@pytest.fixture(scope="session", params=list(KINDS))
def every_engine(request: pytest.FixtureRequest, engines: Engines) -> Engine:
    """Each kind of Docker engine in turn."""
    return engines.get(request.param)


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry on loopback."""
    running = Registry.launch()
    yield running
    running.stop()


@pytest.fixture
def gate(registry: Registry) -> Iterator[Gate]:
    """A gate in front of the registry."""
    with Gate(registry.name).open() as opened:
        yield opened


@pytest.fixture
def boot(docker_engine: Engine) -> Iterator[Callable[[str], Host]]:
    """Boots fresh air-gapped hosts: `boot("bookworm")`, `boot("bookworm-docker")`, `boot("bullseye")`."""
    hosts: list[Host] = []

    def launch(variant: str = "bookworm") -> Host:
        hosts.append(Host.launch(docker_engine, variant))
        return hosts[-1]

    yield launch
    for host in hosts:
        host.close()


@pytest.fixture(scope="session")
def airgap(docker_engine: Engine) -> Iterator[Host]:
    """One air-gapped host for the whole session, for tests that change nothing on it."""
    host = Host.launch(docker_engine)
    yield host
    host.close()


@pytest.fixture(scope="session")
def cosign() -> str:
    """The path of a real cosign 2."""
    return needs("cosign")


@pytest.fixture(scope="session")
def cosign3() -> str:
    """The path of a real cosign 3."""
    return needs("cosign3")


@pytest.fixture(params=["cosign", "cosign3"])
def any_cosign(request: pytest.FixtureRequest, tmp_path: Path) -> Cosign:
    """A real cosign of each version in turn, at work in a directory of the test."""
    return Cosign(needs(request.param), 3 if request.param == "cosign3" else 2, tmp_path)
