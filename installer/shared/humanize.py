"""Sizes in words."""

from __future__ import annotations


def size_text(count: int) -> str:
    """Return a number of bytes in decimal units, as media is sold: `1.4 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
