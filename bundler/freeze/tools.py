"""Run the tools that a build needs, and find its lock files and its place."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from installer.core.errors import UnfitInputError, UsageError
from installer.shared.child.environment import child_environment

ROOT = Path(__file__).resolve().parents[2]


def run(command: Sequence[str], failure: str, environment: dict[str, str] | None = None) -> str:
    """Run a tool and return its output.

    Args:
        command: The program and its arguments.
        failure: What to say if it fails.
        environment: Its environment; that of every child by default.

    Raises:
        UnfitInputError: It failed.
    """
    environment = environment or child_environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UnfitInputError(failure, where=Path(command[0]).name, hint="\n".join(lines[-12:]))
    return done.stdout


def lock(name: str) -> Path:
    """Find a lock file, in a checkout or in the installed package."""
    in_checkout = ROOT / ".ci" / "requirements" / name
    return in_checkout if in_checkout.is_file() else ROOT / "bundler" / "requirements" / name


def work_directory() -> Path:
    """Return the directory in which executables are built; it is made if it is not there.

    Raises:
        UsageError: The user has no home directory, and this is no checkout.
    """
    if (ROOT / "pyproject.toml").is_file():
        work = ROOT / "build" / "freeze"
    else:
        work = Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache", "waybill-build")
    work.mkdir(parents=True, exist_ok=True)
    return work


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        # Neither HOME nor an entry in the passwd database, as in a container that runs as any user id.
        raise UsageError(
            "there is no home directory to build in", hint="set XDG_CACHE_HOME to a directory"
        ) from None
