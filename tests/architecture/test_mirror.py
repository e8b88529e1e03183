"""The tests mirror the tree: a folder of the product has its tests in the folder of the same name."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("installer", "bundler")
# Folders without tests of their own, and where they are tested instead.
ELSEWHERE = {
    "installer/cli": "tests/e2e",  # as the executable, and in tests/installer/commands by the rig's Bench
    "bundler/cli": "tests/e2e",
}


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
