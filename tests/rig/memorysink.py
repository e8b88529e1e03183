"""A bundle's `images/` section in memory: what `bundler.image_sources` are packed into by tests."""

from __future__ import annotations

from typing import Any

from bundler.image_sources.base import ExpectedLayer
from bundler.image_sources.layers import Compression, LayerTransform
from installer.core.digest import oci_digest
from installer.core.format.manifest import Layer


class MemorySink:
    """Keeps blobs by digest and counts the layers that were read."""

    def __init__(self, compression: Compression = "zstd") -> None:
        self.blobs: dict[str, bytes] = {}
        self.layers: list[Layer] = []
        self.read: list[str] = []
        self._transform = LayerTransform(compression)

    def find(self, diff_id: str, digest: str = "") -> Layer | None:
        """Finds a stored layer."""
        for layer in self.layers:
            if layer.diff_id == diff_id and digest in ("", layer.digest):
                return layer
        return None

    def layer(self, stream: Any, expected: ExpectedLayer) -> Layer:
        """Stores a layer."""
        self.read.append(expected.where)
        data = bytearray()
        layer = self._transform.run(stream, data.extend, expected)
        if layer.digest not in self.blobs:
            self.blobs[layer.digest] = bytes(data)
            self.layers.append(layer)
        return layer

    def blob(self, stream: Any, expected: ExpectedLayer) -> None:
        """Stores a blob."""
        data = b"".join(iter(lambda: stream.read(65536), b""))
        assert oci_digest(data) == expected.digest
        self.blobs[expected.digest] = data

    def document(self, data: bytes, *, where: str) -> str:
        """Stores a document."""
        digest = oci_digest(data)
        self.blobs[digest] = data
        return digest
