"""A verified bundle in the staging area, ready to be applied."""

from __future__ import annotations

from dataclasses import dataclass

from installer.core.format.manifest import Manifest
from installer.host.disk_space import Demand
from installer.state.release import Release


@dataclass(frozen=True, slots=True)
class Staged:
    """A bundle that was verified and written to the disk, ready to be applied.

    Attributes:
        manifest: Its manifest.
        manifest_sha256: SHA-256 of the bytes of its bundle.json, in hex.
        identity: SHA-256 of its SHA256SUMS, in hex.
        directory: The host path below which its members lie under their bundle paths, all on the disk.
        area: Where the blobs of its images lie, where that is another place; empty: in `directory`.
        demands: The space that staging it would take; empty where it is staged.
        shared: Bundle paths of image blobs that take no space, because a retained release has them.
        repairs: Whether this very release is retained, and its image blobs are damaged.
    """

    manifest: Manifest
    manifest_sha256: str
    identity: str
    directory: str
    area: str = ""
    demands: tuple[Demand, ...] = ()
    shared: frozenset[str] = frozenset()
    repairs: bool = False

    def release(self, directory: str) -> Release:
        """Return the release that it becomes in a directory of its own."""
        return Release(
            self.manifest,
            self.identity,
            directory,
            self.directory,
            blobs=self.area or None,
            shared=self.shared,
        )
