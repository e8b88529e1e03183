"""Decompression of gzip and zstd streams: members and frames in sequence, in pieces of bounded size."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from installer.core.limits import CHUNK, KIB

if TYPE_CHECKING:
    import zstandard

ZSTD_INPUT = 2 * KIB
"""Compressed bytes given to zstd at once: its output has no limit, and these expand to 64 MiB at most."""


class DecompressionError(ValueError):
    """The stream is not of its format, or is damaged."""


def expander(form: Literal["gzip", "zstd"], max_window: int) -> Gunzip | Unzstd:
    """Return what expands a stream.

    Args:
        form: The format of the stream.
        max_window: Largest window in bytes that a zstd frame may ask for.
    """
    return Gunzip() if form == "gzip" else Unzstd(max_window)


class Gunzip:
    """Expands gzip members (RFC 1952), one after the other."""

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None

    @property
    def complete(self) -> bool:
        """Whether the last member has ended."""
        return self._member is None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what `chunk` expands to, in pieces of at most CHUNK bytes, which may be empty.

        Raises:
            DecompressionError: The stream is damaged.
        """
        data, more = chunk, True
        while more:
            member = self._member or zlib.decompressobj(wbits=31)
            try:
                out = member.decompress(data, CHUNK)
            except zlib.error as error:
                raise DecompressionError(str(error)) from None
            yield out
            self._member = None if member.eof else member
            data = member.unused_data if member.eof else member.unconsumed_tail
            # A full piece may not be all: zlib can hold more output without having input left.
            more = bool(data) or (len(out) == CHUNK and not member.eof)


class Unzstd:
    """Expands zstd frames (RFC 8878), one after the other.

    Args:
        max_window: Largest window in bytes that a frame may ask for: so much memory it takes.
    """

    def __init__(self, max_window: int) -> None:
        self._max_window = max_window
        self._frame: zstandard.ZstdDecompressionObj | None = None

    @property
    def complete(self) -> bool:
        """Whether the last frame has ended."""
        return self._frame is None

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what `chunk` expands to, in pieces of at most CHUNK bytes, which may be empty.

        Raises:
            DecompressionError: The stream is damaged, or a frame asks for a larger window.
        """
        import zstandard

        for start in range(0, len(chunk), ZSTD_INPUT):
            data = chunk[start : start + ZSTD_INPUT]
            while data:
                if self._frame is None:
                    decompressor = zstandard.ZstdDecompressor(max_window_size=self._max_window)
                    self._frame = decompressor.decompressobj()
                try:
                    out = self._frame.decompress(data)
                except zstandard.ZstdError as error:
                    raise DecompressionError(str(error)) from None
                data = self._frame.unused_data if self._frame.eof else b""
                if self._frame.eof:
                    self._frame = None
                yield from (out[at : at + CHUNK] for at in range(0, len(out), CHUNK))
