"""Images as their makers pushed them: the index, and the manifests that belong to it and are no images.

What belongs to an image, such as a signature, goes to a registry and nowhere else. So nothing is known of
what its blobs mean: only that its manifest names them, and that they were signed with the release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from installer.core.digest import oci_digest
from installer.core.errors import TamperedError
from installer.core.format.entries.whole_images import MOST
from installer.core.format.manifest import Attachment, Image, WholeImage
from installer.core.jsonio import loads_strict
from installer.core.oci import documents

Size = Callable[[str], int]
"""Returns the size of a blob of the bundle by its digest."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A manifest that belongs to an image and is none.

    Attributes:
        media_type: Its own.
        blobs: Its configuration and layers.
        subject: Digest of what it refers to; empty for nothing.
        artifact: What it is, as a list of referrers has it.
        annotations: Its own.
    """

    media_type: str
    blobs: tuple[documents.Descriptor, ...]
    subject: str = ""
    artifact: str = ""
    annotations: Mapping[str, Any] | None = None


def parse_attached(data: bytes, where: str) -> Attached:
    """Parse a manifest of which nothing is known but its blobs: its configuration and layers, each once.

    Raises:
        TamperedError: It is no manifest, or one of its blobs must be downloaded from elsewhere.
    """
    found = loads_strict(data, where, documents.MAX_DOCUMENT)
    if not isinstance(found, dict) or found.get("schemaVersion") != 2 or "manifests" in found:
        raise TamperedError("is not a manifest of schema version 2", where=where)
    media_type = found.get("mediaType") or documents.MANIFEST
    if media_type not in documents.MANIFESTS:
        raise TamperedError(
            f"has the media type {str(media_type)!r:.80}, not that of a manifest", where=where
        )
    config = documents.descriptors([found.get("config")], f"{where}: config", 1)
    layers = documents.descriptors(found.get("layers"), f"{where}: layers", MOST)
    blobs = tuple({each.digest: each for each in (*config, *layers)}.values())
    subject, artifact = found.get("subject"), found.get("artifactType")
    of = documents.descriptors([subject], f"{where}: subject", 1)[0].digest if subject else ""
    notes = found.get("annotations")
    artifact = artifact if artifact and isinstance(artifact, str) else config[0].media_type
    return Attached(str(media_type), blobs, of, artifact, notes if isinstance(notes, dict) else None)


def referrers_list(rows: Iterable[bytes]) -> bytes:
    """Make the index of what refers to an image, for registries that make no such list themselves.

    Args:
        rows: The manifests that refer to it.
    """
    entries = []
    for data in rows:
        found = parse_attached(data, "a referrer")
        about = {"mediaType": found.media_type, "digest": oci_digest(data), "size": len(data)}
        more = {"annotations": dict(found.annotations)} if found.annotations else {}
        entries.append({**about, "artifactType": found.artifact, **more})
    index = {"schemaVersion": 2, "mediaType": documents.INDEX, "manifests": entries}
    return documents.dumps_compact(index)


def check_attached(data: bytes, where: str, signed: Attachment, size: Size) -> None:
    """Check that a manifest names exactly the blobs and the subject that were signed as its own.

    Raises:
        TamperedError: It does not.
    """
    parsed = parse_attached(data, where)
    if signed.subject and parsed.subject != signed.subject:
        raise TamperedError("refers to another image than the manifest of the bundle says", where=where)
    found = [(each.digest, each.size) for each in parsed.blobs]
    if found != [(digest, size(digest)) for digest in signed.blobs]:
        raise TamperedError("has other blobs than those that the manifest of the bundle lists", where=where)


def check_index(data: bytes, where: str, whole: WholeImage, images: Iterable[Image], size: Size) -> None:
    """Check that an index has exactly the images and the manifests that were signed as its own.

    Args:
        data: Its bytes.
        where: How errors name it.
        whole: What it is the index of.
        images: The images of that reference.
        size: Of their manifests.

    Raises:
        TamperedError: It has others, or says something else of them.
    """
    platforms = {each.manifest: each.platform for each in images}
    others = {each.manifest for each in whole.attached if each.is_listed}
    entries = documents.parse_index(data, where).manifests
    listed = {each.digest for each in entries}
    if listed != platforms.keys() | others:
        raise TamperedError(f"has other manifests than {whole.reference}", where=where)
    for each in entries:
        if each.size != size(each.digest):
            raise TamperedError(f"has another size for {each.digest}", where=where)
        # A node chooses by what the index says; the variant may be missing there.
        named, platform = each.platform, platforms.get(each.digest, "")
        if platform and named and named.split("/")[:2] != platform.split("/")[:2]:
            raise TamperedError(f"lists the image for {platform} as one for {named}", where=where)
