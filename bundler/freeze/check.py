"""Check a frozen directory before it is packed: complete, and without modules that must not ship."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from installer.core.errors import Problem, UnfitInputError
from installer.shared.frozen import carried

# The oldest that is in use: Red Hat Enterprise Linux 7.
GLIBC_FLOOR = (2, 17)
# Parts of glibc and the loader: they must be the host's own.
FROM_HOST = re.compile(r"(libc|libm|libdl|libpthread|librt|libutil|libgcc_s|ld-linux[a-z0-9_-]*)\.so\.[0-9]+")
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


def check(app: Path, program: str) -> None:
    """Check a frozen directory.

    Args:
        app: The directory.
        program: `install` or `bundle`.

    Raises:
        UnfitInputError: it lacks a module, carries one that it must not, or needs more than glibc 2.17.
    """
    problems = [*module_problems(set(carried(app)), program), *library_problems(app)]
    if problems:
        raise UnfitInputError(f"the frozen {program} is not valid", problems=problems)


def module_problems(names: set[str], program: str) -> Iterator[Problem]:
    """Yield a problem for each required module that is missing, and each that must not ship."""
    for wanted in WANTED[program]:
        if wanted not in names:
            yield Problem(program, f"the module {wanted} is missing")
    unwanted = (*UNWANTED[program], *NEVER)
    for name in sorted(names):
        if any(name == bad or name.startswith(f"{bad}.") for bad in unwanted):
            yield Problem(program, f"the module {name} must not be included")


def library_problems(app: Path) -> Iterator[Problem]:
    """Yield a problem for each program or library that needs a newer glibc, or a library that is missing."""
    files = [path for path in sorted(app.rglob("*")) if path.is_file()]
    shipped = {path.name for path in files}
    for path in files:
        content = path.read_bytes()
        # By content, not by name: libraries have many suffixes.
        if not content.startswith(b"\x7fELF"):
            continue
        where = str(path.relative_to(app))
        libraries, versions = requirements(content)
        for version in versions:
            if version > GLIBC_FLOOR:
                wants = ".".join(map(str, version))
                yield Problem(where, f"needs glibc {wants}", "use a wheel for manylinux_2_17")
        for library in libraries:
            if library not in shipped and not FROM_HOST.fullmatch(library):
                yield Problem(where, f"needs {library}, which hosts may not have")


def requirements(content: bytes) -> tuple[list[str], list[tuple[int, ...]]]:
    """Read the requirements of a program or shared library.

    Args:
        content: The whole ELF file.

    Returns:
        The names of its libraries, and the versions of glibc whose symbols it uses.
    """
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection

    libraries: list[str] = []
    versions: set[tuple[int, ...]] = set()
    for section in ELFFile(io.BytesIO(content)).iter_sections():
        if isinstance(section, DynamicSection):
            libraries += [vars(tag)["needed"] for tag in section.iter_tags("DT_NEEDED")]
        elif isinstance(section, GNUVerNeedSection):
            names = [
                auxiliary.name for _, auxiliaries in section.iter_versions() for auxiliary in auxiliaries
            ]
            matches = [re.fullmatch(r"GLIBC_([0-9.]+)", name) for name in names]
            versions |= {tuple(int(part) for part in match[1].split(".")) for match in matches if match}
    return libraries, sorted(versions)
