"""Releases that are services (systemd units, a Compose project), and air-gapped hosts that run them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from installer.commands.common.plan_execution import execute_plan
from installer.commands.common.recovery import exclusive
from installer.core.format.entries.config_file import OnChange
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
RELOADING = """[Service]
ExecStart=/bin/sh -c 'cp /etc/{name}.conf /run/{name}; exec sleep 1000'
ExecReload=/bin/sh -c '{reload}'
[Install]
WantedBy=multi-user.target
"""
COMPOSE = """services:
  nats:
    image: rig/nats:1
    environment: {{VERSION: "{version}"}}
    {command}
    volumes: ["/etc/chat.conf:/chat.conf:ro"]
"""
SEVERAL = """services:
  db:
    image: rig/nats:1
    command: ["/bin/busybox", "sleep", "1000000"]
    healthcheck: {{disable: true}}
    stop_grace_period: 0s
  migrate:
    image: rig/nats:1
    command: ["/bin/busybox", "test", "{version}"]
    healthcheck: {{disable: true}}
    depends_on: {{db: {{condition: service_started}}}}
  nats:
    image: rig/nats:1
    environment: {{VERSION: "{version}"}}
    volumes: ["/etc/chat.conf:/chat.conf:ro"]
    depends_on: {{migrate: {{condition: service_completed_successfully}}}}
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


def _of_every_type(number: int, port: int, ttl: int) -> ReleaseSpec:
    """Give a release with a service and its socket, an instance, a job with its timer, and settings."""
    install = "[Install]\nWantedBy=multi-user.target\n"
    texts = {
        "chat.service": f"[Service]\nExecStart=/bin/sleep 100{number}\n{install}",
        "chat.service.d/10-nice.conf": f"[Service]\nNice={number}\n",
        "chat.socket": f"[Socket]\nListenStream=127.0.0.1:{port}\n{install}",
        "worker@.service": f"[Service]\nExecStart=/bin/sleep 200{number}\n{install}",
        "job.service": "[Service]\nType=oneshot\nExecStart=/bin/true\n",
        "job.timer": f"[Timer]\nOnCalendar=yearly\n{install}",
    }
    members = {f"deploy/{name}": Member(text.encode(), kind="unit") for name, text in texts.items()}
    options = {"units": list(members), "instances": [f"worker@{number}.service"]}
    settings = {"tmpfiles": "d /run/chat 0755\n", "sysctl": f"net.ipv4.ip_default_ttl={ttl}\n"}
    for kind, text in settings.items():
        members[f"deploy/{kind}/90-chat.conf"] = Member(text.encode(), kind=kind)
        options[kind] = [f"deploy/{kind}/90-chat.conf"]
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=(Deployment("systemd", options),))


EVERY_TYPE_ONE, EVERY_TYPE_TWO = _of_every_type(1, 45113, 91), _of_every_type(2, 45114, 92)


def every_type(within: Context) -> object:
    """Return what of these releases runs, and the setting of the kernel where one runs."""
    units = ("chat.service", "chat.socket", "job.timer", "worker@1.service", "worker@2.service")
    shown = within.system.run(
        ["systemctl", "show", "-p", "ActiveState,UnitFileState,ExecStart,Listen,Nice", *units], timeout=20
    ).stdout.decode()
    kept = [re.sub(r" ; ignore_errors.*", "", line) for line in shown.splitlines()]
    running = "ActiveState=active" in kept
    # Without a release the value stays until the next boot; so do states of units that are not there.
    value = within.system.run(["cat", "/proc/sys/net/ipv4/ip_default_ttl"], timeout=20).stdout
    return [kept, value] if running else "nothing"


def _of_user(number: int, **more: str) -> ReleaseSpec:
    """Give a release with units of user `chat`, who has to be there."""
    install = "[Install]\nWantedBy=default.target\n"
    texts = {"chat.service": f"[Service]\nExecStart=/bin/sleep 300{number}\n{install}"}
    texts |= {f"{name}.service": text + install for name, text in more.items()}
    members = {f"deploy/user/{name}": Member(text.encode(), kind="user-unit") for name, text in texts.items()}
    options = {"user": "chat", "units": list(members)}
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=(Deployment("systemd", options),))


OF_USER_ONE, OF_USER_TWO = _of_user(1), _of_user(2, more="[Service]\nExecStart=/bin/sleep 4000\n")


def of_user(within: Context) -> object:
    """Return what of these releases runs, and whether user `chat` lingers."""
    assert isinstance(within.system, Remote)
    machine = within.system.host
    running = machine.run("pgrep -u chat -a sleep | cut -d' ' -f2- | sort").out.split("\n")
    enabled = machine.run("ls /var/lib/chat/.config/systemd/user/default.target.wants").out.split()
    lingers = machine.run("ls /var/lib/systemd/linger /var/lib/waybill/linger.chat").out.split("\n")
    return [running, enabled, lingers]


def reloading(name: str, before: str = "", more: str = "") -> Member:
    """Gives a service that writes to /run the configuration that it knows since its start or its reload.

    Args:
        name: Of the service.
        before: What its reload does before: commands of a shell, each with its end.
        more: Further lines of the unit.
    """
    text = RELOADING.format(name=name, reload=f"{before}cp /etc/{name}.conf /run/{name}")
    return Member((text + more).encode(), kind="unit")


def configuration(name: str, text: str, on_change: OnChange) -> Member:
    """Gives the configuration of a service."""
    return Member(text.encode(), f"/etc/{name}.conf", kind="template", on_change=on_change)


def with_configuration(number: int, text: str, **members: Member) -> ReleaseSpec:
    """Gives a release of two services that reload their configuration; that of `helper` never changes.

    Args:
        number: Of the release.
        text: The configuration of `chatd`.
        members: Other units than these, by name, and programs.
    """
    found = {
        f"deploy/systemd/{name}.service": members.get(name, reloading(name)) for name in ("chatd", "helper")
    }
    steps = (Deployment("systemd", {"units": sorted(found)}),)
    found |= {
        f"config/{name}.conf": configuration(name, each, OnChange(reload=f"{name}.service"))
        for name, each in (("chatd", text), ("helper", "same"))
    }
    found |= {f"bin/linux-amd64/{name}": each for name, each in members.items() if each.kind == "binary"}
    return ReleaseSpec(f"{number}.0.0", number, found, deploy=steps)


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


def with_services(version: str, sequence: int, config: str) -> ReleaseSpec:
    """Gives a release of a Compose project with a service that never changes, a job, and one that changes."""
    release = with_project(version, sequence, config=config)
    file = Member(SEVERAL.format(version=version).encode(), kind="compose")
    return replace(release, members={**release.members, "deploy/compose.yaml": file})


def container_of(machine: Host, service: str) -> str:
    """The id of the container of a service; empty where there is none."""
    return machine.check(f"docker ps -aq --filter label=com.docker.compose.service={service}").strip()


def in_several_files(release: ReleaseSpec) -> ReleaseSpec:
    """Gives a release of `with_services` with its project in three files: one extended, one an override."""
    member = release.members["deploy/compose.yaml"]
    first, version, rest = re.split(r"(    environment: .*\n)", member.data.decode())
    extended, others = (first + rest).split("  migrate:")
    texts = {
        "compose.yaml": "services:\n  db: {extends: {file: base/db.yaml, service: db}}\n  migrate:" + others,
        "base/db.yaml": extended,
        "override.yaml": f"services:\n  nats:\n{version}",
    }
    files = {f"deploy/{name}": Member(text.encode(), kind="compose") for name, text in texts.items()}
    listed = {"file": ["deploy/compose.yaml", "deploy/override.yaml"]}
    return replace(release, members={**release.members, **files}, deploy=(Deployment("compose", listed),))


def running_containers(machine: Host) -> list[str]:
    """The versions and the configuration that running containers with a configuration see."""
    found = []
    for name in machine.check("docker ps -q --filter volume=/chat.conf").split():
        environment = machine.check(f"docker inspect -f '{{{{.Config.Env}}}}' {name}")
        config = machine.check(f"docker cp {name}:/chat.conf - | tar -xO")
        found.append(f"{environment.split('VERSION=')[1].split(']')[0].split()[0]} {config}")
    return found


@contextmanager
def launched(engine: Engine, variant: str = "bookworm") -> Iterator[Host]:
    """Boots a host, and takes it away again."""
    machine = Host.launch(engine, variant)
    try:
        # Docker mounts them read-only; a real host has them writable.
        machine.check("mount -o remount,rw /proc/sys")
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
