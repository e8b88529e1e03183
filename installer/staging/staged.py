"""A verified bundle in the staging area, ready to be applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from installer.core.errors import RefusedError
from installer.core.format.manifest import Manifest
from installer.host.disk_space import Demand


@dataclass(frozen=True, slots=True)
class Staged:
    """A bundle that was verified and written to the disk, ready to be applied.

    Attributes:
        manifest: Its manifest.
        manifest_sha256: SHA-256 of the bytes of its bundle.json, in hex.
        identity: SHA-256 of its SHA256SUMS, in hex.
        directory: The host path below which its members lie under their bundle paths, all on the disk.
        evidence: What the verification found, as JSON: who signed, who approved. Kept with the release.
        area: Where the blobs of its images lie, where that is another place; empty: in `directory`.
        demands: What staging it would still take; empty where it is staged.
    """

    manifest: Manifest
    manifest_sha256: str
    identity: str
    directory: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    area: str = ""
    demands: tuple[Demand, ...] = ()


def refuse_platform(platform: str, manifest: Manifest, where: str = "") -> None:
    """Refuses a release that is not for a host like this.

    Raises:
        RefusedError: It is not.
    """
    if platform not in manifest.platforms:
        raise RefusedError(
            f"the bundle is for {', '.join(manifest.platforms)}, this host is {platform}",
            where=where,
            hint="ask for a bundle that was created for this platform",
        )
