"""Files of charts: what a step says of them, and where they lie to each other."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Final

KIND: Final = "chart"
"""The kind of these files in a bundle."""
METADATA: Final = "Chart.yaml"
"""What every chart has in its directory."""


def chart_of(named: str | Sequence[str]) -> str:
    """Return the path of a chart: its archive, or the directory of its files.

    Args:
        named: What a step says: the archive, or all files of the directory, its metadata first.
    """
    return named if isinstance(named, str) else posixpath.dirname(named[0])


def fault(named: Sequence[str]) -> str:
    """Return what is wrong with the list of the files of a chart; empty for nothing."""
    directory = posixpath.dirname(named[0])
    if posixpath.basename(named[0]) != METADATA or not directory:
        return f"must begin with the file {METADATA} of a directory"
    outside = next((path for path in named if not path.startswith(f"{directory}/")), "")
    return f"names {outside}, which is not in {directory}" if outside else ""
