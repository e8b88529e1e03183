"""Who signs: cosign key pairs and GPG, one protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Prompt = Callable[[str], str]
"""Asks a person for a secret, showing the text it is given; None stands for "there is no terminal"."""


class Signer(Protocol):
    """Signs bytes with one key."""

    @property
    def keyid(self) -> str:
        """The whole id of the key, as `root.json` names it."""

    @property
    def keyid8(self) -> str:
        """The eight digits that names of signatures carry."""

    @property
    def public(self) -> str:
        """The public key: PEM, or OpenPGP armor."""

    def sign(self, data: bytes) -> dict[str, bytes]:
        """Sign `data`.

        Args:
            data: The exact bytes; small, since they are held in memory.

        Returns:
            Form (`sig`, `sigstore.json`, `asc`) to the bytes of the file `NAME.<keyid8>.<form>`.

        Raises:
            UsageError: The key cannot be used: a wrong password, nobody to ask for it.
        """
