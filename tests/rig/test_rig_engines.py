"""Every engine of the rig starts, is the version it says, and builds, runs, saves and loads an image."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import urllib.request
from pathlib import Path

import pytest

from tests.rig import images
from tests.rig.engine import KINDS, Engine, wait_for
from tests.rig.needs import needs


def saved_names(engine, *tags):
    with tarfile.open(fileobj=io.BytesIO(engine.docker("save", *tags).stdout)) as archive:
        return archive.getnames()


def test_engine_builds_runs_saves_and_loads(every_engine):
    image = images.build(every_engine, "rig/hello:1", images.busybox())
    said = every_engine.text(
        "run", "--rm", "--network", "none", "rig/hello:1", "/bin/busybox", "echo", "hello"
    )
    assert said == "hello"
    saved = every_engine.docker("save", "rig/hello:1").stdout
    every_engine.docker("rmi", "-f", "rig/hello:1")
    every_engine.client.images.load(saved)
    assert every_engine.client.images.get("rig/hello:1").id == image


@pytest.mark.parametrize(
    ("name", "prefix"), [("20", "20.10."), ("26", "26.1."), ("28", "28."), ("28-containerd", "28.")]
)
def test_engine_is_the_version_it_is_called(engines, name, prefix):
    assert engines.get(name).version.startswith(prefix)


def test_containerd_store_is_used_where_asked_for(docker28_containerd):
    driver = docker28_containerd.client.info()["DriverStatus"]
    assert ["driver-type", "io.containerd.snapshotter.v1"] in driver


@pytest.mark.parametrize("name", list(KINDS))
def test_save_has_the_form_of_its_engine(engines, name):
    engine = engines.get(name)
    images.build(engine, "rig/form:1", images.busybox())
    names = saved_names(engine, "rig/form:1")
    assert ("oci-layout" in names) == (name != "20")
    assert any(entry.endswith("/layer.tar") for entry in names) == (name == "20")


def test_images_on_one_base_share_its_layers(docker20):
    images.build(docker20, "rig/base:1", images.busybox())
    for name in ("a", "b"):
        images.build(docker20, f"rig/{name}:1", images.Recipe({"/name": name.encode()}, base="rig/base:1"))
    layers = [
        json.loads(docker20.text("inspect", f"rig/{name}:1", "--format", "{{json .RootFS.Layers}}"))
        for name in "ab"
    ]
    assert layers[0][0] == layers[1][0]
    assert layers[0][1] != layers[1][1]


def test_imported_image_has_one_layer(docker20, tmp_path):
    rootfs = tmp_path / "rootfs.tar"
    rootfs.write_bytes(images.tar_of({"/bin/busybox": Path(needs("busybox"))}))
    images.import_rootfs(docker20, "rig/imported:1", rootfs, 'CMD ["/bin/busybox", "true"]')
    assert docker20.text("run", "--rm", "--network", "none", "rig/imported:1") == ""


def test_registry_takes_and_gives_images(docker20, registry):
    tag = f"{registry.name}/rig/pushed:1"
    images.build(docker20, tag, images.busybox())
    docker20.docker("push", tag)
    request = urllib.request.Request(f"{registry.url}/v2/rig/pushed/manifests/1")
    request.add_header("Accept", "application/vnd.docker.distribution.manifest.v2+json")
    with urllib.request.urlopen(request) as reply:
        manifest = json.load(reply)
    assert registry.blob(manifest["layers"][0]["digest"]).stat().st_size == manifest["layers"][0]["size"]
    docker20.docker("rmi", "-f", tag)
    docker20.docker("pull", tag)


@pytest.mark.needs("nats")
def test_published_port_answers_inside_the_engines_own_network(docker_network):
    images.build(docker_network, "rig/nats:1", images.nats())
    container = docker_network.text("run", "-d", "-p", "127.0.0.1:8222:8222", "rig/nats:1")
    probe = docker_network.inside(needs("busybox"), "wget", "-q", "-O", "-", "http://127.0.0.1:8222/healthz")
    status = "{{.State.Health.Status}}"
    wait_for("health", lambda: docker_network.text("inspect", "--format", status, container) == "healthy", 30)
    assert b"ok" in subprocess.run(probe, check=True, capture_output=True).stdout
    docker_network.docker("rm", "-f", container)


def test_killed_engine_starts_again_with_its_images(tmp_path):
    engine = Engine.launch("20")
    try:
        image = images.build(engine, "rig/kept:1", images.busybox())
        engine.kill()
        assert not engine.answers()
        engine.start()
        assert engine.text("inspect", "--format", "{{.Id}}", "rig/kept:1") == image
    finally:
        engine.stop()
    assert engine.home is not None
    assert not engine.home.exists()
