"""Shared libraries that programs of the bundle need, and that neither the bundle nor every host has."""

from __future__ import annotations

import re
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


class Libraries:
    """Collects what programs need.

    Args:
        carried: Names of the files that the bundle has.
    """

    def __init__(self, carried: set[str]) -> None:
        self._carried = carried
        self._users: dict[str, list[str]] = {}
        self._loaders: list[Problem] = []

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
            self._loaders.append(Problem(shown, what, hint, "foreign-loader"))
        for name in libraries:
            # A name that cannot be read is not one that could be looked for.
            if name and name not in self._carried and not _BASE.fullmatch(name):
                self._users.setdefault(name, []).append(shown)

    def warnings(self) -> list[Problem]:
        """Return a warning for each library that is missing, and for each loader."""
        found = [self._missing(name, users) for name, users in sorted(self._users.items())]
        found = [*self._loaders, *found]
        if len(found) > _MOST:
            what = f"{len(found) - _MOST} more libraries are needed, but not in the bundle"
            found = [*found[:_MOST], Problem("", what, "correct the others first", "missing-library")]
        return found

    def _missing(self, name: str, users: list[str]) -> Problem:
        others = f", like {', '.join(users[1:_SHOWN])}" if len(users) > 1 else ""
        others += f" and {len(users) - _SHOWN} more files" if len(users) > _SHOWN else ""
        return Problem(
            users[0],
            f"needs the library {name:.120}{others}; the bundle does not have it, and not every host does",
            "add it to binaries or trees, link it statically, or name its package in the upgrade notes",
            "missing-library",
        )
