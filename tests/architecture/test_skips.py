"""A test skips through `needs` and `lacks` of the rig only: WAYBILL_REQUIRE makes every skip a failure."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MECHANISM = TESTS / "rig" / "needs.py"
BARE = {
    "pytest.skip",
    "skip",
    "pytest.importorskip",
    "importorskip",
    "pytest.mark.skip",
    "mark.skip",
    "pytest.mark.skipif",
    "mark.skipif",
    "pytest.mark.xfail",
    "mark.xfail",
    "pytest.xfail",
    "unittest.skip",
    "unittest.skipIf",
    "unittest.skipUnless",
    "self.skipTest",
}


def bare_skips(source: str) -> list[int]:
    """Return the lines that skip a test past the mechanism: calls, and marks that need no call."""
    found = []
    for node in ast.walk(ast.parse(source)):
        called = node.func if isinstance(node, ast.Call) else None
        marked = node if isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.skip" else None
        if ast.unparse(called or marked or ast.Pass()) in BARE:
            found.append(node.lineno)  # type: ignore[attr-defined]
    return sorted(set(found))


def test_no_test_skips_past_the_mechanism() -> None:
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in TESTS.rglob("*.py")
        if path != MECHANISM
        for line in bare_skips(path.read_text(encoding="utf-8"))
    }
    assert found == set(), "use needs(…), lacks(…) or @pytest.mark.needs(…) of tests/rig/needs.py"


@pytest.mark.parametrize(
    "source",
    [
        "pytest.skip('x')",
        "def f():\n    if y:\n        pytest.skip()",
        "segno = pytest.importorskip('segno')",
        "@pytest.mark.skipif(root, reason='x')\ndef f(): ...",
        "@pytest.mark.skip\ndef f(): ...",
        "pytestmark = pytest.mark.skip(reason='x')",
        "from pytest import skip\nskip('x')",
        "class T:\n    def f(self):\n        self.skipTest('x')",
    ],
)
def test_a_bare_skip_is_found(source: str) -> None:
    assert bare_skips(source)


@pytest.mark.parametrize(
    "source", ["needs('gpg')", "lacks('loop', 'x')", "pytest.raises(pytest.skip.Exception)", "skip = 1"]
)
def test_what_is_no_skip_is_not_reported(source: str) -> None:
    assert bare_skips(source) == []


def test_a_test_without_a_case_is_an_error_and_no_skip(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getini("empty_parameter_set_mark") == "fail_at_collect"
