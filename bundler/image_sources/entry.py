"""One entry of `images` in bundle.yaml, as a source takes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """One entry of `images`.

    Attributes:
        kind: Where it comes from.
        reference: Name and tag for `docker` and `registry`; the path as given for `archive` and `oci`.
        source: The file or directory for `archive` and `oci`.
        line: Of bundle.yaml.
        name: `as`: name and tag in the bundle; empty for its own.
        scheme: `http` or `https`, where the registry is written as a URL.
    """

    kind: Literal["docker", "registry", "archive", "oci"]
    reference: str
    source: Path | None = None
    line: int = 0
    name: str = ""
    scheme: str = ""
