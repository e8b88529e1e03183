"""`--version`, answered before anything else is imported: monitoring asks for it often."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal


def version_asked_for(words: Sequence[str]) -> Literal["", "text", "json"]:
    """Return how a command line asks for the version, and for nothing else; empty where it does not.

    Args:
        words: The words after the program. Options that every command takes may stand next to `--version`.
    """
    left, form = list[str](), ""
    for word in words:
        if form == "--log-format":  # its value
            form = ""
        elif word == "--log-format":
            form = word
        elif word not in ("--quiet", "--all") and not word.startswith("--log-format="):
            left.append(word)
    if form or set(left) not in ({"--version"}, {"--version", "--json"}):
        return ""
    return "json" if "--json" in left else "text"
