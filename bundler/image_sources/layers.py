"""Bring layers into their stored form: recognise, hash, compress or keep, in one pass and flat memory.

Hashing, (de)compressing and writing run in parallel. The result depends on the bytes and the settings
only: zstd cuts its jobs by size, so two workers give the same bytes on one core as on sixty-four.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from bundler.image_sources.base import ExpectedLayer, Readable
from bundler.image_sources.lane import Lane
from installer.core.errors import UnfitInputError
from installer.core.format.manifest import Layer
from installer.core.limits import CHUNK, GIB, KIB
from installer.core.oci.documents import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, layer_form

if TYPE_CHECKING:
    import zstandard

Compression = Literal["zstd", "gzip", "none"]
Form = Literal["tar", "gzip", "zstd"]

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

    def run(
        self, stream: Readable, write: Callable[[bytes], object], expected: ExpectedLayer = ANY_LAYER
    ) -> Layer:
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
        form = sniff(head)
        if expected.media_type and layer_form(expected.media_type) != form:
            what = f"the layer has the media type {expected.media_type}, but is {form}"
            raise UnfitInputError(what, where=where, hint=_REBUILD)
        # Uncompressed layers are compressed; compressed ones keep their bytes, which signatures cover.
        if form == "tar":
            layer = self._compress(head, chunks, write, where)
            read, read_digest = layer.expanded, layer.diff_id
        else:
            layer = self._keep(form, head, chunks, write, where)
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

    def _compress(
        self, head: bytes, chunks: Iterator[bytes], write: Callable[[bytes], object], where: str
    ) -> Layer:
        """Store an uncompressed layer in the bundle's form."""
        form: Form = "tar" if self.compression == "none" else self.compression
        compressor = _compressor(form)
        plain, stored = _Hash(), _Hash()
        # Hashing runs in its own thread: it takes as long as compressing.
        with Lane("hash") as hashing:
            chunk, read = head, 0
            while chunk:
                read += len(chunk)
                self._bound(read, where)
                hashing.put(plain.update, chunk)
                if compressor is None:
                    write(chunk)
                # A compressor buffers: many calls give nothing.
                elif out := compressor.compress(chunk):
                    stored.update(out)
                    write(out)
                chunk = next(chunks, b"")
            if compressor is not None:
                out = compressor.flush()
                stored.update(out)
                write(out)
        if compressor is None:
            stored = plain
        return Layer(stored.digest, stored.size, _MEDIA_TYPES[form], plain.digest, plain.size)

    def _keep(
        self,
        form: Form,
        head: bytes,
        chunks: Iterator[bytes],
        write: Callable[[bytes], object],
        where: str,
    ) -> Layer:
        """Store a compressed layer byte for byte."""
        plain, stored = _Hash(), _Hash()
        expander = _expander(form)
        produced = 0
        with Lane("hash-plain") as hashing_plain:

            def expand_chunk(chunk: bytes) -> None:
                nonlocal produced
                # Errors of both libraries become one error with the layer's name.
                with _broken(form, where):
                    for out in expander.feed(chunk):
                        produced += len(out)
                        self._bound(produced, where)
                        hashing_plain.put(plain.update, out)

            # Reading, hashing, expanding and hashing again overlap: the slowest of them sets the pace.
            with Lane("expand") as expanding, Lane("hash") as hashing:
                chunk = head
                while chunk:
                    hashing.put(stored.update, chunk)
                    expanding.put(expand_chunk, chunk)
                    write(chunk)
                    chunk = next(chunks, b"")
        _finish(expander, form, where)
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


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _compressor(form: Form) -> _Compressor | None:
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
    chunks = iter(lambda: stream.read(CHUNK), b"")
    expander = _expander(form)
    for chunk in chunks:
        with _broken(form, where):
            yield from expander.feed(chunk)
    _finish(expander, form, where)


@contextmanager
def _broken(form: Form, where: str) -> Iterator[None]:
    import zstandard

    try:
        yield
    except (zlib.error, zstandard.ZstdError) as error:
        raise UnfitInputError(f"the {form} stream is damaged: {error}", where=where, hint=_REBUILD) from None


def _finish(expander: _Expander, form: Form, where: str) -> None:
    if not expander.complete:
        raise UnfitInputError(f"the {form} stream ends early", where=where, hint=_REBUILD)


def _expander(form: Form) -> _Expander:
    return _Gunzip() if form == "gzip" else _Unzstd()


class _Expander(Protocol):
    """Decompresses members or frames, one after the other, never much at a time."""

    @property
    def complete(self) -> bool:
        """Whether the last member or frame came to its end."""
        ...

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decompressed content of `chunk`."""
        ...


# zlib reads one member; files may have several, and none may expand without bounds.
class _Gunzip:
    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None

    @property
    def complete(self) -> bool:
        return self._member is None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        data, more = chunk, True
        while more:
            member = self._member or zlib.decompressobj(31)
            # Bounded output: one call may otherwise expand a chunk a thousandfold.
            out = member.decompress(data, CHUNK)
            yield out
            self._member = None if member.eof else member
            # gzip files may be several members, one after the other; pigz and bgzip write such files.
            data = member.unused_data if member.eof else member.unconsumed_tail
            more = bool(data) or (len(out) == CHUNK and not member.eof)


class _Unzstd:
    def __init__(self) -> None:
        self._frame: zstandard.ZstdDecompressionObj | None = None

    @property
    def complete(self) -> bool:
        return self._frame is None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        import zstandard

        for start in range(0, len(chunk), ZSTD_PIECE):
            data = chunk[start : start + ZSTD_PIECE]
            while data:
                if self._frame is None:
                    # A larger window is refused, as `zstd` does: it is memory that the sender chooses.
                    self._frame = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()
                yield self._frame.decompress(data)
                data = self._frame.unused_data if self._frame.eof else b""
                if self._frame.eof:
                    self._frame = None


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
