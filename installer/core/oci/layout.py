"""The documents of an OCI image layout, and of `docker load`, in the one form that Waybill writes.

Their bytes follow from the images of the manifest alone, so that a reader compares instead of interpreting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from installer.core.format.manifest import Image
from installer.core.oci.documents import (
    CONTAINERD_NAME,
    INDEX,
    REF_NAME,
    Descriptor,
    dumps_compact,
    parse_manifest,
)
from installer.core.oci.reference import qualified

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
"""The bytes of `oci-layout`."""


def make_index(images: Sequence[Image], manifests: Mapping[str, bytes]) -> bytes:
    """Make `index.json` of an OCI layout.

    Args:
        images: What the layout has.
        manifests: The bytes of their manifests, by digest.
    """
    # Configurations may be among them.
    wanted = {image.manifest for image in images}
    described = {
        digest: Descriptor(digest, len(data), parse_manifest(data, f"the manifest {digest}").media_type)
        for digest, data in manifests.items()
        if digest in wanted
    }
    return describe(images, described)


def describe(images: Sequence[Image], described: Mapping[str, Descriptor]) -> bytes:
    """Make `index.json` from the descriptors of the manifests, by digest."""
    entries = [
        {
            **_entry(image, described[image.manifest]),
            "annotations": {CONTAINERD_NAME: qualified(image.reference), REF_NAME: image.reference},
        }
        for image in images
    ]
    return dumps_compact({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def platform_index(images: Sequence[Image], described: Mapping[str, Descriptor]) -> bytes:
    """Make the index of one image for several platforms, from the descriptors of its manifests, by digest."""
    entries = [_entry(image, described[image.manifest]) for image in images]
    return dumps_compact({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})


def _entry(image: Image, manifest: Descriptor) -> dict[str, Any]:
    os, architecture, *variant = image.platform.split("/")
    platform = {"os": os, "architecture": architecture} | ({"variant": variant[0]} if variant else {})
    return {
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.size,
        "platform": platform,
    }


def make_docker_manifest(images: Sequence[Image]) -> bytes:
    """Make the `manifest.json` by which `docker load` reads an OCI layout.

    Where several platforms have one reference, the first has it: a tag names one image only.
    """
    entries: dict[str, dict[str, Any]] = {}
    named: set[str] = set()
    for image in images:
        entry = entries.setdefault(
            image.manifest,
            {
                "Config": blob_name(image.config),
                "RepoTags": [],
                "Layers": [blob_name(layer.digest) for layer in image.layers],
            },
        )
        # A tag names one image: the first of the references in the order of bundle.yaml.
        if image.reference not in named:
            named.add(image.reference)
            entry["RepoTags"].append(image.reference)
    return dumps_compact(list(entries.values()))


def blob_name(digest: str) -> str:
    """Return the path of a blob in an OCI image layout."""
    return "blobs/sha256/" + digest.removeprefix("sha256:")
