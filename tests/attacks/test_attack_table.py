"""The table of hostile input is whole: no row without attacks, no attack outside of it, none missing."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest

from tests.attacks.rows import Row
from tests.attacks.table import ROWS

HERE = Path(__file__).parent
TOP = HERE.parents[1]
NAMED = re.compile(r"([\w/]+)::(\w+)(?:\[(.+)\])?")
TABLES = {
    "test_attack_bundles": ("ATTACKS", "LATER"),
    "test_attack_inputs": ("ATTACKS",),
    "test_attack_layers": ("ATTACKS",),
    "test_attack_names": ("ATTACKS",),
    "test_attack_steps": ("ATTACKS",),
    "test_attack_trust": ("ROOTS", "UPDATES", "APPROVING"),
}
SUBJECTS = ("bundles", "images", "root files", "approvals", "signatures", "templates", "bundle.yaml")


@cache
def functions(module: str) -> frozenset[str]:
    """Gives the tests that a module has, also those in classes."""
    path = (TOP if "/" in module else HERE) / f"{module}.py"
    tree = ast.parse(path.read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def faults(module: str, table: str) -> dict[str, object]:
    """Gives a table of attacks."""
    found: dict[str, object] = getattr(importlib.import_module(f"tests.attacks.{module}"), table)
    return found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.vector)
def test_a_row_has_attacks_and_they_exist(row: Row) -> None:
    assert row.tests
    assert row.defence
    for name in row.tests:
        match = NAMED.fullmatch(name)
        assert match, name
        module, what, fault = match.groups()
        if fault is None:
            assert what in functions(module), name
        else:
            assert fault in faults(module, what), name


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.vector)
def test_a_row_names_nothing_twice(row: Row) -> None:
    assert len(set(row.tests)) == len(row.tests)


def test_every_attack_stands_in_a_row() -> None:
    listed = {name for row in ROWS for name in row.tests}
    made = {
        f"{module}::{table}[{fault}]"
        for module, tables in TABLES.items()
        for table in tables
        for fault in faults(module, table)
    }
    assert sorted(made - listed) == []


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_subject_is_attacked(subject: str) -> None:
    words = {
        "bundles": "test_attack_bundles::ATTACKS",
        "images": "an archive with",
        "root files": "test_attack_trust::ROOTS",
        "approvals": "test_attack_trust::APPROVING",
        "signatures": "a signature that is",
        "templates": "a template that",
        "bundle.yaml": "a billion laughs",
    }[subject]
    assert [name for row in ROWS for name in row.tests if words in name]


def test_every_row_but_two_is_tried_at_the_prompt() -> None:
    """What only a program under test can show, a medium with two faces and a race, is shown on it."""
    prompt = tuple(TABLES)
    others = [row.vector for row in ROWS if not any(name.startswith(prompt) for name in row.tests)]
    assert others == ["a medium that answers differently the second time", "races while writing"]
