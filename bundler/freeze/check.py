"""Check a frozen directory before it is packed: complete, and without modules that must not ship."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from bundler.freeze.elf import is_elf, needs
from bundler.freeze.platforms import GLIBC_FLOOR, Platform
from installer.core.errors import Problem, UnfitInputError
from installer.shared.frozen import carried

# Parts of glibc, of musl and of their loaders: they must be the host's own.
FROM_GLIBC = re.compile(
    r"(libc|libm|libdl|libpthread|librt|libutil|libgcc_s|ld-linux[a-z0-9_-]*)\.so\.[0-9]+"
)
FROM_MUSL = re.compile(r"libc\.so|libc\.musl-[a-z0-9_]+\.so\.1")
MACHINES = {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}
LIBRARIES = ("cryptography", "docker", "jinja2", "jsonschema", "rich", "typer", "yaml", "zstandard")
WANTED = {
    "install": ("installer", "installer.cli.main", "installer.core", *LIBRARIES),
    "bundle": ("bundler", "bundler.cli.main", "installer.core", "gnupg", "nacl", "segno", *LIBRARIES),
}
UNWANTED = {
    "install": ("bundler", "gnupg", "nacl", "segno", "cffi"),
    "bundle": (),
}
NEVER = (
    *("cx_Freeze", "cyclonedx", "elftools", "hypothesis", "mypy", "pip", "pytest", "readline", "setuptools"),
    *("sqlite3", "tkinter"),
)


def check(app: Path, program: str, platform: Platform) -> None:
    """Check a frozen directory.

    Args:
        app: The directory.
        program: `install` or `bundle`.
        platform: What it is for.

    Raises:
        UnfitInputError: it lacks a module, carries one that it must not, needs more than the platform has, or
            would load libraries from elsewhere.
    """
    problems = [*module_problems(set(carried(app)), program), *library_problems(app, platform)]
    if problems:
        raise UnfitInputError(f"the frozen {program} for {platform.name} is not valid", problems=problems)


def module_problems(names: set[str], program: str) -> Iterator[Problem]:
    """Yield a problem for each required module that is missing, and each that must not ship."""
    for wanted in WANTED[program]:
        if wanted not in names:
            yield Problem(program, f"the module {wanted} is missing")
    unwanted = (*UNWANTED[program], *NEVER)
    for name in sorted(names):
        if any(name == bad or name.startswith(f"{bad}.") for bad in unwanted):
            yield Problem(program, f"the module {name} must not be included")


def library_problems(app: Path, platform: Platform) -> Iterator[Problem]:
    """Yield a problem for each program or library that does not fit the platform or its own directory."""
    files = [path for path in sorted(app.rglob("*")) if is_elf(path)]
    shipped = {path.name for path in files}
    from_host = FROM_MUSL if platform.is_musl else FROM_GLIBC
    for path in files:
        where, found = str(path.relative_to(app)), needs(path.read_bytes())
        if found.machine != MACHINES[platform.machine]:
            yield Problem(where, f"is for another machine ({found.machine})")
        for version in found.glibc:
            if platform.is_musl or version > GLIBC_FLOOR:
                wants = ".".join(map(str, version))
                wheel = "musllinux" if platform.is_musl else "manylinux_2_17"
                yield Problem(where, f"needs glibc {wants}", f"use a wheel for {wheel}")
        for library in found.libraries:
            if library not in shipped and not from_host.fullmatch(library):
                yield Problem(where, f"needs {library}, which hosts may not have")
        for search in found.paths:
            if not _is_inside(app, path.parent, search):
                yield Problem(where, f"loads libraries from {search}, outside of its own directory")


def _is_inside(app: Path, origin: Path, search: str) -> bool:
    if not search.startswith("$ORIGIN"):
        return False
    return Path(os.path.normpath(search.replace("$ORIGIN", str(origin)))).is_relative_to(app)
