"""No test depends on speed: none measures how long something took and compares it with a number of seconds.

What is to end is guarded by `ends` of the rig, what is to happen at the same time meets at a barrier, and
speed is the matter of the bench.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
MEASURING = ("bench", "rig")
"""The bench measures; the rig has the guards, and waits for what is late."""
CLOCKS = {
    f"time.{name}"
    for name in ("monotonic", "perf_counter", "time", "monotonic_ns", "perf_counter_ns", "time_ns")
}


def measured(source: str) -> list[int]:
    """Return the lines that subtract from what a clock of the machine says."""
    return sorted(
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and isinstance(node.left, ast.Call)
        and ast.unparse(node.left.func) in CLOCKS
    )


def test_no_test_measures_how_long_something_took() -> None:
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in TESTS.rglob("*.py")
        if path.relative_to(TESTS).parts[0] not in MEASURING
        for line in measured(path.read_text(encoding="utf-8"))
    }
    assert found == set(), "use ends(…) of tests/rig/hang.py, or let what happens at once wait for each other"


@pytest.mark.parametrize(
    "source",
    [
        "assert time.monotonic() - began < 2",
        "took = time.perf_counter() - began",
        "def f():\n    return 1.4 < time.time() - began < 4",
    ],
)
def test_a_measured_time_is_found(source: str) -> None:
    assert measured(source)


@pytest.mark.parametrize(
    "source",
    ["until = time.monotonic() + 120", "while time.monotonic() < until: pass", "began = time.monotonic()"],
)
def test_a_wait_with_an_end_is_not_reported(source: str) -> None:
    assert measured(source) == []
