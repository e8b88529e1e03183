"""The standalone executables as they ship: those in dist/ where they are fresh, else built once and kept."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bundler.freeze import self_extract
from bundler.freeze.platforms import native
from tests.rig.cache import CACHE
from tests.rig.needs import lacks

TOP = Path(__file__).resolve().parents[2]
SOURCES = ("installer", "bundler", "schemas", "templates", ".ci/requirements")
KEPT_SECONDS = 86400


@dataclass(frozen=True, slots=True)
class Executables:
    """Where the two of them are."""

    install: Path
    bundle: Path


def pack(app: Path, name: str, version: str) -> bytes:
    """Packs a directory as an executable for this machine."""
    own = native()
    assert own
    return self_extract.pack({own.name: app}, name, version)


@functools.cache
def executables() -> Executables:
    """Gives the executables of this checkout; a test is skipped where they can neither be found nor built."""
    built = Executables(TOP / "dist/install", TOP / "dist/bundle")
    if not _fresh(built):
        built = _cached(CACHE / "executables")
    return built


def _sources() -> Iterator[Path]:
    for name in SOURCES:
        for path in sorted((TOP / name).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _fresh(built: Executables) -> bool:
    if not (built.install.is_file() and built.bundle.is_file()):
        return False
    oldest = min(built.install.stat().st_mtime, built.bundle.stat().st_mtime)
    return all(path.stat().st_mtime <= oldest for path in _sources())


def _cached(cache: Path) -> Executables:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(f"{path.relative_to(TOP)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    home = cache / digest.hexdigest()[:16]
    built = Executables(home / "install", home / "bundle")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in cache.glob("*/"):
            if old != home and time.time() - old.stat().st_mtime > KEPT_SECONDS:
                shutil.rmtree(old)
        if not built.install.is_file():
            _build("install", built.install)
        if not built.bundle.is_file():
            _build("bundle", built.bundle, built.install)
    return built


def _build(program: str, out: Path, *embedded: Path) -> None:
    command = [sys.executable, "-m", "bundler.freeze.build", program, str(out), *map(str, embedded)]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    reason = f"make installer (and it failed here: {done.stderr.strip()[-400:]})"
    lacks("executables", reason)
