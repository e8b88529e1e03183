"""The contract of image sources, and of the sink that they store images in.

A source is called twice: `resolve` looks and reports all problems at once, `pack` moves the bytes once. The
source knows what an image is; the sink knows where its bytes go.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Protocol, Self

from bundler.image_sources.attachments import note
from installer.core.errors import Problem
from installer.core.format.manifest import Image, Layer, WholeImage


# A protocol, not an abstract class: files, sockets and members of archives fit as they are.
class Readable(Protocol):
    """A stream that can be read once, from its start to its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes; none only at the end."""
        ...


@dataclass(frozen=True, slots=True)
class ExpectedLayer:
    """What is known of a layer before it is read.

    Attributes:
        where: How errors name it.
        diff_id: Digest of the uncompressed layer; empty if unknown.
        digest: Digest of its bytes as they come; empty if unknown.
        media_type: Media type of those bytes; empty if unknown.
        size: Number of those bytes; -1 if unknown.
    """

    where: str = "layer"
    diff_id: str = ""
    digest: str = ""
    media_type: str = ""
    size: int = -1


class BlobSink(Protocol):
    """The store for images: the `images/` section of a bundle.

    A layer that arrives uncompressed equals any stored layer of its `diff_id`, whatever the form of that one.
    A layer that arrives compressed equals only one of the same bytes, because registry digests and image
    signatures cover them.

    After an error in any of its methods the sink must not be used again.
    """

    def find(self, diff_id: str, digest: str = "") -> Layer | None:
        """Return a stored layer, so that it need not be read again; None if there is none.

        Args:
            diff_id: Digest of the uncompressed layer.
            digest: Only a layer of exactly these stored bytes; empty for any form.
        """
        ...

    def layer(self, stream: Readable, expected: ExpectedLayer) -> Layer:
        """Store a layer; read the stream exactly once, in chunks of 1 MiB, to its end.

        Bytes that are gzip or zstd are stored as they are. An uncompressed layer is stored in the form that
        the bundle asks for.

        Args:
            stream: The layer as the source has it.
            expected: What is known of it.

        Raises:
            UnfitInputError: A digest or the size is not the expected one, or the compression is broken.
        """
        ...

    def document(self, data: bytes, *, where: str) -> str:
        """Store a configuration or manifest byte for byte, once; return its digest."""
        ...

    def blob(self, stream: Readable, expected: ExpectedLayer) -> None:
        """Store a blob of which nothing is known but digest and size, byte for byte, once.

        Raises:
            UnfitInputError: It has another digest or size.
        """
        ...


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """One image for one platform, as far as it is known before its payload is read.

    Attributes:
        reference: Name and tag that it will have in the bundle.
        platform: `os/arch` or `os/arch/variant`.
        blobs: The largest number of blobs it adds: its layers, its configuration and its manifest.
        payload: The largest number of bytes it adds, uncompressed, for progress and the check of free space.
            An estimate: an engine knows the size of the files, not of the layers.
        digests: The digests by which it can be referred to: of its manifest, and of the index that has it.
            Empty where its place does not know them.
        layers: Digest and size of each layer, where these are known. A bundle has each of them once.
    """

    reference: str
    platform: str
    blobs: int
    payload: int
    digests: frozenset[str] = frozenset()
    layers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One entry of `images` in bundle.yaml.

    Attributes:
        kind: The class of its source.
        reference: Name and tag, or the path as bundle.yaml has it.
        path: The file or directory; None for a reference.
        line: Line in bundle.yaml.
        name: `as`: name and tag in the bundle; empty for its own.
        scheme: `http` or `https` if a registry is written as a URL.
        whole: Whether it is taken with its index, for all its platforms, and with its signatures.
    """

    kind: type[ImageSource]
    reference: str
    path: Path | None = None
    line: int = 0
    name: str = ""
    scheme: str = ""
    whole: bool = False


class ImageSource(ABC):
    """A place that images come from: an engine, an archive, an OCI layout or a registry.

    Attributes:
        key: The key of its entries in bundle.yaml; empty for entries that are a plain string.
        takes: What an entry names.
        takes_all: Whether one source takes all entries of its kind; else each entry is a source.
        waits_for: What prepares the images before the first byte of them arrives; empty if nothing does.
        where: How messages name the place.
        skipped: The type of each thing in the place that is no image, once it is known.
    """

    key: ClassVar[str]
    takes: ClassVar[Literal["reference", "file", "directory"]]
    takes_all: ClassVar[bool] = False
    waits_for: ClassVar[str] = ""
    where: str = ""

    @cached_property
    def skipped(self) -> list[str]:
        """What lies next to the images and is left out."""
        return []

    def note(self) -> Problem | None:
        """Return a note about what is left out; None as long as nothing of the kind is known."""
        return note(self.skipped, self.where)

    @classmethod
    @abstractmethod
    def from_entries(cls, entries: Sequence[ImageEntry], platforms: Sequence[str]) -> Self:
        """Return the source of an entry, or of all entries with `takes_all`.

        Args:
            entries: Entries of this kind; exactly one without `takes_all`.
            platforms: Platforms of the bundle.
        """

    @classmethod
    def path_problem(cls, path: Path, given: str, where: str) -> Problem | None:  # noqa: ARG003 - for subclasses
        """Return why a readable file or directory cannot be such a source; by default nothing.

        Args:
            path: The file or directory.
            given: Its path in bundle.yaml, for messages.
            where: `bundle.yaml:LINE`.
        """
        return None

    @abstractmethod
    def resolve(self) -> list[ResolvedImage]:
        """Find the images without reading payload. May be called again; the first answer is kept.

        Raises:
            UnfitInputError: Images cannot be taken; all problems at once.
        """

    def whole_images(self) -> tuple[WholeImage, ...]:
        """Return the images that are packed as their makers pushed them; `resolve` was called before."""
        return ()

    @abstractmethod
    def pack(self, sink: BlobSink) -> list[Image]:
        """Store the images, in the order of `resolve`.

        Layers that no image of the answer names were stored in vain (a stream is read before its manifest is
        seen); the sink may drop them.

        Raises:
            UnfitInputError: The images are not what was resolved, or not what their digests say.
        """
