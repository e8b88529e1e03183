"""The environment of child processes, and what of the environment this process itself must not obey.

`install` runs programs as root: their environment is built here, not inherited, so that what an operator has
in a shell or a profile decides nothing: another engine, another host, another library. `bundle` runs programs
of the person who builds; they get that person's environment, without what the start of Waybill added.

The standalone executable starts through a shell script (`self_extract.sh`) that hides variables such as
LD_LIBRARY_PATH, which would make it load foreign libraries.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Mapping

ORIGINAL = "WAYBILL_ORIGINAL_"
OWN = ("WAYBILL_EXE", "WAYBILL_FRESH")
PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where programs are looked for first, whatever the order of the user's PATH."""
KEPT = ("LANG", "LANGUAGE", "TERM", "TZ", "NO_COLOR", "TMPDIR")
"""What a child of `install` has from its environment, besides LC_*: language, time zone, terminal."""
LOADERS = (
    "OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES", "GCONV_PATH", "LOCPATH",
    "NLSPATH", "SSLKEYLOGFILE", "GLIBC_TUNABLES", "MALLOC_TRACE",
)  # fmt: skip
"""What makes a library of this process load code or write files when it is first used."""


def child_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child of `bundle`: the user's, without what the start of Waybill added.

    Args:
        environ: The environment of this process; `os.environ` by default.

    Returns:
        A new dictionary, which the caller may change.
    """
    source = os.environ if environ is None else environ
    added = {name for name in source if name in OWN or name.startswith(ORIGINAL)}
    clean = {name: value for name, value in source.items() if name not in added}
    return clean | {name.removeprefix(ORIGINAL): source[name] for name in added if name.startswith(ORIGINAL)}


def built_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for a child of `install`: the same for every operator of this host.

    Args:
        environ: The environment of this process; `os.environ` by default.

    Returns:
        A new dictionary, which the caller may change.
    """
    source = os.environ if environ is None else environ
    kept = {name: value for name, value in source.items() if name in KEPT or name.startswith("LC_")}
    try:
        user = pwd.getpwuid(os.geteuid())
        home, name = user.pw_dir, user.pw_name
    except KeyError:
        home, name = "/", str(os.geteuid())
    # HOME is that of the user who runs the child: with `sudo -E` the variable names another user's files.
    person = {"HOME": home, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh"}
    return {**kept, **person, "PATH": program_path(source)}


def program_path(environ: Mapping[str, str]) -> str:
    """Return the PATH of a child: the usual directories, then those of the user that nobody else can change.

    Some systems have their programs elsewhere, such as in /opt/bin; none of theirs comes before /usr/bin.
    """
    own = [part for part in environ.get("PATH", "").split(os.pathsep) if part not in PROGRAMS]
    return os.pathsep.join([*PROGRAMS, *dict.fromkeys(part for part in own if _is_safe(part))])


def _is_safe(directory: str) -> bool:
    # A relative entry is another directory in each place; an empty one is the current directory.
    if not directory.startswith("/"):
        return False
    try:
        seen = os.stat(directory)  # noqa: PTH116 - `--version` imports this module, and pathlib is slow
    except OSError:
        return False
    mine = seen.st_uid in (0, os.geteuid())
    return mine and stat.S_ISDIR(seen.st_mode) and not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def forget_loaders() -> None:
    """Remove what would make a library of this process load foreign code; before one of them is imported."""
    for name in LOADERS:
        os.environ.pop(name, None)
