"""Builds the standalone executables `install` and `bundle`: one file each, for hosts without Python.

The locked wheels are fetched once and unpacked; the sources are copied next to them; cx_Freeze freezes both;
the result is made reproducible, checked, made to import all its modules, and packed into one file.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import bundler
from bundler.archive.output_file import OutputFile
from bundler.freeze import sbom, self_extract, standard_library
from bundler.freeze.check import check
from bundler.freeze.standard_library import StandardLibrary
from installer.core.errors import UnfitInputError, UsageError, WaybillError
from installer.core.limits import MIB
from installer.shared.child_env import child_environment
from installer.shared.frozen import VERSIONS
from installer.shared.progress import Progress

Program = Literal["install", "bundle"]

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = Path("embedded", "install")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions of Python that can freeze: for these freeze-core and the other locked wheels have one each."""

HERE = ".".join(map(str, sys.version_info[:2]))
PLATFORMS = {
    # pip takes manylinux2014 for manylinux2010 and manylinux1, too.
    "x86_64": ("manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux_2_5"),
    "aarch64": ("manylinux_2_17", "manylinux2014"),
}
LIBZ_PLATFORMS = ("manylinux_2_28",)
LIBZ = "cmeel.prefix/lib64/libz.so.1"
PACKAGES = (
    *("cryptography", "docker", "jinja2", "jsonschema", "jsonschema_specifications", "rich", "typer", "yaml"),
    "zstandard",
)
PACKAGES_OF: dict[Program, tuple[str, ...]] = {
    "install": ("installer", *PACKAGES),
    "bundle": ("installer", "bundler", "ahocorasick_rs", "gnupg", "nacl", "segno", *PACKAGES),
}
EXCLUDED = (
    *("cx_Freeze", "cyclonedx", "elftools", "freeze_core", "lib2to3", "packageurl", "pip", "pkg_resources"),
    "setuptools",
    *("test", "unittest"),
    # A second implementation of what zstandard does, with a library of its own.
    *("_zstd", "compression.zstd"),
    *(
        "_curses",
        "_pyrepl",
        "curses",
        "idlelib",
        "pydoc",
        "pydoc_data",
        "readline",
        "sqlite3",
        "tkinter",
        "turtle",
    ),
    *("asyncio.windows_events", "asyncio.windows_utils", "multiprocessing.popen_spawn_win32"),
    *("docker.transport.npipeconn", "docker.transport.npipesocket", "docker.transport.sshconn"),
    "ifaddr._win32",
    *("jsonschema.benchmarks", "jsonschema.tests", "jsonschema_specifications.tests"),
    *("rich._win32_console", "rich._windows_renderer", "typer._click._winconsole"),
    *("urllib3.contrib.emscripten", "urllib3.contrib.pyopenssl", "urllib3.contrib.socks"),
    *("urllib3.http2.connection", "zstandard._cffi", "zstandard.backend_cffi"),
)
# Libraries import the look-up of what highlights source code; the rest is data for 500 languages.
DATA_OF = {"pygments": ("formatters", "lexers", "styles")}
EXCLUDED_OF: dict[Program, tuple[str, ...]] = {
    "install": ("bundler", "gnupg", "nacl", "cffi", "pycparser"),
    # The stores of secrets and the peers of a cluster are for hosts; both libraries are imported when asked.
    "bundle": (
        "bundler.freeze.run",
        "check_jsonschema",
        "click",
        "hvac",
        "ifaddr",
        "regress",
        "ruamel",
        "zeroconf",
    ),
}
_VENDOR = "check_jsonschema/builtin_schemas/vendor"
FILES_OF: dict[Program, tuple[str, ...]] = {
    "install": (),
    # The schema of Compose files and its licence: nothing else of that package is used (docs/adr/0709).
    "bundle": (f"{_VENDOR}/compose-spec.json", f"{_VENDOR}/licenses/LICENSE.compose-spec"),
}
"""Files of packages of which no module is imported."""
PURE = ("zeroconf",)
"""Packages that have each module twice, compiled or not. Those of Python are small, and what they do with the
packets of strangers is bounded by the interpreter: the compiled ones are left out (docs/adr/0691)."""


def build(
    out: Path,
    program: Program,
    *,
    embed: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Build a standalone executable.

    Args:
        out: The file to write; replaced in one step after all checks.
        program: `install` or `bundle`.
        embed: For `bundle`: the executable `install` to include.
        progress: Receives the steps.

    Raises:
        UsageError: This Python cannot build it.
        UnfitInputError: A step failed, or the result is not valid.
        TamperedError: The source archive of Python is not the locked one.
    """
    progress = progress or Progress()
    machine = _machine()
    work = _work()
    site = _site(work, machine, progress)
    # What the build itself needs beyond its own dependencies is among the locked wheels.
    if str(site) not in sys.path:
        sys.path.append(str(site))
    release = bool(os.environ.get(standard_library.RELEASE))
    library = standard_library.choose(site, lock("python.txt"), work, release=release)
    if not library.fits:
        progress.warn(f"this build is for tests, not for hosts: {library.mismatch()}")
    # On the same file system as the result: large trees are moved, not copied.
    with tempfile.TemporaryDirectory(prefix=f"{program}-", dir=work) as scratch:
        source, app = Path(scratch, "source"), Path(scratch, "app")
        _lay_out(source, program)
        progress.note(f"freezing {program}")
        _freeze(site, source, app, program, library)
        _describe(site, app, program, library)
        # Before the checks: what is checked is what is packed.
        self_extract.settle(app)
        if embed:
            (app / EMBEDDED).parent.mkdir()
            shutil.copyfile(embed, app / EMBEDDED)
        progress.note("checking and packing")
        check(app, program)
        # A module that is missing would otherwise be found on a host.
        _run([str(app / program), "selftest"], f"{program} does not start or cannot import a module")
        packed = Path(scratch, program)
        packed.write_bytes(self_extract.pack(app, program, bundler.__version__))
        packed.chmod(0o755)
        _publish(packed, out)
    progress.note(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def write_installer(out: Path, progress: Progress | None = None) -> None:
    """Write the executable `install`: the frozen `bundle` includes one, otherwise it is built.

    Args:
        out: The file to write.
        progress: Receives the steps of a build.

    Raises:
        UsageError: It is neither included, nor can it be built on this machine.
        UnfitInputError: The build failed.
    """
    # An executable has no compiler and no network; it hands out what it was built with.
    if getattr(sys, "frozen", False):
        carried = Path(sys.prefix) / EMBEDDED
        if not carried.is_file():
            raise UsageError(
                "this executable does not contain `install`", hint="build both with `make installer`"
            )
        _publish(carried, out)
    else:
        build(out, "install", progress=progress)


def _machine() -> str:
    """Return this machine's architecture, for which an executable can be built here."""
    machine = platform.machine()
    # The locked wheels and the frozen interpreter are of this Python's version.
    if HERE not in PYTHONS or machine not in PLATFORMS or getattr(sys, "frozen", False):
        raise UsageError(
            f"the executables are built with Python {PYTHONS[0]} to {PYTHONS[-1]}"
            f" on {' or '.join(PLATFORMS)}",
            hint="run `make installer` in a checkout on such a machine",
        )
    return machine


def _publish(source: Path, out: Path) -> None:
    with OutputFile(out, 0o755) as output, source.open("rb") as content:
        for offset in itertools.count(0, MIB):
            if not (chunk := content.read(MIB)):
                break
            output.write_at(offset, chunk)
        # The umask of the caller must not take the right to run from an executable that travels.
        os.fchmod(output.fd, 0o755)
        output.publish()


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # Neither HOME nor an entry in the passwd database, as in a container that runs as any user id.
        raise UsageError(
            "there is no home directory to build in", hint="set XDG_CACHE_HOME to a directory"
        ) from None


def _work() -> Path:
    if (ROOT / "pyproject.toml").is_file():
        work = ROOT / "build" / "freeze"
    else:
        work = Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache", "waybill-build")
    work.mkdir(parents=True, exist_ok=True)
    return work


def lock(name: str) -> Path:
    """Find a lock file, in a checkout or in the installed package."""
    in_checkout = ROOT / ".ci" / "requirements" / name
    return in_checkout if in_checkout.is_file() else ROOT / "bundler" / "requirements" / name


def _site(work: Path, machine: str, progress: Progress) -> Path:
    """Return the directory with every locked package; made once for each state of the locks."""
    packages, libz = lock("freeze.txt"), lock("libz.txt")
    # The directory's name is the state of the locks and of Python: a change of either makes a new one.
    digest = hashlib.sha256(packages.read_bytes() + libz.read_bytes()).hexdigest()[:16]
    site = work / f"site-{HERE}-{digest}"
    with (work / "lock").open("w") as guard:
        # Two builds at once would both fetch, and remove each other's result.
        fcntl.flock(guard, fcntl.LOCK_EX)
        if site.is_dir():
            return site
        for old in work.glob("site-*"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            unpacked = Path(scratch, "site")
            progress.note("downloading the locked wheels (only the first time)")
            wanted = _wanted(packages, PLATFORMS[machine], machine)
            # pip compiles them: freezing with packages that are not compiled gives other bytes.
            # From the directory of wheels only: every one of them was checked by its hash.
            _pip("install", "--target", str(unpacked), *wanted)
            _pip("download", "--dest", scratch, *_wanted(libz, LIBZ_PLATFORMS, machine))
            (wheel,) = Path(scratch).glob("cmeel_zlib-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (unpacked / "libz.so.1").write_bytes(archive.read(LIBZ))
            for compiled in (path for name in PURE for path in (unpacked / name).rglob("*.so")):
                compiled.unlink()
            unpacked.rename(site)
    return site


def _wanted(locked: Path, platforms: Sequence[str], machine: str) -> list[str]:
    wanted = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(locked)]
    wanted += ["--python-version", HERE, "--implementation", "cp"]
    for abi in (f"cp{HERE.replace('.', '')}", "abi3", "none"):
        wanted += ["--abi", abi]
    for name in platforms:
        wanted += ["--platform", f"{name}_{machine}"]
    return wanted


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    _run(command, "pip could not download the locked wheels")


def _lay_out(source: Path, program: Program) -> None:
    # Compiled files would carry the paths of this machine.
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "requirements")
    for package in ("installer", "bundler") if program == "bundle" else ("installer",):
        shutil.copytree(ROOT / package, source / package, ignore=skipped)
    for data, place in (("schemas", "installer/core/schemas"), ("templates", "bundler/templates")):
        package = place.partition("/")[0]
        if (ROOT / data).is_dir() and (source / package).is_dir():
            # Schemas of documents are for those who read documents: no command reads them, and each file
            # that is packed is looked at by every start.
            without = shutil.ignore_patterns("__pycache__", "cli")
            shutil.copytree(ROOT / data, source / place, ignore=without, dirs_exist_ok=True)
    module = "bundler.cli.main" if program == "bundle" else "installer.cli.main"
    # The streams first: a descriptor that `hold` opens must not become the standard output.
    entry = "from installer.shared.terminal.streams import protect\nprotect()\n"
    entry += f"from installer.shared.frozen import hold\nhold()\nfrom {module} import main\nmain()\n"
    (source / "main.py").write_text(entry, encoding="utf-8")


def _describe(site: Path, app: Path, program: Program, library: StandardLibrary) -> None:
    """Write into the frozen directory what is in it."""
    python = {"interpreter": library.interpreter, "library": library.version}
    (app / VERSIONS).write_text(json.dumps(python, sort_keys=True) + "\n", encoding="utf-8")
    locked = lock("libz.txt").read_text(encoding="utf-8")
    (zlib,) = re.findall(r"^cmeel-zlib==([0-9.]+)", locked, re.MULTILINE)
    sbom.write(app, site, program, bundler.__version__, python, zlib)


def _freeze(site: Path, source: Path, app: Path, program: Program, library: StandardLibrary) -> None:
    options = {
        "path": [str(source), str(site)],
        "library": str(library.path or ""),
        "script": str(source / "main.py"),
        "program": program,
        "packages": PACKAGES_OF[program],
        "excludes": [*EXCLUDED, *EXCLUDED_OF[program], *_data_modules(site)],
        "include_files": [
            [str(site / "libz.so.1"), "lib/libz.so.1"],
            *([str(site / file), f"lib/{file}"] for file in FILES_OF[program]),
        ],
        # The libraries of a distribution are the host's own, also where the Python that freezes lies there.
        "bin_path_excludes": ["/usr/lib", "/usr/lib64"],
        "zip_include_packages": ["*"],
        # These read data files next to their modules.
        "zip_exclude_packages": ["installer", "bundler", "jsonschema_specifications", "certifi"],
        "optimize": 1,
        "replace_paths": [["*", ""]],
        "target_dir": str(app),
        "silent": True,
    }
    # Everything that could make two builds differ is fixed.
    environment = child_environment() | {
        "PATH": f"{site / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C",
        "TZ": "UTC",
    }
    script = Path(__file__).with_name("run.py")
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"):
        environment.pop(name, None)
    # -P: modules of ours next to the script have names of the standard library's.
    _run(
        [sys.executable, "-s", "-S", "-P", str(script), json.dumps(options)], "cx_Freeze failed", environment
    )


def _data_modules(site: Path) -> list[str]:
    """Return the modules of libraries that only hold data which no command uses."""
    return [
        f"{package}.{name}.{path.stem}"
        for package, names in DATA_OF.items()
        for name in names
        for path in sorted((site / package / name).glob("*.py"))
        if path.stem not in ("__init__", "_mapping")
    ]


def _run(command: Sequence[str], failure: str, environment: dict[str, str] | None = None) -> None:
    environment = environment or child_environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UnfitInputError(failure, where=Path(command[0]).name, hint="\n".join(lines[-12:]))


class _Stderr(Progress):
    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def warn(self, text: str) -> None:
        self.note(f"warning: {text}")


def main(arguments: Sequence[str]) -> None:
    """Build what `make installer` asks for: `python -m bundler.freeze.build install|bundle OUT [EMBED]`.

    `wheels WORK [MACHINE]` only fetches the packages into `WORK`, for this or another machine, but for
    this version of Python: pip compiles them.
    """
    program, out, *embed = arguments
    if program == "wheels":
        Path(out).mkdir(parents=True, exist_ok=True)
        _site(Path(out), embed[0] if embed else _machine(), _Stderr())
        return
    wanted: Program = "bundle" if program == "bundle" else "install"
    build(Path(out), wanted, embed=Path(embed[0]) if embed else None, progress=_Stderr())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except WaybillError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
