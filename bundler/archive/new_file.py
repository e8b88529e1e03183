"""A new file: written whole or not at all, durably, and never in place of another."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from bundler.archive.output_file import fsync_directory
from installer.core.errors import UsageError


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist, whole or not at all, and durably.

    Args:
        path: Where.
        data: What.
        mode: Its permission bits.

    Raises:
        UsageError: It exists, or cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            _write(partial, data, mode)
            _link(partial, path, data, mode)
        finally:
            partial.unlink(missing_ok=True)
        fsync_directory(path.parent)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", where=str(path)) from error


def _link(partial: Path, path: Path, data: bytes, mode: int) -> None:
    """Return the file its name; unlike a rename, a link never replaces."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:
        _write(path, data, mode)  # FAT has no links


def _write(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _exists(path: Path) -> UsageError:
    return UsageError(
        "exists already, and is never written over", where=str(path), hint="choose another name"
    )
