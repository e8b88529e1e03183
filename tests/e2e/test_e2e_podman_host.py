"""An air-gapped host with Podman and no Docker: its services run from images that the bundle brought."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import shop
from tests.e2e.site import Site
from tests.rig.desk import Desk
from tests.rig.engine import Engine
from tests.rig.host import Host
from tests.rig.products import put

pytestmark = pytest.mark.needs("host-podman")

WEB = """[Container]
Image=docker.io/shop/web:{version}
Pull=never
Network=host
StopSignal=KILL
[Service]
SuccessExitStatus=137
[Install]
WantedBy=multi-user.target
"""
DEPLOY = """\
deploy:
  - {method: quadlet, files: [deploy/web.container]}
health:
  - {unit: web.service, within: 20s, stable: 1s}
  - {http: "http://127.0.0.1:8222/healthz", within: 10s}
"""


@pytest.fixture(scope="module")
def bundles(docker_engine: Engine, desk: Desk) -> dict[str, Path]:
    """Releases of the shop: a good one, and one whose server never answers."""
    found = {}
    connected = Desk(desk.home, desk.programs, {"DOCKER_HOST": docker_engine.host})
    for version in ("1.0.0", "1.2.0"):
        names = shop.build(docker_engine, version, broken=version == "1.2.0")
        directory = shop.lay_out(desk.home / f"podman-{version}", version, list(names))
        put(directory, "deploy/web.container", WEB.format(version=version))
        (directory / "bundle.yaml").write_text((directory / "bundle.yaml").read_text() + DEPLOY)
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
    return host.host.check("curl -sf http://127.0.0.1:8222/varz | grep -o 'shop-[0-9.]*'").strip()


def images_there(host: Site) -> set[str]:
    return set(host.host.check("podman images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null").split())


def test_a_podman_without_its_socket_is_refused_with_the_command_that_helps(host, bundles):
    said = host.apply(bundles["1.0.0"], exit_code=15)
    assert "/run/podman/podman.sock: Podman's socket is not there: its service does not run" in said
    assert "`systemctl enable --now podman.socket`" in said
    host.host.check("systemctl enable --now podman.socket")


def test_images_and_services_come_from_the_bundle(host, bundles):
    said = host.apply(bundles["1.0.0"])
    assert "engine: unix:///run/podman/podman.sock (Podman 5.4.2)" in said
    assert "start web.service, which Podman makes of web.container" in said
    assert serving(host) == "shop-1.0.0"
    (status,) = host.document("status --product shop")["products"]
    assert (status["installed"]["version"], status["drift"]) == ("1.0.0", [])


def test_a_bad_upgrade_leaves_the_old_service_and_its_images(host, bundles):
    before = images_there(host)
    said = host.apply(bundles["1.2.0"], exit_code=20)
    assert "apply failed and was rolled back (1.0.0 is still installed)" in said
    assert (serving(host), images_there(host)) == ("shop-1.0.0", before)


def test_remove_takes_services_and_images_away(host):
    removal = host.document("remove shop --yes")["removal"]
    assert removal["left"] == []
    assert {each["name"] for each in removal["gone"] if each["kind"] == "Podman service"} == {"web.service"}
    assert images_there(host) == set()
    assert host.host.run("systemctl is-active web.service").out == "inactive\n"
