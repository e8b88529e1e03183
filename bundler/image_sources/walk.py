"""The walk from an index down to the images for the platforms of a bundle, for all kinds of places."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bundler.image_sources.base import ExpectedLayer, ResolvedImage
from installer.core.errors import TamperedError
from installer.core.oci import documents

_ATTESTATION = "vnd.docker.reference.type"


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
        return ResolvedImage(reference, self.platform, len(self.layers) + 2, payload)


class ImageWalk(ABC):
    """A walk along descriptors; each is checked against the document it leads to.

    Args:
        where: How errors name the place.
        platforms: Platforms of the bundle; images for others are named and not looked into.
    """

    def __init__(self, where: str, platforms: Sequence[str]) -> None:
        self.where = where
        self._platforms = platforms

    @abstractmethod
    def document(self, entry: documents.Descriptor) -> tuple[bytes, str]:
        """Return the bytes of a document, and how errors name it."""

    @abstractmethod
    def layer(self, layer: documents.Descriptor) -> str:
        """Return the name under which a layer can be read."""

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
        # BuildKit adds attestations as manifests; they are not images.
        if _ATTESTATION in entry.annotations:
            return
        if entry.platform and not self._wanted(entry.platform):
            yield SavedImage(names, top, entry.platform, b"", None, ())
        elif entry.media_type in documents.MANIFESTS:
            yield self._image(entry, names, top)
        elif entry.media_type in documents.INDEXES:
            # Real images have two levels; more is an attack or a circle.
            if depth >= documents.MAX_DEPTH:
                raise TamperedError(
                    f"has indexes nested deeper than {documents.MAX_DEPTH} levels", where=self.where
                )
            data, where = self._checked(entry)
            for below in documents.parse_index(data, where, entry.media_type).manifests:
                yield from self.entry(below, names, top, depth + 1)

    def _image(self, entry: documents.Descriptor, names: tuple[str, ...], top: str) -> SavedImage:
        data, where = self._checked(entry)
        manifest = documents.parse_manifest(data, where, entry.media_type)
        config, config_where = self._checked(manifest.config)
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
            return SavedImage(names, top, about.platform, b"", None, ())
        layers = tuple(
            SavedLayer(f"{self.where}: {name}", diff_id, layer.digest, layer.media_type, layer.size, name)
            for layer, diff_id in zip(manifest.layers, about.diff_ids, strict=True)
            for name in (self.layer(layer),)
        )
        return SavedImage(names, top, about.platform, config, data, layers)

    def _checked(self, entry: documents.Descriptor) -> tuple[bytes, str]:
        data, where = self.document(entry)
        documents.check_blob(data, entry, where)
        return data, where

    def _wanted(self, platform: str) -> bool:
        return any(documents.platform_matches(wanted, platform) for wanted in self._platforms)
