"""Where images come from: one file per source, one protocol (`base`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import assert_never

from bundler.image_sources.archive import ArchiveSource
from bundler.image_sources.base import ImageSource
from bundler.image_sources.docker import EngineImage, EngineSource
from bundler.image_sources.entry import ImageEntry
from bundler.image_sources.oci import LayoutSource
from bundler.image_sources.registry import RegistrySource


def sources_for(entries: Sequence[ImageEntry], platforms: tuple[str, ...]) -> tuple[ImageSource, ...]:
    """Make the sources of a bundle: one for each entry, and one for all that the engine saves at once.

    Args:
        entries: `images` of bundle.yaml.
        platforms: The platforms of the bundle.

    Returns:
        The sources. The engine comes last, because layers that were compressed before serve its images too.
    """
    others = tuple(_source(entry, platforms) for entry in entries if entry.kind != "docker")
    wanted = [_wanted(entry) for entry in entries if entry.kind == "docker"]
    return (*others, EngineSource(wanted, platforms)) if wanted else others


def _source(entry: ImageEntry, platforms: tuple[str, ...]) -> ImageSource:
    match entry.kind:
        case "docker":
            return EngineSource([_wanted(entry)], platforms)
        case "archive":
            return ArchiveSource(_path(entry), platforms, entry.name)
        case "oci":
            return LayoutSource(_path(entry), platforms, entry.name)
        case "registry":
            location = f"{entry.scheme}://{entry.reference}" if entry.scheme else entry.reference
            return RegistrySource(location, platforms, entry.name)
    assert_never(entry.kind)


def _wanted(entry: ImageEntry) -> EngineImage:
    return EngineImage(entry.reference, entry.name, f"bundle.yaml:{entry.line}" if entry.line else "")


def _path(entry: ImageEntry) -> Path:
    if entry.source is None:
        raise ValueError(entry)
    return entry.source
