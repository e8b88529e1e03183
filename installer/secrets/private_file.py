"""Files with a secret in them: read only if nobody else can read them, or could have put them there."""

from __future__ import annotations

import os
import shlex
import stat

from installer.core.errors import Problem
from installer.core.limits import KIB
from installer.core.remedies import remedy
from installer.host.host import A_KIND, READ, Host, opened
from installer.host.ownership import unprotected
from installer.secrets.store import LARGEST

PRIVATE = 0o077
"""Permission bits that a file with a secret may not have."""


def read_private(
    host: Host, path: str, *, below: str = "", refused: int = PRIVATE, limit: int = LARGEST
) -> bytes | Problem:
    """Return the content of a file with a secret, or why it is not used.

    Args:
        host: The host.
        path: The file, as a host path.
        below: The directory that a link may not lead out of; empty where links of root may lead anywhere.
        refused: Permission bits that the file may not have.
        limit: Its largest size in bytes.
    """
    try:
        place = _place(host, path, below)
        if isinstance(place, Problem):
            return place
        if problem := next(iter(unprotected(host, path)), None):
            return Problem(path, f"is not safe: {problem.where} {problem.what}", problem.hint)
        # One open file is examined and read, so that nothing can be put in its place between the two.
        with host.open_parent(place) as at, opened(at, READ) as fd:
            return _fault(path, os.fstat(fd), refused, limit) or _read(fd, limit)
    except OSError as error:
        return Problem(path, f"cannot be read: {error.strerror}", remedy(error))


def _place(host: Host, path: str, below: str) -> str | Problem:
    """Return the file that a path leads to."""
    seen = host.observe(path, digest=False)
    if seen.kind == "absent":
        hint = f"put it there, then run `chmod 0600 {shlex.quote(path)}`"
        return Problem(path, "does not exist", hint)
    if seen.kind == "link":
        with host.open_parent(path, follow=True) as at:
            place = "/" + "/".join(at.parts)
        with host.open_directory(below or "/") as at:
            top = "/" + "/".join(at.parts)
        if below and not place.startswith(f"{top}/"):
            return Problem(path, f"is a link that leads out of {below}", "put the file itself there")
        seen = host.observe(place, digest=False)
        if seen.kind == "absent":
            return Problem(
                path, "is a link to a file that does not exist", f"see `ls -l {shlex.quote(path)}`"
            )
    else:
        place = path
    if seen.kind != "file":
        return Problem(path, f"is {A_KIND.get(seen.kind, 'no file')}, not a file", "put a file there")
    return place


def _fault(path: str, status: os.stat_result, refused: int, limit: int) -> Problem | None:
    mode, name = stat.S_IMODE(status.st_mode), shlex.quote(path)
    if not stat.S_ISREG(status.st_mode):
        return Problem(path, "is not a file", "put a file there")
    if status.st_uid not in (0, os.geteuid()):
        return Problem(path, f"belongs to user {status.st_uid}", f"run `chown root {name}`")
    if mode & refused:
        what = f"can be read or changed by others (mode {mode:04o})"
        return Problem(path, what, f"run `chmod 0600 {name}`")
    if status.st_size > limit:
        what = f"is larger than the {limit // KIB} KiB that it may have"
        return Problem(path, what, "check that it is the right file")
    return None


def _read(fd: int, limit: int) -> bytes:
    data = bytearray()
    while len(data) < limit and (chunk := os.read(fd, limit - len(data))):
        data += chunk
    return bytes(data)


def one_line_less(data: bytes) -> bytes:
    """Return the content of a file without the one line break at its end that editors put there."""
    return data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
