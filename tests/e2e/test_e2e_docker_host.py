"""An air-gapped host with Docker 20.10 and Compose: containers run from images that the bundle brought."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import shop
from tests.e2e.site import Site
from tests.rig.desk import Desk
from tests.rig.engine import Engine
from tests.rig.host import Host

PROJECT = "label=com.docker.compose.project=shop"


@pytest.fixture(scope="module")
def bundles(docker_engine: Engine, desk: Desk) -> dict[str, Path]:
    """Releases of the shop: two good ones, and one whose server never answers."""
    found = {}
    connected = Desk(desk.home, desk.programs, {"DOCKER_HOST": docker_engine.host})
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        names = shop.build(docker_engine, version, broken=version == "1.2.0")
        directory = shop.lay_out(desk.home / f"shop-{version}", version, list(names), compose=True)
        found[version] = desk.home / f"shop-{version}.tar"
        connected.bundle("create", version, "-C", directory, "-o", found[version], "--key", desk.key)
    return found


@pytest.fixture(scope="module")
def host(docker_engine: Engine, desk: Desk) -> Iterator[Site]:
    """The host with Docker, which trusts the desk."""
    machine = Host.launch(docker_engine, "bookworm-docker")
    machine.check("systemctl start docker")
    site = Site(machine, desk)
    site.trust()
    yield site
    machine.close()


def running(host: Site) -> dict[str, str]:
    """Gives the images of all containers of the project by name, and how they are."""
    form = '{"name":{{json .Names}},"image":{{json .Image}},"state":{{json .State}}}'
    lines = host.host.check(f"docker ps -a --filter {PROJECT} --format '{form}'").splitlines()
    return {row["name"]: f"{row['image']} {row['state']}" for row in map(json.loads, lines)}


def of_release(version: str) -> dict[str, str]:
    return {
        "shop-web-1": f"shop/web:{version} running",
        "shop-worker-1": f"shop/worker:{version} running",
    }


def serving(host: Site) -> str:
    return str(json.loads(host.host.check("curl -sf http://127.0.0.1:8222/varz"))["server_name"])


def test_images_come_from_the_bundle_and_compose_is_healthy(host, bundles):
    assert host.host.check("docker images -q") == ""
    host.apply(bundles["1.0.0"])
    assert running(host) == of_release("1.0.0")
    assert serving(host) == "shop-1.0.0"


def test_bad_upgrade_is_rolled_back_and_one_release_runs(host, bundles):
    host.apply(bundles["1.0.0"])
    said = host.apply(bundles["1.2.0"], exit_code=20)
    assert "apply failed and was rolled back (1.0.0 is still installed)" in said
    assert running(host) == of_release("1.0.0")
    assert serving(host) == "shop-1.0.0"
    assert "1.2.0" not in host.host.check("docker images")
    (status,) = host.document("status --product shop")["products"]
    assert (status["installed"]["version"], status["drift"]) == ("1.0.0", [])


def test_upgrade_leaves_containers_of_one_release_only(host, bundles):
    host.apply(bundles["1.1.0"])
    assert running(host) == of_release("1.1.0")
    assert serving(host) == "shop-1.1.0"


def test_rollback_needs_neither_stick_nor_network(host, bundles):
    for bundle in host.host.media.glob("*.tar"):
        bundle.unlink()
    host.install("rollback --product shop --yes")
    assert running(host) == of_release("1.0.0")
    assert serving(host) == "shop-1.0.0"


def test_containers_run_again_after_a_reboot(host):
    host.host.check("systemctl enable docker 2>/dev/null")
    host.host.reboot()
    host.host.check(
        "for i in $(seq 100); do curl -sf http://127.0.0.1:8222/healthz && break; sleep 0.2; done"
    )
    assert running(host) == of_release("1.0.0")
    (status,) = host.document("status --product shop")["products"]
    assert (status["installed"]["version"], status["drift"]) == ("1.0.0", [])


def test_remove_takes_containers_and_images_away(host):
    removal = host.document("remove shop --yes")["removal"]
    assert removal["left"] == []
    assert removal["counts"]["project"] == 1
    assert {each["id"][:7] for each in removal["gone"] if each["kind"] == "image"} == {"sha256:"}
    assert running(host) == {}
    assert host.host.check("docker images -q") == ""
    assert "shop" not in host.host.check("docker network ls --format '{{.Name}}'")


def test_engine_that_does_not_run_is_found_before_anything_is_changed(host, bundles):
    host.host.check("systemctl stop docker.socket docker")
    said = host.apply(bundles["1.1.0"], exit_code=15)
    assert "docker" in said.lower()
    host.host.check("systemctl start docker")
    assert host.host.check("docker images -q") == ""


@pytest.fixture
def small(host: Site) -> Iterator[Site]:
    """The host, which forgets the product, with 12 MB for Waybill's state, and a large disk at /data."""
    host.host.check(
        "install -d -m 700 /data && rm -rf /var/lib/waybill/shop /var/lib/waybill/audit* && "
        "cp -a /var/lib/waybill /data/state && "
        "mount -t tmpfs -o size=12m,mode=755 none /var/lib/waybill && "
        "cp -a /data/state/. /var/lib/waybill && rm -r /data/state"
    )
    yield host
    host.host.check("umount -l /var/lib/waybill")


def test_on_a_small_disk_images_wait_elsewhere_and_the_engine_alone_keeps_them(small, bundles):
    said = small.apply(bundles["1.0.0"], exit_code=15)
    assert "/var/lib/waybill/shop/staging" in said
    assert " free, needs " in said
    for version in ("1.0.0", "1.1.0"):
        small.apply(bundles[version], more="--work-dir /data")
        assert running(small) == of_release(version)
        assert small.host.check("ls -A /data") == ""
    assert small.host.run("find /var/lib/waybill/shop/releases -name sha256 | grep .").rc == 1
    web = small.host.check("docker inspect --format '{{.Id}}' shop/web:1.1.0").strip()
    small.install("rollback --product shop --yes")
    assert running(small) == of_release("1.0.0")
    (status,) = small.document("status --product shop")["products"]
    assert (status["installed"]["version"], status["drift"]) == ("1.0.0", [])
    small.host.check(f"docker rmi --force {web}")
    said = small.install("rollback 1.1.0 --product shop --yes", exit_code=15)
    assert "shop/web:1.1.0: is missing from the engine, and the release does not contain its layers" in said
    small.install("remove shop --yes")
    assert running(small) == {}
    assert small.host.check("docker images -q") == ""
