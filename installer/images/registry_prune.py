"""Removes tags from the registry of the site after COMMIT or undo: those that this host alone needs."""

from __future__ import annotations

from collections.abc import Sequence

from installer.core.errors import HostNotReadyError, TamperedError
from installer.core.format.manifest import Manifest
from installer.deploy.site.images import Fetch, SiteImage, site_images
from installer.host.context import Context
from installer.images.registry_operations import (
    ABSENT,
    FOUND,
    digest_of,
    keep_tag,
    opened,
    others_keep,
    remove_tag,
)
from installer.secrets.site_registry import read_site_registry
from installer.secrets.store import StoreError
from installer.shared.registry.repository import Repository

Pushed = tuple[Manifest, Fetch]
"""The manifest of a release, and what reads the manifests of its images."""


def sweep(
    context: Context, gone: Sequence[Pushed], retained: Sequence[Pushed], *, undone: bool = False
) -> None:
    """Remove the tags that no retained release needs. A registry that is down is not an error.

    Args:
        context: Of the product.
        gone: Releases that go and whose images are in the registry.
        retained: Those that stay.
        undone: Whether the releases that go were never committed, so that public names are as before.
    """
    try:
        site = read_site_registry(context.system)
        if site is None or not any(manifest.images for manifest, _ in gone):
            return
        needed = [image for row in retained for image in _images(row, site.place)]
        keeps = {(image.repository, image.digest) for image in needed}
        names = {(image.repository, image.tag, image.digest) for image in needed}
        over = [image for row in gone for image in _images(row, site.place)]
        with opened(context, site) as connection:
            for image in over:
                if not undone and (image.repository, image.tag, image.digest) not in names:
                    _untag(context, Repository(connection, image.repository), image)
                if not undone and (image.repository, image.digest) not in keeps:
                    _detach(context, Repository(connection, image.repository), image)
            # After all names, and last: a kill before it leaves what the next sweep needs to know.
            for repository, digest in dict.fromkeys((each.repository, each.digest) for each in over):
                if (repository, digest) not in keeps:
                    for tag in (keep_tag(context, digest), keep_tag(context, digest) + FOUND):
                        remove_tag(context, Repository(connection, repository), tag)
    except StoreError as error:
        context.progress.warn(f"cannot remove images of old releases from the registry: {error.problem.what}")
    except HostNotReadyError as error:
        context.progress.warn(f"cannot remove images of old releases from the registry: {error.what}")


def _images(row: Pushed, place: str) -> tuple[SiteImage, ...]:
    manifest, fetch = row
    try:
        return site_images(manifest, place, fetch)
    except (HostNotReadyError, TamperedError):
        return ()  # its manifests went with the work directory


def _detach(context: Context, repository: Repository, image: SiteImage) -> None:
    """Remove the tags of signatures that came with an image which no install keeps any more."""
    keep = keep_tag(context, image.digest)
    if not image.attached or digest_of(repository, keep) == ABSENT:
        return
    if not others_keep(repository, keep, image.digest):
        for tag, digest in image.attached:
            if digest_of(repository, tag) == digest:
                remove_tag(context, repository, tag)


def _untag(context: Context, repository: Repository, image: SiteImage) -> None:
    """Remove a public name that leads to the image, which this host gave, and that nobody else needs."""
    keep = keep_tag(context, image.digest)
    # With `.found` instead of the plain tag, somebody else gave the name before this host pushed.
    if digest_of(repository, image.tag) != image.digest or digest_of(repository, keep) == ABSENT:
        return
    if not others_keep(repository, keep, image.digest):
        remove_tag(context, repository, image.tag)
