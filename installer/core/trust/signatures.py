"""Trusted keys, signatures as found, and the verification of one by the other.

A signature of the file NAME is next to it as `NAME.<keyid8>.sig` or `.sigstore.json` (cosign) or `.asc`
(OpenPGP). The eight digits only choose the key to try; they decide nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from installer.core.document_file import REMEDY, text_damage
from installer.core.errors import TamperedError, UntrustedError
from installer.core.format.manifest import SUMS
from installer.core.trust import cosign, gpgv

Scheme = Literal["cosign", "gpg"]
FORMS: dict[str, Scheme] = {"sig": "cosign", "sigstore.json": "cosign", "asc": "gpg"}
_SUFFIX = re.compile(r"\.([0-9a-f]{8})\.(sig|sigstore\.json|asc)")


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key that the host's trust names.

    Attributes:
        keyid: cosign: SHA-256 of the SubjectPublicKeyInfo; gpg: the primary fingerprint; lower-case hex.
        scheme: The tool that makes its signatures.
        owner: The person or team that holds it; thresholds count owners.
        public: The key: PEM, or OpenPGP armor.
        not_after: When it stops counting, UTC; None: never.
    """

    keyid: str
    scheme: Scheme
    owner: str
    public: str = field(repr=False)
    not_after: datetime | None = None

    @property
    def keyid8(self) -> str:
        """The eight digits that file names carry."""
        return self.keyid[-8:] if self.scheme == "gpg" else self.keyid[:8]

    @classmethod
    def from_public(
        cls, public: str, owner: str, not_after: datetime | None = None, where: str = ""
    ) -> TrustedKey:
        """Make a trusted key from an exported public key.

        Args:
            public: The text of a `.pub` file, or what `gpg --armor --export` printed.
            owner: The person or team that holds it.
            not_after: When it stops counting.
            where: How errors name the text.

        Returns:
            The key, with its id computed and its text in the one usual form.

        Raises:
            TamperedError: It is neither, or not a key of an accepted kind.
        """
        if public.lstrip().startswith("-----BEGIN PGP "):
            fingerprint, _ = gpgv.load_public_key(public, where)
            text = "\n".join(public.split("\r\n")).strip() + "\n"
            return cls(fingerprint, "gpg", owner, text, not_after)
        key = cosign.load_public_key(public, where)
        return cls(key.keyid, "cosign", owner, key.pem(), not_after)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature file as found, not verified.

    Attributes:
        name: The file's name.
        form: What follows the key id: `sig`, `sigstore.json` or `asc`.
        keyid8: The eight digits in its name.
        data: Its bytes.
    """

    name: str
    form: str
    keyid8: str
    data: bytes = field(repr=False)

    @property
    def scheme(self) -> Scheme:
        """The tool that makes signatures of this form."""
        return FORMS[self.form]

    @classmethod
    def parse(cls, name: str, data: bytes, signed: str = SUMS) -> Signature:
        """Make a signature from a member of the bundle.

        Args:
            name: The member's name.
            data: Its bytes.
            signed: The name of the signed file.

        Returns:
            The signature, not yet verified.

        Raises:
            TamperedError: The name is not that of a signature of `signed`.
        """
        split = split_name(name, signed)
        if split is None:
            raise TamperedError(f"is not a valid name for a signature of {signed}", where=name)
        return cls(name, split[1], split[0], data)


def split_name(name: str, signed: str = SUMS) -> tuple[str, str] | None:
    """Split a signature's name into key id and form.

    Args:
        name: A member's name.
        signed: The name of the signed file.

    Returns:
        The eight digits and the form, or None where it is not the name of a signature of `signed`.
    """
    match = _SUFFIX.fullmatch(name.removeprefix(signed)) if name.startswith(signed) else None
    return (match[1], match[2]) if match else None


def verify(key: TrustedKey, signature: Signature, data: bytes) -> None:
    """Verify one signature by one trusted key; return only if it is valid.

    The expiry of the key in the root is checked by the caller.

    Args:
        key: The key that the host trusts. It decides the algorithm.
        signature: What was found.
        data: Exactly the signed bytes.

    Raises:
        UntrustedError: It is by another key.
        CheckFailedError: It could not be checked.
        TamperedError: It is malformed, or not a signature of these bytes.
        ExpiredError: The OpenPGP key or signature is expired or revoked by itself.
    """
    if signature.scheme != key.scheme or signature.keyid8 != key.keyid8:
        raise UntrustedError(
            f"was not made by the trusted key {key.keyid8} ({key.scheme})", where=signature.name
        )
    try:
        _verify(key, signature, data)
    except TamperedError as error:
        damaged = (signature.data, "this file"), (data, "the file that it signs")
        for text, which in damaged:
            # A changed line end is no attack, but cannot be told from one: refused all the same, with the
            # likely cause.
            if damage := text_damage(text):
                what = f"{error.what}; {which} {damage}"
                raise TamperedError(what, where=error.where, hint=REMEDY) from error
        raise


def _verify(key: TrustedKey, signature: Signature, data: bytes) -> None:
    # The key that the root names decides the algorithm. A format that lets the signature choose it can be
    # led to a weaker one.
    if key.scheme == "gpg":
        fingerprint, ring = gpgv.load_public_key(key.public, f"key {key.keyid8}")
        # The id in the root is what people compared: the key text must not be that of another key.
        if fingerprint != key.keyid:
            raise TamperedError(
                f"has the fingerprint {fingerprint}, not {key.keyid}", where=f"key {key.keyid8}"
            )
        gpgv.verify(fingerprint, ring, signature.data, data, signature.name)
        return
    public = cosign.load_public_key(key.public, f"key {key.keyid8}")
    if public.keyid != key.keyid:
        raise TamperedError(f"has the id {public.keyid}, not {key.keyid}", where=f"key {key.keyid8}")
    if signature.form == "sig":
        cosign.verify_raw(public, signature.data, data, signature.name)
    else:
        cosign.verify_bundle(public, signature.data, data, signature.name)
