"""The byte stream from which an engine loads one image of a release, made on the fly.

An engine with the classic store gets Docker's own archive form with plain layers, because 20.10 reads no zstd
and because the id, the digest of the configuration, is the same either way. An engine with the containerd
store gets an OCI layout with the stored bytes as they are, because there the id is its manifest's digest.

What names the image comes last in both forms, so that an interrupted stream loads nothing.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

from installer.core.digest import oci_digest
from installer.core.errors import TamperedError, os_errors_as
from installer.core.format.manifest import Image, Layer, blob_path
from installer.core.format.tar_header import END, padding
from installer.core.limits import CHUNK, LIMITS, MIB
from installer.core.oci.documents import layer_form
from installer.core.oci.layout import LAYOUT, blob_name, make_index

Form = Literal["docker", "oci"]
# A layer says itself how much memory it needs; without a bound it could exhaust the host's.
WINDOW = 256 * MIB
"""Most memory that a zstd layer may ask for while it is expanded."""


@dataclass(frozen=True, slots=True)
class ImageLoad:
    """One image that is sent to one engine.

    Attributes:
        image: What the signed manifest says of it.
        release: The directory that holds `images/blobs/sha256`.
        tag: The private name under which it is loaded.
        form: What the engine reads.
        left_out: Positions of the layers that are not sent, because the engine has them.
    """

    image: Image
    release: Path
    tag: str
    form: Form
    left_out: frozenset[int] = frozenset()

    @property
    def sent(self) -> tuple[Layer, ...]:
        """The layers that are sent, each once."""
        kept = (layer for place, layer in enumerate(self.image.layers) if place not in self.left_out)
        known_by = "digest" if self.form == "oci" else "diff_id"
        return tuple({getattr(layer, known_by): layer for layer in kept}.values())

    @property
    def payload(self) -> int:
        """Bytes of layers that are sent."""
        return sum(layer.size if self.form == "oci" else layer.expanded for layer in self.sent)


def chain_ids(diff_ids: list[str] | tuple[str, ...]) -> list[str]:
    """Return the ChainID of every prefix of `diff_ids` (OCI image specification, "Layer ChainID")."""
    chains: list[str] = []
    for diff_id in diff_ids:
        text = f"{chains[-1]} {diff_id}" if chains else diff_id
        chains.append(oci_digest(text.encode()) if chains else diff_id)
    return chains


def stream(load: ImageLoad, advance: Callable[[int], None] = lambda _count: None) -> Iterator[bytes]:
    """Yield the archive. Every byte is checked against the signed manifest while it passes.

    Args:
        load: What to send.
        advance: Told the bytes of layers as they pass.

    Yields:
        Pieces of at most a few MiB.

    Raises:
        TamperedError: A blob is missing, or is not what the signed manifest says. An engine loads
            nothing from what it got before.
    """
    oci, release = load.form == "oci", load.release
    for layer in load.sent:
        size = layer.size if oci else layer.expanded
        yield _header(blob_name(layer.digest) if oci else _layer_name(layer), size)
        yield from _counted(_stored(release, layer) if oci else _plain(release, layer), advance)
        yield bytes(padding(size))
    for name, data in (_oci_documents(load) if oci else _docker_documents(load)).items():
        yield _header(name, len(data)) + data + bytes(padding(len(data)))
    yield END


def _docker_documents(load: ImageLoad) -> dict[str, bytes]:
    config = load.image.config.removeprefix("sha256:") + ".json"
    # All layers are named, also those not sent: the engine takes them from its store by diff id.
    names = [_layer_name(layer) for layer in load.image.layers]
    listing = [{"Config": config, "RepoTags": [load.tag], "Layers": names}]
    document = read_document(load.release, load.image.config)
    return {config: document, "manifest.json": json.dumps(listing).encode()}


def _oci_documents(load: ImageLoad) -> dict[str, bytes]:
    image = load.image
    found = {digest: read_document(load.release, digest) for digest in (image.config, image.manifest)}
    return {
        **{blob_name(digest): data for digest, data in found.items()},
        "oci-layout": LAYOUT,
        "index.json": make_index([replace(image, reference=load.tag)], found),
    }


def read_document(release: Path, digest: str) -> bytes:
    """Read a configuration or a manifest and check its digest.

    Raises:
        TamperedError: It is missing, larger than a document may be, or does not have its digest.
    """
    where = blob_path(digest)
    with _open(release, digest) as file:
        data = file.read(LIMITS.document_bytes + 1)
    if len(data) > LIMITS.document_bytes:
        raise TamperedError(f"is larger than the {LIMITS.document_bytes} bytes allowed", where=where)
    if oci_digest(data) != digest:
        raise TamperedError("does not match its digest", where=where, hint=_HINT)
    return data


_HINT = "the directory of the release was changed after it was verified: install the bundle again"


def _open(release: Path, digest: str) -> BinaryIO:
    with os_errors_as(TamperedError, "cannot be read", blob_path(digest), hint=_HINT):
        return (release / blob_path(digest)).open("rb")


class _Tap:
    """A layer's stored bytes, hashed and bounded by the signed size as they are read."""

    def __init__(self, file: BinaryIO, layer: Layer, keep: bool) -> None:
        self._file, self._layer, self._keep = file, layer, keep
        self._digest, self._count = hashlib.sha256(), 0
        self.passed: list[bytes] = []

    def read(self, count: int = CHUNK) -> bytes:
        piece = self._file.read(count)
        self._count += len(piece)
        # While reading, not after: a file that grew must not be read to its end.
        if self._count > self._layer.size:
            raise _fault(self._layer, f"is larger than the signed {self._layer.size} bytes")
        if self._keep:
            self._digest.update(piece)
            self.passed.append(piece)
        return piece

    def take(self) -> list[bytes]:
        """Return what was read since the last call."""
        taken, self.passed = self.passed, []
        return taken

    def check(self) -> None:
        if self._count != self._layer.size:
            raise _fault(self._layer, f"does not have the signed size of {self._layer.size} bytes")
        if self._keep and "sha256:" + self._digest.hexdigest() != self._layer.digest:
            raise _fault(self._layer, "does not match its digest")


def _plain(release: Path, layer: Layer) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a layer."""
    # The last piece is held back until all of them are known to be as signed: without it nothing is loaded.
    held = b""
    with _open(release, layer.digest) as file:
        for piece in _checked(_Tap(file, layer, keep=False), layer):
            if held:
                yield held
            held = piece
    yield held


def _stored(release: Path, layer: Layer) -> Iterator[bytes]:
    """Yield the stored bytes of a layer, while they are expanded to check what they contain."""
    # As above: the last pieces go out only when the layer is as signed, compressed and expanded.
    held: list[bytes] = []
    with _open(release, layer.digest) as file:
        tap = _Tap(file, layer, keep=True)
        for _ in _checked(tap, layer):
            if tap.passed:
                yield from held
                held = tap.take()
        tap.check()
        held += tap.take()
    yield from held


def _checked(tap: _Tap, layer: Layer) -> Iterator[bytes]:
    """Yield what a layer expands to, and fail at its end if that is not what was signed."""
    digest, count = hashlib.sha256(), 0
    for piece in _expanded(tap, layer):
        count += len(piece)
        if count > layer.expanded:
            # At once, not at the end: a small layer can expand to any size.
            raise _fault(layer, f"expands to more than the signed {layer.expanded} bytes")
        digest.update(piece)
        yield piece
    if count != layer.expanded:
        raise _fault(layer, f"expands to {count} bytes, not the signed {layer.expanded}")
    if "sha256:" + digest.hexdigest() != layer.diff_id:
        raise _fault(layer, f"does not match the signed {layer.diff_id} when expanded")


def _expanded(tap: _Tap, layer: Layer) -> Iterator[bytes]:
    """Yield a layer expanded, in pieces of at most CHUNK, however much it is compressed."""
    form = layer_form(layer.media_type)
    if form == "zstd":
        import zstandard

        reader = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(
            cast(IO[bytes], tap), read_size=CHUNK, read_across_frames=True
        )
        try:
            while piece := reader.read(CHUNK):
                yield piece
        except zstandard.ZstdError as error:
            raise _fault(layer, f"cannot be expanded: {error}") from error
    elif form == "gzip":
        try:
            yield from _gunzipped(tap)
        except zlib.error as error:
            raise _fault(layer, f"cannot be expanded: {error}") from error
    else:
        while piece := tap.read():
            yield piece


def _gunzipped(tap: _Tap) -> Iterator[bytes]:
    expander = zlib.decompressobj(wbits=31)
    while rest := tap.read():
        while rest:
            if expander.eof:  # gzip allows several members in a row
                expander = zlib.decompressobj(wbits=31)
            if piece := expander.decompress(rest, CHUNK):
                yield piece
            rest = expander.unused_data if expander.eof else expander.unconsumed_tail
    if piece := expander.flush():
        yield piece


def _counted(pieces: Iterator[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        advance(len(piece))


def _fault(layer: Layer, what: str) -> TamperedError:
    return TamperedError(what, where=blob_path(layer.digest), hint=_HINT)


def _header(name: str, size: int) -> bytes:
    # No owner, no time: the same release makes the same bytes.
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def _layer_name(layer: Layer) -> str:
    return layer.diff_id.removeprefix("sha256:") + "/layer.tar"
