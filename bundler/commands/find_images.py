"""`bundle find-images`: the images that the files of a product use, ready to paste into bundle.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bundler.config.checks.content import used_images
from bundler.config.checks.images import is_listed, listed_names, normalise
from bundler.config.loader import NAME, read_entries
from bundler.config.used_images import directory as searched
from bundler.config.used_images.release import unused
from bundler.config.used_images.use import ImageUse
from bundler.image_sources.base import ImageEntry
from installer.core.errors import Problem, UsageError
from installer.core.oci.reference import familiar, reference_fault
from installer.core.semver import parse

_SHOWN = 3
"""Places of one image that the list names."""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image that is used.

    Attributes:
        reference: As bundle.yaml lists it; `{version}` stands for the version of the release.
        is_listed: Whether bundle.yaml lists it already.
        uses: Where it is used.
    """

    reference: str
    is_listed: bool
    uses: tuple[ImageUse, ...]


@dataclass(frozen=True, slots=True)
class FoundImages:
    """The result.

    Attributes:
        directory: What was searched.
        images: The images, by their names.
        unused: Images that bundle.yaml lists and that no step uses.
        unsearched: What could not be searched, with the reason.
    """

    directory: Path
    images: tuple[FoundImage, ...]
    unused: tuple[str, ...]
    unsearched: tuple[Problem, ...]

    @property
    def text(self) -> str:
        """The list for bundle.yaml; what is no part of it is a comment."""
        new = [each for each in self.images if not each.is_listed]
        known = len(self.images) - len(new)
        lines = ["images:"] if new else []
        width = max((len(_entry(each.reference)) for each in new), default=0)
        for each in new:
            places = [f"{use.where} {use.user}".strip() for use in each.uses[:_SHOWN]]
            more = f", and {len(each.uses) - _SHOWN} more" if len(each.uses) > _SHOWN else ""
            lines.append(f"  - {_entry(each.reference):<{width}}  # {', '.join(places)}{more}")
        if not self.images:
            lines.append(f"# no images found in {self.directory}")
        elif known:
            lines.append(f"# {known} of {len(self.images)} images are listed in {NAME} already")
        lines += [f"# listed in {NAME}, and used by no step: {name}" for name in self.unused]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """Return the result as a JSON object."""
        return {
            "directory": str(self.directory),
            "images": [
                {
                    "reference": each.reference,
                    "listed": each.is_listed,
                    "uses": [{"user": use.user, "where": use.where} for use in each.uses],
                }
                for each in self.images
            ],
            "unused": list(self.unused),
            "unsearched": [
                {"where": each.where, "what": each.what, "hint": each.hint} for each in self.unsearched
            ],
        }


def find_images(directory: Path) -> FoundImages:
    """Find the images of a product: of the steps of its bundle.yaml, or of all files where it has none.

    Args:
        directory: Of the product.

    Raises:
        UsageError: There is no such directory.
        UnfitInputError: bundle.yaml cannot be read.
    """
    if not directory.is_dir():
        raise UsageError("is no directory", where=str(directory), hint="name the directory of the product")
    if not (directory / NAME).is_file():
        uses, unsearched = searched.find(directory)
        return FoundImages(directory, _by_name(uses, []), (), tuple(unsearched))
    entries = read_entries(directory, searched.VERSION)
    uses, unsearched = used_images(entries)
    uses = _of_release(uses, entries.images)
    # What was not searched may use them.
    left = [] if unsearched else unused(uses, entries.images)
    names = tuple(_placeholder(entry.name or entry.reference) for entry in left)
    return FoundImages(directory, _by_name(uses, entries.images), names, tuple(unsearched))


def _by_name(uses: Sequence[ImageUse], listed: Sequence[ImageEntry]) -> tuple[FoundImage, ...]:
    known = listed_names(listed) or {}
    found: dict[str, list[ImageUse]] = {}
    for use in uses:
        name = use.reference if reference_fault(use.reference) else familiar(use.reference)
        found.setdefault(name, []).append(use)
    return tuple(
        FoundImage(
            _placeholder(name), is_listed(normalise(name) or name, known), tuple(dict.fromkeys(found[name]))
        )
        for name in sorted(found)
    )


def _of_release(uses: Sequence[ImageUse], listed: Sequence[ImageEntry]) -> list[ImageUse]:
    """Return the uses; one that writes the version as it is refers to the image that is listed by it.

    Which version is made next is known to `create` only, which refuses another one.
    """
    known = [name for name in listed_names(listed) or {} if searched.VERSION in name]
    found = []
    for use in uses:
        full = normalise(use.reference) or ""
        name = next((name for name in known if _is_version_of(full, name)), "")
        found.append(replace(use, reference=familiar(name)) if name else use)
    return found


def _is_version_of(full: str, name: str) -> bool:
    """Return whether a full name is a listed one with a version in the place of the version."""
    count = name.count(searched.VERSION)
    size, rest = divmod(len(full) - len(name) + count * len(searched.VERSION), count)
    start = name.index(searched.VERSION)
    version = full[start : start + size]
    if rest or not version or name.replace(searched.VERSION, version) != full:
        return False
    try:
        return str(parse(version)) == version
    except UsageError:
        return False


def _placeholder(text: str) -> str:
    return text.replace(searched.VERSION, "{version}")


def _entry(reference: str) -> str:
    # The Docker engine forgets the digest by which an image came.
    return f"registry: {reference}" if "@" in reference else reference
