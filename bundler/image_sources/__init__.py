"""Image sources: one module for each, one abstract class (`base`), and their registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.base import ImageEntry, ImageSource
from bundler.image_sources.docker import EngineSource
from bundler.image_sources.oci import LayoutSource
from bundler.image_sources.registry import RegistrySource

SOURCES: tuple[type[ImageSource], ...] = (ArchiveSource, LayoutSource, RegistrySource, EngineSource)


def source_kind(entry: str | Mapping[str, object]) -> type[ImageSource]:
    """Return the class of source that an entry of `images` in bundle.yaml means.

    Args:
        entry: The entry, valid by the schema.
    """
    keys = [""] if isinstance(entry, str) else entry
    return next(kind for kind in SOURCES if kind.key in keys)


def sources_for(entries: Sequence[ImageEntry], platforms: tuple[str, ...]) -> tuple[ImageSource, ...]:
    """Return the sources of a bundle, in the order in which their images are packed.

    Args:
        entries: `images` of bundle.yaml.
        platforms: The platforms of the bundle.
    """
    sources = [each.kind.from_entries([each], platforms) for each in entries if not each.kind.takes_all]
    # They come last: images of a stream reuse layers that other sources have stored.
    for kind in SOURCES:
        if kind.takes_all and (own := [each for each in entries if each.kind is kind]):
            sources.append(kind.from_entries(own, platforms))
    return tuple(sources)
