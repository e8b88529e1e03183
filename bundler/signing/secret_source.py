"""Where a private key or a password comes from: a file, a variable, a descriptor or standard input.

Never the command line itself: every user of the machine can read that of a running process.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from bundler.archive.reading import read_limited
from installer.core.errors import UsageError, os_errors_as
from installer.shared.terminal import interrupts

STDIN = "-"
PASSWORD_BYTES = 4096
"""Largest size of a password that is read."""
SOURCES = "give a file, env:NAME, fd:N, or - for standard input"
_VARIABLE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_DESCRIPTOR = re.compile(r"fd:([0-9]{1,6})")
# How cosign and its plug-ins name keys that are no files: env://NAME, awskms://…, pkcs11:….
_COSIGN_VARIABLE = re.compile(r"env://([A-Za-z_][A-Za-z0-9_]*)")
_ELSEWHERE = re.compile(r"(?:[a-z][a-z0-9+.-]*://|pkcs11:).*")
_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]{0,60}PRIVATE KEY")
BASE64_KEY = "LS0tLS1CRUdJTi"
"""How a key in PEM begins once it is in base64, the form in which pipelines store it."""
_KEY_TEXT = ("-----BEGIN", BASE64_KEY)


def has_key(text: str) -> bool:
    """Return whether a text has the beginning of a key in it."""
    return any(each in text for each in _KEY_TEXT)


def refuse_keys(words: Iterable[str]) -> None:
    """Refuse a command line that has a key in it, before any of its words can be in a message.

    Raises:
        UsageError: It has one.
    """
    if any(map(has_key, words)):
        raise UsageError(
            "the command line contains a key, and every user of this machine can read it",
            hint=f"{SOURCES}, or the file of a public key; replace a private key that was on it",
        )


def holds_secret(word: str) -> bool:
    """Return whether a word that should name a secret seems to be the secret itself: it is never repeated."""
    # No path that anybody types has several lines; a key whose first line was lost still has.
    return has_key(word) or len(word.strip().splitlines()) > 1


def refuse_private_key(text: str, where: str) -> None:
    """Refuse a private key where a public one is expected.

    Raises:
        UsageError: It is one.
    """
    if _PRIVATE.search(text):
        raise UsageError(
            "is a PRIVATE key", where=where, hint="use the public key, NAME.pub; keep this file secret"
        )


def require_separate(sources: Mapping[str, str | None]) -> None:
    """Refuse one stream for two secrets: whoever reads second finds nothing, or half of something.

    Args:
        sources: Options with the sources that they name; None or empty where one is not given.

    Raises:
        UsageError: Two of them are the same stream.
    """
    seen = dict[object, tuple[str, str]]()
    for option, source in sources.items():
        stream = _stream(source) if source else None
        if source is None or stream is None:
            continue
        if stream in seen:
            other, name = seen[stream]
            same = f"both {source}" if name == source else f"{name} and {source}, the same stream"
            raise UsageError(
                f"{other} and {option} are {same}, which can be read only once",
                hint=f"give {option} another way, for example {option} env:NAME",
            )
        seen[stream] = option, source


def _stream(source: str) -> object:
    """Return what tells a stream from others; None for files and variables, which can be read again."""
    found = _DESCRIPTOR.fullmatch(source)
    number = 0 if source == STDIN else int(found[1]) if found else None
    # What cannot be looked at is named when it is read.
    with suppress(OSError, ValueError):
        status = Path(source).stat() if number is None else os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            return None if stat.S_ISDIR(status.st_mode) else (status.st_dev, status.st_ino)
        # A file behind a descriptor is read from where the last reader stopped.
        return number
    return None


def read_secret(source: str | Path, limit: int, hint: str = "") -> bytes:
    """Read a secret.

    Args:
        source: A path, `env:NAME`, `fd:N`, or `-` for standard input. A file that is named like one of these
            is written `./env:NAME`.
        limit: Most bytes.
        hint: What to do if a file cannot be read.

    Returns:
        The exact bytes; at least one.

    Raises:
        UsageError: It cannot be read, is empty or too large.
    """
    word = str(source)
    # Its bytes must not be repeated in a log either.
    if holds_secret(word):
        raise UsageError("the secret itself is given where its source is expected", hint=SOURCES)
    if not isinstance(source, Path):
        if word == STDIN:
            return _from_descriptor(0, "standard input", limit)
        if found := _VARIABLE.fullmatch(word):
            return _from_variable(found[1], limit)
        if found := _DESCRIPTOR.fullmatch(word):
            return _from_descriptor(int(found[1]), word, limit)
    return _checked(read_limited(Path(word), limit, hint), word, limit)


def refuse_reference(word: str) -> None:
    """Refuse what cosign takes for the name of a key, and what would be taken for a path here.

    Raises:
        UsageError: It is one; the hint says how it is written here.
    """
    if found := _COSIGN_VARIABLE.fullmatch(word):
        raise UsageError("is how cosign names a variable", where=word, hint=f"give env:{found[1]}")
    if _ELSEWHERE.fullmatch(word):
        raise UsageError(
            "is a key in a service or a token, which Waybill does not reach",
            # What follows may be a PIN.
            where=word.partition("?")[0],
            hint="write the file to sign with --prepare, sign it with the tool that reaches the key, and add "
            "the signature with --attach",
        )


def read_password(source: str) -> bytes:
    """Read a password; the line break at the end of a file or stream is not part of it.

    Args:
        source: As for `read_secret`.

    Returns:
        The password; at least one byte.

    Raises:
        UsageError: It cannot be read, is empty or too large.
    """
    try:
        data = read_secret(source, PASSWORD_BYTES, SOURCES)
    except UsageError as error:
        # It may be the password itself, which must not be in the log of a pipeline.
        if error.where and not _is_source(source):
            raise UsageError(f"the file of the password {error.what}", hint=error.hint) from None
        raise
    # A variable has exactly what was put into it.
    if not source.startswith("env:"):
        data = data.removesuffix(b"\n").removesuffix(b"\r")
    return _checked(data, "standard input" if source == STDIN else source, PASSWORD_BYTES)


def _is_source(word: str) -> bool:
    """Return whether a word can only be a source: a stream, a variable, or a path of which a part exists."""
    if word == STDIN or _VARIABLE.fullmatch(word) or _DESCRIPTOR.fullmatch(word):
        return True
    path = Path(word)
    # A word that is too long for a path is none.
    with suppress(OSError, ValueError):
        return path.exists() or (len(path.parts) > 2 and path.parent.is_dir())
    return False


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
    hint = f"open it for reading: `{number or ''}< FILE`"
    with (
        os_errors_as(UsageError, "cannot be read", where, hint),
        interrupts.waiting(),
        os.fdopen(number, "rb", closefd=False) as file,
    ):
        return _checked(file.read(limit + 1), where, limit)


def _checked(data: bytes, where: str, limit: int) -> bytes:
    if len(data) > limit:
        raise UsageError(f"has more than {limit} bytes", where=where, hint="check what it contains")
    # A variable that a pipeline does not have is often set and empty; a command that failed wrote nothing.
    if not data:
        raise UsageError("is empty", where=where, hint="check what should have filled it")
    return data
