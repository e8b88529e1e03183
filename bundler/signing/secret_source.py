"""Where a private key or a password comes from: a file, a variable, a descriptor or standard input.

Never the command line itself: every user of the machine can read that of a running process.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from bundler.archive.reading import read_limited
from installer.core.errors import UsageError, os_errors_as
from installer.shared.terminal import interrupts

STDIN = "-"
PASSWORD_BYTES = 4096
"""Largest size of a password that is read."""
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_DESCRIPTOR = re.compile(r"fd:([0-9]{1,6})")
_KEY_TEXT = "-----BEGIN"


def read_secret(source: str | Path, limit: int, hint: str = "") -> bytes:
    """Read a secret.

    Args:
        source: A path, `env:NAME`, `fd:N`, or `-` for standard input. A file that is named like one of these
            is written `./env:NAME`.
        limit: Most bytes.
        hint: What to do if a file cannot be read.

    Returns:
        The exact bytes.

    Raises:
        UsageError: It cannot be read, is empty or too large.
    """
    word = str(source)
    # Somebody gave the key itself; its bytes must not be repeated in a log either.
    if word.startswith(_KEY_TEXT):
        raise UsageError(
            "a private key is not given on the command line, where every user can read it",
            hint="give its file, env:NAME, fd:N, or - for standard input",
        )
    if isinstance(source, Path):
        return read_limited(source, limit, hint)
    if word == STDIN:
        return _from_descriptor(0, "standard input", limit)
    if found := _VARIABLE.fullmatch(word):
        return _from_variable(found[1], limit)
    if found := _DESCRIPTOR.fullmatch(word):
        return _from_descriptor(int(found[1]), word, limit)
    return read_limited(Path(word), limit, hint)


def read_password(source: str) -> bytes:
    """Read a password; the line break at the end of a file or stream is not part of it.

    Args:
        source: As for `read_secret`.

    Raises:
        UsageError: It cannot be read, or is too large.
    """
    data = read_secret(source, PASSWORD_BYTES, "give a file, env:NAME, fd:N, or - for standard input")
    # A variable has exactly what was put into it.
    if source.startswith("env:"):
        return data
    return data.removesuffix(b"\n").removesuffix(b"\r")


def _from_variable(name: str, limit: int) -> bytes:
    data = os.environb.get(name.encode())
    if data is None:
        hint = f"export {name}, or check the name"
        raise UsageError("the variable is not set", where=f"env:{name}", hint=hint)
    return _checked(data, f"env:{name}", limit)


def _from_descriptor(number: int, where: str, limit: int) -> bytes:
    # A terminal would show what is typed.
    if os.isatty(number):
        raise UsageError(
            "is a terminal, which would show the secret", where=where, hint="redirect it: `< FILE`, or a pipe"
        )
    # Descriptors are read as they are, not opened again: they may belong to another user.
    hint = "open it for reading: `3< FILE`"
    with (
        os_errors_as(UsageError, "cannot be read", where, hint),
        interrupts.waiting(),
        os.fdopen(number, "rb", closefd=False) as file,
    ):
        return _checked(file.read(limit + 1), where, limit)


def _checked(data: bytes, where: str, limit: int) -> bytes:
    if len(data) > limit:
        raise UsageError(f"has more than {limit} bytes", where=where, hint="check what it contains")
    return data
