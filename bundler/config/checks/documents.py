"""Text that the author of a document still has to write: what is left of a template, and TODO."""

from __future__ import annotations

import re
from functools import cache

from bundler.config import resources
from installer.core.errors import Problem

# Sentences of the templates that ask the author for something have these words.
_ASKS = re.compile(r"\b(?:[Dd]escribe|Name who)\b")
_OPEN = re.compile(r"\b(?:TODO|FIXME|TBD|XXX)\b|\bexample-product\b|(?i:\blorem ipsum\b)")
_CODE = re.compile(r"^[ \t]*(?:```|~~~)")


def check(data: bytes, given: str, product: str) -> list[Problem]:
    """Return a warning if a document is not written to its end; at most one for each document.

    Args:
        data: The document.
        given: Its path in bundle.yaml, for messages.
        product: The name of the product.
    """
    asked = {line.replace(resources.PLACEHOLDER, product) for line in _template_lines()}
    lines, in_code = [], False
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        # A command in a code block may be about any of these words.
        in_code ^= bool(_CODE.match(line))
        text = " ".join(line.split())
        unwritten = _OPEN.search(text)
        # A product may really be called like the placeholder.
        if text in asked or (not in_code and unwritten and unwritten[0] != product):
            lines.append(number)
    if not lines:
        return []
    more = f"; {len(lines)} such lines" if len(lines) > 1 else ""
    what = f"still has text for its author, not for the operator{more}"
    return [
        Problem(
            f"{given}:{lines[0]}",
            what,
            "write what the operator must know, or remove the line",
            "unwritten-document",
        )
    ]


@cache
def _template_lines() -> frozenset[str]:
    """Return the lines of the templates' documents that ask the author for something."""
    return frozenset(
        " ".join(line.split())
        for template in resources.templates().iterdir()
        if template.joinpath("docs").is_dir()
        for document in template.joinpath("docs").iterdir()
        for line in document.read_text(encoding="utf-8").splitlines()
        if _ASKS.search(line)
    )
