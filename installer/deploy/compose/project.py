"""A project of several files: what Compose made of a verified copy of them, for the directory of the release.

Compose reads included and extended files, files of variables and overrides by itself. So it resolves the
project once from a private copy, in which nothing but verified files is, and what it is then given is the
result: one document, whose relative paths mean the directory of the release.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from installer.core.format.manifest import Manifest
from installer.core.oci.pinned import loaded_reference
from installer.deploy.operation import StepError

RESOLVE = ("--profile", "*", "config", "--format", "json")
"""Resolves a project. With every profile: services of the others would look like orphans to Compose."""


def image_names(manifest: Manifest) -> list[list[str]]:
    """Return the reference and the digest of each image of a release, for the arguments of operations."""
    return [[image.reference, image.manifest] for image in manifest.images]


def placed(model: bytes, copy: str, release: str, images: Iterable[list[str]]) -> bytes:
    """Return a resolved project with its paths in the directory of the release, and images that are loaded.

    Args:
        model: What Compose printed.
        copy: The directory in which it was resolved. Its name is random, so no other text contains it.
        release: The directory of the release, as Compose reaches it.
        images: What `image_names` returned.

    Raises:
        StepError: It is not a whole document.
    """
    try:
        document = json.loads(model)
        services = document.get("services") or {}
    except (ValueError, AttributeError):
        # Of the output of a program, the last mebibyte is kept.
        hint = "run `docker compose config` on the files; a project of more than 1 MiB is not supported"
        raise StepError("docker compose config did not print a project", hint=hint) from None
    named = [(reference, digest) for reference, digest in images]
    for service in services.values():
        for each in (service, *(service.get("pre_start") or ())):
            if "image" in each:
                each["image"] = loaded_reference(str(each["image"]), named)
        for mount in service.get("volumes") or ():
            if mount.get("type") == "image":
                mount["source"] = loaded_reference(str(mount.get("source", "")), named)
    return json.dumps(_moved(document, copy, release)).encode()


def _moved(value: Any, copy: str, release: str) -> Any:
    if isinstance(value, str):
        return value.replace(copy, release)
    if isinstance(value, list):
        return [_moved(each, copy, release) for each in value]
    if isinstance(value, dict):
        return {key: _moved(each, copy, release) for key, each in value.items()}
    return value
