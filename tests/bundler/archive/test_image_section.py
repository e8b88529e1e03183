"""The images section while it is written: blobs in the order they come, each distinct one once."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest
import zstandard

from bundler.archive.image_section import BlobWriter
from bundler.archive.output_file import OutputFile
from bundler.image_sources.base import ExpectedLayer
from bundler.image_sources.layers import Compression, LayerTransform
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import blob_path
from installer.core.format.tar_header import BLOCK, END, decode, extent
from tests.rig.imagebuild import digest, tar

TAR = tar({"file": b"layer content " * 5000})
MTIME = 1_790_000_000


def writer(output: OutputFile, compression: Compression = "zstd") -> BlobWriter:
    return BlobWriter(output, 0, MTIME, LayerTransform(compression), lambda _count: None)


def put(blobs: BlobWriter, data: bytes, **fields: Any) -> Any:
    return blobs.layer(io.BytesIO(data), ExpectedLayer("x", **fields))


def written(output: OutputFile, blobs: BlobWriter) -> dict[str, bytes]:
    """Reads back what stands in the tar, by its headers alone."""
    output.write_at(blobs.offset, END)
    found, offset = {}, 0
    while any(block := os.pread(output.fd, BLOCK, offset)):
        header = decode(block, str(offset))
        found[header.name] = os.pread(output.fd, header.size, offset + BLOCK)
        offset += extent(header.size)
    assert offset == blobs.offset
    return found


def test_every_blob_is_named_by_its_digest_and_stands_in_the_order_it_came(output: OutputFile) -> None:
    blobs = writer(output)
    layer = put(blobs, TAR)
    blobs.document(b'{"config":1}', where="x")
    blobs.add("images/index.json", b"{}")
    found = written(output, blobs)
    assert list(found) == [blob_path(layer.digest), blob_path(digest(b'{"config":1}')), "images/index.json"]
    assert [entry.path for entry in blobs.entries] == list(found)
    for entry in blobs.entries:
        assert digest(found[entry.path]) == "sha256:" + entry.sha256
    assert zstandard.ZstdDecompressor().decompressobj().decompress(found[blob_path(layer.digest)]) == TAR
    assert (layer.diff_id, layer.expanded, blobs.entries[0].expanded) == (digest(TAR), len(TAR), len(TAR))


def test_a_layer_that_two_images_share_is_stored_once(output: OutputFile) -> None:
    blobs = writer(output)
    first = put(blobs, TAR)
    place = blobs.offset
    assert put(blobs, TAR) == first
    assert blobs.find(digest(TAR)) == first
    assert blobs.offset == place
    assert len(written(output, blobs)) == 1


def test_a_copy_that_was_taken_back_leaves_no_byte_behind(output: OutputFile) -> None:
    blobs = writer(output, "none")
    put(blobs, TAR)
    put(blobs, TAR)
    blobs.add("images/oci-layout", b"{}")
    assert list(written(output, blobs))[1] == "images/oci-layout"
    body = os.pread(output.fd, BLOCK, blobs.offset - BLOCK)
    assert body == b"{}" + bytes(510)


def test_compressed_layers_are_kept_byte_for_byte_even_beside_the_same_content(output: OutputFile) -> None:
    """A registry's digest has to stay valid, so another compression of the same layer is another blob."""
    blobs = writer(output)
    ours = put(blobs, TAR)
    theirs = zstandard.ZstdCompressor(level=1).compress(TAR + b"")
    other = zstandard.ZstdCompressor(level=19).compress(TAR)
    kept = [put(blobs, data, digest=digest(data)) for data in (theirs, other)]
    found = written(output, blobs)
    for data, layer in zip((theirs, other), kept, strict=True):
        assert (layer.digest, layer.diff_id) == (digest(data), ours.diff_id)
        assert found[blob_path(layer.digest)] == data


def test_an_uncompressed_layer_has_no_second_size(output: OutputFile) -> None:
    blobs = writer(output, "none")
    layer = put(blobs, TAR)
    assert layer.digest == layer.diff_id
    assert (layer.size, layer.expanded, blobs.entries[0].expanded) == (len(TAR), len(TAR), 0)


def test_a_document_is_stored_once(output: OutputFile) -> None:
    blobs = writer(output)
    assert blobs.document(b"{}", where="x") == blobs.document(b"{}", where="y") == digest(b"{}")
    assert len(blobs.entries) == 1


@pytest.mark.parametrize(
    "expected", [{"digest": "sha256:" + "0" * 64}, {"diff_id": "sha256:" + "0" * 64}, {"size": 3}]
)
def test_a_layer_that_is_not_what_it_was_said_to_be_is_refused(
    output: OutputFile, expected: dict[str, Any]
) -> None:
    with pytest.raises(UnfitInputError):
        put(writer(output), TAR, **expected)
