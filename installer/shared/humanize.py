"""Numbers as people read them."""

from __future__ import annotations


def size_text(count: int) -> str:
    """Return bytes in the decimal units in which media are sold: `1.4 GB`."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
