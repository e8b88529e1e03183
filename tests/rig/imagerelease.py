"""Release directories with images in them, as staging leaves them."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from installer.core.format.manifest import BLOBS, Image, Layer, Manifest, blob_path
from installer.core.oci import documents, layout
from installer.deploy.method import Target
from installer.state.release import Release
from tests.rig.imagebuild import digest, packed
from tests.rig.releases import Member, ReleaseSpec

FORMS = {"tar": documents.LAYER_TAR, "gzip": documents.LAYER_GZIP, "zstd": documents.LAYER_ZSTD}


def plain_layer(name: str, size: int = 3000) -> bytes:
    """Makes a layer with one file of random bytes that depend on its name only."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = size
        archive.addfile(member, io.BytesIO(random.Random(name).randbytes(size)))
    return buffer.getvalue()


@dataclass
class ReleaseDirectory:
    """A release's directory, to which images are added."""

    path: Path
    images: list[Image] = field(default_factory=list)

    def blob(self, data: bytes) -> str:
        """Writes a blob and gives its digest."""
        name = digest(data)
        folder = self.path / "images/blobs/sha256"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name.removeprefix("sha256:")).write_bytes(data)
        return name

    def file(self, name: str) -> Path:
        """Gives where a blob lies."""
        return self.path / "images/blobs/sha256" / name.removeprefix("sha256:")

    def image(
        self,
        reference: str,
        layers: Sequence[str | bytes],
        form: str = "zstd",
        label: str = "",
        platform: str = "linux/amd64",
    ) -> Image:
        """Adds an image of plain layers (bytes, or the name of a small one), stored in one form."""
        plain = [plain_layer(layer) if isinstance(layer, str) else layer for layer in layers]
        stored = [
            Layer(self.blob(data), len(data), FORMS[form], digest(raw), len(raw))
            for raw in plain
            for data in [packed(raw, form)]
        ]
        config = {
            "architecture": platform.split("/")[1],
            "os": "linux",
            "config": {"Cmd": ["/x"], "Labels": {"of": label or reference}},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in stored]},
            "history": [{"created_by": "test"} for _ in stored],
        }
        raw_config = json.dumps(config).encode()
        name = self.blob(raw_config)
        manifest = self.blob(documents.make_manifest(name, len(raw_config), stored))
        self.images.append(Image(reference, platform, name, manifest, tuple(stored)))
        return self.images[-1]

    def target(self, sequence: int = 1, directory: str = "") -> Target:
        """Gives the release as the methods see it."""
        manifest = Manifest(
            product="shop",
            version=f"1.{sequence}.0",
            sequence=sequence,
            created=0,
            expires=2**40,
            platforms=("linux/amd64",),
            files=(),
            images=tuple(self.images),
        )
        place = directory or str(self.path)
        return Target(Release(manifest, f"{sequence:064x}", place, place), {})


def release(directory: Path, version: str, sequence: int, own: Mapping[str, Sequence[bytes]]) -> ReleaseSpec:
    """Gives a release with a configuration and images, whose blobs are made in a directory.

    Args:
        directory: Where.
        version: Its version.
        sequence: Its place among the releases.
        own: Layers by the name of the image.
    """
    made = ReleaseDirectory(directory)
    for reference, layers in own.items():
        made.image(reference, layers)
    return described(made, version, sequence)


def described(
    made: ReleaseDirectory, version: str, sequence: int, platforms: tuple[str, ...] = ("linux/amd64",)
) -> ReleaseSpec:
    """Gives a release with a configuration and the images of a directory."""
    directory = made.path
    expanded = {each.digest: each.expanded for image in made.images for each in image.layers}
    members = {"config/chat.conf": Member(version.encode(), "/etc/chat.conf", kind="template")}
    for path in sorted((directory / BLOBS).iterdir()):
        size = expanded.get(f"sha256:{path.name}", 0)
        members[BLOBS + path.name] = Member(path.read_bytes(), kind="image", expanded=size)
    blobs = {image.manifest: members[blob_path(image.manifest)].data for image in made.images}
    described = {
        "index.json": layout.make_index(made.images, blobs),
        "manifest.json": layout.make_docker_manifest(made.images),
        "oci-layout": layout.LAYOUT,
    }
    members |= {f"images/{name}": Member(data, kind="image") for name, data in described.items()}
    return ReleaseSpec(version, sequence, members, platforms=platforms, extra={"images": tuple(made.images)})
