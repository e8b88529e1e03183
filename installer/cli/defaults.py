"""Defaults of a host: `/etc/waybill/defaults.yaml`, below `--root` if that is given."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from installer.cli.options import console
from installer.core.errors import HostNotReadyError, Problem, UntrustedError, WaybillError, os_errors_as
from installer.core.remedies import remedy
from installer.host.safe_path import open_parent
from installer.shared.command_tree.defaults import Rules, apply_defaults

FILE = "/etc/waybill/defaults.yaml"
MOST_BYTES = 64 * 1024
ALLOWED = ("wait", "timeout", "work-dir", "log-format", "quiet")
"""Options that only say how long, where, and how lines look. None of them decides what is trusted, installed,
overwritten, removed or pruned, which product a command is about, whether somebody is asked, or what an exit
code means."""
IN_SPITE_OF_IT = ("recover", "support")
"""Commands for a host in trouble, one of them run at boot: a bad file is a warning there, and is not used."""


def take_defaults(program: Any, words: Sequence[str]) -> dict[str, Any]:
    """Give the options of `install` the defaults of the host.

    A user who may not read the file goes on without it, and is told: nothing that it can say makes a command
    of an ordinary user safer.

    Args:
        program: The parsed application; it is changed.
        words: The command line, the command first, with its `--root`.

    Raises:
        UntrustedError: Somebody else could have changed the file.
        UsageError: It is not valid.
        HostNotReadyError: It cannot be read.
    """
    root = Path(_root(words))
    shown = FILE if root.resolve() == Path("/") else f"{root}{FILE}"
    try:
        with os_errors_as(HostNotReadyError, "the defaults of this host cannot be read", shown, remedy):
            return _taken(program, root, shown)
    except WaybillError as error:
        unreadable = isinstance(error.__cause__, PermissionError) and os.geteuid() != 0
        if not unreadable and words[:1] not in [[name] for name in IN_SPITE_OF_IT]:
            raise
        hint = (
            f"as root: `chmod a+r {shlex.quote(shown)}`, if everybody may read it"
            if unreadable
            else error.hint
        )
        console.warn_about(Problem(error.where, f"{error.what}; no default of this host is used", hint))
        for problem in error.problems:
            console.warn_about(problem)
        return {}


def _taken(program: Any, root: Path, shown: str) -> dict[str, Any]:
    # Most hosts have no such file, and then nothing more is loaded. Of a root directory that is none, the
    # command speaks.
    if not root.is_dir() or not _is_there(root):
        return {}
    from installer.host.ownership import unprotected
    from installer.host.system import System

    system = System(root)
    # As for the trust files: a default can name directories that root writes to.
    if problems := unprotected(system, FILE):
        first, *rest = problems
        raise UntrustedError(
            f"{first.what}: the defaults of this host could have been changed",
            where=first.where,
            hint=f"check the file, then {first.hint}",
            problems=rest,
        )
    # A pipe would be read as an empty file.
    if Path(system.real(FILE)).exists() and not Path(system.real(FILE)).is_file():
        raise HostNotReadyError("is not a file", where=shown, hint="put a YAML file there, or remove it")
    return apply_defaults(program, system.read(FILE, MOST_BYTES, follow=True), Rules(shown, ALLOWED))


def _is_there(root: Path) -> bool:
    """Return whether the host has the file, or a link in its place, wherever that leads.

    Raises:
        OSError: It cannot be looked at.
    """
    try:
        # As every path of a host: no link leads out of the root directory.
        with open_parent(str(root.resolve()), FILE) as at:
            os.stat(at.name, dir_fd=at.fd, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


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
