"""What the release of a plan does as root, and what it opens, from its staged files."""

from __future__ import annotations

from collections.abc import Collection

from installer.core.format.manifest import FileEntry
from installer.core.limits import LIMITS
from installer.host.context import Context
from installer.shared.review.review import NO_REVIEW, Review, review
from installer.state.release import Release


def reviewed(
    context: Context, release: Release | None, methods: Collection[str], checks: Collection[int]
) -> Review:
    """Examine the steps that run, without the secrets of the site.

    Args:
        context: The host.
        release: The release, staged or retained; None where none is to run.
        methods: The methods that are used.
        checks: The places of the health checks that are asked.
    """
    if release is None:
        return NO_REVIEW

    def read(entry: FileEntry) -> bytes:
        return context.system.read(release.now(entry.path), LIMITS.document_bytes)

    inside = f"{release.directory}/"
    # Empty where a template could not be rendered.
    rendered = {
        key: data
        for item in release.installed
        if item.path.startswith(inside) and (data := release.rendered.get(item.path))
        for key in (item.origin, item.path.removeprefix(inside))
    }
    return review(release.manifest, read, methods, context.secrets, rendered, checks)


def unchanged_files(old: Release | None, new: Release | None) -> frozenset[str]:
    """Return the files of a release that the running one has under the same name, byte for byte."""
    if old is None or new is None:
        return frozenset()
    before = {entry.path: entry.sha256 for entry in old.manifest.files}
    return frozenset(entry.path for entry in new.manifest.files if before.get(entry.path) == entry.sha256)
