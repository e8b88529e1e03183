"""The standard library of the executables: of the interpreter's release, from an archive with a known hash.

The interpreter comes with the wheel `freeze-core`. What it runs, the modules of the standard library, would
otherwise be those of the Python that builds: fixes would be missing, and modules would not fit their compiled
halves.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from installer.core.digest import file_digest
from installer.core.errors import TamperedError, UnfitInputError

SOURCE = "WAYBILL_PYTHON_SOURCE"
"""Environment variable: the path of the source archive."""

RELEASE = "WAYBILL_RELEASE"
"""Environment variable: not empty for a build that is to be shipped, which refuses two versions."""

SERIES = ".".join(map(str, sys.version_info[:2]))
"""The version of Python that builds, and so that of the interpreter: 3.11, whatever its release."""

PINNED = re.compile(r"^Python-([0-9.]+)\.tgz \\\n +--hash=sha256:([0-9a-f]{64})$", re.MULTILINE)
# A linker may keep it as the end of a longer string, such as the path of the interpreter's own build.
INTERPRETER = re.compile(rb"(?<![0-9.])(%b\.[0-9]+)\x00" % re.escape(SERIES.encode()))
FILE_LIMIT = 4 * 1024 * 1024
"""Bytes of one module; the largest has 400 KB."""


@dataclass(frozen=True, slots=True)
class StandardLibrary:
    """A standard library to freeze.

    Attributes:
        interpreter: The version of the interpreter that will run it.
        version: Its own version.
        path: Its directory; None for that of this Python.
    """

    interpreter: str
    version: str
    path: Path | None = None

    @property
    def fits(self) -> bool:
        """Whether both are of one release."""
        return self.version == self.interpreter

    def mismatch(self) -> str:
        """Return what does not fit."""
        return f"the standard library is that of Python {self.version}, the interpreter is {self.interpreter}"


def interpreter_version(site: Path) -> str:
    """Return the version of the interpreter in the wheel freeze-core.

    Raises:
        UnfitInputError: The wheel has none, or it names no version.
    """
    bases = (site / "freeze_core" / "bases").glob(f"console-cpython-{SERIES.replace('.', '')}-*")
    for base in sorted(bases):
        versions = set(INTERPRETER.findall(base.read_bytes()))
        if len(versions) == 1:
            return str(versions.pop(), "ascii")
    raise UnfitInputError(
        f"has no interpreter of Python {SERIES} that names its version", where="freeze-core"
    )


def choose(site: Path, lock: Path, work: Path, *, release: bool = False) -> StandardLibrary:
    """Return the standard library for the interpreter in `site`.

    Args:
        site: The unpacked wheels.
        lock: `python.txt`: the source archive and its hash, of some versions of Python.
        work: Where the archive is unpacked to.
        release: Whether to refuse a library of another release than the interpreter.

    Raises:
        TamperedError: The archive is not the one that the lock names.
        UnfitInputError: The lock names another release than that of the interpreter, it names none and an
            archive is given, or this is a release and no library fits.
    """
    interpreter = interpreter_version(site)
    pinned, digest = _pinned(lock)
    if pinned and pinned != interpreter:
        raise UnfitInputError(
            f"names Python {pinned}, the interpreter in freeze-core is {interpreter}",
            where=lock.name,
            hint=f"write the hash of Python-{interpreter}.tgz into it",
        )
    source = os.environ.get(SOURCE, "")
    if source and not pinned:
        # What no lock names could be any code; it would run as root on hosts.
        raise UnfitInputError(
            f"names no source archive of Python {SERIES} with its hash",
            where=lock.name,
            hint=f"write the hash of Python-{interpreter}.tgz into it, or build with another Python",
        )
    if source:
        return StandardLibrary(interpreter, pinned, _unpacked(Path(source), digest, work))
    # What the interpreter would find on its own.
    found = StandardLibrary(interpreter, ".".join(map(str, sys.version_info[:3])))
    if release and not found.fits:
        archive = f"Python-{interpreter}.tgz"
        get = f"get {archive}" if pinned else f"write the hash of {archive} into {lock.name}, get it"
        raise UnfitInputError(
            found.mismatch(), hint=f"{get}, then run `make release PYTHON_SOURCE={archive}`"
        )
    return found


def _pinned(lock: Path) -> tuple[str, str]:
    """Return which release of this version of Python the lock names, and its hash; empty if none."""
    entries = PINNED.findall(lock.read_text(encoding="utf-8"))
    if not entries:
        raise UnfitInputError("names no source archive of Python with its hash", where=lock.name)
    return next((entry for entry in entries if entry[0].startswith(f"{SERIES}.")), ("", ""))


def _unpacked(source: Path, digest: str, work: Path) -> Path:
    """Unpack the modules of the source archive, and return their directory; once for each hash."""
    library = work / f"library-{digest[:16]}"
    found = file_digest(source)
    if found != digest:
        raise TamperedError(
            f"its SHA-256 is {found}, not {digest}", where=str(source), hint="get it from its source again"
        )
    if library.is_dir():
        return library
    with tempfile.TemporaryDirectory(dir=work) as scratch, tarfile.open(source, "r:gz") as archive:
        for member in archive:
            _, _, name = member.name.partition("/Lib/")
            wanted = member.isreg() and name.endswith(".py") and ".." not in name.split("/")
            if not wanted or name.startswith(("test/", "idlelib/")) or member.size > FILE_LIMIT:
                continue
            content = archive.extractfile(member)
            if content:
                target = Path(scratch, "Lib", name)
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file)
        Path(scratch, "Lib").rename(library)
    return library
