"""The page about variables has every variable that the code reads, and no other."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bundler.cli import defaults as desk
from installer.cli import defaults as host
from installer.shared.child import environment

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "docs/reference/variables.md").read_text()
NAME = re.compile(r"[A-Z][A-Z0-9_]*(?:\*)?")
ACCESSORS = {"environ", "environb", "environment", "source"}
# Read by libraries: NO_COLOR by rich, the rest through lists of names that the code has.
BY_LIBRARIES = {"NO_COLOR"}
# Taken out of the environment, so that nobody reads them: one sentence is about all of them.
UNREAD = {"LD_PRELOAD", "PYTHONPATH", "OPENSSL_CONF", "BASH_ENV"}


def sources() -> list[Path]:
    return [path for package in ("installer", "bundler") for path in sorted((TOP / package).rglob("*.py"))]


def constants() -> dict[str, str]:
    """Names of modules' constants that are the name of a variable."""
    found = {}
    for path in sources():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                value = node.value.value
                if isinstance(value, str) and NAME.fullmatch(value) and isinstance(node.targets[0], ast.Name):
                    found[node.targets[0].id] = value
    return found


def read_in(tree: ast.AST, known: Mapping[str, str]) -> Iterator[str]:
    """The variables that a module reads: from `environ`, in whatever way, or through Typer."""
    for node in ast.walk(tree):
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and called(node.value) in ACCESSORS:
            key = node.slice
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute) and called(node.func.value) in ACCESSORS and node.args:
                key = node.args[0]
            for word in node.keywords:
                if word.arg == "envvar":
                    key = word.value
        elif isinstance(node, ast.Compare) and called(node.comparators[0]) in ACCESSORS:
            key = node.left
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value
        elif isinstance(key, ast.Name | ast.Attribute):
            name = key.id if isinstance(key, ast.Name) else key.attr
            if name in known:
                yield known[name]


def called(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def listed() -> set[str]:
    """The variables in lists of names: for children, for provenance, and for passwords."""
    from bundler.provenance.builder import INFLUENCES

    return {
        *INFLUENCES,
        *environment.KEPT,
        *environment.OWN,
        "LC_*",
        f"{environment.ORIGINAL}*",
        "COSIGN_PASSWORD",
    }


def in_script() -> set[str]:
    text = (TOP / "bundler/freeze/self_extract.sh").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return set(re.findall(r"\$\{?((?:WAYBILL|XDG)_[A-Z_]+|HOME|PATH)\b(?!_\$)", "\n".join(lines)))


@functools.cache
def variables() -> set[str]:
    known = constants()
    found = {name for path in sources() for name in read_in(ast.parse(path.read_text()), known)}
    return {name for name in found if NAME.fullmatch(name)} | listed() | in_script() | BY_LIBRARIES


def documented() -> set[str]:
    """The names in the first column of the tables, and others in code that look like a variable."""
    text = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    code = {word for word in re.findall(r"`([^`]+)`", text) if NAME.fullmatch(word) and "_" in word}
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    return code | {word for row in rows for word in re.findall(r"`([A-Z][A-Z0-9_*]*)`", row)}


def test_every_variable_that_the_code_reads_is_documented() -> None:
    assert sorted(variables() - documented()) == []


def test_every_documented_variable_is_read() -> None:
    assert sorted(documented() - variables() - UNREAD) == []


def test_the_search_finds_every_way_to_read_a_variable() -> None:
    text = (
        "import os\nNAME_A = 'A_A'\nos.environ.get(NAME_A)\nos.environ['B_B']\n'C_C' in os.environ\n"
        "os.environ.pop('D_D', '')\nenviron.get('E_E')\noption(envvar='F_F')\nos.environ.get(m.NAME_A)\n"
    )
    found = set(read_in(ast.parse(text), {"NAME_A": "A_A"}))
    assert found == {"A_A", "B_B", "C_C", "D_D", "E_E", "F_F"}


@pytest.mark.parametrize(("program", "allowed"), [("install", host.ALLOWED), ("bundle", desk.ALLOWED)])
def test_the_page_lists_the_options_that_may_have_a_default(program: str, allowed: tuple[str, ...]) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{program}` |"))
    assert re.findall(r"`([^`]+)`", row)[1:] == list(allowed)


def test_the_loaders_are_named_by_examples() -> None:
    script = (TOP / "bundler/freeze/self_extract.sh").read_text()
    assert all(name in script for name in UNREAD)
