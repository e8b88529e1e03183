"""Approvals next to a bundle: the directory `BUNDLE.approvals/`, for media that cannot be written to."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from installer.core.errors import MediaError, TamperedError, UsageError
from installer.core.format.approval_names import DIRECTORY, NAME, signed_name
from installer.core.format.partial_append import FILES_PER_APPROVAL
from installer.core.limits import LIMITS

SUFFIX = ".approvals"
# O_NOFOLLOW: a link could lead to any file of the host. O_NONBLOCK: a FIFO must not block the open.
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def sidecar_path(bundle: Path) -> Path:
    """Return the directory that belongs to a bundle."""
    return bundle.with_name(bundle.name + SUFFIX)


def read_sidecar(directory: Path, *, required: bool = False) -> dict[str, bytes]:
    """Read the approvals of a directory; files with other names are ignored.

    Args:
        directory: The directory that holds the files.
        required: Whether the directory must exist.

    Returns:
        The files as a bundle would name them, `approvals/…`; nothing about them was checked.

    Raises:
        UsageError: It does not exist, and must.
        MediaError: It cannot be read.
        TamperedError: There are too many files, or one is too large or not a regular file.
    """
    try:
        names = sorted(each.name for each in directory.iterdir() if _known(f"{DIRECTORY}{each.name}"))
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UsageError("is not a directory with approvals", where=str(directory)) from None
        return {}
    except OSError as error:
        raise MediaError(f"cannot be read: {error.strerror}", where=str(directory)) from None
    if len(names) > FILES_PER_APPROVAL * LIMITS.approvals:
        raise TamperedError(f"has more than {LIMITS.approvals} approvals", where=str(directory))
    return {f"{DIRECTORY}{name}": _read(directory / name) for name in names}


def _known(name: str) -> bool:
    return bool(NAME.fullmatch(name) or signed_name(name))


def _read(path: Path) -> bytes:
    try:
        fd = os.open(path, _OPEN)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise TamperedError("is not a regular file", where=str(path))
            # One byte more than allowed, to tell a file at the limit from one beyond it.
            data = file.read(LIMITS.approval_bytes + 1)
    except IsADirectoryError:
        raise TamperedError("is not a regular file", where=str(path)) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise TamperedError(
                "is a symbolic link, which Waybill does not follow", where=str(path)
            ) from None
        raise MediaError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(data) > LIMITS.approval_bytes:
        raise TamperedError(f"has more than {LIMITS.approval_bytes} bytes", where=str(path))
    return data
