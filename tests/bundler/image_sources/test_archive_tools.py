"""Archives that crane, Skopeo, Podman and each Docker really write give the same images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.oci import LayoutSource
from installer.core.errors import UnfitInputError
from tests.rig.engine import Engine
from tests.rig.imagebuild import Built, layer, saved_old, tar
from tests.rig.lyingregistry import push
from tests.rig.memorysink import MemorySink
from tests.rig.needs import needs
from tests.rig.podman import Podman
from tests.rig.registry import Registry

# Layers of their own: an engine that has a layer uncompressed does not fetch it when another test pulls it.
BASE = layer("base of tools")
ONE = Built("demo/app:1", [BASE, layer("app")], form="gzip")
TWO = Built("demo/more:1", [BASE, layer("tools")], form="gzip")


def check(path: Path, *images: Built, name: str = "") -> None:
    """Packs an archive or layout; it must have these images, in any order, with configurations and layers."""
    sink = MemorySink()
    source = (LayoutSource if path.is_dir() else ArchiveSource)(path, ("linux/amd64",), name)
    source.resolve()
    packed = source.pack(sink)
    # What is not Docker's writes the same configuration in another order of keys.
    configs = [json.loads(sink.blobs[each.config]) for each in packed]
    assert sorted(configs, key=str) == sorted((json.loads(each.config) for each in images), key=str)
    for config, image in zip(configs, packed, strict=True):
        assert [each.diff_id for each in image.layers] == config["rootfs"]["diff_ids"]
    assert source.note() is None


def command(*words: str | Path) -> None:
    """Runs a tool."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An archive as Docker 20.10 saves it, for the tools to take and to write anew."""
    path = tmp_path / "saved.tar"
    path.write_bytes(tar(saved_old([ONE, TWO])))
    return path


def test_archives_of_crane(tmp_path: Path, registry: Registry) -> None:
    crane = needs("crane")
    push(registry, "forms/app", ONE)
    push(registry, "forms/more", TWO)
    one, two = (f"{registry.name}/forms/{name}:1" for name in ("app", "more"))
    command(crane, "pull", "--insecure", one, tmp_path / "one.tar")
    check(tmp_path / "one.tar", ONE)
    command(crane, "pull", "--insecure", one, two, tmp_path / "two.tar")
    check(tmp_path / "two.tar", ONE, TWO)
    # Several tags of one image: its configuration comes again for each.
    command(crane, "tag", "--insecure", one, "2")
    command(crane, "pull", "--insecure", one, one[:-1] + "2", tmp_path / "tags.tar")
    check(tmp_path / "tags.tar", ONE, ONE)
    command(crane, "pull", "--insecure", "--format=legacy", one, tmp_path / "legacy.tar")
    check(tmp_path / "legacy.tar", ONE)
    command(crane, "pull", "--insecure", "--format=oci", one, tmp_path / "layout")
    check(tmp_path / "layout", ONE, name="demo/app:9")


def test_an_image_of_crane_without_a_platform_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "layer.tar").write_bytes(layer("base"))
    path = tmp_path / "image.tar"
    command(
        needs("crane"),
        "append",
        "--oci-empty-base",
        "-f",
        tmp_path / "layer.tar",
        "-t",
        "demo/app:1",
        "-o",
        path,
    )
    with pytest.raises(UnfitInputError, match="has no platform") as raised:
        check(path)
    assert "build the image again for a platform" in raised.value.hint


def test_archives_of_skopeo(tmp_path: Path, saved: Path) -> None:
    for form in ("docker-archive", "oci-archive", "oci"):
        path = tmp_path / form
        command(
            needs("skopeo"), "--insecure-policy", "copy",
            f"docker-archive:{saved}:{ONE.tag}", f"{form}:{path}:demo/app:1",
        )  # fmt: skip
        check(path, ONE)


@pytest.mark.needs("root")
def test_archives_of_podman(tmp_path: Path, saved: Path) -> None:
    podman = Podman(tmp_path)
    podman.run("load", "-q", "-i", saved)
    for form in ("docker-archive", "oci-archive", "oci-dir"):
        path = tmp_path / form
        podman.run("save", "-q", "--format", form, "-o", path, ONE.tag)
        check(path, ONE)
    podman.run("save", "-q", "-m", "-o", tmp_path / "several.tar", ONE.tag, TWO.tag)
    check(tmp_path / "several.tar", ONE, TWO)


def test_archives_of_each_docker(tmp_path: Path, saved: Path, every_engine: Engine) -> None:
    every_engine.client.images.load(saved.read_bytes())
    path = tmp_path / "docker.tar"
    path.write_bytes(every_engine.docker("save", ONE.tag, TWO.tag).stdout)
    every_engine.docker("rmi", "-f", ONE.tag, TWO.tag)
    check(path, ONE, TWO)


@pytest.mark.parametrize("pack", ["gzip", "bzip2", "xz", "zstd"])
def test_archives_that_a_program_compressed(saved: Path, pack: str, tmp_path: Path) -> None:
    with (tmp_path / "packed").open("wb") as out:
        subprocess.run([pack, "-c", saved], stdout=out, check=True)
    check(tmp_path / "packed", ONE, TWO)
