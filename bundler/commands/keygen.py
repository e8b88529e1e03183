"""VERB `bundle keygen NAME`: a new key pair in cosign's format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.new_file import _exists, write_new
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
    """Make a key pair and writes its two files; what exists is never written over.

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
