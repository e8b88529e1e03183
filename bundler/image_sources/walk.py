"""The walk from an index down to the images for the platforms of a bundle, for all kinds of places."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bundler.image_sources.attachments import artifact_type
from bundler.image_sources.base import ExpectedLayer, ResolvedImage
from bundler.image_sources.faults import DAMAGED
from installer.core.digest import oci_digest
from installer.core.errors import TamperedError
from installer.core.oci import documents


@dataclass(frozen=True, slots=True)
class SavedLayer(ExpectedLayer):
    """A layer as its place describes it.

    Attributes:
        name: Name of its member, file or blob.
    """

    name: str = ""


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image for one platform.

    Attributes:
        names: Its references in that place.
        top: Its digest in the outermost index; that of the configuration if there is no index.
        platform: `os/arch` or `os/arch/variant`.
        config: Its configuration.
        manifest: Its manifest; None if it has none yet.
        layers: From the lowest.
    """

    names: tuple[str, ...]
    top: str
    platform: str
    config: bytes
    manifest: bytes | None
    layers: tuple[SavedLayer, ...]

    def resolved(self, reference: str) -> ResolvedImage:
        """Return what is known of it before its payload is read."""
        payload = sum(layer.size for layer in self.layers) + len(self.config) + len(self.manifest or b"")
        known = frozenset({self.top, oci_digest(self.manifest)} if self.manifest else ())
        layers = tuple((layer.digest or layer.diff_id, layer.size) for layer in self.layers)
        return ResolvedImage(reference, self.platform, len(self.layers) + 2, payload, known, layers)


class ImageWalk(ABC):
    """A walk along descriptors; each is checked against the document it leads to.

    Args:
        where: How errors name the place.
        platforms: Platforms of the bundle; images for others are named and not looked into.
        whole: Whether images for all platforms are wanted.

    Attributes:
        skipped: The type of each thing that is no image, such as a signature.
        indexes: The bytes of the outermost indexes, by their digests.
        beside: The outermost entries that are no images, each with what it is instead.
    """

    def __init__(self, where: str, platforms: Sequence[str], *, whole: bool = False) -> None:
        self.where = where
        self._platforms, self._whole = platforms, whole
        self.skipped: list[str] = []
        self.indexes: dict[str, bytes] = {}
        self.beside: list[tuple[documents.Descriptor, str]] = []

    @abstractmethod
    def document(self, entry: documents.Descriptor) -> tuple[bytes, str]:
        """Return the bytes of a document, and how errors name it."""

    @abstractmethod
    def layer(self, layer: documents.Descriptor) -> str:
        """Return the name under which a layer can be read."""

    def place(self, name: str) -> str:
        """Return how errors name a layer."""
        return f"{self.where}: {name}"

    def entry(
        self, entry: documents.Descriptor, names: tuple[str, ...], top: str, depth: int = 1
    ) -> Iterator[SavedImage]:
        """Follow one entry of an index.

        Args:
            entry: The entry.
            names: References of the entry.
            top: Digest of the outermost manifest or index.
            depth: Indexes above the entry.

        Raises:
            TamperedError: A document does not match its descriptor, or is broken.
        """
        # The media type alone tells nothing: BuildKit and cosign write manifests, too.
        if entry.artifact:
            self._skip(entry, top, entry.artifact)
            return
        if entry.platform and not self._wanted(entry.platform):
            yield SavedImage(names, top, entry.platform, b"", None, ())
        elif entry.media_type in documents.MANIFESTS:
            yield from self._image(entry, names, top)
        elif entry.media_type in documents.INDEXES:
            # Real images have two levels; more is an attack or a circle.
            if depth >= documents.MAX_DEPTH:
                raise TamperedError(
                    f"has indexes nested deeper than {documents.MAX_DEPTH} levels", where=self.where
                )
            data, where = self.checked(entry)
            if entry.digest == top:
                self.indexes[top] = data
            elif self._whole:
                what, hint = "has an index within its index", "take the image without `whole: true`"
                raise TamperedError(what, where=self.where, hint=hint)
            for below in documents.parse_index(data, where, entry.media_type).manifests:
                yield from self.entry(below, names, top, depth + 1)
        else:
            self._skip(entry, top, entry.media_type)

    def _skip(self, entry: documents.Descriptor, top: str, what: str) -> None:
        self.skipped.append(what)
        if entry.digest == top:
            self.beside.append((entry, what))

    def _image(self, entry: documents.Descriptor, names: tuple[str, ...], top: str) -> Iterator[SavedImage]:
        data, where = self.checked(entry)
        if artifact := artifact_type(data, where):
            self._skip(entry, top, artifact)
            return
        manifest = documents.parse_manifest(data, where, entry.media_type)
        config, config_where = self.checked(manifest.config)
        about = documents.parse_config(config, config_where)
        # The variant may be missing in one of the two.
        if entry.platform and entry.platform.split("/")[:2] != about.platform.split("/")[:2]:
            what = f"is for {about.platform}, but listed for {entry.platform}"
            raise TamperedError(what, where=config_where)
        # The two lists are matched by position below.
        if len(about.diff_ids) != len(manifest.layers):
            what = f"has {len(manifest.layers)} layers, but its configuration has {len(about.diff_ids)}"
            raise TamperedError(what, where=where)
        if not self._wanted(about.platform):
            yield SavedImage(names, top, about.platform, b"", None, ())
            return
        layers = tuple(
            SavedLayer(self.place(name), diff_id, layer.digest, layer.media_type, layer.size, name)
            for layer, diff_id in zip(manifest.layers, about.diff_ids, strict=True)
            for name in (self.layer(layer),)
        )
        yield SavedImage(names, top, about.platform, config, data, layers)

    def checked(self, entry: documents.Descriptor) -> tuple[bytes, str]:
        """Return the bytes of a document that has the digest and size of its descriptor, and its place.

        Raises:
            TamperedError: It does not have them.
        """
        data, where = self.document(entry)
        try:
            documents.check_blob(data, entry, where)
        except TamperedError as error:
            raise TamperedError(error.what, where=error.where, hint=DAMAGED) from None
        return data, where

    def _wanted(self, platform: str) -> bool:
        return self._whole or any(documents.platform_matches(wanted, platform) for wanted in self._platforms)
