"""Decompress layers as they arrive: gzip members and zstd frames, one after the other, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from threading import Lock
from typing import Any, Literal

from installer.core.errors import TamperedError
from installer.core.limits import CHUNK, MIB

Form = Literal["tar", "gzip", "zstd"]

MAX_ZSTD_WINDOW = 2**27
"""The largest window that `zstd` itself decompresses without being asked: 128 MiB."""
# zstd expands four bytes to 128 KiB at the very worst: a larger piece could fill the memory in one call.
ZSTD_PIECE = 512
"""Compressed bytes handed to zstd at once: they expand to at most 16 MiB."""
NARROW = 8 * MIB
"""The largest window of ordinary layers (RFC 8878, 3.1.1.1.2); wider ones are expanded one at a time."""
_NARROWER = "compress it again with `zstd -19` or less, without --ultra and --long"
_FRAME_HEADER = 18
"""Bytes of the longest header of a zstd frame (RFC 8878, 3.1.1.1)."""
_MAGIC: tuple[tuple[bytes, Form], ...] = ((b"\x1f\x8b\x08", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))


def sniff(head: bytes) -> Form:
    """Return the form of a layer by its first four bytes."""
    return next((form for magic, form in _MAGIC if head.startswith(magic)), "tar")


class Expander:
    """Decompresses one layer, piece by piece.

    Args:
        form: Its compression.
        wide: Held while a frame with a window above `NARROW` is expanded, so that several layers at once do
            not take such a window each; None: nobody else expands.
    """

    def __init__(self, form: Form, wide: Lock | None = None) -> None:
        self._form = form
        self._wide = wide
        self._waited = False
        self._part: Any = None

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        """Yield the decompressed content of `chunk`, in pieces that may be empty.

        Raises:
            TamperedError: The stream is damaged, or needs too much memory; the error names no place.
        """
        if self._form == "tar":
            yield bytes(chunk)
            return
        import zstandard

        view = memoryview(chunk)
        try:
            # zstd has no bound for its output: only short pieces of input keep it small.
            step = CHUNK if self._form == "gzip" else ZSTD_PIECE
            for start in range(0, len(view), step):
                yield from self._expand(view[start : start + step])
        # Errors of both libraries become one error.
        except (zlib.error, zstandard.ZstdError) as error:
            # The library tells this by its text alone. Nothing is damaged: the sender chose the window.
            if "too much memory" in str(error):
                what = f"the zstd stream has a window of more than {MAX_ZSTD_WINDOW // MIB} MiB"
                raise TamperedError(what, hint=_NARROWER) from None
            raise TamperedError(f"the {self._form} stream is damaged: {error}") from None

    def finish(self) -> None:
        """Check that the last member or frame came to its end.

        Raises:
            TamperedError: It did not.
        """
        if self._part is not None:
            raise TamperedError(f"the {self._form} stream ends early")

    def close(self) -> None:
        """Let the next wide layer begin."""
        if self._wide is not None and self._waited:
            self._waited = False
            self._wide.release()

    def _expand(self, data: bytes | memoryview) -> Iterator[bytes]:
        more = True
        while more:
            part = self._part or self._begin(data)
            # Bounded output: one call may otherwise expand a chunk a thousandfold.
            out = part.decompress(data, CHUNK) if self._form == "gzip" else part.decompress(data)
            yield out
            self._part = None if part.eof else part
            # Files may be several members or frames, one after the other; pigz and bgzip write such files.
            data = part.unused_data if part.eof else part.unconsumed_tail
            more = bool(data) or (self._form == "gzip" and len(out) == CHUNK and not part.eof)

    def _begin(self, data: bytes | memoryview) -> Any:
        if self._form == "gzip":
            return zlib.decompressobj(31)
        import zstandard

        # A header that is cut by the end of the piece is not looked into: waiting once too often is harmless.
        cut = len(data) < _FRAME_HEADER
        if cut or zstandard.get_frame_parameters(bytes(data[:_FRAME_HEADER])).window_size > NARROW:
            self._wait()
        # A larger window is refused, as `zstd` does: it is memory that the sender chooses.
        return zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW).decompressobj()

    def _wait(self) -> None:
        if self._wide is not None and not self._waited:
            self._wide.acquire()
            self._waited = True
