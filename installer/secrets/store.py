"""The contract of secret stores, and what holds a secret."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NoReturn

from installer.core.errors import Problem
from installer.core.limits import KIB
from installer.host.context import Context
from installer.secrets.references import Form, Reference, is_reference

LARGEST = 64 * KIB
"""Bytes of one secret."""


class Secret:
    """The value of a secret. Nothing shows it but `reveal`: not `repr`, a traceback, a copy or a pickle.

    Args:
        reference: Where it is from.
        value: The value.
    """

    __slots__ = ("_value", "reference")

    def __init__(self, reference: Reference, value: str) -> None:
        self.reference = reference
        self._value = value

    def reveal(self) -> str:
        """Return the value; for what is rendered, and for digests."""
        return self._value

    def __repr__(self) -> str:
        return f"<{self.reference}>"

    def __reduce__(self) -> NoReturn:
        # A copy in a file, a journal or another process would be out of sight.
        raise TypeError("a secret is neither copied nor written")


Outcome = Secret | Problem
"""What became of a reference: the secret, or why there is none."""


class StoreError(Exception):
    """The store as a whole cannot be used; the problem says why, and applies to everything in it."""

    def __init__(self, what: str, hint: str = "", faults: Sequence[Problem] = ()) -> None:
        super().__init__(what)
        self.problem = Problem("", what, hint)
        self.faults = tuple(faults)
        """What is wrong with it in detail, each with its place and remedy."""


class SecretStore(ABC):
    """A place where a site keeps secrets.

    A store only reads. Texts of its errors never contain what it has read.

    Args:
        context: The host, the product and what is hidden.
    """

    name: ClassVar[str]
    """The word after `secret://`."""
    form: ClassVar[Form]
    """What follows it."""

    def __init__(self, context: Context) -> None:
        self.context = context

    @abstractmethod
    def resolve(self, references: Sequence[Reference]) -> Mapping[Reference, Outcome]:
        """Return the secret, or the problem, of each of these references of this store.

        All at once, so that a store logs in once and asks once for what is in one place.

        Args:
            references: Without duplicates, sorted.

        Raises:
            StoreError: None of them can be resolved.
        """

    def secret(self, reference: Reference, value: str | bytes) -> Outcome:
        """Return a value as a secret, known as one from now on; a problem if it cannot be used.

        Args:
            reference: What it is the value of.
            value: The value; bytes have to be UTF-8.
        """
        try:
            data = value.encode("utf-8") if isinstance(value, str) else value
            text = data.decode("utf-8")
        except UnicodeError:
            data, text = b"", "\0"
        if len(data) > LARGEST:
            what = f"is larger than the {LARGEST // KIB} KiB that a secret may have"
            return Problem("", what, "check that it is the right one; larger files do not belong into values")
        if "\0" in text:
            hint = "encode it with `base64`, and decode it where it is used"
            return Problem("", "is not text in UTF-8", hint)
        if not text:
            return Problem("", "is empty", "store its value there")
        # Following it could lead in a circle; not following it would render the reference as a password.
        if is_reference(text):
            hint = "store the secret itself there, or write the other reference into the values"
            return Problem("", "is a reference to a secret, not a secret: references are not followed", hint)
        self.context.secrets.add([text])
        return Secret(reference, text)
