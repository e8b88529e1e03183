"""What the terminal can show: symbols of ours in ASCII where its locale is not UTF-8."""

from __future__ import annotations

import os
from collections.abc import Mapping

_ASCII = str.maketrans(
    {
        "→": "->", "←": "<-", "…": "...", "–": "-", "—": "-", "·": "-", "×": "x", "≥": ">=", "≤": "<=",
        "│": "|", "─": "-", "├": "|", "└": "`",
    }
)  # fmt: skip


def shows_utf8(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the locale is one with UTF-8; also where none is set, as in services.

    Args:
        environ: The environment; that of this process by default.
    """
    source = os.environ if environ is None else environ
    # The order of setlocale(3).
    locale = source.get("LC_ALL") or source.get("LC_CTYPE") or source.get("LANG") or ""
    return not locale or "utf8" in locale.lower().replace("-", "")


def as_shown(text: str) -> str:
    """Return text whose symbols the terminal can show. Names stay as they are."""
    return text if text.isascii() or shows_utf8() else text.translate(_ASCII)
