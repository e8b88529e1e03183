"""Images made by code, in every form in which engines and tools write them: tiny, and the same each time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

OCI = "application/vnd.oci.image"
TYPES = {"tar": f"{OCI}.layer.v1.tar", "gzip": f"{OCI}.layer.v1.tar+gzip", "zstd": f"{OCI}.layer.v1.tar+zstd"}
NAME = "io.containerd.image.name"
REF = "org.opencontainers.image.ref.name"
BLOBS = "blobs/sha256/"


def digest(data: bytes) -> str:
    """Gives an OCI digest."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(name: str, size: int = 2000) -> bytes:
    """Makes a layer: a tar with one file whose bytes follow from its name."""
    return tar({name: random.Random(name).randbytes(size)})


def tar(members: Mapping[str, bytes | Path]) -> bytes:
    """Makes a tar of files, and of links where the content is a path, in the order given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, Path):
                member.type, member.linkname = tarfile.SYMTYPE, str(content)
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def packed(data: bytes, form: str) -> bytes:
    """Gives a layer in one of its forms."""
    if form == "gzip":
        return gzip.compress(data, 1, mtime=0)
    return zstandard.ZstdCompressor(level=1).compress(data) if form == "zstd" else data


def dumps(value: Any) -> bytes:
    """Writes JSON as engines do."""
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Built:
    """An image.

    Attributes:
        tag: Its name and tag.
        layers: Its uncompressed layers.
        platform: Its platform.
        form: How its blobs are stored in an OCI layout.
    """

    tag: str
    layers: Sequence[bytes]
    platform: str = "linux/amd64"
    form: str = "tar"
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> bytes:
        """The configuration."""
        os, architecture, *variant = self.platform.split("/")
        return dumps(
            {
                "os": os,
                "architecture": architecture,
                **({"variant": variant[0]} if variant else {}),
                "config": {"Cmd": ["/bin/sh"], "Labels": {"tag": self.tag}},
                "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in self.layers]},
                **self.extra,
            }
        )

    @property
    def blobs(self) -> list[bytes]:
        """The layers as they are stored in a layout."""
        return [packed(each, self.form) for each in self.layers]

    @property
    def manifest(self) -> bytes:
        """The manifest."""
        return dumps(
            {
                "schemaVersion": 2,
                "mediaType": f"{OCI}.manifest.v1+json",
                "config": descriptor(self.config, f"{OCI}.config.v1+json"),
                "layers": [descriptor(each, TYPES[self.form]) for each in self.blobs],
            }
        )

    @property
    def files(self) -> dict[str, bytes]:
        """The blobs of a layout, by their names."""
        return {BLOBS + digest(data)[7:]: data for data in (*self.blobs, self.config, self.manifest)}

    def entry(self, **more: Any) -> dict[str, Any]:
        """Its descriptor in an index."""
        return {**descriptor(self.manifest, f"{OCI}.manifest.v1+json"), **more}

    def platform_entry(self) -> dict[str, Any]:
        """Its descriptor in an index of platforms."""
        os, architecture, *variant = self.platform.split("/")
        platform = {"os": os, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
        return self.entry(platform=platform)


def descriptor(data: bytes, media_type: str) -> dict[str, Any]:
    """Describes a blob."""
    return {"mediaType": media_type, "digest": digest(data), "size": len(data)}


def index(entries: Sequence[Mapping[str, Any]]) -> bytes:
    """Makes an index."""
    kind = f"{OCI}.index.v1+json"
    return dumps({"schemaVersion": 2, "mediaType": kind, "manifests": list(entries)})


def saved_old(images: Sequence[Built]) -> dict[str, bytes | Path]:
    """Gives the members of what Docker 20.10 saves: layers by own ids, links to those seen before."""
    members: dict[str, bytes | Path] = {}
    seen: dict[str, str] = {}
    entries = []
    for image in images:
        paths = []
        for number, data in enumerate(image.layers):
            own = hashlib.sha256(f"{image.tag} {number}".encode()).hexdigest()
            paths.append(f"{own}/layer.tar")
            members[f"{own}/VERSION"] = b"1.0"
            members[f"{own}/json"] = dumps({"id": own})
            first = seen.setdefault(digest(data), own)
            members[paths[-1]] = data if first == own else Path(f"../{first}/layer.tar")
        name = digest(image.config)[7:] + ".json"
        members[name] = image.config
        entries.append({"Config": name, "RepoTags": [image.tag], "Layers": paths})
    members["manifest.json"] = dumps(entries)
    members["repositories"] = dumps({})
    return members


def layout(images: Sequence[Built]) -> dict[str, bytes]:
    """Gives the files of an OCI layout as skopeo and buildkit write it."""
    files: dict[str, bytes] = {}
    for image in images:
        files |= image.files
    files["index.json"] = index([image.entry(annotations={REF: image.tag}) for image in images])
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    return files


def saved_new(images: Sequence[Built]) -> dict[str, bytes | Path]:
    """Gives the members of what Docker 26 and 28 save: an OCI layout with Docker's manifest.json."""
    files = layout(images)
    names = [{NAME: f"docker.io/{image.tag}", REF: image.tag.rpartition(":")[2]} for image in images]
    files["index.json"] = index(
        [image.entry(annotations=name) for image, name in zip(images, names, strict=True)]
    )
    files["manifest.json"] = dumps([docker_entry(image) for image in images])
    return dict(sorted(files.items()))


def docker_entry(image: Built) -> dict[str, Any]:
    """Describes an image as manifest.json of the new form does."""
    return {
        "Config": BLOBS + digest(image.config)[7:],
        "RepoTags": [image.tag],
        "Layers": [BLOBS + digest(each)[7:] for each in image.blobs],
    }


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Writes a layout into a directory."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
