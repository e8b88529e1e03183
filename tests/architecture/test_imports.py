"""Who may import whom. Every import counts, those inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# `referencing` is the part of jsonschema that finds schemas.
CORE_MAY_IMPORT = {"installer", "cryptography", "jsonschema", "referencing", "zstandard"}
BUNDLER_MAY_IMPORT = ("installer.core", "installer.shared")
HEAVY = "cryptography docker gnupg jinja2 jsonschema nacl rich typer yaml zstandard"


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every module that a file imports, in full: `from a.b import c` gives a.b.c."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield from ((node.lineno, f"{node.module}.{name.name}") for name in node.names)


def offences(package: str, allowed: Callable[[str], bool]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules(package)
        for line, name in imports(path)
        if not allowed(name)
    ]


def below(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_the_installer_never_imports_the_bundler() -> None:
    assert offences("installer", lambda name: not below(name, "bundler", "nacl", "gnupg", "tests")) == []


def test_the_core_imports_only_itself_and_three_libraries() -> None:
    def allowed(name: str) -> bool:
        top = name.partition(".")[0]
        known = top in CORE_MAY_IMPORT or top in sys.stdlib_module_names
        return known and (top != "installer" or below(name, "installer.core"))

    assert offences("installer/core", allowed) == []


def test_the_bundler_imports_of_the_installer_only_what_both_share() -> None:
    def allowed(name: str) -> bool:
        return not below(name, "installer") or name == "installer" or below(name, *BUNDLER_MAY_IMPORT)

    assert offences("bundler", allowed) == []


def test_what_both_executables_start_with_imports_nothing_of_ours_but_itself() -> None:
    for name in ("shared/frozen.py", "shared/progress.py", "shared/child/environment.py"):
        ours = [name for _, name in imports(ROOT / "installer" / name) if below(name, "bundler", "installer")]
        assert [name for name in ours if name != "installer"] == [], name


def test_nothing_shipped_imports_tests() -> None:
    for package in ("installer", "bundler"):
        assert offences(package, lambda name: not below(name, "tests", "pytest", "hypothesis")) == []


@pytest.mark.parametrize("command", ["installer.cli.main", "bundler.cli.main"])
def test_starting_a_command_imports_nothing_heavy(command: str) -> None:
    program = f"import sys, {command}; print(*[m for m in {HEAVY!r}.split() if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= {"typer"}


def test_a_foreign_package_named_installer_is_told_from_ours(tmp_path: Path) -> None:
    (tmp_path / "installer").mkdir()
    (tmp_path / "installer" / "__init__.py").write_text("__version__ = '0.7.0'\n")
    program = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import bundler"
    done = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert f"the package `installer` at {tmp_path}/installer/__init__.py is not part of Waybill" in last
    assert "hint: " in last
