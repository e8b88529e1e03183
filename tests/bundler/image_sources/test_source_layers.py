"""Layers get their stored form: recognised, checked, compressed or kept, always the same bytes."""

from __future__ import annotations

import gzip
import io
import os
import random
import resource
import threading
from collections.abc import Iterator

import pytest
import zstandard

from bundler.image_sources.base import ExpectedLayer
from bundler.image_sources.layers import LayerTransform
from installer.core.digest import oci_digest
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Layer
from installer.core.oci import documents
from tests.rig.imagebuild import layer, packed, tar

PLAIN = layer("program", 300_000)
BIG = (layer("noise", 2_500_000) + bytes(3_000_000)) * 3


class Dripping:
    """A stream that gives few bytes at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._file, self._step = io.BytesIO(data), step

    def read(self, size: int) -> bytes:
        return self._file.read(min(size, self._step))


def run(data: bytes, compression: str = "zstd", step: int = 2**20, **expected: object) -> tuple[Layer, bytes]:
    out = bytearray()
    transform = LayerTransform(compression)  # type: ignore[arg-type]
    return transform.run(Dripping(data, step), out.extend, ExpectedLayer(**expected)), bytes(out)  # type: ignore[arg-type]


def expanded(data: bytes, form: str) -> bytes:
    if form == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return gzip.decompress(data) if form == "gzip" else data


@pytest.mark.parametrize(
    ("compression", "form", "media_type"),
    [
        ("zstd", "zstd", documents.LAYER_ZSTD),
        ("gzip", "gzip", documents.LAYER_GZIP),
        ("none", "tar", documents.LAYER_TAR),
    ],
)
def test_an_uncompressed_layer_gets_the_form_of_the_bundle(
    compression: str, form: str, media_type: str
) -> None:
    stored, data = run(
        PLAIN, compression, diff_id=oci_digest(PLAIN), digest=oci_digest(PLAIN), size=len(PLAIN)
    )
    assert expanded(data, form) == PLAIN
    assert stored == Layer(oci_digest(data), len(data), media_type, oci_digest(PLAIN), len(PLAIN))


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_compressed_layer_keeps_its_bytes(compression: str, form: str) -> None:
    given = packed(PLAIN, form)
    stored, data = run(given, compression, digest=oci_digest(given), diff_id=oci_digest(PLAIN))
    assert data == given
    assert (stored.digest, stored.diff_id, stored.expanded) == (
        oci_digest(given),
        oci_digest(PLAIN),
        len(PLAIN),
    )


def test_a_compressed_layer_keeps_its_media_type() -> None:
    kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    assert run(packed(PLAIN, "gzip"), media_type=kind)[0].media_type == kind


@pytest.mark.parametrize("compression", ["zstd", "gzip", "none"])
def test_the_stored_bytes_do_not_depend_on_how_the_stream_comes(compression: str) -> None:
    results = {run(BIG, compression, step)[1] for step in (2**20, 77_777, 4096 * 1024)}
    assert len(results) == 1


def test_the_stored_bytes_do_not_depend_on_the_number_of_cores() -> None:
    cores = os.sched_getaffinity(0)
    everywhere = run(BIG)[1]
    os.sched_setaffinity(0, {min(cores)})
    try:
        assert run(BIG)[1] == everywhere
    finally:
        os.sched_setaffinity(0, cores)


def test_the_first_bytes_may_come_one_by_one() -> None:
    small = layer("small", 300)
    assert run(packed(small, "gzip"), step=1)[0].diff_id == oci_digest(small)


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_several_members_or_frames_are_one_layer(form: str) -> None:
    given = packed(BIG[:700_000], form) + packed(BIG[700_000:], form)
    assert run(given)[0].diff_id == oci_digest(BIG)


def test_frames_that_zstd_skips_are_kept() -> None:
    given = packed(PLAIN, "zstd") + b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"index"
    stored, data = run(given)
    assert (data, stored.diff_id) == (given, oci_digest(PLAIN))


DIFF = oci_digest(PLAIN)
ZSTD, GZIP = packed(PLAIN, "zstd"), packed(PLAIN, "gzip")
FLIPPED = ZSTD[:40] + bytes([ZSTD[40] ^ 255]) + ZSTD[41:]
BAD: dict[str, tuple[bytes, dict[str, object], str]] = {
    "empty": (b"", {}, "is empty"),
    "another digest": (PLAIN, {"digest": oci_digest(b"x")}, "digest is"),
    "another digest, compressed": (GZIP, {"digest": oci_digest(b"x")}, "digest is"),
    "another diff_id": (PLAIN, {"diff_id": oci_digest(b"x")}, "uncompressed digest is"),
    "another diff_id, compressed": (ZSTD, {"diff_id": oci_digest(b"x")}, "uncompressed digest is"),
    "shorter than said": (PLAIN, {"size": len(PLAIN) + 1}, "ends after"),
    "longer than said": (PLAIN, {"size": len(PLAIN) - 1}, "is larger than its stated size"),
    "gzip, called tar": (GZIP, {"media_type": documents.LAYER_TAR}, "is gzip"),
    "tar, called zstd": (PLAIN, {"media_type": documents.LAYER_ZSTD}, "is tar"),
    "gzip cut": (GZIP[:-9], {}, "ends early"),
    "zstd cut": (ZSTD[:-9], {}, "ends early"),
    "gzip with dirt after it": (GZIP + b"dirt", {}, "stream is damaged"),
    "zstd with dirt after it": (ZSTD + b"dirt of some length", {}, "stream is damaged"),
    "gzip with a wrong checksum": (GZIP[:-8] + bytes(8), {}, "stream is damaged"),
    "zstd with a flipped bit": (FLIPPED, {"diff_id": DIFF}, "stream is damaged|uncompressed digest|early"),
    "zstd with a window of a gigabyte": (bytes.fromhex("28b52ffd00a0010000"), {}, "more than 128 MiB"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD)
def test_a_layer_that_is_not_what_was_said_is_refused(fault: str) -> None:
    data, expected, words = BAD[fault]
    with pytest.raises(UnfitInputError, match=words) as raised:
        run(data, where="archive.tar: layer", **expected)
    assert raised.value.where == "archive.tar: layer"
    assert raised.value.hint


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_a_bomb_is_stopped_at_the_limit_in_little_memory(form: str) -> None:
    bomb = packed(bytes(400_000_000), form)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnfitInputError, match="expands to more than"):
        LayerTransform(max_expanded=50_000_000).run(io.BytesIO(bomb), lambda _: None, ExpectedLayer("bomb"))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def test_an_endless_layer_is_stopped_at_the_limit() -> None:
    with pytest.raises(UnfitInputError, match="expands to more than"):
        LayerTransform("none", max_expanded=5_000_000).run(io.BytesIO(bytes(6_000_000)), lambda _: None)


@pytest.mark.parametrize("data", [BIG, packed(BIG, "gzip"), packed(BIG, "zstd")], ids=["tar", "gzip", "zstd"])
def test_an_error_of_the_writer_comes_out_at_once(data: bytes) -> None:
    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        LayerTransform("none").run(io.BytesIO(data), full)


@pytest.mark.parametrize("form", ["tar", "gzip", "zstd"])
def test_memory_stays_flat(form: str) -> None:
    piece = packed(tar({"file": random.Random(1).randbytes(2**20)})[: 2**20 + 512], form)

    class Endless:
        left = 400

        def read(self, size: int) -> bytes:
            self.left -= 1
            return piece if self.left >= 0 else b""

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert LayerTransform("zstd").run(Endless(), lambda _: None).expanded == 400 * (2**20 + 512)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_gzip_carries_no_time() -> None:
    assert run(PLAIN, "gzip")[1][4:8] == bytes(4)


@pytest.fixture(autouse=True)
def _no_threads_are_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before
