"""Defaults of a host: `/etc/waybill/defaults.yaml`, below `--root` if that is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from installer.core.errors import HostNotReadyError, UntrustedError, os_errors_as
from installer.shared.command_tree.defaults import Rules, apply_defaults

FILE = "/etc/waybill/defaults.yaml"
MOST_BYTES = 64 * 1024
ALLOWED = ("wait", "timeout", "keep", "work-dir", "product", "log-format", "quiet")
"""Options that only say how long, how much and where. None of them decides what is trusted, installed,
overwritten or removed, whether somebody is asked, or what an exit code means."""


def take_defaults(program: Any, words: Sequence[str]) -> dict[str, Any]:
    """Give the options of `install` the defaults of the host.

    Args:
        program: The parsed application; it is changed.
        words: The command line, for `--root`.

    Raises:
        UntrustedError: Somebody else could have changed the file.
        UsageError: It is not valid.
        HostNotReadyError: It cannot be read.
    """
    from pathlib import Path

    root = _root(words)
    # Most hosts have no such file, and then nothing more is loaded.
    if not Path(root, FILE[1:]).exists() or not Path(root).is_dir():
        return {}
    from installer.host.ownership import unprotected
    from installer.host.system import System

    system = System(Path(root))
    # As for the trust files: a default can name directories that root writes to.
    if problems := unprotected(system, FILE):
        first, *rest = problems
        raise UntrustedError(
            f"{first.what}: the defaults of this host could have been changed",
            where=first.where,
            hint=f"check the file, then run `{first.hint}`",
            problems=rest,
        )
    with os_errors_as(HostNotReadyError, "cannot be read", FILE):
        data = system.read(FILE, MOST_BYTES)
    return apply_defaults(program, data, Rules(FILE, ALLOWED))


def _root(words: Sequence[str]) -> str:
    """Return the last `--root` of a command line; `/` if there is none."""
    found = "/"
    for at, word in enumerate(words):
        if word == "--":
            break
        if word == "--root" and at + 1 < len(words):
            found = words[at + 1]
        elif word.startswith("--root="):
            found = word.removeprefix("--root=")
    return found
