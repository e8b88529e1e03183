"""Releases that are services (systemd units, a Compose project), and air-gapped hosts that run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.planning.planner import plan_remove
from tests.rig import images
from tests.rig.engine import Engine
from tests.rig.host import Host
from tests.rig.releases import Member, ReleaseSpec, context
from tests.rig.remote import Remote

UNITS = ("chatd", "helper", "extra")
"""The units of all releases here."""
UNIT = """[Unit]
Description={name}
[Service]
Restart=no
ExecStartPre=/bin/sh -c 'echo {version} > /run/{name}'
ExecStart=/bin/sh -c '{command}'
{install}
"""
COMPOSE = """services:
  nats:
    image: rig/nats:1
    environment: {{VERSION: "{version}"}}
    {command}
    volumes: ["/etc/chat.conf:/chat.conf:ro"]
"""


def unit(name: str, version: str, command: str = "exec sleep 1000", install: bool = True) -> Member:
    """Gives a service that has written its version to /run once it is active."""
    text = UNIT.format(
        name=name,
        version=version,
        command=command,
        install="[Install]\nWantedBy=multi-user.target" if install else "",
    )
    return Member(text.encode(), kind="unit")


def with_units(version: str, sequence: int, **units: Member) -> ReleaseSpec:
    """Gives a release of units."""
    members = {f"deploy/systemd/{name}.service": member for name, member in units.items()}
    return ReleaseSpec(
        version, sequence, members, deploy=(Deployment("systemd", {"units": sorted(members)}),)
    )


UNITS_ONE = with_units("1.0.0", 1, chatd=unit("chatd", "1.0.0"), helper=unit("helper", "1.0.0"))
UNITS_TWO = with_units("2.0.0", 2, chatd=unit("chatd", "2.0.0"), extra=unit("extra", "2.0.0"))


def running_units(within: Context) -> dict[str, str]:
    """What runs and what is enabled of the units, as systemd says."""
    found = {}
    for name in UNITS:
        active = within.system.run(["systemctl", "is-active", name], timeout=20).stdout.decode().strip()
        enabled = within.system.run(["systemctl", "is-enabled", name], timeout=20).stdout.decode().strip()
        version = within.system.run(["cat", f"/run/{name}"], timeout=20).stdout.decode().strip()
        found[name] = f"{active} {enabled} {version}" if active == "active" else f"{active} {enabled}".strip()
    return found


def with_project(version: str, sequence: int, command: str = "", config: str = "same") -> ReleaseSpec:
    """Gives a release of a Compose project with one container, which sees its version and a configuration."""
    file = COMPOSE.format(version=version, command=command)
    return ReleaseSpec(
        version,
        sequence,
        {
            "deploy/compose.yaml": Member(file.encode(), kind="compose"),
            "config/chat.conf": Member(config.encode(), "/etc/chat.conf", kind="template"),
        },
        deploy=(Deployment("compose", {"file": "deploy/compose.yaml"}),),
        health=(HealthCheck("container", "lan-chat-nats-1", within=20, stable=1),),
    )


def running_containers(machine: Host) -> list[str]:
    """The versions and the configuration that running containers see."""
    found = []
    for name in machine.check("docker ps -q").split():
        environment = machine.check(f"docker inspect -f '{{{{.Config.Env}}}}' {name}")
        config = machine.check(f"docker cp {name}:/chat.conf - | tar -xO")
        found.append(f"{environment.split('VERSION=')[1].split(']')[0].split()[0]} {config}")
    return found


@contextmanager
def launched(engine: Engine, variant: str = "bookworm") -> Iterator[Host]:
    """Boots a host, and takes it away again."""
    machine = Host.launch(engine, variant)
    try:
        yield machine
    finally:
        machine.close()


@contextmanager
def docker_host(engine: Engine, base: Path) -> Iterator[Host]:
    """Boots a host with an engine of its own, which has the image of the project.

    Args:
        engine: The outer engine.
        base: A directory for an archive.
    """
    with launched(engine, "bookworm-docker") as machine:
        machine.check("systemctl start docker")
        images.build(engine, "rig/nats:1", images.nats())
        archive = base / "image.tar"
        with archive.open("wb") as stream:
            engine.docker("save", "rig/nats:1", stdout=stream)
        with archive.open("rb") as stream:
            assert machine.run("docker load", stdin=stream).rc == 0
        yield machine


@contextmanager
def emptied(machine: Host) -> Iterator[Context]:
    """Gives a host from which everything is removed afterwards."""
    within = context(Remote(machine))
    yield within
    clear(within)
    machine.check("! command -v docker >/dev/null || docker ps -aq | xargs -r docker rm -f")


def clear(within: Context) -> None:
    """Removes what is installed on a host, and what Waybill knew of it."""
    with exclusive(within) as (state, _):
        if state.current is not None:
            execute_plan(within, plan_remove(within, state))
    assert isinstance(within.system, Remote)
    within.system.host.check("rm -rf /var/lib/waybill")
