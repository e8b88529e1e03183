"""The executables of the commit that the restructuring of the code starts from: the baseline for tests.

``python -m tests.rig.baseline`` builds them once into the rig's cache. That needs the repository's history
and, the first time, a network: the build fetches the wheels that the baseline locks.
"""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.rig.cache import CACHE

TOP = Path(__file__).resolve().parents[2]
SUBJECT = "Say of which operations the rule about the cache holds"
"""Subject line of the commit. Its id is not recorded: it changes when the history is rebased."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The two executables built from the baseline's commit."""

    install: Path
    bundle: Path


class AbsentError(Exception):
    """The baseline's commit is not in this checkout's history, or the build failed."""


def find() -> str | None:
    """Return the directory of the built executables, or None where they were not built yet."""
    try:
        home = _home(_tree())
    except AbsentError:
        return None
    return str(home) if home.is_dir() else None


def provide() -> Baseline:
    """Return the baseline's executables, built first if the cache lacks them.

    Raises:
        AbsentError: The history is missing or too shallow, or the build failed.
    """
    tree = _tree()
    home = _home(tree)
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            _build(tree, home)
    return Baseline(home / "install", home / "bundle")


def _home(tree: str) -> Path:
    return CACHE / "baseline" / tree[:16]


def _git(*words: str) -> str:
    # The owner of the checkout may be another user, as in a container. Only our own files are read.
    command = ["git", "-c", f"safe.directory={TOP}", "-C", str(TOP), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise AbsentError(f"git {words[0]} failed: {getattr(error, 'stderr', '') or error}") from error


def unpack(subject: str, directory: Path) -> None:
    """Write the source of an earlier commit into a directory that does not exist yet, to run it as it is.

    Args:
        subject: The subject line of the commit.
        directory: Where to.

    Raises:
        AbsentError: The history is missing or too shallow.
    """
    _unpack(_tree(subject), directory)


def _unpack(tree: str, directory: Path) -> None:
    directory.mkdir()
    archive = directory.with_suffix(".tar")
    _git("archive", "--format=tar", f"--output={archive}", tree)
    with tarfile.open(archive) as opened:
        opened.extractall(directory, filter="data")
    archive.unlink()


@functools.cache
def _tree(wanted: str = SUBJECT) -> str:
    """Return the id of the tree of the oldest commit with a subject line."""
    rows = [line.partition(" ") for line in _git("log", "--reverse", "--format=%T %s").splitlines()]
    found = next((tree for tree, _, subject in rows if subject == wanted), None)
    if found is None:
        raise AbsentError(f"the history has no commit with the subject {wanted!r}")
    return found


def _build(tree: str, home: Path) -> None:
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".build-") as scratch:
        source, made = Path(scratch, "source"), Path(scratch, "made")
        made.mkdir()
        _unpack(tree, source)
        _freeze(source, "install", made / "install")
        _freeze(source, "bundle", made / "bundle", made / "install")
        made.rename(home)


def _freeze(source: Path, program: str, out: Path, *embedded: Path) -> None:
    if not (source / "bundler/freeze.py").is_file():
        # Python would find the module of this checkout instead, and build that.
        raise AbsentError("the baseline has no bundler/freeze.py")
    command = [sys.executable, "-m", "bundler.freeze", program, str(out), *map(str, embedded)]
    # The baseline's own modules come first, before those of this checkout's editable install.
    env = {**os.environ, "PYTHONPATH": str(source)}
    env.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AbsentError(f"{program} of the baseline was not built: {done.stderr.strip()[-400:]}")


if __name__ == "__main__":
    try:
        print(provide().install.parent)
    except AbsentError as error:
        sys.exit(f"baseline: {error}")
