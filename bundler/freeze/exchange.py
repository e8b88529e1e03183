"""Turn a frozen directory into that of another platform: exchange what is compiled.

The modules in Python, the schemas and the data are the same on every platform. The program, the compiled
modules and their libraries come from the wheels of the other platform, of the same locked versions. So no
Python of that platform is needed, and nothing of it is run.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from bundler.freeze.elf import Patcher, is_elf, needs
from bundler.freeze.platforms import Platform
from bundler.freeze.settle import settled
from installer.core.errors import UnfitInputError

SERIES = f"{sys.version_info.major}{sys.version_info.minor}"
INTL = ("bindtextdomain", "bind_textdomain_codeset", "dcgettext", "dgettext", "gettext", "textdomain")
"""What the interpreter uses of GNU libintl, under the prefix `libintl_`: musl has these functions itself."""


def exchange(app: Path, program: str, old: Platform, new: Platform, site: Path, patcher: Patcher) -> None:
    """Exchange every program and library in a frozen directory for that of another platform.

    Args:
        app: The directory, frozen for `old`.
        program: The name of the program in it.
        old: The platform that it is for.
        new: The platform that it will be for.
        site: The unpacked wheels of `new`.
        patcher: Changes what comes from the wheels.

    Raises:
        UnfitInputError: The wheels do not have a module or a library.
    """
    compiled = [path for path in sorted(app.rglob("*")) if is_elf(path)]
    for path in compiled:
        path.unlink()
    base = site / "freeze_core" / "bases" / f"console-cpython-{SERIES}-{new.triplet}"
    shutil.copyfile(base, app / program)
    (app / program).chmod(0o755)
    _drop_intl(app / program, patcher)
    patcher.confine(app / program, "$ORIGIN/lib")
    for path in compiled:
        if path.name == "libz.so.1":
            shutil.copyfile(site / path.name, path)
        elif module := re.fullmatch(rf"(.+?)(\.cpython-{SERIES}-{old.triplet}\.so|\.abi3\.so)", path.name):
            suffix = module[2].replace(old.triplet, new.triplet)
            target = path.with_name(f"{module[1]}{suffix}")
            shutil.copyfile(_module(site, module[1], suffix), target)
            patcher.confine(target, "$ORIGIN")
        # Others are libraries of these: the new modules tell which ones they need.
    _add_libraries(app, site, patcher)
    for path in app.rglob("*"):
        if is_elf(path):
            path.write_bytes(settled(path.name, path.read_bytes()))


def _module(site: Path, name: str, suffix: str) -> Path:
    """Return where the wheels have a compiled module."""
    places = [site / "freeze_core" / "lib" / f"{name}{suffix}", site / f"{name.replace('.', '/')}{suffix}"]
    found = next(filter(Path.is_file, places), None)
    if not found:
        raise UnfitInputError("is in no wheel of the platform", where=f"{name}{suffix}")
    return found


def _drop_intl(path: Path, patcher: Patcher) -> None:
    # GNU libintl would be the only part under the LGPL, for six functions that the host has.
    intl = [library for library in needs(path.read_bytes()).libraries if library.startswith("libintl-")]
    for library in intl:
        patcher.unlink(path, library, {f"libintl_{name}": name for name in INTL})


def _add_libraries(app: Path, site: Path, patcher: Patcher) -> None:
    """Copy the libraries that the modules need, and those that these need."""
    shipped = {path.name: path for path in sorted(site.glob("*.libs/*"))}
    placed: dict[str, str] = {}
    waiting = [path for path in sorted(app.rglob("*")) if is_elf(path)]
    while waiting:
        path = waiting.pop(0)
        for library in needs(path.read_bytes()).libraries:
            if library not in shipped:
                continue
            # Two wheels bring the same library: one is enough, the first one.
            stem = library.partition("-")[0]
            if stem not in placed:
                placed[stem] = library
                target = app / "lib" / library
                shutil.copyfile(shipped[library], target)
                patcher.confine(target, "$ORIGIN")
                waiting.append(target)
            if placed[stem] != library:
                patcher.link(path, library, placed[stem])
