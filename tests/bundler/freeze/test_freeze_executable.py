"""The built executables: what is in them, where they start, and that a second build gives the same bytes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundler.commands.init import init_project, is_addition, templates
from bundler.freeze import build
from bundler.freeze.check import check
from bundler.freeze.platforms import native
from installer.shared.frozen import SBOM, carried
from tests.rig.host import Host
from tests.rig.needs import needs

THIRD_PARTY = """
_cffi_backend annotated_doc attr attrs certifi charset_normalizer cryptography docker hvac idna
ifaddr installer jinja2 jsonschema jsonschema_specifications markdown_it markupsafe mdurl
pygments referencing requests rich rpds shellingham typer typing_extensions urllib3 yaml
zeroconf zstandard
"""


@pytest.fixture(scope="module")
def dist() -> Path:
    return Path(needs("executables"))


@pytest.fixture(scope="module")
def cache() -> Iterator[Path]:
    home = Path.home() / ".cache"
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="waybill-test-", dir=home) as made:
        yield Path(made)


def run(program: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WAYBILL_CACHE": str(cache)}
    command = [program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def unpacked(dist: Path, cache: Path) -> dict[str, Path]:
    homes = {}
    for name in ("install", "bundle"):
        assert run(dist / name, cache, "--version").returncode == 0
        (homes[name],) = cache.glob(f"{name}-*")
    return homes


def test_install_carries_these_packages_and_no_other(unpacked: dict[str, Path]) -> None:
    tops = {name.partition(".")[0] for name in carried(unpacked["install"])}
    wanted = set(THIRD_PARTY.split())
    # Needed by a library for older versions of Python only: its wheel is not among the locked ones then.
    if sys.version_info >= (3, 13):
        wanted.discard("typing_extensions")
    assert sorted(tops - sys.stdlib_module_names) == sorted(wanted)


def test_highlighters_of_languages_are_left_out(unpacked: dict[str, Path]) -> None:
    names = [name for directory in unpacked.values() for name in carried(directory)]
    data = re.compile(r"pygments\.(?:lexers|styles|formatters)\.(?!_mapping$)")
    assert [name for name in names if data.match(name)] == []


def test_install_carries_every_module_of_the_installer(unpacked: dict[str, Path]) -> None:
    sources = {
        ".".join(path.relative_to(build.ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (build.ROOT / "installer").rglob("*.py")
    }
    assert {name for name in sources if not name.endswith("__main__")} <= {*carried(unpacked["install"])}


@pytest.mark.parametrize("name", ["install", "bundle"])
def test_an_unpacked_executable_passes_its_check(unpacked: dict[str, Path], name: str) -> None:
    own = native()
    assert own
    check(unpacked[name], name, own)


@pytest.mark.parametrize("name", ["install", "bundle"])
def test_every_module_in_it_imports(dist: Path, cache: Path, name: str) -> None:
    done = run(dist / name, cache, "selftest")
    assert (done.returncode, done.stderr) == (0, "")


def test_bundle_carries_install(dist: Path, unpacked: dict[str, Path]) -> None:
    assert (unpacked["bundle"] / build.EMBEDDED).read_bytes() == (dist / "install").read_bytes()


def test_no_path_of_the_build_is_left_in_it(unpacked: dict[str, Path]) -> None:
    here = str(build.ROOT).encode()
    found = [path for path in unpacked["install"].rglob("*") if path.is_file()]
    assert "install" in {path.name for path in found}
    assert [path for path in found if here in path.read_bytes()] == []


def test_the_schemas_are_in_it(unpacked: dict[str, Path]) -> None:
    shipped = unpacked["install"] / "lib" / "installer" / "core" / "schemas"
    wanted = {path.relative_to(build.ROOT / "schemas") for path in (build.ROOT / "schemas").rglob("*.json")}
    # Those of the documents of --json are for readers of these documents, see ADR 0631.
    wanted = {path for path in wanted if "cli" not in path.parts}
    assert {path.relative_to(shipped) for path in shipped.rglob("*.json")} == wanted


@pytest.mark.parametrize("template", [name for name, _ in templates()])
def test_a_template_of_the_executable_is_that_of_the_source(
    dist: Path, cache: Path, tmp_path: Path, template: str
) -> None:
    ours, theirs = tmp_path / "ours/door-bell", tmp_path / "theirs/door-bell"
    for product in (ours, theirs):
        product.mkdir(parents=True)
        if is_addition(template):
            init_project(product, "script")
    init_project(ours, template)
    done = run(dist / "bundle", cache, "init", "--template", template, str(theirs))
    assert done.returncode == 0, done.stderr
    assert contents(theirs) == contents(ours)


def contents(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Return mode and content of each file, by its path."""
    return {
        str(path.relative_to(directory)): (path.stat().st_mode, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_bundle_has_the_schema_of_compose_files_and_nothing_else_of_its_package(
    unpacked: dict[str, Path],
) -> None:
    shipped = {
        name: {path.relative_to(home / "lib").as_posix() for path in home.rglob("check_jsonschema/**/*.*")}
        for name, home in unpacked.items()
    }
    assert shipped == {name: set(build.FILES_OF[name]) for name in unpacked}
    assert not [name for name in carried(unpacked["bundle"]) if name.startswith("check_jsonschema")]
    for name, home in unpacked.items():
        sbom = (home / SBOM).read_text()
        assert ("pkg:pypi/check-jsonschema@" in sbom) == (name == "bundle")


def test_a_second_build_gives_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    build.build(tmp_path / "install", "install")
    assert (tmp_path / "install").read_bytes() == (dist / "install").read_bytes()


@pytest.mark.parametrize("variant", ["bookworm", "bullseye"])
def test_the_installer_runs_on_a_host_without_python(
    dist: Path, boot: Callable[[str], Host], variant: str
) -> None:
    needs("host" if variant == "bookworm" else "host-old")
    host = boot(variant)
    host.push(dist / "install", "/mnt/install")
    assert host.run("command -v python3").rc != 0
    host.check("mount -t tmpfs -o noexec tmpfs /tmp && /mnt/install selftest")
    assert host.check("ls -d /var/cache/waybill/install-*").count("\n") == 1
