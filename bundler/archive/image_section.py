"""The writer of the `images/` section: an OCI image layout, its blobs in the order in which they came."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from bundler.archive.output_file import OutputFile
from bundler.archive.writer import write_header
from bundler.config.secrets.layers import LayerReports, LayerSearch
from bundler.image_sources.base import ExpectedLayer, Readable
from bundler.image_sources.faults import DAMAGED
from bundler.image_sources.layers import LayerTransform
from installer.core.digest import oci_digest
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import FileEntry, Layer, blob_path
from installer.core.format.tar_header import BLOCK, extent
from installer.core.limits import CHUNK
from installer.core.oci.expand import sniff

FILE_MODE = 0o644


@dataclass(slots=True)
class BlobWriter:
    """The sink of image sources: appends each distinct blob to the bundle once.

    Attributes:
        output: The bundle.
        offset: Offset of the next member.
        mtime: Modification time of all members, seconds since 1970.
        transform: Brings layers into the form in which they are stored.
        advance: Receives the bytes as they are read.
        entries: The files that were written.
        documents: Configurations and manifests by digest.
        secrets: What looks like a secret in the layers.
        search: Whether it is looked for.
    """

    output: OutputFile
    offset: int
    mtime: int
    transform: LayerTransform
    advance: Callable[[int], None]
    entries: list[FileEntry] = field(default_factory=list)
    documents: dict[str, bytes] = field(default_factory=dict)
    secrets: LayerReports = field(default_factory=LayerReports)
    search: bool = True
    _layers: list[Layer] = field(default_factory=list)

    def find(self, diff_id: str, digest: str = "") -> Layer | None:
        """Return a layer that is stored already; see `BlobSink`."""
        return next(
            (layer for layer in self._layers if layer.diff_id == diff_id and digest in ("", layer.digest)),
            None,
        )

    def layer(self, stream: Readable, expected: ExpectedLayer) -> Layer:
        """Store a layer; see `BlobSink`. A duplicate, known only after reading, is removed again."""
        # The header needs the stored size, which is known at the end only: it is written last.
        place = self.offset + BLOCK

        def write(data: bytes) -> None:
            nonlocal place
            self.output.write_at(place, data)
            place += len(data)

        peek, search = _Peek(stream, self.advance), LayerSearch()
        layer = self.transform.run(peek, write, expected, search.feed if self.search else None)
        self.secrets.add(layer.diff_id, search.finish())
        # what came uncompressed is the same as any stored form of it; what came compressed only as itself
        if same := self.find(layer.diff_id, "" if sniff(peek.head) == "tar" else layer.digest):
            # Nothing of the duplicate may remain behind the next member.
            self.output.truncate(self.offset)
            return same
        self._layers.append(layer)
        # Only for compressed layers: the format omits what equals the size.
        expanded = layer.expanded if layer.digest != layer.diff_id else 0
        path = blob_path(layer.digest)
        self._append(FileEntry(path, layer.size, layer.digest[7:], FILE_MODE, "image", expanded=expanded))
        return layer

    def document(self, data: bytes, *, where: str) -> str:  # noqa: ARG002 - part of the protocol
        """Store a configuration or manifest; see `BlobSink`."""
        digest = oci_digest(data)
        if digest not in self.documents:
            self.documents[digest] = data
            self.add(blob_path(digest), data)
        return digest

    def blob(self, stream: Readable, expected: ExpectedLayer) -> None:
        """Store a blob of which nothing is known but digest and size; see `BlobSink`."""
        path, count, found = blob_path(expected.digest), 0, hashlib.sha256()
        # A configuration that several manifests share, or a layer of an image.
        if any(each.path == path for each in self.entries):
            return
        peek = _Peek(stream, self.advance)
        while data := peek.read(CHUNK):
            self.output.write_at(self.offset + BLOCK + count, data)
            found.update(data)
            count += len(data)
        if (count, f"sha256:{found.hexdigest()}") != (expected.size, expected.digest):
            raise UnfitInputError("does not match its digest", where=expected.where, hint=DAMAGED)
        self._append(FileEntry(path, count, found.hexdigest(), FILE_MODE, "image"))

    def add(self, path: str, data: bytes) -> None:
        """Append a document of the image layout under its own name."""
        self.output.write_at(self.offset + BLOCK, data)
        self._append(FileEntry(path, len(data), oci_digest(data)[7:], FILE_MODE, "image"))

    def _append(self, entry: FileEntry) -> None:
        write_header(self.output, self.offset, entry, self.mtime)
        self.offset += extent(entry.size)
        self.entries.append(entry)


class _Peek:
    """A stream that remembers its first bytes and counts all of them."""

    def __init__(self, stream: Readable, advance: Callable[[int], None]) -> None:
        self._stream = stream
        self._advance = advance
        self.head = b""

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        # Progress counts what is read: what is written depends on the compression.
        self._advance(len(data))
        if len(self.head) < 4:
            self.head = (self.head + data)[:4]
        return data
