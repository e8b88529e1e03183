"""A bundle as an artifact of a registry: which blobs it is made of, in the order of its bytes.

Its bytes are cut into two kinds. The *frame* is one blob of all that changes with every version: signatures,
times in headers, approvals. The *payload* is everything else, in blobs that later
versions share. `runs` says how both are put together again: so many bytes of the frame, so many of the
payload, and so on. Nothing else is known of the bytes, and nothing else is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from installer.core import jsonio
from installer.core.digest import OCI, oci_digest
from installer.core.errors import TamperedError
from installer.core.oci import documents

ARTIFACT = "application/vnd.waybill.bundle.v1"
CONFIG = "application/vnd.waybill.bundle.config.v1+json"
FRAME = "application/vnd.waybill.bundle.frame.v1"
PAYLOAD = "application/vnd.waybill.bundle.payload.v1"
SCHEMA = "waybill/published/v1"
MAX_BLOBS = 16_384
"""Blobs of one bundle: their descriptors fit into a manifest."""
_HINT = "it is not a bundle that `bundle publish` stored: check the address"


@dataclass(frozen=True, slots=True)
class Blob:
    """A blob: its digest, `sha256:…`, and its size in bytes."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Published:
    """A bundle as its blobs.

    Attributes:
        size: Bytes of the bundle.
        sha256: Of the bundle, in hex.
        runs: Lengths of alternating pieces: the first of the frame, the second of the payload, and so on.
        frame: The frame.
        payload: The blobs of the payload, in the order of their bytes.
    """

    size: int
    sha256: str
    runs: tuple[int, ...]
    frame: Blob
    payload: tuple[Blob, ...]

    def config(self) -> bytes:
        """Return the configuration of the artifact."""
        document = {"schema": SCHEMA, "size": self.size, "sha256": self.sha256, "runs": list(self.runs)}
        return documents.dumps_compact(document)

    def manifest(self) -> bytes:
        """Return the manifest of the artifact."""
        config = self.config()
        rows = [(FRAME, self.frame), *((PAYLOAD, each) for each in self.payload)]
        return documents.dumps_compact(
            {
                "schemaVersion": 2,
                "mediaType": documents.MANIFEST,
                "artifactType": ARTIFACT,
                "config": {"mediaType": CONFIG, "digest": oci_digest(config), "size": len(config)},
                "layers": [
                    {"mediaType": kind, "digest": each.digest, "size": each.size} for kind, each in rows
                ],
            }
        )


def config_of(manifest: bytes, where: str) -> Blob:
    """Return the configuration that the manifest of an artifact names.

    Raises:
        TamperedError: It is not the manifest of a bundle.
    """
    found = _object(jsonio.loads_strict(manifest, where, documents.MAX_DOCUMENT), where)
    config = _object(found.get("config"), where)
    if found.get("artifactType") != ARTIFACT or config.get("mediaType") != CONFIG:
        raise TamperedError("is not a bundle", where=where, hint=_HINT)
    return _blob(config, where)


def parse_published(manifest: bytes, config: bytes, where: str) -> Published:
    """Read the two documents of an artifact.

    Raises:
        TamperedError: They are not those of a bundle, or do not fit each other.
    """
    rows = _object(jsonio.loads_strict(manifest, where, documents.MAX_DOCUMENT), where).get("layers")
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_BLOBS:
        raise TamperedError(f"does not have 1 to {MAX_BLOBS} blobs", where=where, hint=_HINT)
    # The frame is first: its place is what tells it from the payload, and a second one would have no meaning.
    kinds = [_object(each, where).get("mediaType") for each in rows]
    if kinds != [FRAME] + [PAYLOAD] * (len(rows) - 1):
        raise TamperedError("has blobs of other kinds than a bundle", where=where, hint=_HINT)
    frame, *payload = (_blob(each, where) for each in rows)
    about = _object(jsonio.loads_strict(config, where, documents.MAX_DOCUMENT), where)
    if set(about) != {"schema", "size", "sha256", "runs"} or about["schema"] != SCHEMA:
        hint = "it may be of a newer version of Waybill: use that one"
        raise TamperedError("has a description that this version does not know", where=where, hint=hint)
    runs, sha256 = about["runs"], about["sha256"]
    is_list = isinstance(runs, list) and all(_is_count(each) for each in runs)
    if not is_list or not _is_count(about["size"]) or not OCI.fullmatch(f"sha256:{sha256}"):
        raise TamperedError("has a description with values that mean nothing", where=where, hint=_HINT)
    # What the pieces need and what the blobs have must agree, or the reader would wait or run over.
    framed, paid = sum(runs[::2]), sum(runs[1::2])
    if (framed, paid, framed + paid) != (frame.size, sum(each.size for each in payload), about["size"]):
        raise TamperedError("has sizes that contradict each other", where=where, hint=_HINT)
    return Published(about["size"], sha256, tuple(runs), frame, tuple(payload))


def _blob(value: dict[str, Any], where: str) -> Blob:
    digest, size = value.get("digest"), value.get("size")
    if not isinstance(digest, str) or not OCI.fullmatch(digest) or not _is_count(size):
        raise TamperedError("has a blob without a digest or a size", where=where, hint=_HINT)
    return Blob(digest, int(str(size)))


def _is_count(value: object) -> bool:
    # True is an int in Python, and 1 in JSON is not true.
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TamperedError("is not an object", where=where, hint=_HINT)
    return value


def pieces(runs: Sequence[int]) -> list[tuple[bool, int]]:
    """Return each run that has bytes: whether it is of the frame, and its length."""
    return [(place % 2 == 0, length) for place, length in enumerate(runs) if length]
