"""What an operator can do about an error: by the number of the operating system, and below --root."""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace

from installer.core.errors import LIMITS_OF_THE_SYSTEM, HostNotReadyError, WaybillError

_CODE = re.compile(r"`[^`]+`")
# `install -m 0644 …` is the one of coreutils: no command of ours begins with such an option.
_COMMAND = r"`%s(?= (?:--|[^\s-]))([^`]+)`"
# Not within a longer path, which is that of this machine already.
_PLACE = re.compile(r"(?<![\w./-])/(?:etc|var/lib)/waybill\b")
# A whole word of a command, unless something quotes it already.
_PLACE_IN_CODE = re.compile(r"""(?<![\w./'"-])/(?:etc|var/lib)/waybill(?![\w-])[^\s`'"]*""")
NOT_OURS = "run as root, or use --root DIR with a directory of your own"
_DENIED_TO_ROOT = (
    "root may not do this here: the file may be immutable (see `lsattr`, then `chattr -i`), or a security "
    "module refuses it (see the kernel log: dmesg)"
)
_SPACE = "free some space there"
_LOCAL = "use a local file system such as ext4 or xfs"
_BY_NUMBER = {
    errno.EROFS: (
        "remount its file system read-write; if it became read-only by itself, check the disk first (dmesg)"
    ),
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: "the file system cannot hold a file of this size: use another one",
    errno.EIO: "the disk may be failing: check this path, and the kernel log (dmesg)",
    errno.ENOTDIR: "a directory is needed here, but a file exists: move the file away",
    errno.EISDIR: "a file is needed here, but a directory exists: move the directory away",
    errno.ELOOP: "a file is needed here, but a link exists: move the link away",
    errno.EEXIST: "a directory is needed here, but something else exists: move it away",
    errno.EXDEV: (
        "two directories of Waybill are on different file systems: /var/lib/waybill/PRODUCT has to be on one "
        "file system as a whole"
    ),
    **LIMITS_OF_THE_SYSTEM,
    errno.ENOLCK: (
        "the file system cannot lock files: on NFS, start the lock service (rpc.statd) or mount with "
        f"local_lock=all; else {_LOCAL}"
    ),
    errno.EINVAL: f"the file system does not support this operation: {_LOCAL}",
    errno.EOPNOTSUPP: f"the file system does not support this operation: {_LOCAL}",
    errno.ENOSYS: f"the file system or the kernel does not support this operation: {_LOCAL}",
    errno.ESTALE: "the server of this network file system has lost it: mount it again",
    errno.EBUSY: "something uses it or is mounted there: stop that, then try again",
    errno.ENAMETOOLONG: "the file system does not allow so long a name: use another one",
}
_DENIED = (errno.EACCES, errno.EPERM)
MISPLACED = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP)
"""Numbers that say that something else is where a file or directory of ours has to be."""


def remedy(error: OSError, otherwise: str = "check this path, and the kernel log (dmesg)") -> str:
    """Return what to do about an error.

    Args:
        error: The error.
        otherwise: What to do about one that is not known here.
    """
    if error.errno in _DENIED:
        # "Run as root" would send root in a circle.
        return _DENIED_TO_ROOT if os.geteuid() == 0 else NOT_OURS
    return _BY_NUMBER.get(error.errno or 0, otherwise)


def host_error(error: OSError, where: str = "") -> HostNotReadyError:
    """Return the error for a failure of the host that nobody else has put into words.

    Args:
        error: The failure.
        where: The path, for a failure that names none.
    """
    place = error.filename if isinstance(error.filename, str) else where
    reason = error.strerror or str(error) or type(error).__name__
    failed = "cannot be accessed" if error.errno in _DENIED else "the host failed"
    return HostNotReadyError(f"{failed}: {reason}", where=place, hint=remedy(error))


def point_below(error: WaybillError, root: str) -> None:
    """Let the hints of an error name commands and files of a host below a root directory.

    Args:
        error: The error; its hints are changed.
        root: The directory; `/` changes nothing.
    """
    if root != "/":
        rename_hints(error, lambda hint: below(hint, root))


def rename_hints(error: WaybillError, renamed: Callable[[str], str]) -> None:
    """Change every hint of an error.

    Args:
        error: The error.
        renamed: Returns what a hint becomes.
    """
    error.hint = renamed(error.hint)
    error.problems = tuple(replace(each, hint=renamed(each.hint)) for each in error.problems)


def below(hint: str, root: str) -> str:
    """Return one hint for a host below a root directory."""
    # To be copied into a shell, whatever the directory is called.
    quoted = _CODE.sub(
        lambda code: _PLACE_IN_CODE.sub(lambda found: shlex.quote(root + found[0]), code[0]), hint
    )
    return commands_below(_PLACE.sub(lambda found: root + found[0], quoted), root)


def commands_below(text: str, root: str) -> str:
    """Return text whose commands are for a host below a root directory; `/` changes nothing."""
    if root == "/":
        return text
    option = f" --root {shlex.quote(root)}"
    return change_commands(
        text, "install", lambda words: f"install{words}" + ("" if " --root" in words else option)
    )


def change_commands(text: str, program: str, changed: Callable[[str], str]) -> str:
    """Return a text whose commands of one program are changed.

    A command in a text for people stands in backticks: so one pattern finds them all, and a test keeps every
    text to it. On a host, a bare `install status` would start the `install` of coreutils.

    Args:
        text: The text.
        program: `bundle` or `install`.
        changed: Returns what becomes of a command, from its words after the program, ` status --json`.
    """
    pattern = _COMMAND % re.escape(program)
    return re.sub(pattern, lambda found: f"`{changed(found[1])}`", text)
