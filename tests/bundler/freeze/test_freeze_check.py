"""What a frozen directory is refused for."""

from __future__ import annotations

import os
import sys
import zipfile
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


def test_an_executable_that_carries_no_installer_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(UsageError, match="does not contain `install`"):
        build.write_installer(tmp_path / "out")


def test_the_carried_installer_is_written_in_one_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "embedded").mkdir()
    (tmp_path / "embedded" / "install").write_bytes(b"program")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    out = tmp_path / "stick" / "install"
    build.write_installer(out)
    assert out.read_bytes() == b"program"
    assert out.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in out.parent.iterdir()] == ["install"]


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
