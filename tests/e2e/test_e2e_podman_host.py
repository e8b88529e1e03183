"""An air-gapped host with Podman and no Docker: its services run from images that the bundle brought."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import shop
from tests.e2e.site import Site
from tests.rig import images
from tests.rig.desk import Desk
from tests.rig.engine import Engine
from tests.rig.host import Host
from tests.rig.needs import needs
from tests.rig.products import put

pytestmark = pytest.mark.needs("host-podman")

SERVE = ("/bin/busybox", "httpd", "-f", "-p", "127.0.0.1:8222", "-h", "/")
FILES = {
    "1.0.0": (
        "deploy/web.container",
        """[Container]
Image=docker.io/shop/web:1.0.0
Pull=never
Network=host
StopSignal=KILL
[Service]
SuccessExitStatus=137
[Install]
WantedBy=multi-user.target
""",
    ),
    "2.0.0": (
        "deploy/compose.yaml",
        """name: shop
services:
  prepare:
    image: shop/web:2.0.0
    pull_policy: never
    network_mode: none
    command: ["/bin/busybox", "true"]
  web:
    image: shop/web:2.0.0
    pull_policy: never
    network_mode: host
    stop_signal: KILL
    depends_on: {prepare: {condition: service_completed_successfully}}
""",
    ),
}
STEPS = {
    "1.0.0": "deploy:\n  - {method: quadlet, files: [deploy/web.container]}\n"
    "health:\n  - {unit: web.service, within: 20s, stable: 1s}\n",
    "2.0.0": "deploy:\n  - {method: compose, file: deploy/compose.yaml}\n"
    "health:\n  - {container: shop-web-1, within: 20s, stable: 1s}\n",
}


@pytest.fixture(scope="module")
def bundles(docker_engine: Engine, desk: Desk) -> dict[str, Path]:
    """Releases of the shop: services of Podman, and a Compose project."""
    found = {}
    connected = Desk(desk.home, desk.programs, {"DOCKER_HOST": docker_engine.host})
    for version, (path, text) in FILES.items():
        web = images.Recipe({**images.busybox().files, "/version": version.encode()}, cmd=SERVE)
        images.build(docker_engine, f"shop/web:{version}", web)
        directory = shop.lay_out(desk.home / f"podman-{version}", version, [f"shop/web:{version}"])
        put(directory, path, text)
        (directory / "bundle.yaml").write_text((directory / "bundle.yaml").read_text() + STEPS[version])
        found[version] = desk.home / f"podman-{version}.tar"
        connected.bundle("create", version, "-C", directory, "-o", found[version], "--key", desk.key)
    return found


@pytest.fixture(scope="module")
def host(docker_engine: Engine, desk: Desk) -> Iterator[Site]:
    """The host with Podman, which trusts the desk."""
    machine = Host.launch(docker_engine, "trixie-podman")
    site = Site(machine, desk)
    site.trust()
    yield site
    machine.close()


def serving(host: Site) -> str:
    return host.host.check("curl -sf http://127.0.0.1:8222/version")


def in_podman(host: Site) -> set[str]:
    return set(host.host.check("podman images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null").split())


def drift(host: Site) -> list[str]:
    (status,) = host.document("status --product shop")["products"]
    return list(status["drift"])


def test_a_podman_without_its_socket_is_refused_with_the_command_that_helps(host, bundles):
    said = host.apply(bundles["1.0.0"], exit_code=15)
    assert "/run/podman/podman.sock: Podman's socket is not there: its service does not run" in said
    assert "`systemctl enable --now podman.socket`" in said
    assert in_podman(host) == set()
    host.host.check("systemctl enable --now podman.socket")


def test_images_and_services_come_from_the_bundle(host, bundles):
    said = host.apply(bundles["1.0.0"])
    assert "engine: unix:///run/podman/podman.sock (Podman 5.4.2)" in said
    assert "start web.service, which Podman makes of web.container" in said
    assert "docker.io/shop/web:1.0.0" in in_podman(host)
    assert (serving(host), drift(host)) == ("1.0.0", [])


def test_a_compose_project_runs_in_podman_and_the_services_come_back(host, bundles):
    host.host.push(Path(needs("compose")), "/usr/local/bin/docker-compose")
    said = host.apply(bundles["2.0.0"], exit_code=15)
    assert "docker: is not installed" in said
    host.host.push(Path(shutil.which("docker") or ""), "/usr/local/bin/docker")
    host.apply(bundles["2.0.0"])
    assert (serving(host), drift(host)) == ("2.0.0", [])
    assert host.host.run("systemctl is-active web.service").out == "inactive\n"
    host.install("rollback --product shop --yes")
    assert serving(host) == "1.0.0"
    assert host.host.check("podman ps -aq --filter label=com.docker.compose.project=shop 2>/dev/null") == ""


def test_remove_takes_services_and_images_away(host):
    removal = host.document("remove shop --yes")["removal"]
    assert removal["left"] == []
    assert {each["name"] for each in removal["gone"] if each["kind"] == "Podman service"} == {"web.service"}
    assert in_podman(host) == set()
    assert host.host.run("systemctl is-active web.service").out == "inactive\n"
