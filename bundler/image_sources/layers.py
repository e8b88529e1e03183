"""Bring layers into their stored form: recognise, hash, compress or keep, in one pass and flat memory.

Hashing, (de)compressing and writing run in parallel. The result depends on the bytes and the settings
only: zstd cuts its jobs by size, so two workers give the same bytes on one core as on sixty-four.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from bundler.image_sources.base import ExpectedLayer, Readable
from bundler.image_sources.lane import Lane
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Layer
from installer.core.limits import CHUNK, GIB, KIB
from installer.core.oci.documents import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, layer_form

Compression = Literal["zstd", "gzip", "none"]
Form = Literal["tar", "gzip", "zstd"]
Write = Callable[[bytes], object]

# Far above any real layer; a bomb ends here instead of filling the disk.
MAX_EXPANDED = 256 * GIB
"""Bytes that one layer may expand to."""
MAX_ZSTD_WINDOW = 2**27
"""The largest window that `zstd` itself decompresses without being asked: 128 MiB."""
# zstd may expand 2 KiB to 64 MiB at once: a larger piece could fill the memory in one call.
ZSTD_PIECE = 2 * KIB
"""Compressed bytes handed to zstd at once: they expand to 64 MiB at the very worst."""

ANY_LAYER = ExpectedLayer()
"""A layer of which nothing is known."""
_MEDIA_TYPES: dict[Form, str] = {"tar": LAYER_TAR, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}
_MAGIC: tuple[tuple[bytes, Form], ...] = ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_REBUILD = "the copy is damaged: fetch or build the image again"


def sniff(head: bytes) -> Form:
    """Return the form of a layer by its first four bytes."""
    return next((form for magic, form in _MAGIC if head.startswith(magic)), "tar")


@dataclass(frozen=True, slots=True)
class LayerTransform:
    """The transformation of layers into the form in which a bundle stores them.

    Attributes:
        compression: For layers that arrive uncompressed; others are stored as they are.
        max_expanded: Most bytes that a layer may expand to.
    """

    compression: Compression = "zstd"
    max_expanded: int = MAX_EXPANDED

    def run(self, stream: Readable, write: Write, expected: ExpectedLayer = ANY_LAYER) -> Layer:
        """Read a layer to its end and write its stored form.

        Args:
            stream: The layer.
            write: Takes the stored bytes, piece by piece.
            expected: What is known of the layer.

        Returns:
            What was written.

        Raises:
            UnfitInputError: It is empty, is not as expected, expands beyond the limit, or its compression is
                broken.
        """
        size, where = expected.size, expected.where
        chunks = _chunks(stream, size, where)
        # The first bytes decide the form; the media type is only compared with it.
        head = next(chunks, b"")
        if not head:
            raise UnfitInputError("the layer is empty", where=where, hint=_REBUILD)
        form, chunks = sniff(head), chain((head,), chunks)
        if expected.media_type and layer_form(expected.media_type) != form:
            what = f"the layer has the media type {expected.media_type}, but is {form}"
            raise UnfitInputError(what, where=where, hint=_REBUILD)
        # Uncompressed layers are compressed; compressed ones keep their bytes, which signatures cover.
        if form == "tar":
            layer = self._compress(chunks, write, where)
            read, read_digest = layer.expanded, layer.diff_id
        else:
            layer = self._keep(form, chunks, write, where)
            layer = replace(layer, media_type=expected.media_type or layer.media_type)
            read, read_digest = layer.size, layer.digest
        wrong = ""
        # Size before digest: "ends early" tells more than "another digest".
        if size >= 0 and read != size:
            wrong = f"the layer ends after {read} of {size} bytes"
        elif expected.digest and read_digest != expected.digest:
            wrong = f"the layer's digest is {read_digest}, not {expected.digest}"
        elif expected.diff_id and layer.diff_id != expected.diff_id:
            wrong = f"the layer's uncompressed digest is {layer.diff_id}, not {expected.diff_id}"
        if wrong:
            raise UnfitInputError(wrong, where=where, hint=_REBUILD)
        return layer

    def _compress(self, chunks: Iterator[bytes], write: Write, where: str) -> Layer:
        """Store an uncompressed layer in the bundle's form."""
        form: Form = "tar" if self.compression == "none" else self.compression
        compressor = _compressor(form)
        plain, stored = _Hash(), _Hash()
        # Hashing runs in its own thread: it takes as long as compressing.
        with Lane("hash") as hashing:
            read = 0
            for chunk in chunks:
                read += len(chunk)
                self._bound(read, where)
                hashing.put(plain.update, chunk)
                if compressor is None:
                    write(chunk)
                # A compressor buffers: many calls give nothing.
                elif out := compressor.compress(chunk):
                    stored.update(out)
                    write(out)
            if compressor is not None:
                out = compressor.flush()
                stored.update(out)
                write(out)
        if compressor is None:
            stored = plain
        return Layer(stored.digest, stored.size, _MEDIA_TYPES[form], plain.digest, plain.size)

    def _keep(self, form: Form, chunks: Iterator[bytes], write: Write, where: str) -> Layer:
        """Store a compressed layer byte for byte."""
        plain, stored = _Hash(), _Hash()
        expander = _Expander(form, where)
        produced = 0
        with Lane("hash-plain") as hashing_plain:

            def expand_chunk(chunk: bytes) -> None:
                nonlocal produced
                for out in expander.feed(chunk):
                    produced += len(out)
                    self._bound(produced, where)
                    hashing_plain.put(plain.update, out)

            # Reading, hashing, expanding and hashing again overlap: the slowest of them sets the pace.
            with Lane("expand") as expanding, Lane("hash") as hashing:
                for chunk in chunks:
                    hashing.put(stored.update, chunk)
                    expanding.put(expand_chunk, chunk)
                    write(chunk)
        expander.finish()
        return Layer(stored.digest, stored.size, _MEDIA_TYPES[form], plain.digest, plain.size)

    def _bound(self, count: int, where: str) -> None:
        if count > self.max_expanded:
            raise UnfitInputError(
                f"the layer expands to more than the {self.max_expanded} bytes allowed",
                where=where,
                hint="split the content of the image into several layers, or check where it comes from",
            )


@dataclass(slots=True)
class _Hash:
    """A SHA-256 that counts."""

    size: int = 0
    _sha: hashlib._Hash = field(default_factory=hashlib.sha256)

    def update(self, chunk: bytes) -> None:
        self._sha.update(chunk)
        self.size += len(chunk)

    @property
    def digest(self) -> str:
        return "sha256:" + self._sha.hexdigest()


def _compressor(form: Form) -> Any:
    if form == "zstd":
        import zstandard

        # Neither the size nor a checksum: a stream has no size yet, and the digest says more.
        return zstandard.ZstdCompressor(
            level=3, threads=2, write_content_size=False, write_checksum=False
        ).compressobj()
    if form == "gzip":
        # 31: a gzip header without time and name, so that the bytes depend on the content alone.
        return zlib.compressobj(6, zlib.DEFLATED, 31)
    return None


def expand(stream: Readable, form: Form, where: str) -> Iterator[bytes]:
    """Yield the decompressed content of a gzip or zstd stream in pieces, which may be empty.

    Raises:
        UnfitInputError: The stream is broken or ends early.
    """
    expander = _Expander(form, where)
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        yield from expander.feed(chunk)
    expander.finish()


class _Expander:
    """Decompresses gzip members or zstd frames, one after the other, never much at a time."""

    def __init__(self, form: Form, where: str) -> None:
        self._form = form
        self._where = where
        self._part: Any = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decompressed content of `chunk`."""
        import zstandard

        try:
            # zstd has no bound for its output: only short pieces of input keep it small.
            step = CHUNK if self._form == "gzip" else ZSTD_PIECE
            for start in range(0, len(chunk), step):
                yield from self._expand(chunk[start : start + step])
        # Errors of both libraries become one error with the layer's name.
        except (zlib.error, zstandard.ZstdError) as error:
            what = f"the {self._form} stream is damaged: {error}"
            raise UnfitInputError(what, where=self._where, hint=_REBUILD) from None

    def finish(self) -> None:
        """Check that the last member or frame came to its end."""
        if self._part is not None:
            raise UnfitInputError(f"the {self._form} stream ends early", where=self._where, hint=_REBUILD)

    def _expand(self, data: bytes) -> Iterator[bytes]:
        more = True
        while more:
            part = self._part or self._begin()
            # Bounded output: one call may otherwise expand a chunk a thousandfold.
            out = part.decompress(data, CHUNK) if self._form == "gzip" else part.decompress(data)
            yield out
            self._part = None if part.eof else part
            # Files may be several members or frames, one after the other; pigz and bgzip write such files.
            data = part.unused_data if part.eof else part.unconsumed_tail
            more = bool(data) or (self._form == "gzip" and len(out) == CHUNK and not part.eof)

    def _begin(self) -> Any:
        import zstandard

        if self._form == "gzip":
            return zlib.decompressobj(31)
        # A larger window is refused, as `zstd` does: it is memory that the sender chooses.
        return zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()


# Sniffing needs four bytes, and a pipe may deliver one.
def _chunks(stream: Readable, size: int, where: str) -> Iterator[bytes]:
    """Read a stream to its end; the first chunk has at least four bytes, if the stream has."""
    head = b""
    while len(head) < 4 and (chunk := stream.read(CHUNK)):
        head += chunk
    read = len(head)
    chunk = head
    while chunk:
        # A source that sends without end is stopped here.
        if 0 <= size < read:
            raise UnfitInputError(
                f"the layer is larger than its stated size of {size} bytes", where=where, hint=_REBUILD
            )
        yield chunk
        chunk = stream.read(CHUNK)
        read += len(chunk)
