"""`bundle keygen`: generate a key pair in cosign's format."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bundler.archive.new_file import file_exists, write_new
from bundler.signing import Prompt
from bundler.signing.cosign import PASSWORD_VARIABLE, ask_password, generate
from installer.core.errors import UsageError
from installer.shared.terminal import interrupts


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair as files.

    Attributes:
        private: `NAME.key`, readable by its owner only.
        public: `NAME.pub`, for root.json.
        keyid: The id of the key, 64 hex digits.
    """

    private: Path
    public: Path
    keyid: str

    @property
    def keyid8(self) -> str:
        """The eight digits that names of signatures carry."""
        return self.keyid[:8]


def generate_key_pair(name: Path, prompt: Prompt | None = None, password: bytes | None = None) -> KeyPair:
    """Generate a key pair and write its two files; existing files are never overwritten.

    Args:
        name: The path of the files without `.key` and `.pub`.
        prompt: Asks for the password, twice, if COSIGN_PASSWORD is not set.
        password: The password, if it is known already.

    Raises:
        UsageError: A file exists, the directory cannot be written to, or the two passwords differ.
    """
    # `keygen release.key` would silently write release.key.key.
    if name.suffix in (".key", ".pub"):
        raise UsageError(
            f"give the name without {name.suffix}", where=str(name), hint=f"try {name.with_suffix('')}"
        )
    private, public = name.with_name(f"{name.name}.key"), name.with_name(f"{name.name}.pub")
    # Before the password is asked for: nobody likes to type it twice for nothing.
    for path in (private, public):
        if os.path.lexists(path):
            raise file_exists(path)
    if password is None:
        password = _new_password(private, prompt)
    sealed, signer = generate(password)
    # Both or none, whenever a signal comes.
    with interrupts.deferred():
        _write(private, sealed, public, signer.public.encode())
        interrupts.finish()
    return KeyPair(private, public, signer.keyid)


def _new_password(private: Path, prompt: Prompt | None) -> bytes:
    password = ask_password(f"Password for {private}: ", prompt)
    # A typing error in a new password would lock the key for ever.
    if PASSWORD_VARIABLE not in os.environ and ask_password("Repeat the password: ", prompt) != password:
        raise UsageError(
            "the two passwords differ", where=str(private), hint="nothing was written; try again"
        )
    return password


def _write(private: Path, sealed: bytes, public: Path, shown: bytes) -> None:
    # The private half first: a public key without it must never be handed on.
    write_new(private, sealed, 0o600)
    try:
        write_new(public, shown, 0o644)
    except BaseException:
        # Half a pair would block the next attempt under this name.
        private.unlink(missing_ok=True)
        raise
