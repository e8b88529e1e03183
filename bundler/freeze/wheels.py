"""Fetch the locked wheels of a platform and unpack them, once for each state of the locks."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Collection, Sequence
from pathlib import Path

from bundler.freeze.platforms import Platform
from bundler.freeze.tools import lock, run
from installer.shared.progress import Progress

HERE = ".".join(map(str, sys.version_info[:2]))
LIBZ = re.compile(r"cmeel\.prefix/lib(64)?/libz\.so\.1")
PURE = ("zeroconf",)
"""Packages that have each module twice, compiled or not. Those of Python are small, and what they do with the
packets of strangers is bounded by the interpreter: the compiled ones are left out (docs/adr/0691)."""

COMPILED = (
    *("cffi", "charset-normalizer", "cryptography", "freeze-core", "markupsafe", "pyyaml", "rpds-py"),
    "zstandard",
)
"""The wheels with what differs from platform to platform; the rest of `install` is the same on each."""


def site(work: Path, platform: Platform, progress: Progress, only: Collection[str] = ()) -> Path:
    """Return the directory with the unpacked wheels of a platform, made if it is not there.

    Args:
        work: Where it lies.
        platform: The platform.
        progress: Is told when wheels are downloaded.
        only: The names of the wheels that are wanted; all of them by default.
    """
    made = place(work, platform, only)
    with (work / "lock").open("w") as guard:
        # Two builds at once would both fetch, and remove each other's result.
        fcntl.flock(guard, fcntl.LOCK_EX)
        if made.is_dir():
            return made
        for old in work.glob(f"{made.name.rpartition('-')[0]}-*"):
            shutil.rmtree(old)
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            progress.note(f"downloading the locked wheels for {platform.name} (only the first time)")
            _fetch(Path(scratch), platform, only).rename(made)
    return made


def place(work: Path, platform: Platform, only: Collection[str] = ()) -> Path:
    """Return where the unpacked wheels of a platform are, or will be."""
    # The directory's name is the state of the locks and of Python: a change of either makes a new one.
    locks = lock("freeze.txt").read_bytes() + lock("libz.txt").read_bytes()
    kind = platform.triplet if only else f"{platform.triplet}-all"
    return work / f"site-{kind}-{HERE}-{hashlib.sha256(locks).hexdigest()[:16]}"


def differing_modules(site: Path, other: Path) -> list[str]:
    """Return the modules in Python of the wheels in `site` that are not the same in `other`."""
    names = sorted(path.relative_to(site) for path in site.rglob("*.py"))
    return [
        str(name)
        for name in names
        if not (other / name).is_file() or (other / name).read_bytes() != (site / name).read_bytes()
    ]


def _fetch(scratch: Path, platform: Platform, only: Collection[str]) -> Path:
    unpacked, packages = scratch / "site", lock("freeze.txt")
    if only:
        packages = scratch / "wanted.txt"
        packages.write_text(_only(lock("freeze.txt").read_text(encoding="utf-8"), only), encoding="utf-8")
    # pip compiles them: freezing with packages that are not compiled gives other bytes.
    # From the directory of wheels only: every one of them was checked by its hash.
    compiling = ["--no-compile"] if only else []
    _pip("install", *compiling, "--target", str(unpacked), *_wanted(packages, platform, platform.wheels))
    _pip("download", "--dest", str(scratch), *_wanted(lock("libz.txt"), platform, platform.libz))
    (wheel,) = scratch.glob("cmeel_zlib-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (library,) = filter(LIBZ.fullmatch, archive.namelist())
        (unpacked / "libz.so.1").write_bytes(archive.read(library))
    for compiled in (path for name in PURE for path in (unpacked / name).rglob("*.so")):
        compiled.unlink()
    return unpacked


def _only(locked: str, names: Collection[str]) -> str:
    """Return the entries of a lock file that have these names."""
    entries = re.split(r"^(?=[a-z0-9])", locked, flags=re.MULTILINE)
    return "".join(entry for entry in entries if entry.partition("==")[0] in names)


def _wanted(locked: Path, platform: Platform, tags: Sequence[str]) -> list[str]:
    wanted = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", str(locked)]
    wanted += ["--python-version", HERE, "--implementation", "cp"]
    for abi in (f"cp{HERE.replace('.', '')}", "abi3", "none"):
        wanted += ["--abi", abi]
    for tag in tags:
        wanted += ["--platform", f"{tag}_{platform.machine}"]
    return wanted


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    run(command, "pip could not download the locked wheels")
