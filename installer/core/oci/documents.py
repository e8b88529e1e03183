"""The documents of container images: OCI's and Docker's, read strictly and written in one form.

Pure: bytes in, dataclasses out, and back. Everything here is what a registry, an engine or an archive says of
itself, and it may lie; the blobs that these documents name are checked by whoever reads them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from installer.core.digest import OCI, oci_digest
from installer.core.errors import TamperedError
from installer.core.format.manifest import Layer
from installer.core.jsonio import loads_strict
from installer.core.limits import LIMITS, MIB
from installer.core.oci.reference import reference_fault, split_reference

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_LIST)
CONFIGS = (CONFIG, DOCKER_CONFIG)

_FORMS = {
    LAYER_TAR: "tar",
    LAYER_GZIP: "gzip",
    LAYER_ZSTD: "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
}
_OCI_LAYERS = {"tar": LAYER_TAR, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}

CONTAINERD_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"

MAX_DOCUMENT = 4 * MIB
"""Bytes of a manifest, index or configuration: what registries accept."""
MAX_LAYERS = 512
MAX_MANIFESTS = 1024
MAX_MEMBER_NAME = 4096
"""Characters of the name of a member in an archive: the longest path that Linux opens."""
MAX_DEPTH = 3
"""Indexes within indexes, the outermost counted."""

_MEDIA_TYPE = re.compile(r"[a-zA-Z0-9!#$&^_.+/-]{1,255}")
_NAMED = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# BuildKit and cosign mark what is not an image in its descriptor.
_ATTESTATION = "vnd.docker.reference.type"
_COSIGN_KIND = "dev.cosignproject.cosign/"


def archive_key(name: str) -> str:
    """Return the key by which a member of an archive is found; empty if the name leads out of the archive.

    Tools write one member as `a`, `./a` or `/a`; an engine that unpacks the archive sees one file.
    """
    parts: list[str] = []
    for part in name.split("/"):
        if part == ".." and not parts:
            return ""
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def layer_form(media_type: str) -> str:
    """Return `tar`, `gzip` or `zstd` for the media type of a layer; empty for a type that is none of ours."""
    return _FORMS.get(media_type, "")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What one document says of another blob.

    Attributes:
        digest: `sha256:…`.
        size: Bytes.
        media_type: What it is.
        platform: `os/arch` or `os/arch/variant`; empty where it is not said or not known.
        annotations: Its annotations.
        artifact: What it is instead of an image, such as an attestation; empty where its descriptor names
            nothing of the kind.
    """

    digest: str
    size: int
    media_type: str
    platform: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact: str = ""


@dataclass(frozen=True, slots=True)
class ImageManifest:
    """The manifest of one image for one platform."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """A list of manifests or of further lists."""

    media_type: str
    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What of an image's configuration matters to us."""

    platform: str
    diff_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DockerEntry:
    """One entry of `manifest.json` in an archive of `docker save`; its members are named by their keys."""

    config: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]


def check_blob(data: bytes, descriptor: Descriptor, where: str) -> None:
    """Check that a document is the one that was asked for.

    Raises:
        TamperedError: Its size or digest is another.
    """
    if len(data) != descriptor.size:
        raise TamperedError(f"is {len(data)} bytes, not {descriptor.size}", where=where)
    if (digest := oci_digest(data)) != descriptor.digest:
        raise TamperedError(f"has the digest {digest}, not {descriptor.digest}", where=where)


def parse_document(data: bytes, where: str, media_type: str = "") -> ImageManifest | ImageIndex:
    """Parse a manifest or an index, whichever it is.

    Args:
        data: Its bytes.
        where: How errors name it.
        media_type: What the descriptor or the server called it; empty where nobody did.

    Raises:
        TamperedError: It is not strict JSON, is neither or both of the two, or its media type is not what it
            was called.
    """
    found = _object(loads_strict(data, where, MAX_DOCUMENT), where)
    if found.get("schemaVersion") != 2:
        raise TamperedError(
            "does not have schema version 2",
            where=where,
            hint="push or save the image again with a current engine",
        )
    # A document that is both is read differently by different clients (CVE-2021-41190).
    if "manifests" in found and ("layers" in found or "config" in found):
        raise TamperedError("has both `manifests` and `layers` or `config`", where=where)
    is_index = "manifests" in found
    own = found.get("mediaType", "")
    # The registry and the document must agree about what it is.
    if own and media_type and own != media_type:
        raise TamperedError(f"has the media type {own!r}, but is listed as {media_type!r}", where=where)
    kind = own or media_type or (INDEX if is_index else MANIFEST)
    if kind not in (INDEXES if is_index else MANIFESTS):
        raise TamperedError(
            f"has the media type {kind!r}, which is not a media type of an image", where=where
        )
    if is_index:
        return ImageIndex(kind, descriptors(found["manifests"], f"{where}: manifests", MAX_MANIFESTS))
    return _manifest(found, kind, where)


def parse_manifest(data: bytes, where: str, media_type: str = "") -> ImageManifest:
    """Parse the manifest of one image; like `parse_document`, an index is refused.

    Raises:
        TamperedError: It is not the manifest of an image.
    """
    found = parse_document(data, where, media_type)
    if not isinstance(found, ImageManifest):
        raise TamperedError("is an index, not the manifest of one image", where=where)
    return found


def parse_index(data: bytes, where: str, media_type: str = "") -> ImageIndex:
    """Parse an index; like `parse_document`, a manifest is refused.

    Raises:
        TamperedError: It is not an index.
    """
    found = parse_document(data, where, media_type)
    if not isinstance(found, ImageIndex):
        raise TamperedError("is the manifest of one image, not an index", where=where)
    return found


def parse_config(data: bytes, where: str) -> ImageConfig:
    """Parse the configuration of an image.

    Raises:
        TamperedError: It is not strict JSON, or names no platform or no digests of layers.
    """
    found = _object(loads_strict(data, where, MAX_DOCUMENT), where)
    platform = _platform(found, where)
    if not platform:
        hint = "build the image again for a platform, such as linux/amd64"
        raise TamperedError("has no platform (`os` and `architecture`)", where=where, hint=hint)
    rootfs = _object(found.get("rootfs"), f"{where}: rootfs")
    if rootfs.get("type") != "layers":
        raise TamperedError(f"has a rootfs of type {rootfs.get('type')!r}, not `layers`", where=where)
    diff_ids = rootfs.get("diff_ids") or []
    if not isinstance(diff_ids, list) or len(diff_ids) > MAX_LAYERS:
        raise TamperedError(f"is not a list of at most {MAX_LAYERS}", where=f"{where}: rootfs.diff_ids")
    return ImageConfig(platform, tuple(_digest(item, f"{where}: rootfs.diff_ids") for item in diff_ids))


def parse_docker_manifest(data: bytes, where: str) -> tuple[DockerEntry, ...]:
    """Parse `manifest.json` of an archive of `docker save`.

    Raises:
        TamperedError: It is not strict JSON or not of that form, or names what is not in the archive.
    """
    found = loads_strict(data, where, MAX_DOCUMENT)
    if not isinstance(found, list) or len(found) > MAX_MANIFESTS:
        raise TamperedError(f"is not a list of at most {MAX_MANIFESTS} images", where=where)
    images = []
    for number, item in enumerate(found):
        at = f"{where}: [{number}]"
        entry = _object(item, at)
        tags, layers = entry.get("RepoTags") or [], entry.get("Layers") or []
        if not isinstance(tags, list) or not isinstance(layers, list) or len(layers) > MAX_LAYERS:
            raise TamperedError("has no lists `RepoTags` and `Layers`", where=at)
        # Each tag is created by `docker load`: an unexpected one would replace another image.
        for tag in tags:
            if not isinstance(tag, str) or reference_fault(tag) or not split_reference(tag)[1]:
                raise TamperedError(f"has the tag {str(tag)[:120]!r}, which is not a valid tag", where=at)
        members = tuple(_member(name, at) for name in (entry.get("Config"), *layers))
        images.append(DockerEntry(members[0], tuple(tags), members[1:]))
    return tuple(images)


def make_manifest(config: str, config_size: int, layers: Sequence[Layer]) -> bytes:
    """Make the OCI manifest of an image whose layers are not stored as its original one says."""
    return dumps_compact(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config, "size": config_size},
            "layers": [
                {"mediaType": oci_layer_type(each.media_type), "digest": each.digest, "size": each.size}
                for each in layers
            ],
        }
    )


def oci_layer_type(media_type: str) -> str:
    """Return OCI's media type for a layer that Docker or OCI has named."""
    return _OCI_LAYERS[_FORMS[media_type]]


def platform_matches(wanted: str, platform: str) -> bool:
    """Return whether an image for `platform` serves a bundle for `wanted`; without a variant, any does."""
    return platform == wanted or (wanted.count("/") == 1 and platform.startswith(wanted + "/"))


def _manifest(found: dict[str, Any], kind: str, where: str) -> ImageManifest:
    config = _descriptor(found.get("config"), f"{where}: config")
    if config.media_type not in CONFIGS:
        raise TamperedError(
            f"is not the manifest of a container image: its config has the media type {config.media_type!r}",
            where=where,
        )
    layers = descriptors(found.get("layers"), f"{where}: layers", MAX_LAYERS)
    for number, layer in enumerate(layers):
        if not layer_form(layer.media_type):
            at = f"{where}: layers[{number}]"
            raise TamperedError(
                f"has the media type {layer.media_type!r}, which is not a supported layer type", where=at
            )
    return ImageManifest(kind, config, layers)


def descriptors(value: Any, where: str, most: int) -> tuple[Descriptor, ...]:
    """Read a list of at most `most` descriptors; raise TamperedError where it is none."""
    if not isinstance(value, list) or len(value) > most:
        raise TamperedError(f"is not a list of at most {most}", where=where)
    return tuple(_descriptor(item, f"{where}[{number}]") for number, item in enumerate(value))


def _descriptor(value: Any, where: str) -> Descriptor:
    found = _object(value, where)
    size = found.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= LIMITS.json_integer:
        raise TamperedError("has no size", where=where)
    media_type = found.get("mediaType")
    if not isinstance(media_type, str) or not _MEDIA_TYPE.fullmatch(media_type):
        raise TamperedError("has no media type", where=where)
    # A layer from elsewhere is not in the bundle, and nothing is fetched on the host.
    if found.get("urls"):
        raise TamperedError(
            "must be downloaded from `urls`",
            where=where,
            hint="such layers cannot be bundled; build the image on another base image",
        )
    platform = found.get("platform")
    annotations = found.get("annotations") or {}
    if not isinstance(annotations, dict) or not all(isinstance(text, str) for text in annotations.values()):
        raise TamperedError("has annotations that are not strings", where=where)
    return Descriptor(
        _digest(found.get("digest"), where),
        size,
        media_type,
        _platform(_object(platform, f"{where}: platform"), where) if platform is not None else "",
        annotations,
        _artifact(found, annotations),
    )


def _artifact(found: dict[str, Any], annotations: Mapping[str, str]) -> str:
    """Return what a descriptor says to lead to instead of an image."""
    kind, platform = annotations.get("kind", ""), found.get("platform")
    if attestation := annotations.get(_ATTESTATION):
        return attestation
    if kind.startswith(_COSIGN_KIND) and kind.removeprefix(_COSIGN_KIND) in ("sigs", "atts", "sboms"):
        return kind
    artifact = found.get("artifactType")
    # Registries repeat the media type of an image's configuration there.
    if isinstance(artifact, str) and artifact and artifact not in CONFIGS:
        return artifact
    unknown = isinstance(platform, dict) and {platform.get("os"), platform.get("architecture")} == {"unknown"}
    return "attestation-manifest" if unknown else ""


def _platform(found: dict[str, Any], where: str) -> str:
    parts = [found.get(key) or "" for key in ("os", "architecture", "variant")]
    if not all(isinstance(part, str) and (not part or _NAMED.fullmatch(part)) for part in parts):
        raise TamperedError("has a platform that is not valid", where=where)
    os, architecture, variant = parts
    # Attestations are stored as manifests with the platform unknown/unknown.
    if not os or not architecture or "unknown" in (os, architecture):
        return ""
    return "/".join(part for part in (os, architecture, variant) if part)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TamperedError("is not an object", where=where)
    return value


def _digest(value: Any, where: str) -> str:
    if not isinstance(value, str) or not OCI.fullmatch(value):
        raise TamperedError(
            f"has the digest {str(value)[:80]!r}, which is not `sha256:` and 64 hex digits", where=where
        )
    return value


def _member(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_MEMBER_NAME or "\0" in value:
        raise TamperedError(
            f"lists the member {str(value)[:120]!r}, which is not a valid member name", where=where
        )
    # It is a key of the archive and never a path of this machine: whatever characters it has, do no harm.
    key = archive_key(value)
    if not key:
        raise TamperedError(
            f"lists the member {value[:120]!r}, which is outside the archive",
            where=where,
            hint="do not use this archive: no engine writes such archives",
        )
    return key


def dumps_compact(value: Any) -> bytes:
    """Return JSON in the one form in which Waybill writes documents of images."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
