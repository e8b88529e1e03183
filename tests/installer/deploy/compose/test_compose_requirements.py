"""What a project needs and the host does not have is in the plan, before anything is loaded."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from installer.commands.common.recovery import exclusive
from installer.host.context import Context
from installer.planning.planner import plan_remove
from tests.rig.composed import IMAGES, Parts, composed, project
from tests.rig.engine import Engine
from tests.rig.releases import install, plan_for, root

pytestmark = pytest.mark.needs("docker", "compose", "busybox")
PORTS = '  api: {{image: "rig/box:1", ports: ["{}"]}}\n'


@pytest.fixture(scope="module")
def live(docker_network: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    with composed(docker_network, tmp_path_factory.mktemp("host")) as host:
        yield host


def problems(live: Context, more: str, volumes: str = "") -> list[str]:
    found = plan_for(live, project(1, Parts(more=more, volumes=volumes))).problems
    return [f"{each.where}: {each.what}" for each in found]


def test_absent_networks_volumes_and_images_are_named_with_their_remedies(
    live: Context, docker_network: Engine
) -> None:
    more = "  api: {image: 'rig/absent:1', networks: [lan], volumes: ['old:/old']}\n"
    more += "networks: {lan: {external: true, name: office}}\n"
    old = ", old: {external: true}"
    assert problems(live, more, old) == [
        "network office: is external in the Compose file and does not exist",
        "volume old: is external in the Compose file and does not exist",
        "service api: image rig/absent:1 is neither in the bundle nor in the engine, and nothing is pulled",
    ]
    docker_network.docker("network", "create", "office")
    docker_network.docker("volume", "create", "old")
    try:
        assert problems(live, more.replace("absent", "box"), old) == []
    finally:
        docker_network.docker("network", "rm", "office")
        docker_network.docker("volume", "rm", "old")


def test_a_file_that_compose_refuses_is_named_before_anything_is_changed(live: Context) -> None:
    (said,) = problems(live, "  api: {image: 'rig/box:1', volumes: ['nowhere:/x']}\n")
    assert said.startswith("deploy/compose.yaml: docker compose config: ")
    assert "nowhere" in said


def test_a_port_that_another_container_has_is_named(live: Context, docker_network: Engine) -> None:
    docker_network.docker("run", "-d", "--name", "other", "-p", "127.0.0.1:18080-18081:80-81", IMAGES[0])
    try:
        taken = "service api: port 127.0.0.1:18081/tcp is in use by container other"
        assert problems(live, PORTS.format("127.0.0.1:18081:80")) == [taken]
        assert problems(live, PORTS.format("18080:80")) == [taken.replace("127.0.0.1:18081", "18080")]
        for free in ("127.0.0.1:18082:80", "127.0.0.2:18081:80", "127.0.0.1:18081:80/udp", "80"):
            assert problems(live, PORTS.format(free)) == []
    finally:
        docker_network.docker("rm", "-f", "other")


def test_a_port_that_a_process_listens_on_is_named(live: Context) -> None:
    table = root(live) / "proc/1/net/tcp"
    table.parent.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        # The kernel's own table of this very moment, where the host has it.
        table.write_bytes(Path("/proc/self/net/tcp").read_bytes())
        taken = f"service api: port {port}/tcp is in use by a process"
        assert problems(live, PORTS.format(f"{port}:80")) == [taken]
        assert problems(live, PORTS.format(f"127.0.0.2:{port}:80")) == []


def test_the_plan_lists_services_with_images_and_the_volumes_that_stay(live: Context) -> None:
    plan = plan_for(live, project(1))
    assert [line for each in plan.methods for line in each.lines][:-1] == [
        "start project lan-chat from deploy/compose.yaml",
        "start service db (image rig/box:1)",
        "start service migrate (image rig/box:1)",
        "start service web (image rig/box:1)",
        "volume lan-chat_data: its data stay",
    ]
    install(live, project(1))
    with exclusive(live) as (state, _):
        removal = plan_remove(live, state)
    assert [line for each in removal.methods for line in each.lines][:-1] == [
        "stop and remove project lan-chat",
        "volume lan-chat_data stays; it has the data of the project",
    ]
