"""Every text that the two commands can show a person, taken from the code: `python tests/docs/messages.py`.

One line a text: the file, the line, and the text with what is filled in between braces. Somebody who sees
only this list can say which sentence is not understood at once.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SENTENCE = re.compile(r"[A-Za-z]{2,}[,.:;]? [A-Za-z{`(]|[a-z]{3,}ed\b|^(?:is|are|has|cannot) ")
# What has blanks and is no text: commands, formats, patterns and queries for programs.
NOT_FOR_PEOPLE = re.compile(r"\\[bdnsw]|\[\^|\(\?|^#!|^from .* import|^-|%[sdb]|\{\{\.")


@dataclass(frozen=True, slots=True)
class Message:
    """A text in the code."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def text_of(node: ast.expr) -> str | None:
    """Return the text of a literal, with expressions in braces; None where it is no text."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [
            value.value if isinstance(value, ast.Constant) else f"{{{ast.unparse(value.value)}}}"
            for value in node.values
            if isinstance(value, ast.Constant | ast.FormattedValue)
        ]
        return "".join(str(part) for part in parts)
    return None


def docstrings(tree: ast.AST) -> set[int]:
    """Return the ids of nodes that only describe the code, and those inside of larger texts."""
    found = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            found |= {id(inner) for inner in ast.walk(node) if inner is not node}
    return found


def help_texts(tree: ast.AST, commands: bool) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of the functions of a command line: the help is made of them."""
    for node in ast.walk(tree):
        if commands and isinstance(node, ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield node.lineno, text


def messages() -> list[Message]:
    """Return every text, in the order of files and lines."""
    found = []
    for package in ("installer", "bundler"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            passed_over = docstrings(tree)
            name = path.relative_to(ROOT).as_posix()
            texts = list(help_texts(tree, "/cli/" in name))
            for node in ast.walk(tree):
                if isinstance(node, ast.expr) and id(node) not in passed_over and (text := text_of(node)):
                    texts.append((node.lineno, text))
            found += [
                Message(name, line, " ".join(text.split()))
                for line, text in sorted(texts)
                if SENTENCE.search(text) and not NOT_FOR_PEOPLE.search(text)
            ]
    return found


if __name__ == "__main__":
    print(*messages(), sep="\n")
