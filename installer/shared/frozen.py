"""Tasks of the standalone executables: lock the unpacked directory, prune old ones, check themselves.

The shell script unpacks the program into `<cache>/<name>-<digest>` and starts it there. A running program
holds a shared lock on the marker of its directory, so that a newer version never removes what still runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from pathlib import Path

# Every start of an executable imports this module: what few of its functions need is imported there.

MARKER = ".complete"
LIST = ".files"
"""Lists every other file of the directory with its SHA-256, in the format of sha256sum."""

HEAD = ".head"
"""Has the SHA-256 of the shell script without its table, see `standalone.one_file.script_digest`."""

VERSIONS = "python.json"
"""The versions of the `interpreter` and of the standard `library`."""

SBOM, NOTICES = "licenses/sbom.cdx.json", "licenses/notices.txt"
"""What the build knows of the origin of every part: the SBOM (CycloneDX), and the texts of the licences."""

LEFT_BEHIND = 3600.0
"""Seconds after which a half-unpacked directory is a remainder of a killed first start."""

UNUSED = 7 * 24 * 3600.0
"""Seconds for which a version was not started before another one removes it. The program starts between the
script's check of the marker and the lock on it: a version in use must not be removed in that time."""

_held: list[int] = []


def executable() -> Path | None:
    """Return the one-file executable that this process was started from, or None when it runs from source."""
    started_from = os.environ.get("WAYBILL_EXE")
    return Path(started_from) if started_from and getattr(sys, "frozen", False) else None


def hold() -> None:
    """Lock the unpacked directory of this program while it runs; after a first start prune old ones."""
    home = Path(sys.prefix)
    with contextlib.suppress(OSError):
        # Without the lock (a read-only cache) the program runs all the same; it is only not protected.
        _held.append(_lock(home / MARKER, fcntl.LOCK_SH))
        os.utime(home / MARKER)
    if os.environ.pop("WAYBILL_FRESH", ""):
        prune(home)


def prune(home: Path) -> list[Path]:
    """Remove the directories of other versions that nobody ran for a week, and of killed first starts.

    Args:
        home: The unpacked directory that stays; its siblings `<name>-<digest>` are checked.

    Returns:
        The removed directories.
    """
    import shutil

    removed = []
    name = home.name.rpartition("-")[0]
    for other in sorted(home.parent.glob(f"{name}-*")):
        # A link in the cache could lead the removal elsewhere.
        if other == home or other.is_symlink() or not other.is_dir():
            continue
        try:
            if time.time() - (other / MARKER).lstat().st_mtime < UNUSED:
                continue
            # Exclusive and without waiting: who holds the shared lock still runs from there.
            lock = _lock(other / MARKER, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            lock = -1
        except OSError:
            continue
        with contextlib.suppress(OSError):
            # The marker first: without it the script unpacks again, and never starts a half-removed version.
            (other / MARKER).unlink(missing_ok=True)
            shutil.rmtree(other)
            removed.append(other)
        if lock >= 0:
            os.close(lock)
    for left in home.parent.glob(f".{name}-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > LEFT_BEHIND and not left.is_symlink():
                shutil.rmtree(left)
                removed.append(left)
    return removed


def _lock(path: Path, how: int) -> int:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def damaged(home: Path | None = None) -> list[str]:
    """Read every file of the unpacked directory, and return those that are not as they were packed.

    Where there are any, the next start unpacks the directory again.

    Args:
        home: The directory; that of this process by default.
    """
    import hashlib

    home, wrong = home or Path(sys.prefix), []
    if not (home / MARKER).exists():
        return []  # not unpacked: the build tries it before it packs it
    for line in (home / LIST).read_text(encoding="ascii").splitlines():
        digest, _, name = line.partition("  ")
        try:
            with (home / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            found = ""
        if found != digest:
            wrong.append(name)
    if wrong:
        # Without its marker the script does not start the directory.
        with contextlib.suppress(OSError):
            (home / MARKER).unlink()
    return wrong


def modules() -> list[str]:
    """Return every module in this executable, sorted; from source only those of the program."""
    if getattr(sys, "frozen", False):
        return carried(Path(sys.prefix))
    import pkgutil

    import installer

    return ["installer", *sorted(m.name for m in pkgutil.walk_packages(installer.__path__, "installer."))]


def carried(app: Path) -> list[str]:
    """Return every module in the frozen directory `app`, sorted."""
    import zipfile

    lib = app / "lib"
    with zipfile.ZipFile(lib / "library.zip") as library:
        files = library.namelist()
    files += [str(path.relative_to(lib)) for path in lib.rglob("*") if path.suffix in {".pyc", ".so"}]
    return sorted({module_name(file) for file in files} - {""})


def module_name(file: str) -> str:
    """Return the name of the module in `file`, a path below the library; empty if it is not one."""
    parts = file.split("/")
    if parts[-1].endswith(".pyc"):
        parts[-1] = parts[-1].removesuffix(".pyc")
    elif ".cpython-" in parts[-1] or ".abi3." in parts[-1]:
        parts[-1] = parts[-1].partition(".cpython-")[0].partition(".abi3.")[0]
    else:
        return ""
    if parts[-1] == "__init__":
        parts.pop()
    name = ".".join(parts)
    runs = parts[-1].startswith(("__main__", "__init__", "BUILD_CONSTANTS")) if parts else True
    return "" if runs or not all(part.isidentifier() for part in name.split(".")) else name


def selftest() -> dict[str, str]:
    """Import every module in the executable.

    Returns:
        The modules that failed, each with its reason.
    """
    import importlib

    failed = {}
    for name in modules():
        try:
            importlib.import_module(name)
        # Whatever an import raises is the finding.
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return failed
