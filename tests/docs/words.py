"""The words that the glossary replaces, as patterns; what documents and messages are checked with."""

from __future__ import annotations

import re
from pathlib import Path

GLOSSARY = Path(__file__).parents[2] / "docs" / "concepts" / "glossary.md"
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")


def prose(text: str) -> str:
    """Return what a reader reads as sentences: no transcripts, no code, no targets of links."""
    text = COMMENT.sub(" ", FENCE.sub(" ", text))
    return re.sub(r"\]\([^)]*\)", "]", CODE.sub(" ", text))


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of the tables in a document."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def unused() -> list[str]:
    """Return the patterns of the glossary's table of words that are not used."""
    section = GLOSSARY.read_text(encoding="utf-8").split("## Words not used", 1)[1]
    return [word for row in rows(section)[1:] for word in row[0].split(" · ")]


def as_pattern(word: str) -> re.Pattern[str]:
    """Return a pattern that finds the word, with any ending where it has a `*`."""
    words = re.escape(word).replace(r"\*", r"\w*").replace(r"\ ", r"\s+")
    return re.compile(rf"(?<![\w-]){words}(?![\w-])", re.IGNORECASE)
