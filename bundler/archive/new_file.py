"""Small files written whole or not at all, durably: new ones, and ones that replace another."""

from __future__ import annotations

from pathlib import Path

from bundler.archive.output_file import OutputFile, UnwritableError
from installer.core.errors import UsageError


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist, whole or not at all, and durably.

    Args:
        path: The file.
        data: Its content.
        mode: Its permission bits.

    Raises:
        UsageError: It exists, or cannot be written there; or it would be private, and others could read it
            there.
        UnfitInputError: The disk is full, or failed.
    """
    try:
        with OutputFile(path, mode, parents=False) as output:
            # Before the secret is written: FAT and exFAT have no modes of their own.
            if not mode & 0o077 and output.mode & 0o077:
                raise UsageError(
                    f"everybody could read the file: this file system gives it the mode {output.mode:04o}",
                    where=str(path),
                    hint="choose a directory on a file system with permissions, such as your home "
                    "directory, or mount this one with the option umask=077",
                )
            output.write_at(0, data)
            output.publish(replace=False)
    except FileExistsError:
        raise file_exists(path) from None
    except UnwritableError as error:
        # A name that somebody typed for a key or a root is a question of usage. A full disk is none.
        if not error.of_place:
            raise
        raise UsageError(error.what, where=error.where, hint=error.hint) from error


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file in place of another, whole or not at all, and durably.

    Raises:
        UnfitInputError: It cannot be written.
    """
    with OutputFile(path, mode, parents=False) as output:
        output.write_at(0, data)
        output.publish()


def file_exists(path: Path) -> UsageError:
    """Return the error for a file that would be overwritten."""
    return UsageError("exists already and is not overwritten", where=str(path), hint="choose another name")
