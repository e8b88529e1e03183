"""Pods of manifests (`.kube`) and images of the store (`.image`) on a real host with Podman 5.4."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from bundler.config.checks.quadlets import KEYS
from installer.commands import status
from installer.core.errors import HostNotReadyError, RolledBackError
from installer.core.format.manifest import Deployment, HealthCheck
from installer.host.context import Context
from installer.planning.plan_text import plan_text
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

POD = """apiVersion: v1
kind: Pod
metadata: {name: shop-VERSION}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  volumes: [{name: data, persistentVolumeClaim: {claimName: shop-data}}]
  containers:
    - name: web
      image: shop.lan/app:1
      imagePullPolicy: Never
      command: [/bin/busybox, sh, -c, "COMMAND"]
      volumeMounts: [{name: data, mountPath: /data}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: shop-data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
"""
# While one of its containers runs, the pod does, and with it the unit.
WITH_ANOTHER = POD.replace(
    "  containers:\n",
    "  containers:\n    - name: side\n      image: shop.lan/app:1\n      imagePullPolicy: Never\n"
    "      command: [/bin/busybox, sleep, '1000000']\n",
)
KUBE = "[Kube]\nYaml=pod.yaml\n[Install]\nWantedBy=multi-user.target\n"
IMAGE = "[Image]\nImage=containers-storage:shop.lan/app:1\nImageTag=shop.lan/app:1\n"
BY_IMAGE = """[Container]
Image=app.image
Pull=never
Network=none
StopSignal=KILL
Exec=/bin/busybox sleep 100000
[Service]
SuccessExitStatus=137
"""
SICK = (HealthCheck("command", "", ("/bin/false",), within=0),)
RUNS = "touch /data/mine; exec /bin/busybox sleep 1000000"


def release(number: int, command: str = RUNS, manifest: str = POD, **others: str) -> ReleaseSpec:
    """Give a release of a pod, whose name changes with it; `__` stands for the dot of a name."""
    command = command.replace("touch", "/bin/busybox touch")
    pod = manifest.replace("VERSION", str(number)).replace("COMMAND", command)
    texts = {"shop.kube": KUBE, "pod.yaml": pod} | {
        name.replace("__", "."): text for name, text in others.items()
    }
    members = {f"deploy/quadlet/{name}": Member(text.encode(), kind="podman") for name, text in texts.items()}
    step = Deployment("quadlet", {"files": sorted(members)})
    return ReleaseSpec(f"{number}.0.0", number, members, deploy=(step,))


def pods(machine: Host) -> dict[str, str]:
    """Give the state of each pod."""
    found = json.loads(machine.check("podman pod ps --format json"))
    return {each["Name"]: each["Status"] for each in found}


def drift(host: Context) -> list[str]:
    """Give the drift in words."""
    return [f"{each.where} {each.what}" for each in status.product_status(host).drift]


def test_a_pod_comes_changes_its_name_rolls_back_and_goes_without_its_data(
    host: Context, machine: Host
) -> None:
    assert "start shop.service, which Podman makes of shop.kube" in plan_text(plan_for(host, release(1)))
    install(host, release(1))
    assert (pods(machine), drift(host)) == ({"shop-1": "Running"}, [])
    with pytest.raises(RolledBackError, match="not healthy"):
        install(host, replace(release(2), health=SICK))
    assert (pods(machine), drift(host)) == ({"shop-1": "Running"}, [])
    install(host, release(2))
    assert (pods(machine), drift(host)) == ({"shop-2": "Running"}, [])
    roll_back(host)
    assert (pods(machine), drift(host)) == ({"shop-1": "Running"}, [])
    check = remove(host).removal
    assert check is not None
    assert (check.of("left"), pods(machine)) == ([], {})
    stays = {each.name: each.what for each in check.of("stays")}
    assert stays["shop-data"] == "its data stay; `podman volume rm shop-data` removes them"
    assert machine.run("ls /etc/containers/systemd").out == "users\n"
    assert machine.check("ls /var/lib/containers/storage/volumes/shop-data/_data") == "mine\n"


def test_a_container_that_has_ended_is_drift_and_the_same_release_repairs_it(
    host: Context, machine: Host
) -> None:
    install(host, release(1, manifest=WITH_ANOTHER))
    machine.check("podman stop -t 0 shop-1-web")
    assert drift(host) == ["container shop-1-web of shop.service has ended: exit status 137"]
    install(host, release(1, manifest=WITH_ANOTHER))
    assert (pods(machine), drift(host)) == ({"shop-1": "Running"}, [])
    machine.check("echo '# more' >> /etc/containers/systemd/pod.yaml")
    assert any("/etc/containers/systemd/pod.yaml" in each for each in drift(host))


def test_a_container_that_fails_again_and_again_is_undone_and_shows_what_it_said(
    host: Context, machine: Host
) -> None:
    install(host, release(1))
    probe = (HealthCheck("unit", "shop.service", within=20, stable=3),)
    with pytest.raises(RolledBackError) as refusal:
        install(host, replace(release(2, "echo no database at all; exit 3"), health=probe))
    said = [f"{each.where} {each.what}" for each in refusal.value.problems]
    assert any("container shop-2-web no database at all" in each for each in said), said
    assert (pods(machine), drift(host)) == ({"shop-1": "Running"}, [])


@pytest.mark.parametrize("at", ["stop shop.service", "daemon-reload", "restart shop.service"])
def test_after_a_kill_the_old_pod_runs_again(host: Context, machine: Host, at: str) -> None:
    install(host, release(1))
    dying = Remote(machine)
    dying.die_at = at
    with pytest.raises(Killed):
        install(context(dying), release(2))
    recovered(host)
    assert (pods(machine), drift(host)) == ({"shop-1": "Running"}, [])


def test_an_image_of_the_store_serves_the_container_that_names_it(host: Context, machine: Host) -> None:
    install(host, release(1, app__image=IMAGE, by__container=BY_IMAGE))
    assert machine.check("podman ps --format '{{.Image}}' --filter name=systemd-by") == "shop.lan/app:1\n"
    assert drift(host) == []
    machine.check("systemctl stop app-image.service")
    assert "app-image.service is inactive" in drift(host)
    remove(host)
    assert machine.run("systemctl is-active app-image.service by.service").out.split() == ["inactive"] * 2


def test_an_image_that_is_not_in_the_store_is_not_fetched(host: Context, machine: Host) -> None:
    absent = IMAGE.replace("app:1", "none:1")
    with pytest.raises(RolledBackError) as refusal:
        install(host, release(1, app__image=absent))
    assert any("none:1" in each.what for each in refusal.value.problems)
    assert pods(machine) == {}


def test_a_key_of_a_pod_that_podman_refuses_is_found_before_anything_changes(
    host: Context, machine: Host
) -> None:
    with pytest.raises(HostNotReadyError, match="unsupported key 'Ymal' in group 'Kube'"):
        install(host, release(1, bad__kube="[Kube]\nYmal=pod.yaml\n"))
    assert pods(machine) == {}


def test_the_keys_of_pods_and_images_are_those_of_the_generator() -> None:
    assert {"Yaml", "ConfigMap", "LogDriver"} <= KEYS["Kube"]
    assert {"Image", "ImageTag"} <= KEYS["Image"]
