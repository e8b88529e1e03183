"""Shared libraries that programs of the bundle need, and that neither the bundle nor every host has."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from bundler.config.elf import loader_and_libraries
from installer.core.errors import Problem

# glibc and its loader, and the run-time libraries of GCC: what every Linux host with glibc has. The names
# stand in the ABI of glibc, and in the lists of manylinux (PEP 600), which is wider than small hosts are.
_BASE = re.compile(
    r"(?:libc|libm|libdl|libpthread|librt|libutil|libresolv|libnsl|libanl|libnss_\w+|libmvec|libBrokenLocale"
    r"|libthread_db|libcrypt|libgcc_s|libstdc\+\+|linux-vdso|ld-linux[a-z0-9_-]*|ld64)\.so\.[0-9]+"
)
_LOADER = re.compile(r"/lib(?:32|64|x32)?/ld(?:64)?[a-z0-9_-]*\.so\.[0-9]+")
# The same library is missing for a hundred modules of one runtime: that is one thing to do.
_SHOWN = 3
_MOST = 25
_NAMES = 10_000
"""How many names of libraries are remembered: a hostile file may have any number of them."""


@dataclass(slots=True)
class _Users:
    """The files that need a library: the first few, and how many there are."""

    shown: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, shown: str) -> None:
        self.count += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(shown)


class Libraries:
    """Collects what programs need.

    Args:
        carried: Names of the files that the bundle has.
    """

    def __init__(self, carried: set[str]) -> None:
        self._carried = carried
        self._users: dict[str, _Users] = {}
        self._loaders: list[Problem] = []
        self._more_loaders = 0
        self._is_full = False

    def add(self, source: Path | str, shown: str) -> None:
        """Look at one ELF file; one that cannot be understood is passed over.

        Args:
            source: The file.
            shown: Its name in messages.
        """
        loader, libraries = loader_and_libraries(source)
        if loader and (not _LOADER.fullmatch(loader) or "musl" in loader):
            what = f"is started by {loader:.120}, which hosts with glibc do not have"
            hint = "build it on a distribution as old as those of the hosts, or statically"
            if len(self._loaders) < _MOST:
                self._loaders.append(Problem(shown, what, hint, "foreign-loader"))
            else:
                self._more_loaders += 1
        for name in dict.fromkeys(libraries):
            # A name that cannot be read is not one that could be looked for.
            if not name or name in self._carried or _BASE.fullmatch(name):
                continue
            if name in self._users or len(self._users) < _NAMES:
                self._users.setdefault(name, _Users()).add(shown)
            else:
                self._is_full = True

    def warnings(self) -> list[Problem]:
        """Return warnings about loaders and libraries; at most 25 of each, and the number of the others."""
        loaders, users = list(self._loaders), sorted(self._users.items())
        if self._more_loaders:
            what = f"{self._more_loaders:,} more programs are started by such a loader"
            loaders.append(Problem("", what, "correct the others first", "foreign-loader"))
        libraries = [self._missing(name, each) for name, each in users[:_MOST]]
        if more := len(users) - len(libraries):
            count = f"{'more than ' if self._is_full else ''}{more:,} more"
            what = f"{count} libraries are needed, but not in the bundle"
            libraries.append(Problem("", what, "correct the others first", "missing-library"))
        return loaders + libraries

    def _missing(self, name: str, users: _Users) -> Problem:
        first, *beside = users.shown
        others = f", like {', '.join(beside)}" if beside else ""
        others += f" and {users.count - _SHOWN:,} more files" if users.count > _SHOWN else ""
        return Problem(
            first,
            f"needs the library {name:.120}{others}; the bundle does not have it, and not every host does",
            "add it to binaries or trees, link it statically, or name its package in the upgrade notes",
            "missing-library",
        )
