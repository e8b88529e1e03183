"""What a frozen directory is refused for."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from bundler.freeze import build, check, elf, platforms
from installer.core.errors import UnfitInputError, UsageError
from installer.shared.frozen import module_name

INSTALL = {*check.WANTED["install"]}
GLIBC, MUSL = (platforms.PLATFORMS[f"linux/amd64{libc}"] for libc in ("", "-musl"))


def said(names: set[str], program: str = "install") -> list[str]:
    return [problem.what for problem in check.module_problems(names, program)]


def test_everything_wanted_is_enough() -> None:
    assert said(INSTALL | {"installer.verify", "json"}) == []


@pytest.mark.parametrize("name", ["cryptography", "installer.cli.main", "zstandard"])
def test_a_missing_module_is_named(name: str) -> None:
    assert said(INSTALL - {name}) == [f"the module {name} is missing"]


@pytest.mark.parametrize(
    "name", ["bundler.signing.bundle", "nacl.secret", "gnupg", "readline", "setuptools", "elftools.elf"]
)
def test_signing_building_and_foreign_licences_never_ship_in_install(name: str) -> None:
    assert said(INSTALL | {name}) == [f"the module {name} must not be included"]


def test_a_library_that_needs_a_newer_glibc_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (library,) = Path(zstandard.__file__).parent.glob("backend_c.*.so")
    (tmp_path / "lib.so").write_bytes(library.read_bytes())
    assert list(check.library_problems(tmp_path, GLIBC)) == []
    monkeypatch.setattr(check, "GLIBC_FLOOR", (2, 3))
    assert "needs glibc 2." in str(next(check.library_problems(tmp_path, GLIBC)))


def test_what_this_python_needs_is_read_from_it() -> None:
    found = elf.needs(Path(os.path.realpath(sys.executable)).read_bytes())
    assert "libc.so.6" in found.libraries
    assert (2, 2, 5) in found.glibc or (2, 17) in found.glibc


def test_a_library_that_a_host_may_lack_is_named(tmp_path: Path) -> None:
    (library,) = Path(zstandard.__file__).parent.glob("backend_c.*.so")
    content = library.read_bytes()
    assert b"libpthread.so.0\0" in content
    (tmp_path / "lib.so").write_bytes(content.replace(b"libpthread.so.0\0", b"libreadly.so.99\0"))
    assert "needs libreadly.so.99, which hosts may not have" in str(
        next(check.library_problems(tmp_path, GLIBC))
    )


def test_a_library_of_glibc_has_no_place_in_a_directory_for_musl(tmp_path: Path) -> None:
    (library,) = Path(zstandard.__file__).parent.glob("backend_c.*.so")
    shutil.copy(library, tmp_path / "lib.so")
    said = [problem.what for problem in check.library_problems(tmp_path, MUSL)]
    assert "needs libc.so.6, which hosts may not have" in said
    assert "needs glibc 2.14" in said


def test_a_library_for_another_processor_is_named(tmp_path: Path) -> None:
    (library,) = Path(zstandard.__file__).parent.glob("backend_c.*.so")
    shutil.copy(library, tmp_path / "lib.so")
    arm = platforms.PLATFORMS["linux/arm64"]
    assert "is for another machine (EM_X86_64)" in [
        problem.what for problem in check.library_problems(tmp_path, arm)
    ]


@pytest.mark.parametrize(
    ("search", "refused"),
    [
        ("$ORIGIN", False),
        ("$ORIGIN/../lib", False),
        ("$ORIGIN/../../freeze_core.libs", True),
        ("/usr/local/lib", True),
        ("lib", True),
        ("$ORIGIN:$ORIGIN/../..", True),
    ],
)
def test_a_library_that_loads_others_from_outside_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str, *, refused: bool
) -> None:
    """Others may be able to write to directories next to the program's own."""
    (library,) = Path(zstandard.__file__).parent.glob("backend_c.*.so")
    (tmp_path / "lib").mkdir()
    shutil.copy(library, tmp_path / "lib/lib.so")
    found = replace(elf.needs(library.read_bytes()), paths=tuple(search.split(":")))
    monkeypatch.setattr(check, "needs", lambda _content: found)
    said = [problem.what for problem in check.library_problems(tmp_path, GLIBC)]
    wrong = search.rpartition(":")[2]
    assert said == ([f"loads libraries from {wrong}, outside of its own directory"] if refused else [])


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    with zipfile.ZipFile(tmp_path / "lib" / "library.zip", "w") as library:
        library.writestr("bundler/sign.pyc", b"")
        library.writestr("jinja2/__init__.pyc", b"")
    with pytest.raises(UnfitInputError) as caught:
        check.check(tmp_path, "install", GLIBC)
    assert len(caught.value.problems) == len(check.WANTED["install"])


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("json/__init__.pyc", "json"),
        ("json/decoder.pyc", "json.decoder"),
        ("zlib.cpython-311-x86_64-linux-gnu.so", "zlib"),
        ("cryptography.hazmat.bindings._rust.abi3.so", "cryptography.hazmat.bindings._rust"),
        ("pip/__main__.pyc", ""),
        ("__main__install.pyc", ""),
        ("__init__install.pyc", ""),
        ("__startup__.pyc", "__startup__"),
        ("libz.so.1", ""),
        ("libcrypto-27e744a7.so.3", ""),
        ("docker-7.2.0.dist-info/METADATA", ""),
        ("certifi/cacert.pem", ""),
    ],
)
def test_modules_are_told_from_other_files(file: str, name: str) -> None:
    assert module_name(file) == name


def test_only_a_checkout_with_the_right_python_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platforms, "PLATFORMS", {})
    with pytest.raises(UsageError, match=r"Python 3\.11"):
        build.build(tmp_path / "out", "install")


@pytest.mark.parametrize("name", ["freeze.txt", "libz.txt"])
def test_every_locked_package_has_a_hash(name: str) -> None:
    lines = build.lock(name).read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)
