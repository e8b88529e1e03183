"""The Python of the executables is built for glibc 2.17: it lacks what later versions brought."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LACKING = {
    "os": {
        "memfd_create", "getrandom", "copy_file_range", "pidfd_open", "eventfd",
        "posix_fallocate64", "statx", "close_range",
    },
    "signal": {"pidfd_send_signal"},
    "socket": {"send_fds", "CAN_J1939"},
}  # fmt: skip
"""Names that a build for a newer library has, as the one that runs these tests."""
PROGRAMS = [path for package in ("installer", "bundler") for path in sorted((ROOT / package).rglob("*.py"))]


def lacking(source: str) -> list[str]:
    """Return what a module uses of modules that the executables have without it."""
    return [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr in LACKING.get(node.value.id, ())
    ]


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_uses_nothing_that_the_executables_lack(path: Path) -> None:
    assert lacking(path.read_text(encoding="utf-8")) == []


def test_a_function_that_the_executables_lack_is_found() -> None:
    assert lacking("import os\nfd = os.memfd_create('x')\nos.open('y', 0)") == ["os.memfd_create"]
