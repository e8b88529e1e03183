"""The method `quadlet` on a real host: Podman's generator, real containers, and all back after a failure."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bundler.config.checks.quadlets import KEYS
from installer.commands import status
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck, Image
from installer.deploy.method import Target
from installer.deploy.quadlet import METHOD
from installer.host.context import Context
from installer.planning.plan_text import plan_text
from installer.state.release import Release
from tests.rig.faulty import Killed
from tests.rig.host import Host
from tests.rig.releases import (
    Member,
    ReleaseSpec,
    context,
    install,
    plan_for,
    recovered,
    remove,
    roll_back,
)
from tests.rig.remote import Remote

pytestmark = [pytest.mark.needs("docker", "host-podman"), pytest.mark.host(machine="trixie-podman")]

WEB = """[Container]
Image=shop.lan/app:1
Pull=never
Network=none
StopSignal=KILL
Environment=VERSION={version}
Volume=data.volume:/data
Exec=/bin/busybox {command}
[Service]
SuccessExitStatus=137
[Install]
WantedBy=multi-user.target
"""
EXTRA = WEB.replace("Volume=data.volume:/data\n", "").replace("Network=none", "Pod=shop.pod")
POD = "[Pod]\nNetwork=none\n"
DATA = "[Volume]\nLabel=of={version}\n"
SLEEP = "sleep 100000"
UNIT = (HealthCheck("unit", "web.service", within=20, stable=0),)
SICK = (HealthCheck("command", "", ("/bin/false",), within=0),)


def release(number: int, command: str = SLEEP, data: str = DATA, **others: str) -> ReleaseSpec:
    """Give a release of a container with a volume, and other files; `__` stands for the dot of a name."""
    texts = {"web.container": WEB, "data.volume": data} | {
        name.replace("__", "."): text for name, text in others.items()
    }
    members = {
        f"deploy/quadlet/{name}": Member(
            text.replace("{version}", str(number)).replace("{command}", command).encode(), kind="podman"
        )
        for name, text in texts.items()
    }
    step = Deployment("quadlet", {"files": sorted(members)})
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=(step,), health=UNIT)


def running(machine: Host) -> dict[str, str]:
    """Give the version that each running container was given."""
    ids = machine.check("podman ps -q").split()
    ask = "podman inspect --format '{{.Name}} {{.Config.Env}}' "
    shown = machine.check(ask + " ".join(ids)) if ids else ""
    return dict(re.findall(r"(\S+) .*VERSION=(\d)", shown))


def drift(host: Context) -> list[str]:
    """Give the drift in words."""
    return [f"{each.where} {each.what}" for each in status.product_status(host).drift]


def test_services_come_restart_roll_back_and_go(host: Context, machine: Host) -> None:
    text = plan_text(plan_for(host, release(1)))
    assert "start web.service, which Podman makes of web.container" in text
    assert "start data-volume.service, which Podman makes of data.volume" in text
    install(host, release(1))
    assert (running(machine), drift(host)) == ({"systemd-web": "1"}, [])
    machine.check("podman exec systemd-web /bin/busybox touch /data/mine")

    second = release(2, extra__container=EXTRA, shop__pod=POD)
    text = plan_text(plan_for(host, second))
    assert "restart web.service, which Podman makes of web.container" in text
    assert "data.volume changed: Podman leaves the volume as it is" in text
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, replace(second, health=SICK))
    assert (running(machine), drift(host)) == ({"systemd-web": "1"}, [])
    install(host, second)
    assert (running(machine), drift(host)) == ({"systemd-web": "2", "systemd-extra": "2"}, [])

    machine.check("systemctl stop web.service && echo '#' >> /etc/containers/systemd/data.volume")
    found = drift(host)
    assert "web.service is inactive" in found
    assert any("/etc/containers/systemd/data.volume" in each for each in found)
    machine.check("sed -i '$d' /etc/containers/systemd/data.volume")
    roll_back(host)
    assert (running(machine), drift(host)) == ({"systemd-web": "1"}, [])

    target = Target(Release(release(1).manifest(), "0" * 64, "/x", "/x"), release(1).deploy[0].options)
    items = METHOD.inventory(host, target, running=True)
    assert {each.how for each in METHOD.residue(host, items)} == {"left", "stays"}
    remove(host)
    assert running(machine) == {}
    assert machine.run("ls /etc/containers/systemd").out == "users\n"
    left = {each.name: each.how for each in METHOD.residue(host, items)}
    assert left == {"web.service": "gone", "data-volume.service": "gone", "systemd-data": "stays"}
    assert machine.check("ls /var/lib/containers/storage/volumes/systemd-data/_data") == "mine\n"


def test_after_a_kill_the_old_containers_run_again(host: Context, machine: Host) -> None:
    install(host, release(1))
    dying = Remote(machine)
    dying.die_at = "restart web.service"
    with pytest.raises(Killed):
        install(context(dying), release(2))
    recovered(host)
    assert (running(machine), drift(host)) == ({"systemd-web": "1"}, [])


def test_a_container_that_fails_is_undone_and_shows_what_it_said(host: Context, machine: Host) -> None:
    install(host, release(1))
    steady = (replace(UNIT[0], stable=2),)
    broken = replace(release(2, command="sh -c 'echo no database at all; exit 3'"), health=steady)
    with pytest.raises(RolledBackError) as refusal:
        install(host, broken)
    said = [f"{each.where} {each.what}" for each in refusal.value.problems]
    assert any("no database at all" in each for each in said), said
    assert (running(machine), drift(host)) == ({"systemd-web": "1"}, [])


def test_a_file_that_podman_refuses_is_found_before_anything_changes(host: Context, machine: Host) -> None:
    with pytest.raises(HostNotReadyError) as refusal:
        install(host, release(1, bad__container=WEB.replace("Exec=", "Exce=") + "# {command}"))
    (problem,) = refusal.value.problems
    assert problem.where == "deploy/quadlet/bad.container"
    assert problem.what == "Podman of this host refuses it: unsupported key 'Exce' in group 'Container'"
    assert running(machine) == {}


def test_a_name_that_a_unit_of_the_host_has_is_refused(host: Context, machine: Host) -> None:
    machine.check("printf '[Service]\\nExecStart=/bin/true\\n' > /etc/systemd/system/web.service")
    machine.check("systemctl daemon-reload")
    try:
        with pytest.raises(HostNotReadyError, match="a unit of that name: /etc/systemd/system/web"):
            install(host, release(1))
    finally:
        machine.check("rm /etc/systemd/system/web.service && systemctl daemon-reload")


GENERATOR = "/usr/lib/systemd/system-generators/podman-system-generator"


@pytest.mark.parametrize(
    ("hidden", "what"),
    [
        ([GENERATOR], "is version 5.4.2, which has no generator of services: that came with 4.4"),
        ([GENERATOR, "/usr/bin/podman"], "podman: is not installed"),
    ],
    ids=["a podman without its generator", "no podman"],
)
def test_a_host_that_cannot_make_services_is_refused(
    host: Context, machine: Host, hidden: list[str], what: str
) -> None:
    machine.check("; ".join(f"mv {path} {path}.aside" for path in hidden))
    try:
        with pytest.raises(HostNotReadyError, match=what):
            install(host, release(1))
    finally:
        machine.check("; ".join(f"mv {path}.aside {path}" for path in hidden))


def test_images_that_go_to_another_engine_are_refused(host: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    image = Image("shop.lan/app:1", "linux/amd64", "sha256:0", "sha256:1", ())
    manifest = replace(release(1).manifest(), images=(image,))
    target = Target(Release(manifest, "0" * 64, "/x", "/x"), manifest.deploy[0].options)
    (problem,) = METHOD.check(host, None, target)
    assert problem.what == "is the engine that the images go to, but quadlet runs containers of Podman"
    assert problem.hint == "set DOCKER_HOST=unix:///run/podman/podman.sock"


def test_the_podman_of_the_host_knows_the_keys_that_create_knows(machine: Host) -> None:
    for group, keys in KEYS.items():
        name = f"/root/k/{group}/a.{group.lower()}"
        lines = "".join(f"{key}=x\n" for key in sorted(keys))
        place = f"/root/k/{group}"
        command = f"mkdir -p {place} && cat > {name} && QUADLET_UNIT_DIRS={place} {GENERATOR} --dryrun"
        # It names the first unknown key.
        said = machine.run(command, stdin=f"[{group}]\n{lines}".encode()).err
        assert "unsupported key" not in said
