"""The tests mirror the tree: a folder of the product has its tests in the folder of the same name."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("installer", "bundler")
# Folders without tests of their own, and where they are tested instead.
ELSEWHERE: dict[str, str] = {}

# The attacks start from the seeds of the fuzz targets.
MAY_USE = {("attacks", "fuzz")}


def folders(top: Path) -> set[str]:
    """The folders below a package that have modules in them."""
    return {
        path.parent.relative_to(top).as_posix()
        for package in PACKAGES
        for path in (top / package).glob("*/**/*.py")
    }


def test_every_folder_of_the_product_has_its_tests() -> None:
    there = {path.parent.relative_to(ROOT / "tests").as_posix() for path in ROOT.glob("tests/*/**/test_*.py")}
    assert folders(ROOT) - there == set(ELSEWHERE)
    assert all(list((ROOT / name).glob("test_*.py")) for name in ELSEWHERE.values())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_tests_is_one_of_the_product(package: str) -> None:
    tests = {
        path.parent.relative_to(ROOT / "tests").as_posix()
        for path in (ROOT / "tests" / package).glob("**/test_*.py")
    }
    assert tests
    assert tests <= folders(ROOT)


def used(path: Path) -> set[str]:
    """The folders below `tests` that a module of tests imports from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("tests.")}
    return found


def test_what_two_folders_of_tests_use_is_in_the_rig() -> None:
    assert [
        f"{path.relative_to(ROOT)} uses tests/{name}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (own := path.relative_to(ROOT / "tests").parts[0])
        for name in sorted(used(path) - {"rig", own})
        if (own, name) not in MAY_USE
    ] == []


def test_the_rig_uses_nothing_but_itself() -> None:
    assert [path.name for path in (ROOT / "tests/rig").rglob("*.py") if used(path) - {"rig"}] == []
