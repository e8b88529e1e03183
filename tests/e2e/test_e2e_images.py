"""An image keeps its id on the whole way: out of any source, through a bundle, into any engine."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import shop
from tests.e2e.box import Box
from tests.rig.desk import Desk
from tests.rig.engine import Engine, Engines
from tests.rig.needs import needs
from tests.rig.registry import Registry

VERSION = "1.0.0"
WEB, WORKER = f"shop/web:{VERSION}", f"shop/worker:{VERSION}"
SOURCES = ("engine 20.10", "engine 26", "engine 28", "archive old", "archive new", "layout", "registry")
EPOCH = {"SOURCE_DATE_EPOCH": "1790000000"}

pytestmark = pytest.mark.needs("docker20", "docker26", "docker28", "registry", "unshare")


@dataclass(frozen=True)
class Made:
    """Bundles by the source of their images, and the ids that the images had there."""

    bundles: dict[str, Path]
    ids: dict[str, str]


def save(engine: Engine, target: Path) -> Path:
    with target.open("wb") as stream:
        engine.docker("save", WEB, WORKER, stdout=stream)
    return target


def load(engine: Engine, archive: Path) -> None:
    with archive.open("rb") as stream:
        engine.docker("load", stdin=stream)


@pytest.fixture(scope="module")
def made(desk: Desk, engines: Engines, registry: Registry) -> Made:
    """The same two images, bundled from every kind of source."""
    old, middle, new = (engines.get(name) for name in ("20", "26", "28"))
    ids = shop.build(old, VERSION)
    home = desk.home / "images"
    home.mkdir()
    sources: dict[str, tuple[list[str], str]] = {}
    archives = {"archive old": save(old, home / "old.tar")}
    for engine in (middle, new):
        load(engine, archives["archive old"])
    archives["archive new"] = save(new, home / "new.tar")
    for name, engine in (("engine 20.10", old), ("engine 26", middle), ("engine 28", new)):
        sources[name] = ([WEB, WORKER], engine.host)
    for name, path in archives.items():
        sources[name] = ([f"archive: {path.name}"], "")
    with tarfile.open(archives["archive new"]) as archive:
        archive.extractall(home / "layout", filter="data")
    for image in (WEB, WORKER):
        old.docker("tag", image, f"{registry.name}/{image}")
        old.docker("push", f"{registry.name}/{image}")
        old.docker("rmi", f"{registry.name}/{image}")
    sources["layout"] = (["oci: layout"], "")
    pulled = [f"{{registry: 'http://{registry.name}/{image}', as: '{image}'}}" for image in (WEB, WORKER)]
    sources["registry"] = (pulled, "")
    bundles = {}
    for name, (listed, host) in sources.items():
        directory = shop.lay_out(home / name.replace(" ", "-"), VERSION, listed)
        for entry in (*archives.values(), home / "layout"):
            if any(entry.name in line for line in listed):
                (directory / entry.name).symlink_to(entry)
        bundles[name] = home / f"{name.replace(' ', '-')}.tar"
        maker = Desk(desk.home, desk.programs, {**EPOCH, "DOCKER_HOST": host or "unix:///nowhere"})
        maker.bundle("create", VERSION, "-C", directory, "-o", bundles[name], "--key", desk.key)
    for engine in (old, middle, new):
        engine.docker("rmi", "-f", WEB, WORKER, "shop/base:1", check=False)
    return Made(bundles, ids)


@pytest.fixture(scope="module")
def box(desk: Desk) -> Iterator[Box]:
    """This machine as a host that trusts the desk."""
    opened = Box.open()
    words = ("trust", "init", str(desk.root), "--fingerprint", desk.fingerprint)
    done = opened.run(str(desk.programs.install), *words)
    assert done.rc == 0, done
    yield opened
    opened.close()


@pytest.mark.parametrize("source", SOURCES)
def test_image_is_named_by_its_id_in_the_bundle(made, desk, source):
    listed = desk.document("inspect", made.bundles[source], "images")["images"]
    assert {image["reference"]: image["config"] for image in listed} == made.ids


@pytest.mark.parametrize("source", SOURCES)
def test_layers_that_images_share_are_stored_once(made, desk, source):
    listed = desk.document("inspect", made.bundles[source], "images")["images"]
    layers = [{layer["digest"] for layer in image["layers"]} for image in listed]
    assert len(layers[0] & layers[1]) == 1
    with tarfile.open(made.bundles[source]) as archive:
        names = [name for name in archive.getnames() if name.startswith("images/blobs/")]
    manifests_and_configs = 4
    assert len(names) == len(set(names)) == len(layers[0] | layers[1]) + manifests_and_configs


@pytest.mark.parametrize("source", ["engine 20.10", "archive new"])
@pytest.mark.parametrize("engine", ["20", "28", "28-containerd"])
def test_installed_image_has_the_id_that_it_had_at_its_source(made, desk, box, engines, source, engine):
    target = engines.get(engine)

    def install(*words: str) -> None:
        done = box.run(str(desk.programs.install), *words, "--yes", DOCKER_HOST=target.host, PATH=target.path)
        assert done.rc == 0, done.err

    install(str(made.bundles[source]), "--verify")
    try:
        for name, wanted in made.ids.items():
            text = target.text("image", "inspect", name, "--format", "{{.Id}}")
            assert (text == wanted) == (engine != "28-containerd")
        assert (
            target.text("run", "--rm", "--network", "none", WORKER, "/bin/busybox", "cat", "/worker")
            == VERSION
        )
    finally:
        install("remove", "shop")
        box.run("rm", "-rf", "/var/lib/waybill/shop")
    assert target.docker("image", "inspect", WEB, check=False).returncode != 0


@pytest.mark.parametrize("source", ["engine 26", "archive old", "layout", "registry"])
def test_every_source_loads_into_the_oldest_engine(made, desk, box, engines, source):
    target = engines.get("20")
    program = str(desk.programs.install)
    done = box.run(program, str(made.bundles[source]), "--yes", DOCKER_HOST=target.host, PATH=target.path)
    assert done.rc == 0, done.err
    found = {name: target.text("image", "inspect", name, "--format", "{{.Id}}") for name in made.ids}
    done = box.run(program, "remove", "shop", "--yes", DOCKER_HOST=target.host, PATH=target.path)
    assert done.rc == 0, done.err
    box.run("rm", "-rf", "/var/lib/waybill/shop")
    assert found == made.ids


def test_bundle_that_is_made_again_is_the_same_to_the_bit(made, desk, tmp_path):
    directory = made.bundles["archive old"].with_suffix("")
    maker = Desk(desk.home, desk.programs, EPOCH)
    for name in ("a.tar", "b.tar"):
        maker.bundle("create", VERSION, "-C", directory, "-o", tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_engines_of_every_age_give_the_same_files(made):
    """Their order in the bundle is that in which the engine sends them, so bundle.json is not the same."""
    found = {}
    for source in SOURCES[:3]:
        with tarfile.open(made.bundles[source]) as archive:
            sums = archive.extractfile("SHA256SUMS").read().decode().splitlines()
        found[source] = [line for line in sums if not line.endswith("  bundle.json")]
    assert found["engine 20.10"] == found["engine 26"] == found["engine 28"]


@pytest.mark.needs("compose", "nats")
def test_compose_below_a_directory_runs_from_the_engine(desk, engines, tmp_path):
    """What `make demo` does where Docker is: files below the directory, containers in the engine."""
    target, root, bundle = engines.get("20"), tmp_path / "host", desk.release("1.4.0")
    values = root / "etc/waybill/lan-chat/values.yaml"
    values.parent.mkdir(parents=True)
    values.write_text("listen: 127.0.0.1\nports: {client: 15222, monitor: 15223, cluster: 15224}\n")
    env = {**target.env, "PATH": f"{Path(needs('compose')).parent}:{target.path}"}

    def install(*words: str | Path) -> None:
        command = [desk.programs.install, *words, "--root", root]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    install("trust", "init", desk.root, "--fingerprint", desk.fingerprint)
    install(bundle, "--yes", "--only", "files,images,compose")
    try:
        assert target.text("ps", "--format", "{{.Image}}") == "lan-chat/server:1.4.0"
        install("status")
    finally:
        install("remove", "lan-chat", "--yes")
    assert target.text("ps", "-aq") == ""
    assert target.docker("image", "inspect", "lan-chat/server:1.4.0", check=False).returncode != 0
    assert not (root / "opt").exists()
