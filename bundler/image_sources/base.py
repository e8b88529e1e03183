"""What an image source promises, and what it is given to put the image into.

A source is asked twice: `resolve` looks (and finds everything that is wrong, at once), `pack` moves the bytes
once. Where the bytes go is the sink's business; what an image is, is the source's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from installer.core.format.manifest import Image, Layer


class Readable(Protocol):
    """Anything that bytes can be read from, once, from its start to its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none only at the end."""
        ...


class BlobSink(Protocol):
    """Where images are put: the `images/` section of a bundle.

    A layer that arrives uncompressed is the same as any stored layer of its `diff_id`, whatever that one's
    form. A layer that arrives compressed is the same only as one of the same bytes, because registry digests
    and image signatures cover them.

    After an error in any of the methods the sink is abandoned, not used further.
    """

    def find(self, diff_id: str, digest: str = "") -> Layer | None:
        """Return a layer that is stored already, so that it need not be read again.

        Args:
            diff_id: Digest of the uncompressed layer.
            digest: Only a layer of exactly these stored bytes; empty for any form.
        """
        ...

    def layer(
        self,
        stream: Readable,
        *,
        diff_id: str = "",
        digest: str = "",
        media_type: str = "",
        size: int = -1,
        where: str,
    ) -> Layer:
        """Store a layer; reads the stream exactly once, in chunks of 1 MiB, to its end.

        Bytes that are gzip or zstd already are kept as they are. An uncompressed layer is stored in the form
        the bundle asks for.

        Args:
            stream: The layer as the source has it.
            diff_id: Digest of the uncompressed layer, where known.
            digest: Digest of the bytes of `stream`, where known.
            media_type: Media type of those bytes, where known.
            size: Number of those bytes, where known.
            where: How errors name it.

        Raises:
            UnfitInputError: A digest or the size is not what was said, or the compression is broken.
        """
        ...

    def document(self, data: bytes, *, where: str) -> str:
        """Store a configuration or manifest byte for byte, once, and gives its digest."""
        ...


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """One image for one platform, as far as it is known before its payload is read.

    Attributes:
        reference: Name and tag that it will have in the bundle.
        platform: `os/arch` or `os/arch/variant`.
        config: Digest of its configuration; empty where the source does not know it yet.
        blobs: Blobs it adds at most: its layers, its configuration and its manifest.
        payload: Bytes it adds at most as the source knows them, uncompressed. For progress and for
            the check of free space: an engine knows the size of the files, not of the layers.
        diff_ids: Digests of its uncompressed layers, from the lowest; empty where not known yet.
        where: Where it comes from, as errors name it.
    """

    reference: str
    platform: str
    config: str
    blobs: int
    payload: int
    diff_ids: tuple[str, ...]
    where: str


class ImageSource(Protocol):
    """One place that images come from: an engine, an archive, an OCI layout or a registry."""

    def resolve(self) -> list[ResolvedImage]:
        """Look what is there without reading payload. May be called again; the first answer is kept.

        Raises:
            UnfitInputError: With every problem found.
        """
        ...

    def pack(self, sink: BlobSink) -> list[Image]:
        """Put the images into the sink, in the order of `resolve`.

        Layers that no image of the answer names were stored in vain (a stream is read before its manifest is
        seen); the sink may drop them.

        Raises:
            UnfitInputError: The images are not what was resolved, or what they say of themselves.
        """
        ...
