"""Where the images of a release go: into the container engine of the host, into the registry of the site."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from installer.core.format.methods import IMAGES, SPECS


@dataclass(frozen=True, slots=True)
class ImagePlaces:
    """Where the images of a release go, besides its directory.

    Attributes:
        engine: Whether they are loaded into the container engine of the host.
        registry: Whether they are pushed to the registry of the site.
    """

    engine: bool
    registry: bool

    def on_host(self, *, live: bool, registry: bool) -> ImagePlaces:
        """Return where images go on a host, if these are the places that steps take them from.

        A cluster of a site without a registry takes them from the engines of its nodes. Where no step says:
        on a live host into the registry of the site, if it has one, else into the engine of the host; below
        `--root` nowhere.

        Args:
            live: Whether this is the running host, not a directory below `--root`.
            registry: Whether the site has a registry for its clusters.
        """
        pushed = registry and (self.registry or (live and not self.engine))
        loaded = self.engine or (self.registry and not registry) or (live and not pushed)
        return ImagePlaces(engine=loaded, registry=pushed)


NOWHERE = ImagePlaces(engine=False, registry=False)


def taken_images(methods: Iterable[str]) -> ImagePlaces:
    """Return from where the steps of a release take its images.

    Args:
        methods: Names of the methods; those of other versions are ignored.
    """
    # A host's state may name methods of a newer installer.
    used = [SPECS[name] for name in methods if name in SPECS]
    return ImagePlaces(any(spec.needs_engine for spec in used), any(spec.pulls_images for spec in used))


def image_places(methods: Collection[str], *, live: bool, registry: bool) -> ImagePlaces:
    """Return where the images of a release are that was deployed by these methods; see `on_host`."""
    if IMAGES.name not in methods:
        return NOWHERE
    return taken_images(methods).on_host(live=live, registry=registry)
