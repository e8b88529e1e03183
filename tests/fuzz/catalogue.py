"""All fuzz targets."""

from __future__ import annotations

from tests.fuzz import build, bundles, host, images, records, secrets, trust
from tests.fuzz.target import Target

TARGETS: tuple[Target, ...] = (
    *bundles.TARGETS,
    *trust.TARGETS,
    *images.TARGETS,
    *build.TARGETS,
    *host.TARGETS,
    *records.TARGETS,
    *secrets.TARGETS,
)
