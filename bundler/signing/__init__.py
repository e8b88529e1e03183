"""Signers: one abstract class, one module for each kind of key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

Prompt = Callable[[str], str]
"""Asks a person for a secret and shows the given text; None in its place means that there is no terminal."""


class Signer(ABC):
    """A key that signs bytes.

    Attributes:
        keyid: The whole id of the key, as `root.json` names it.
        keyid8: The eight digits of the id that names of signature files carry.
        public: The public key: PEM, or OpenPGP armor.
    """

    keyid: str
    keyid8: str
    public: str

    @abstractmethod
    # Small files are signed, never a bundle itself: cosign and GPG both hold what they sign in memory.
    def sign(self, data: bytes) -> dict[str, bytes]:
        """Sign bytes.

        Args:
            data: The exact bytes; small, since they are held in memory.

        Returns:
            Form (`sig`, `sigstore.json`, `asc`) to the bytes of the file `NAME.<keyid8>.<form>`.

        Raises:
            UsageError: The key cannot be used: the password is wrong, or nobody can be asked for it.
        """

    def files(self, name: str, data: bytes) -> dict[str, bytes]:
        """Sign a file.

        Args:
            name: The name of the file that is signed.
            data: Its exact bytes.

        Returns:
            Signature files by name, `NAME.<keyid8>.<form>`, sorted.
        """
        return {f"{name}.{self.keyid8}.{form}": made for form, made in sorted(self.sign(data).items())}
