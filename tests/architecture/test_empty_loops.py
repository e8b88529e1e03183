"""No test passes because it found nothing: what it finds on the disk is demanded before it is looped over."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FINDING = {"glob", "rglob", "iterdir", "walk", "scandir"}


def finds(expression: ast.AST) -> bool:
    """Whether an expression lists what is on the disk: it may be nothing."""
    calls = [node.func for node in ast.walk(expression) if isinstance(node, ast.Call)]
    return any(isinstance(func, ast.Attribute) and func.attr in FINDING for func in calls)


def demands(node: ast.AST) -> bool:
    """Whether a statement demands something: an assertion, an error, or a helper that does."""
    return any(
        isinstance(each, ast.Assert)
        or (isinstance(each, ast.With) and "raises" in ast.unparse(each.items[0].context_expr))
        for each in ast.walk(node)
    )


def empty_loops(source: str) -> list[str]:
    """Return the tests all of whose demands are in loops over what they find."""
    found = []
    for test in ast.walk(ast.parse(source)):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
            loops = [node for node in test.body if isinstance(node, ast.For) and finds(node.iter)]
            inside = any(demands(loop) for loop in loops)
            if inside and not any(demands(node) for node in test.body if node not in loops):
                found.append(test.name)
    return found


def test_no_test_passes_on_an_empty_loop() -> None:
    found = {
        f"{path.relative_to(TESTS)}::{name}"
        for path in TESTS.rglob("test_*.py")
        for name in empty_loops(path.read_text(encoding="utf-8"))
    }
    assert found == set(), "assert first that what the loop goes over is there"


@pytest.mark.parametrize(
    "body",
    [
        "for p in top.rglob('*'):\n  assert p",
        "for p in (q for q in top.glob('x-*') if q):\n  if p:\n   assert p",
        "for p in sorted(top.iterdir()):\n  with pytest.raises(OSError):\n   read(p)",
    ],
)
def test_a_loop_that_may_be_empty_is_found(body: str) -> None:
    assert empty_loops(f"def test_x():\n {body}") == ["test_x"]


@pytest.mark.parametrize(
    "body",
    [
        "found = [*top.rglob('*')]\n assert found\n for p in found:\n  assert p",
        "for p in top.iterdir():\n  p.unlink()\n assert not seen()",
        "for p in ('a', 'b'):\n  assert p",
    ],
)
def test_a_loop_over_what_is_there_is_not_reported(body: str) -> None:
    assert empty_loops(f"def test_x():\n {body}") == []
