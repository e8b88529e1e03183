"""Check that every image that is used is listed under `images`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bundler.config.used_images.use import ImageUse
from bundler.image_sources.base import ImageEntry
from installer.core.errors import Problem, WaybillError
from installer.core.jsonio import loads_strict
from installer.core.oci.documents import MAX_DOCUMENT
from installer.core.oci.reference import reference_fault, split_host, split_reference
from installer.core.schema_errors import did_you_mean

_SUGGESTED = 25
"""How many missing images get the name that was perhaps meant."""
_COMPARED = 1000
"""How many listed names each of them is compared with."""


def normalise(reference: str) -> str | None:
    """Return the full name of an image, or None: `redis` is `docker.io/library/redis:latest`."""
    if reference_fault(reference):
        return None
    name, tag, digest = split_reference(reference)
    # The bundle has the image under its tag; its digest is compared where the image is found.
    digest = "" if tag else digest
    # Docker Hub has two names and implied parts; without one form `redis` and its full name would differ.
    host, path = split_host(name)
    # Only the name of a host may have capitals.
    if path != path.lower():
        return None
    return f"{host}/{path}" + (f"@{digest}" if digest else f":{tag or 'latest'}")


def reference_problem(reference: str, where: str) -> Problem | None:
    """Return a problem if an image reference is not valid, or has no tag."""
    if normalise(reference) is None:
        return Problem(where, f"{reference} is not a valid image reference", "use NAME:TAG in lower case")
    # Without a tag, `latest` would be whatever the engine has today.
    if not any(split_reference(reference)[1:]):
        return Problem(where, f"{reference} has no tag", f"write {reference}:{{version}}, or another tag")
    return None


def name_problem(name: str, where: str) -> Problem | None:
    """Return a problem if the name of an image in the bundle is not valid, has no tag, or has a digest."""
    if not reference_fault(name) and split_reference(name)[2]:
        what = f"as: {name} has a digest, which is the image's own and cannot be given"
        return Problem(where, what, "write NAME:TAG; Compose files may refer to it as NAME:TAG@DIGEST")
    return reference_problem(name, where)


def missing(uses: Iterable[ImageUse], sources: Sequence[ImageEntry]) -> list[Problem]:
    """Names every image that is used and not listed.

    Args:
        uses: The images that services use.
        sources: Entries of bundle.yaml. If an archive does not name its images, nothing is reported.
    """
    listed = listed_names(sources)
    if listed is None:
        return []
    problems: list[Problem] = []
    for use in uses:
        full, where = normalise(use.reference), use.where
        if full is None:
            what = f"{use.user} has {use.reference!r:.200}, which is not a valid image reference"
            problems.append(Problem(where, what, "use NAME:TAG in lower case"))
        elif not is_listed(full, listed):
            # A comparison with every name for every use would have no end; the first ones show the mistake.
            compared = list(listed.values())[:_COMPARED] if len(problems) < _SUGGESTED else []
            close = did_you_mean(use.reference, compared)
            hint = f"add {use.reference} to images" + (f"; did you mean {close}?" if close else "")
            problems.append(
                Problem(
                    where,
                    f"{use.user} uses {use.reference}, which is not listed under images",
                    hint,
                )
            )
    return problems


def listed_names(sources: Sequence[ImageEntry]) -> dict[str, str] | None:
    """Return the names of listed images, by their full names; None if not all of them are known."""
    listed: dict[str, str] = {}
    for source in sources:
        own = source.name or (source.reference if source.path is None else "")
        names = [own] if own else names_in(source.path) if source.path else None
        # An archive without names may contain any image: then nothing can be called missing.
        if names is None:
            return None
        listed |= {normalise(name) or name: name for name in names}
    return listed


def is_listed(full: str, listed: Mapping[str, str]) -> bool:
    """Return whether an image is among the listed ones; by a digest without a tag, if any of its tags is."""
    bare = full.partition("@")[0]
    return full in listed or (bare != full and any(name.rpartition(":")[0] == bare for name in listed))


def names_in(source: Path) -> list[str] | None:
    """Return the names of the images in an archive or layout from its index; None if it has no names."""
    try:
        names = [name for document in _documents(source) for name in _names(document)]
    except (WaybillError, OSError, AttributeError, TypeError):
        return None
    return names or None


def _documents(source: Path) -> list[object]:
    """Read the lists of images, with the reader that packs them later; layers are skipped over, not read."""
    from bundler.image_sources.content import ArchiveFile, LayoutDirectory

    content = LayoutDirectory(source) if source.is_dir() else ArchiveFile(source)
    listed_names = [content.resolve(name) for name in ("manifest.json", "index.json")]
    return [loads_strict(content.document(name), name, MAX_DOCUMENT) for name in listed_names if name]


def _names(document: object) -> Iterable[str]:
    if isinstance(document, list):
        for image in document:
            yield from image.get("RepoTags") or []
    elif isinstance(document, dict):
        for descriptor in document.get("manifests", []):
            notes = descriptor.get("annotations") or {}
            name = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name", "")
            if ":" in name or "/" in name:
                yield name
