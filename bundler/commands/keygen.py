"""VERB `bundle keygen NAME`: a new key pair in cosign's format."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.output_file import fsync_directory
from bundler.signing import Prompt
from bundler.signing.cosign import PASSWORD_VARIABLE, ask_password, generate
from installer.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class KeyPair:
    """What was written.

    Attributes:
        private: `NAME.key`, readable by its owner only.
        public: `NAME.pub`, to be handed on.
        keyid: The id of the key, 64 hex digits.
    """

    private: Path
    public: Path
    keyid: str

    @property
    def keyid8(self) -> str:
        """The eight digits that names of signatures carry."""
        return self.keyid[:8]


def keygen(name: Path, prompt: Prompt | None = None) -> KeyPair:
    """Makes a key pair and writes its two files; what exists is never written over.

    Args:
        name: The files' path without `.key` and `.pub`.
        prompt: Asks for the password, twice, where COSIGN_PASSWORD is not set.

    Returns:
        What was written.

    Raises:
        UsageError: A file exists, the directory cannot be written to, or the two passwords differ.
    """
    if name.suffix in (".key", ".pub"):
        raise UsageError(
            f"the name is given without {name.suffix}", where=str(name), hint=f"try {name.with_suffix('')}"
        )
    private, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    for path in (private, public):
        if os.path.lexists(path):
            raise _exists(path)
    password = ask_password(f"Password for {private}: ", prompt)
    if PASSWORD_VARIABLE not in os.environ and ask_password("The same again: ", prompt) != password:
        raise UsageError(
            "the two passwords differ", where=str(private), hint="nothing was written; try again"
        )
    sealed, signer = generate(password)
    write_new(private, sealed, 0o600)
    try:
        write_new(public, signer.public.encode(), 0o644)
    except BaseException:
        private.unlink(missing_ok=True)
        raise
    return KeyPair(private, public, signer.keyid)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Writes a file that must not exist, whole or not at all, and durably.

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
    """Gives the file its name; unlike a rename, a link never replaces."""
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
