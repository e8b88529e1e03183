"""Bring layers into their stored form: recognise, hash, compress or keep, in one pass and flat memory.

Hashing, (de)compressing and writing run in parallel. The result depends on the bytes and the settings
only: zstd cuts its jobs by size, so two workers give the same bytes on one core as on sixty-four.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

from bundler.image_sources.base import ExpectedLayer, Readable
from bundler.image_sources.faults import AGAIN, DAMAGED
from bundler.image_sources.lane import Lane
from installer.core.errors import TamperedError, UnfitInputError
from installer.core.format.manifest import Layer
from installer.core.limits import CHUNK, GIB, MIB
from installer.core.oci.documents import LAYER_GZIP, LAYER_TAR, LAYER_ZSTD, layer_form
from installer.core.oci.expand import Expander, Form, sniff
from installer.core.oci.layer_tar import TarWalk

Compression = Literal["zstd", "gzip", "none"]
ArchiveForm = Form | Literal["xz", "bzip2"]
Write = Callable[[bytes], object]

# Far above any real layer; a bomb ends here instead of filling the disk.
MAX_EXPANDED = 256 * GIB
"""Bytes that one layer may expand to."""
ANY_LAYER = ExpectedLayer()
"""A layer of which nothing is known."""
HEAD = 10
"""First bytes of an archive that tell its compression."""
MAX_XZ_MEMORY = 136 * MIB
"""Memory for a dictionary of 128 MiB, as for zstd; `xz -9` needs half of it."""
# bzip2 has two letters; the digits of pi that begin its first block tell it from the name of a file.
_ARCHIVE_MAGIC: tuple[tuple[bytes, ArchiveForm], ...] = (
    (b"\xfd7zXZ\0", "xz"),
    *((b"BZh%d1AY&SY" % level, "bzip2") for level in range(1, 10)),
)
_MEDIA_TYPES: dict[Form, str] = {"tar": LAYER_TAR, "gzip": LAYER_GZIP, "zstd": LAYER_ZSTD}
_REBUILD = "build the image again, and save or push it again"


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
        self,
        stream: Readable,
        write: Write,
        expected: ExpectedLayer = ANY_LAYER,
        watch: Callable[[bytes], None] | None = None,
    ) -> Layer:
        """Read a layer to its end and write its stored form.

        Args:
            stream: The layer.
            write: Takes the stored bytes, piece by piece.
            expected: What is known of the layer.
            watch: Takes the uncompressed bytes, piece by piece, as long as they are those of a tar archive.

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
            raise UnfitInputError("the layer is empty", where=where, hint=AGAIN)
        form, chunks, plain = sniff(head), chain((head,), chunks), _Plain(watch=watch)
        if expected.media_type and layer_form(expected.media_type) != form:
            what = f"the layer has the media type {expected.media_type}, but is {form}"
            raise UnfitInputError(what, where=where, hint=_REBUILD)
        # Uncompressed layers are compressed; compressed ones keep their bytes, which signatures cover.
        if form == "tar":
            layer = self._compress(chunks, write, where, plain)
            read, read_digest = layer.expanded, layer.diff_id
        else:
            layer = self._keep(form, chunks, write, where, plain)
            layer = replace(layer, media_type=expected.media_type or layer.media_type)
            read, read_digest = layer.size, layer.digest
        wrong, hint = "", DAMAGED
        # Size before digest: "ends early" tells more than "another digest".
        if size >= 0 and read != size:
            wrong = f"the layer ends after {read} of {size} bytes"
        elif expected.digest and read_digest != expected.digest:
            wrong = f"the layer's digest is {read_digest}, not {expected.digest}"
        elif expected.diff_id and layer.diff_id != expected.diff_id:
            wrong = f"the layer's uncompressed digest is {layer.diff_id}, not {expected.diff_id}"
        # Last: a damaged copy is not a tar archive either.
        elif what := plain.fault():
            wrong, hint = f"the layer {what}", _REBUILD
        if wrong:
            raise UnfitInputError(wrong, where=where, hint=hint)
        return layer

    def _compress(self, chunks: Iterator[bytes], write: Write, where: str, plain: _Plain) -> Layer:
        """Store an uncompressed layer in the bundle's form."""
        form: Form = "tar" if self.compression == "none" else self.compression
        compressor = _compressor(form)
        stored = _Hash()
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
            return Layer(plain.digest, plain.size, _MEDIA_TYPES[form], plain.digest, plain.size)
        return Layer(stored.digest, stored.size, _MEDIA_TYPES[form], plain.digest, plain.size)

    def _keep(self, form: Form, chunks: Iterator[bytes], write: Write, where: str, plain: _Plain) -> Layer:
        """Store a compressed layer byte for byte."""
        stored = _Hash()
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


@dataclass(slots=True)
class _Plain(_Hash):
    """The hash of an uncompressed layer, which must be a tar archive: hosts refuse another one."""

    watch: Callable[[bytes], None] | None = None
    _walk: TarWalk = field(default_factory=TarWalk)
    _what: str = ""

    def update(self, chunk: bytes) -> None:
        _Hash.update(self, chunk)
        if not self._what:
            self._what = self._said(lambda: self._walk.feed(chunk))
        if self.watch is not None and not self._what:
            self.watch(chunk)

    def fault(self) -> str:
        """Return why it is not a tar archive; empty if it is one."""
        return self._what or self._said(self._walk.finish)

    @staticmethod
    def _said(step: Callable[[], None]) -> str:
        try:
            step()
        except TamperedError as error:
            return error.what
        return ""


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


def archive_form(head: bytes) -> ArchiveForm:
    """Return the compression of a whole archive by its first bytes: `HEAD` of them, if there are so many."""
    return next((form for magic, form in _ARCHIVE_MAGIC if head.startswith(magic)), sniff(head))


def expand(stream: Readable, form: ArchiveForm, where: str, most: int = MAX_EXPANDED) -> Iterator[bytes]:
    """Yield the decompressed content of a stream in pieces, which may be empty.

    Args:
        stream: The stream.
        form: Its compression.
        where: How errors name it.
        most: Bytes that it may expand to.

    Raises:
        UnfitInputError: The stream is broken, ends early, or expands to more than is allowed.
    """
    expander, produced = _Expander(form, where), 0
    for chunk in iter(lambda: stream.read(CHUNK), b""):
        for piece in expander.feed(chunk):
            produced += len(piece)
            if produced > most:
                what = f"expands to more than the {most} bytes allowed"
                raise UnfitInputError(
                    what, where=where, hint="do not use this archive: it is made to fill disks"
                )
            yield piece
    expander.finish()


class _Packed:
    """Decompresses xz or bzip2, stream after stream: whole archives come so, layers do not."""

    def __init__(self, form: ArchiveForm) -> None:
        self._form = form
        self._part: Any = None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decompressed content of `chunk`, in pieces of at most 1 MiB."""
        while True:
            if self._part is None:
                # xz may fill up a stream with zero bytes.
                chunk = chunk.lstrip(b"\0") if self._form == "xz" else chunk
                if not chunk:
                    return
                self._part = self._begin()
            try:
                yield self._part.decompress(chunk, CHUNK)
            # liblzma tells by its text alone that it needs too much memory.
            except (lzma.LZMAError, OSError, ValueError) as error:
                if "emory" in str(error):
                    what = f"the xz stream needs more than {MAX_XZ_MEMORY // MIB} MiB of memory"
                    raise TamperedError(what, hint="compress it again with `xz -9` or less") from None
                raise TamperedError(f"the {self._form} stream is damaged: {error}") from None
            chunk = self._part.unused_data if self._part.eof else b""
            if self._part.eof:
                self._part = None
            elif self._part.needs_input:
                return

    def finish(self) -> None:
        """Check that the last stream came to its end."""
        if self._part is not None:
            raise TamperedError(f"the {self._form} stream ends early")

    def _begin(self) -> Any:
        # The sender chooses how much memory is needed.
        if self._form == "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)
        return bz2.BZ2Decompressor()


class _Expander:
    """Decompresses a layer or an archive; what is wrong with it names the place."""

    def __init__(self, form: ArchiveForm, where: str) -> None:
        self._expander: _Packed | Expander
        match form:
            case "xz" | "bzip2":
                self._expander = _Packed(form)
            case _:
                self._expander = Expander(form)
        self._where = where

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the decompressed content of `chunk`."""
        with self._named():
            yield from self._expander.feed(chunk)

    def finish(self) -> None:
        """Check that the last member or frame came to its end."""
        with self._named():
            self._expander.finish()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except TamperedError as error:
            # A stream that only needs too much memory has a hint of its own.
            hint = DAMAGED if error.hint == TamperedError.remedy else error.hint
            raise UnfitInputError(error.what, where=self._where, hint=hint) from None


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
                f"the layer is larger than its stated size of {size} bytes", where=where, hint=DAMAGED
            )
        yield chunk
        chunk = stream.read(CHUNK)
        read += len(chunk)
