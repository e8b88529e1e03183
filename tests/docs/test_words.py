"""Everything that people read keeps to the glossary: documents, schemas, examples, build files, comments.

Messages have a test of their own, `test_messages.py`.
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.words import GLOSSARY, as_pattern, prose, unused

TOP = Path(__file__).parents[2]
HISTORY = TOP / "docs" / "adr"
# Statements of the code, word for word; the words themselves; a text of somebody else.
QUOTES = {TOP / "docs" / "reference" / "mutants.md", GLOSSARY}
# All text files of these places except Python, JSON and Markdown: their comments and what they print.
PLAIN = (".ci/run", ".ci/platforms", "Makefile", "pyproject.toml", "examples", "templates", "bundler/freeze")


def below(folder: str, pattern: str) -> list[Path]:
    place = TOP / folder
    return [place] if place.is_file() else sorted(path for path in place.rglob(pattern) if path.is_file())


MARKDOWN = sorted(
    path
    for path in [
        *TOP.glob("*.md"),
        *(path for folder in ("docs", "examples", "templates", "tests") for path in below(folder, "*.md")),
    ]
    if path not in QUOTES and HISTORY not in path.parents
)
TEXTS = [
    path
    for place in PLAIN
    for path in below(place, "*")
    if path.suffix not in {".py", ".md", ".json", ".pyc"}
    and path.name != "LICENSE"
    and "build" not in path.parts[len(TOP.parts) :]  # what `make` made of an example
    and path.parent.name != "notices"
]
SCHEMAS = below("schemas", "*.json")
SOURCES = [path for folder in ("installer", "bundler", "examples", "docs") for path in below(folder, "*.py")]


def ids(paths: list[Path]) -> list[str]:
    return [path.relative_to(TOP).as_posix() for path in paths]


def found_in(text: str) -> list[str]:
    return [match[0] for word in unused() for match in as_pattern(word).finditer(text)]


@pytest.mark.parametrize("path", MARKDOWN, ids=ids(MARKDOWN))
def test_pages_use_the_words_of_the_glossary(path: Path) -> None:
    assert found_in(prose(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", TEXTS, ids=ids(TEXTS))
def test_examples_and_build_files_use_the_words_of_the_glossary(path: Path) -> None:
    assert found_in(path.read_text(encoding="utf-8")) == []


def said(node: Any) -> Iterator[str]:
    """What a schema says to people; keys and values are part of the format."""
    if isinstance(node, dict):
        yield from (text for key in ("title", "description") if isinstance(text := node.get(key), str))
        yield from (text for value in node.values() for text in said(value))
    elif isinstance(node, list):
        yield from (text for value in node for text in said(value))


@pytest.mark.parametrize("path", SCHEMAS, ids=ids(SCHEMAS))
def test_schemas_use_the_words_of_the_glossary(path: Path) -> None:
    texts = list(said(json.loads(path.read_text(encoding="utf-8"))))
    assert texts
    assert [word for text in texts for word in found_in(prose(text))] == []


def remarks(source: str) -> Iterator[tuple[int, str]]:
    """Yield the comments and docstrings of a source, without the code in them."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (
            text := ast.get_docstring(node)
        ):
            # The names of arguments and attributes are code.
            yield getattr(node, "lineno", 1), re.sub(r"^ +\w+:", " ", text, flags=re.MULTILINE)


def test_comments_and_docstrings_use_the_words_of_the_glossary() -> None:
    assert len(SOURCES) > 150
    assert [
        f"{path.relative_to(TOP)}:{line}: {words}"
        for path in SOURCES
        for line, text in remarks(path.read_text(encoding="utf-8"))
        if (words := found_in(prose(text)))
    ] == []


def test_a_comment_and_a_docstring_are_read_and_code_in_them_is_not() -> None:
    source = '"""What lies beside it.\n\n    Args:\n        medium: `room`.\n"""\n\nx = 1  # anew\n'
    assert [word for _, text in remarks(source) for word in found_in(prose(text))] == ["anew", "beside"]


@pytest.mark.parametrize(
    "text",
    ["It lies beside it.", "a Medium", "Judges", "There is\nno way back.", "kept releases"],
)
def test_a_word_that_is_not_used_is_found(text: str) -> None:
    assert found_in(prose(text)) != []


@pytest.mark.parametrize(
    "text",
    ["`SHA256SUMS.room`", "besides", "```console\n$ x\nbeside\n```", "[a](beside.md)", "mushroom", "drive"],
)
def test_code_transcripts_and_other_words_are_not(text: str) -> None:
    assert found_in(prose(text)) == []
