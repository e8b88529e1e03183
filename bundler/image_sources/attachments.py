"""What lies next to images and is none: signatures, SBOMs and attestations. A bundle does not carry them.

cosign stores them as manifests of their own, under tags such as `sha256-….sig`; BuildKit as manifests for the
platform `unknown/unknown`; tools of OCI 1.1 as referrers with an `artifactType`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from installer.core.errors import Problem
from installer.core.jsonio import loads_strict
from installer.core.oci.documents import CONFIGS, MAX_DOCUMENT

_LAYER_TYPES = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_KINDS = (
    (("simplesigning", "signature", "sigstore.bundle", "/sigs"), "signature"),
    (("spdx", "cyclonedx", "syft", "sbom"), "SBOM"),
    (("attestation", "dsse", "in-toto", "/atts"), "attestation"),
)


def artifact_type(data: bytes, where: str) -> str:
    """Return what a manifest describes if it is no image; empty for an image.

    Raises:
        TamperedError: It is not strict JSON.
    """
    found = loads_strict(data, where, MAX_DOCUMENT)
    config = found.get("config") if isinstance(found, dict) else None
    kind = config.get("mediaType") if isinstance(config, dict) else None
    # What is no manifest at all is reported by the parser of manifests.
    if not isinstance(kind, str):
        return ""
    layers = found.get("layers")
    types = (
        [each.get("mediaType") for each in layers if isinstance(each, dict)]
        if isinstance(layers, list)
        else []
    )
    # A layer of an unknown kind among others is a fault of an image; an image may have no layer at all.
    if kind in CONFIGS and (not types or any(str(each).startswith(_LAYER_TYPES) for each in types)):
        return ""
    named = found.get("artifactType")
    # cosign's signatures have the configuration of an image: only their layers tell.
    return str(named or (types[0] if kind in CONFIGS else kind))


def note(skipped: Sequence[str], where: str) -> Problem | None:
    """Return the note about what was left out of a place; None if nothing was.

    Args:
        skipped: The type of each thing that was left out.
        where: How messages name the place.
    """
    if not skipped:
        return None
    hint = "nothing to do: the bundle has the images alone, and its own signature covers them"
    return Problem(where, f"left out what is not an image: {listed(skipped)}", hint, "not-an-image")


def listed(skipped: Sequence[str]) -> str:
    """Return the words for what was left out: `1 SBOM, 2 signatures`."""
    counted = Counter(_kind(each) for each in skipped)
    words = [f"{count} {name}{'s' if count > 1 else ''}" for name, count in sorted(counted.items())]
    # A layout may be a whole repository; the first kinds show what it is.
    return ", ".join(words[:5]) + (f" and {len(words) - 5} further kinds" if len(words) > 5 else "")


def _kind(artifact: str) -> str:
    """Return the word of people for a media type or a mark."""
    found = next((name for marks, name in _KINDS if any(mark in artifact.lower() for mark in marks)), "")
    shown = "".join(letter for letter in artifact if letter.isprintable())[:80]
    # The type of an empty configuration says nothing of what it is.
    return found or ("artifact" if "oci.empty" in shown else f"artifact ({shown})")
