"""Targets of images: OCI documents, archives of `docker save`, compressed layers."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import lzma
import zlib
from pathlib import Path
from tempfile import mkdtemp

import zstandard

from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.attachments import artifact_type
from bundler.image_sources.layers import LayerTransform, expand
from bundler.image_sources.tarscan import scan
from installer.core.errors import TamperedError, UnfitInputError
from installer.core.oci import documents as oci
from installer.shared.published.document import Blob, Published, config_of, parse_published, pieces
from tests.fuzz.bundles import healed
from tests.fuzz.target import Target, refusal, same
from tests.rig.imagebuild import Built, layer, layout, packed, saved_new, saved_old, tar
from tests.rig.memorysink import MemorySink

ONE = Built("lan-chat/services:1.4.0", [layer("base", 600), layer("app", 600)])
MANY = 1 << 20


def check_documents(data: bytes) -> None:
    """Each document is one of its kind or refused; what it names are digests and sizes, never places."""
    for parse in (oci.parse_document, oci.parse_manifest, oci.parse_index):
        with refusal(TamperedError):
            found = parse(data, "index.json")
            below = found.manifests if isinstance(found, oci.ImageIndex) else (found.config, *found.layers)
            for each in below:
                if not each.digest.startswith("sha256:") or len(each.digest) != 71 or each.size < 0:
                    raise AssertionError(f"a blob that is none: {each}")
    with refusal(TamperedError):
        oci.parse_config(data, "config")
    with refusal(TamperedError):
        artifact_type(data, "manifest")
    with refusal(TamperedError):
        for entry in oci.parse_docker_manifest(data, "manifest.json"):
            if any(".." in name.split("/") or name.startswith("/") for name in (entry.config, *entry.layers)):
                raise AssertionError(f"a member that climbs: {entry}")


def check_published(data: bytes) -> None:
    """The two documents of a published bundle, with a zero byte between: what is accepted can be written."""
    manifest, _, config = data.partition(b"\0")
    with refusal(TamperedError):
        config_of(manifest, "manifest")
    with refusal(TamperedError):
        found = parse_published(manifest, config, "bundle")
        if parse_published(found.manifest(), found.config(), "bundle") != found:
            raise AssertionError("what was accepted is not what is written")
        if sum(length for _, length in pieces(found.runs)) != found.size:
            raise AssertionError("the pieces are not the bundle")


def published() -> list[bytes]:
    """Gives the documents of a bundle, in order and not."""
    frame, blob = Blob("sha256:" + "1" * 64, 30), Blob("sha256:" + "2" * 64, 100)
    made = Published(130, "4" * 64, (20, 100, 10), frame, (blob,))
    return [made.manifest() + b"\0" + made.config(), made.config() + b"\0" + made.manifest()]


def documents() -> list[bytes]:
    """Gives every kind of document."""
    found = {**saved_old([ONE]), **saved_new([ONE])}
    return [data for data in found.values() if isinstance(data, bytes) and data[:1] in (b"{", b"[")]


@functools.cache
def path() -> Path:
    """Gives a place of this process for an archive."""
    return Path(mkdtemp(prefix="waybill-fuzz-")) / "images.tar"


def check_archive(data: bytes) -> None:
    """An archive is refused, or its images are made of what was in it, digests and all."""
    path().write_bytes(healed(data))
    with refusal(UnfitInputError):
        sink = MemorySink("none")
        source = ArchiveSource(path(), ("linux/amd64",))
        resolved = source.resolve()
        images = source.pack(sink)
        same(
            [(each.reference, each.platform) for each in resolved],
            [(each.reference, each.platform) for each in images],
        )
        configs = [oci.oci_digest(saved.config) for _, saved in source.chosen]
        same(configs, [each.config for each in images])
        for image in images:
            blobs = (image.manifest, image.config, *(each.digest for each in image.layers))
            same([oci.oci_digest(sink.blobs[digest]) for digest in blobs], [*blobs])
            same(
                tuple(each.diff_id for each in image.layers),
                oci.parse_config(sink.blobs[image.config], "c").diff_ids,
            )


def archives() -> list[bytes]:
    """Gives archives of every form, plain and compressed as a whole."""
    old, new = tar(saved_old([ONE])), tar(saved_new([ONE]))
    zipped = tar(layout([Built("chat:1", [layer("base", 600)], form="zstd")]))
    linked = tar({"a/x": Path("../b"), "b": b"{}"}).replace(b"\x002../b", b"\x001../b", 1)
    others = [lzma.compress(new), bz2.compress(old, 1), linked]
    return [old, new, zipped, packed(old, "gzip"), packed(new, "zstd"), *others, old[:1500], b""]


def check_scan(data: bytes) -> None:
    """Members of an archive lie within it, and their names stay within it."""
    whole = healed(data)
    with refusal(UnfitInputError):
        for member, body in scan(io.BytesIO(whole), "images.tar"):
            if (
                member.name.startswith("/")
                or ".." in member.name.split("/")
                or ".." in member.target.split("/")
            ):
                raise AssertionError(f"a name that climbs: {member}")
            same(b"".join(iter(body.read, b"")), whole[member.offset : member.offset + member.size])


def check_layer(data: bytes) -> None:
    """A stored layer is what came, or expands to it, and never to more than is allowed."""
    out = bytearray()
    with refusal(UnfitInputError):
        found = LayerTransform("none", max_expanded=MANY).run(io.BytesIO(data), out.extend)
        same((bytes(out), found.size), (data, len(data)))
        if found.expanded > MANY:
            raise AssertionError("expands to more than is allowed")
        form = oci.layer_form(found.media_type)
        if form != "tar":
            plain = b"".join(expand(io.BytesIO(data), "gzip" if form == "gzip" else "zstd", "layer"))
            same((oci.oci_digest(plain), len(plain)), (found.diff_id, found.expanded))


def layers() -> list[bytes]:
    """Gives layers of every form, and bombs."""
    plain = layer("base", 600)
    two = gzip.compress(plain, mtime=0) + gzip.compress(b"", mtime=0)
    bomb = zstandard.ZstdCompressor().compress(bytes(4 * MANY))
    raw = zlib.compressobj(9, zlib.DEFLATED, 31)
    return [
        plain,
        two,
        packed(plain, "zstd") * 2,
        bomb,
        raw.compress(bytes(4 * MANY)) + raw.flush(),
        zstandard.ZstdCompressor(write_checksum=True).compress(plain)[:-2],
    ]


JSON = (
    b'"manifests":',
    b'"layers":',
    b'"config":',
    b'"digest":"sha256:',
    b'"size":',
    b'"urls":',
    b'"RepoTags":',
    b"null",
    b"-1",
)
TARGETS = (
    Target("oci-documents", check_documents, documents, words=JSON),
    Target("published-documents", check_published, published, words=(*JSON, b"runs", b"layers", b"size")),
    Target(
        "image-archive",
        check_archive,
        archives,
        runs=300,
        most=16384,
        words=(b"manifest.json", b"index.json", b"../"),
    ),
    Target(
        "image-tar",
        check_scan,
        archives,
        runs=2000,
        most=16384,
        words=(b"ustar\00000", b" path=../x\n", b" size=9\n"),
    ),
    Target("layer", check_layer, layers, runs=500, words=(b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd")),
)
