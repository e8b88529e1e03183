"""Which standard library is frozen: that of the pinned archive, or none that does not fit."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest

from bundler.freeze import build, standard_library, wheels
from bundler.freeze.platforms import native
from bundler.freeze.standard_library import SERIES, choose, interpreter_version
from installer.core.errors import TamperedError, UnfitInputError
from tests.rig.needs import lacks

HERE = ".".join(map(str, sys.version_info[:3]))
FUTURE = f"{SERIES}.99"
PINNED = "3.11"
"""The series that releases are built with."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(standard_library.SOURCE, raising=False)
    return with_interpreter(tmp_path / "site", FUTURE.encode())


def with_interpreter(site: Path, *versions: bytes) -> Path:
    base = site / f"freeze_core/bases/console-cpython-{SERIES.replace('.', '')}-x86_64-linux-gnu"
    base.parent.mkdir(parents=True, exist_ok=True)
    base.write_bytes(b"\x7fELF" + b"".join(b"\0%b\0 code" % each for each in versions))
    return site


def archive(path: Path, version: str = FUTURE, **members: str) -> str:
    with tarfile.open(path, "w:gz") as tar:
        for name, text in {"Lib/json/__init__.py": "good", **members}.items():
            member = tarfile.TarInfo(f"Python-{version}/{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text.encode()))
        link = tarfile.TarInfo(f"Python-{version}/Lib/link.py")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def locked(path: Path, digest: str = "0" * 64, version: str = FUTURE) -> Path:
    path.write_text(f"# comment\nPython-{version}.tgz \\\n    --hash=sha256:{digest}\n")
    return path


def test_the_lock_names_the_release_of_the_interpreter() -> None:
    pinned, digest = standard_library._pinned(build.lock("python.txt"))
    if SERIES != PINNED:
        assert pinned == ""
        return
    platform = native()
    site = wheels.place(build.ROOT / "build/freeze", platform) if platform else Path("/nowhere")
    if not site.is_dir():
        lacks("executables", "make installer, in a checkout: the wheels that it is built from are not here")
    assert (pinned, len(digest)) == (interpreter_version(site), 64)


def test_a_release_with_another_library_is_refused(site: Path, tmp_path: Path) -> None:
    lock = locked(tmp_path / "python.txt")
    with pytest.raises(UnfitInputError) as caught:
        choose(site, lock, tmp_path, release=True)
    assert caught.value.what == f"the standard library is that of Python {HERE}, the interpreter is {FUTURE}"
    assert caught.value.hint == (
        f"get Python-{FUTURE}.tgz, then run `make release PYTHON_SOURCE=Python-{FUTURE}.tgz`"
    )
    test_build = choose(site, lock, tmp_path)
    assert (test_build.version, test_build.fits, test_build.path) == (HERE, False, None)


def test_a_release_with_the_same_library_is_built(site: Path, tmp_path: Path) -> None:
    with_interpreter(site, HERE.encode())
    assert choose(site, locked(tmp_path / "python.txt", version=HERE), tmp_path, release=True).fits


def test_the_library_comes_from_the_pinned_archive(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / f"Python-{FUTURE}.tgz"
    digest = archive(
        source, **{"Lib/../../out.py": "bad", "Lib/test/big.py": "no", "Modules/x.c": "no", "Lib/a.txt": "no"}
    )
    monkeypatch.setenv(standard_library.SOURCE, str(source))
    for _ in range(2):
        library = choose(site, locked(tmp_path / "python.txt", digest), tmp_path, release=True)
        assert library.fits
        assert library.path
        assert [path for path in library.path.rglob("*") if path.is_file()] == [
            library.path / "json/__init__.py"
        ]
    assert not list(tmp_path.rglob("out.py"))


def test_another_archive_is_refused(site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / f"Python-{FUTURE}.tgz"
    digest = archive(source)
    archive(source, **{"Lib/json/__init__.py": "evil"})
    monkeypatch.setenv(standard_library.SOURCE, str(source))
    with pytest.raises(TamperedError, match=f"not {digest}") as caught:
        choose(site, locked(tmp_path / "python.txt", digest), tmp_path)
    assert caught.value.where == str(source)


def test_a_lock_for_another_interpreter_is_refused(site: Path, tmp_path: Path) -> None:
    with pytest.raises(UnfitInputError, match=rf"names Python {SERIES}\.98, the interpreter .* is {FUTURE}"):
        choose(site, locked(tmp_path / "python.txt", version=f"{SERIES}.98"), tmp_path)
    (tmp_path / "python.txt").write_text(f"Python-{FUTURE}.tgz\n")
    with pytest.raises(UnfitInputError, match="names no source archive"):
        choose(site, tmp_path / "python.txt", tmp_path)


@pytest.mark.parametrize("versions", [(), (b"%b.1", b"%b.2"), (b"three",), (b"2.9.1",)])
def test_an_interpreter_that_names_no_version_is_refused(tmp_path: Path, versions: tuple[bytes, ...]) -> None:
    named = [version.replace(b"%b", SERIES.encode()) for version in versions]
    with pytest.raises(UnfitInputError, match="names its version"):
        interpreter_version(with_interpreter(tmp_path, *named))


def test_a_version_at_the_end_of_another_text_is_read(tmp_path: Path) -> None:
    build = f"/opt/cpython-{FUTURE}".encode()
    assert interpreter_version(with_interpreter(tmp_path, build)) == FUTURE
    with pytest.raises(UnfitInputError, match="names its version"):
        interpreter_version(with_interpreter(tmp_path, f"1{FUTURE}".encode()))


def test_without_an_archive_in_the_lock_only_a_library_that_fits_is_released(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = locked(tmp_path / "python.txt", version="2.9.1")
    assert not choose(site, lock, tmp_path).fits
    with pytest.raises(UnfitInputError) as caught:
        choose(site, lock, tmp_path, release=True)
    assert caught.value.hint == (
        f"write the hash of Python-{FUTURE}.tgz into python.txt, get it, then run "
        f"`make release PYTHON_SOURCE=Python-{FUTURE}.tgz`"
    )
    monkeypatch.setenv(standard_library.SOURCE, str(tmp_path / "any.tgz"))
    with pytest.raises(UnfitInputError, match=f"names no source archive of Python {SERIES} with its hash"):
        choose(site, lock, tmp_path)
    monkeypatch.delenv(standard_library.SOURCE)
    with_interpreter(site, HERE.encode())
    assert choose(site, lock, tmp_path, release=True).fits
