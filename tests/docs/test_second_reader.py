"""The verifier of the documents: short, of its own, with every rule of the page; and its exit codes.

That it agrees with the reader is asked wherever tests read a bundle: see `tests/rig/independent.py`.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from installer.core.format.manifest import MANIFEST
from tests.rig import bundlebuild as build
from tests.rig.independent import NAMES, VERIFIER

PAGE = (VERIFIER.parent / "format.md").read_text(encoding="utf-8")
SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in VERIFIER.glob("*.py")}


def test_the_second_reader_shares_no_code_with_the_first() -> None:
    allowed = {*sys.stdlib_module_names, "cryptography", *NAMES}
    assert SOURCES.keys() == {*NAMES}
    for source in SOURCES.values():
        for node in ast.walk(ast.parse(source)):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= allowed


def test_each_module_of_the_second_reader_is_short_and_so_is_the_whole() -> None:
    lines = {name: source.count("\n") for name, source in SOURCES.items()}
    assert lines.keys() == set(NAMES)
    assert [name for name, number in lines.items() if number > 240] == []
    assert sum(lines.values()) <= 1040


def test_the_second_reader_names_every_rule_of_the_page_and_no_other() -> None:
    rules = re.findall(r"^\| ([A-Z][0-9]+) \|", PAGE, re.MULTILINE)
    assert len(rules) == len(set(rules)) > 50
    named = set()
    for source in SOURCES.values():
        for letter, first, last in re.findall(r"\b([A-Z])([0-9]+)(?:-[A-Z]([0-9]+))?\b", comments(source)):
            named |= {f"{letter}{number}" for number in range(int(first), int(last or first) + 1)}
    assert named - set(rules) == set()
    assert set(rules) - named == set()


def comments(source: str) -> str:
    """Return what is in comments and docstrings."""
    texts = [line.partition("# ")[2] for line in source.splitlines() if "# " in line]
    nodes = ast.walk(ast.parse(source))
    texts += [
        ast.get_docstring(node) or ""
        for node in nodes
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module)
    ]
    return "\n".join(re.sub(r"\b(?:U\+\S+|D145|N818|SHA-?256|P-256|UTF-8)\b", "", text) for text in texts)


def unsigned() -> bytes:
    return build.plan().tar()


def newer() -> bytes:
    plan = build.plan()
    data = next(part.data for part in plan.head if part.name == MANIFEST)
    return build.signed(plan.resealed(document=data.replace(b"bundle/v1", b"bundle/v2"))).tar()


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (build.signed().tar(), 0, "verified: lan-chat 1.4.0, 5 files"),
        (unsigned(), 10, "no signature by this key"),
        (build.signed().changed("docs/CHANGELOG.md", data=b"other").tar(), 11, "docs/CHANGELOG.md"),
        (build.signed().tar()[:-512], 11, "truncated"),
        (newer(), 19, "newer reader"),
    ],
    ids=["good", "unsigned", "tampered", "truncated", "newer"],
)
def test_the_second_reader_as_a_program_ends_with_the_codes_of_the_page(
    tmp_path: Path, data: bytes, code: int, words: str
) -> None:
    bundle, key = tmp_path / "b.tar", tmp_path / "release.pub"
    bundle.write_bytes(data)
    key.write_text(build.key()[1])
    program = [sys.executable, VERIFIER / "verify.py", bundle, key]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stdout + done.stderr
