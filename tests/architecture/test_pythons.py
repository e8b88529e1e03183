"""Versions of Python: each place that lists them lists the same, and `make` finds one of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from bundler.freeze.build import PYTHONS

ROOT = Path(__file__).resolve().parents[2]
FINDER = ROOT / ".ci" / "find-python"
HERE = sysconfig.get_python_version()
NEXT = f"3.{int(PYTHONS[-1].partition('.')[2]) + 1}"
# What a machine has that has no Python.
TOOLS = Path("/bin/sh")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory that is the whole PATH."""
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def pretend(path: Path, name: str, version: str, without: str = "") -> None:
    """Lay down a real Python that takes itself for another version, and may lack a module."""
    settings = path.parent / f"{name}-site"
    settings.mkdir()
    numbers = ", ".join(version.split("."))
    (settings / "sitecustomize.py").write_text(
        f"import sys\nsys.version_info = ({numbers}, 0, 'final', 0)\nsys.modules[{without!r}] = None\n"
    )
    program = path / name
    program.write_text(f'#!{TOOLS}\nPYTHONPATH="{settings}" exec "{sys.executable}" "$@"\n')
    program.chmod(0o755)


def find(path: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [TOOLS, FINDER, *words], env={"PATH": str(path)}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_all_places_list_the_same_versions() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    prefix = "Programming Language :: Python :: "
    listed = [name for name in project["project"]["classifiers"] if name.startswith(prefix)]
    assert tuple(name.removeprefix(prefix) for name in listed) == PYTHONS
    assert project["project"]["requires-python"] == f">={PYTHONS[0]}"
    assert f"supported='{' '.join(PYTHONS)}'" in FINDER.read_text()
    # What is checked statically is the oldest: nothing newer may be used.
    assert project["tool"]["mypy"]["python_version"] == PYTHONS[0]
    assert project["tool"]["ruff"]["target-version"] == f"py{PYTHONS[0].replace('.', '')}"
    assert f"--python-version {PYTHONS[0]} --universal" in (ROOT / "Makefile").read_text()
    for document in ("README.md", "CONTRIBUTING.md", "Makefile"):
        assert f"Python {PYTHONS[0]} to {PYTHONS[-1]}" in (ROOT / document).read_text()


def test_the_oldest_version_that_is_there_is_found(path: Path) -> None:
    pretend(path, "python3.13", "3.13")
    pretend(path, "python3.12", "3.12")
    pretend(path, "python3", "3.14")
    # A version manager lays down shims of versions that it cannot start.
    (path / "python3.11").write_text(f"#!{TOOLS}\necho 'python3.11: command not found' >&2\nexit 127\n")
    (path / "python3.11").chmod(0o755)
    code, printed, said = find(path)
    assert (code, said) == (0, "")
    # Not the name it was found by: an update of the system may give that another meaning.
    assert Path(printed.strip()) == Path(sys.executable).resolve()


def test_python3_is_enough(path: Path) -> None:
    pretend(path, "python3", PYTHONS[-1])
    assert find(path)[0] == 0


def test_a_python_that_makes_no_environments_is_passed_over_or_named_with_its_package(path: Path) -> None:
    pretend(path, "python3.12", "3.12", without="ensurepip")
    code, printed, said = find(path)
    assert (code, printed) == (1, "")
    assert said == (
        "make: no Python from 3.11 to 3.14 that can make virtual environments:\n"
        f"  {path}/python3.12 cannot make virtual environments; "
        "on Debian and Ubuntu: apt-get install python3.12-venv\n"
        "hint: on Debian and Ubuntu: apt-get install python3 python3-venv; "
        "elsewhere: make PYTHON=/path/to/python3\n"
    )
    pretend(path, "python3", "3.13")
    assert find(path)[0] == 0


def test_the_packages_are_named_where_no_python_is_found(path: Path) -> None:
    code, printed, said = find(path)
    assert (code, printed) == (1, "")
    assert "neither 3.11 to 3.14 nor python3 is on the PATH" in said
    assert "apt-get install python3 python3-venv" in said


def test_a_python_that_is_too_old_is_named(path: Path) -> None:
    pretend(path, "python3", "3.10")
    assert f"{path}/python3 is Python 3.10, which is too old" in find(path)[2]
    # Whoever asks for it gets it no more than others.
    assert find(path, "python3")[0] == 1


def test_a_newer_python_is_used_only_when_asked_for(path: Path) -> None:
    pretend(path, "python3", NEXT)
    code, _, said = find(path)
    assert code == 1
    assert f"is Python {NEXT}, which is newer than {PYTHONS[-1]}; to try it: make PYTHON=python{NEXT}" in said
    assert find(path, "python3")[0] == 0


def test_a_python_that_is_asked_for_and_absent_is_named(path: Path) -> None:
    code, _, said = find(path, "python9")
    assert code == 1
    assert "python9: there is no such Python, or it does not start" in said


def test_make_sets_up_with_what_is_found(path: Path, tmp_path: Path) -> None:
    """The recipe of the Makefile, with a venv and nothing locked; a set-up that was ended does not stay."""
    make = os.environ.get("MAKE", "make")
    (tmp_path / ".venv/lib/python2.9").mkdir(parents=True)
    words = [make, "--no-print-directory", "-f", ROOT / "Makefile", "-C", tmp_path, ".venv/bin/python"]
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/find-python").write_text("exit 1\n")
    assert subprocess.run(words, capture_output=True, check=False).returncode == 2
    assert not (tmp_path / ".venv").exists()
    (tmp_path / ".ci/find-python").write_text(FINDER.read_text())
    subprocess.run([*words, f"PYTHON={sys.executable}"], capture_output=True, check=True)
    assert re.search(rf"^version = {HERE}\.", (tmp_path / ".venv/pyvenv.cfg").read_text(), re.MULTILINE)
    assert not (tmp_path / ".venv/lib/python2.9").exists()
