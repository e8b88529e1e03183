"""Placeholders of bundle.yaml, such as `{version}`. The files that it names are shipped byte for byte."""

from __future__ import annotations

import re
from collections.abc import Mapping

from installer.core.errors import Problem

_PLACEHOLDER = re.compile(r"(?<!\{)\{([A-Za-z_]*)\}(?!\})")


def fill(text: str, known: Mapping[str, str]) -> tuple[str, list[str]]:
    """Fill in placeholders.

    Args:
        text: A text of bundle.yaml.
        known: What each placeholder stands for, by its name.

    Returns:
        The text, and the placeholders that are not known, which stay in it.
    """
    unknown: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[1] not in known:
            unknown.append(match[0])
        return known.get(match[1], match[0])

    return _PLACEHOLDER.sub(value, text), unknown


def fill_in(text: str, words: Mapping[str, str], where: str) -> tuple[str, list[Problem]]:
    """Return a text with its placeholders filled in, and the problems of those that are not known.

    Args:
        text: The text.
        words: What the placeholders stand for.
        where: `bundle.yaml:LINE`.
    """
    filled, unknown = fill(text, words)
    hint = "use " + ", ".join(f"{{{word}}}" for word in words)
    return filled, [Problem(where, f"{word} is not a known placeholder here", hint) for word in unknown]
