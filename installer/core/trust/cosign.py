"""Signatures of cosign key pairs: verification only.

Two forms are read: cosign's raw signature (`.sig`, base64 of the signature's bytes) and the Sigstore bundle
v0.3 with a message signature (`.sigstore.json`). Log entries and timestamps in a Sigstore bundle are not
used: only the pinned key decides.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from installer.core.errors import TamperedError
from installer.core.jsonio import loads_strict
from installer.core.limits import LIMITS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PEM = re.compile(r"\s*-----BEGIN PUBLIC KEY-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END PUBLIC KEY-----\s*")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that may be trusted.

    Attributes:
        keyid: SHA-256 of the SubjectPublicKeyInfo in DER, 64 hex digits.
        algorithm: What the key signs with; never taken from a signature.
        der: The SubjectPublicKeyInfo.
        key: The key as the library knows it.
    """

    keyid: str
    algorithm: Literal["ecdsa-p256-sha256", "ed25519"]
    der: bytes
    key: EllipticCurvePublicKey | Ed25519PublicKey

    @property
    def keyid8(self) -> str:
        """The first eight digits of the key id, as file names carry them."""
        return self.keyid[:8]

    def pem(self) -> str:
        """Return the key in the one PEM form that cosign and openssl write."""
        body = base64.b64encode(self.der).decode()
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])


def load_public_key(pem: str, where: str = "") -> PublicKey:
    """Read a public key as cosign and openssl write it.

    Args:
        pem: One SubjectPublicKeyInfo in PEM and nothing else.
        where: How errors name it.

    Returns:
        The key, ECDSA on P-256 or Ed25519.

    Raises:
        TamperedError: It is something else, or in another encoding than the usual one: a key has one id.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

    match = _PEM.fullmatch(pem)
    if match is None:
        raise TamperedError(
            "is not a public key in PEM",
            where=where,
            hint="use the file NAME.pub that `bundle keygen` or cosign wrote",
        )
    der = decode_base64("".join(match[1].split()), "the public key", where)
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        raise TamperedError("is not a public key that can be read", where=where) from None
    algorithm: Literal["ecdsa-p256-sha256", "ed25519"]
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        algorithm = "ecdsa-p256-sha256"
    elif isinstance(key, ed25519.Ed25519PublicKey):
        algorithm = "ed25519"
    else:
        raise TamperedError(
            f"is a key of a type that is not supported ({type(key).__name__.removesuffix('PublicKey')})",
            where=where,
            hint="use ECDSA on P-256 (as `bundle keygen` and cosign create it) or Ed25519",
        )
    # Another encoding of the same key would have another id, and count as a second key.
    if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != der:
        raise TamperedError("is a public key in an encoding that is not supported", where=where)
    return PublicKey(hashlib.sha256(der).hexdigest(), algorithm, der, key)


def verify_raw(key: PublicKey, signature: bytes, data: bytes, where: str = "") -> None:
    """Verify a `.sig` file.

    Args:
        key: The pinned key.
        signature: The file's bytes: base64 on one line, with or without a final newline.
        data: Exactly the signed bytes.
        where: How errors name the file.

    Raises:
        TamperedError: It is malformed, or is not this key's signature of these bytes.
    """
    _cap(signature, where)
    try:
        text = signature.decode("ascii")
    except UnicodeDecodeError:
        raise TamperedError("is not base64", where=where) from None
    _verify(key, decode_base64(text.removesuffix("\n"), "the signature", where), data, where)


def verify_bundle(key: PublicKey, document: bytes, data: bytes, where: str = "") -> None:
    """Verify a `.sigstore.json` file.

    Args:
        key: The pinned key; the document's own hint and material are not used.
        document: The file's bytes.
        data: Exactly the signed bytes.
        where: How errors name the file.

    Raises:
        TamperedError: It is malformed, speaks of other bytes, or is not this key's signature of these bytes.
    """
    # 1. The document has the one known form: an unknown field could change what other readers make of it.
    bundle = _fields(loads_strict(document, where, LIMITS.signature_bytes), where, "the document")
    if bundle.get("mediaType") != MEDIA_TYPE:
        raise TamperedError(f"does not have the mediaType {MEDIA_TYPE}", where=where)
    unknown = sorted(bundle.keys() - {"mediaType", "verificationMaterial", "messageSignature"})
    if unknown:
        hint = "it contains an attestation, not a signature of a file" if "dsseEnvelope" in unknown else ""
        raise TamperedError(f"has an unexpected field: {unknown[0][:40]!r}", where=where, hint=hint)
    material = _fields(bundle.get("verificationMaterial"), where, "verificationMaterial")
    if not material.keys() <= {"publicKey", "tlogEntries", "timestampVerificationData"} or not isinstance(
        material.get("publicKey"), dict
    ):
        raise TamperedError(
            "was not made with a key pair",
            where=where,
            hint="sign with `--key`; keyless signatures need a network",
        )
    message = _fields(bundle.get("messageSignature"), where, "messageSignature")
    digest = _fields(message.get("messageDigest"), where, "messageDigest")
    if message.keys() != {"messageDigest", "signature"} or digest.keys() != {"algorithm", "digest"}:
        raise TamperedError("does not have exactly one message digest and one signature", where=where)
    if digest["algorithm"] != "SHA2_256":
        raise TamperedError("has a message digest other than SHA2_256", where=where)
    # 2. It is about these bytes: cosign leaves the digest empty for Ed25519, which is refused too.
    stated = decode_base64(digest["digest"], "the message digest", where)
    if not hmac.compare_digest(stated, hashlib.sha256(data).digest()):
        raise TamperedError("is a signature of other bytes: the message digest differs", where=where)
    # 3. The pinned key signed them.
    _verify(key, decode_base64(message["signature"], "the signature", where), data, where)


def decode_base64(text: object, what: str, where: str) -> bytes:
    """Decode base64 (RFC 4648, section 4) that has exactly one spelling.

    Args:
        text: The characters; anything but a string is refused.
        what: What it is, for errors.
        where: Its place, for errors.

    Returns:
        The bytes.

    Raises:
        TamperedError: It is not base64, or another spelling of the same bytes exists.
    """
    # Encoding again and comparing: b64decode ignores foreign characters and surplus bits.
    try:
        found = base64.b64decode(text) if isinstance(text, str) else b""
    except ValueError:
        found = b""
    if not found or base64.b64encode(found).decode() != text:
        raise TamperedError(f"{what} is not base64", where=where)
    return found


def _verify(key: PublicKey, signature: bytes, data: bytes, where: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        if isinstance(key.key, ec.EllipticCurvePublicKey):
            key.key.verify(signature, data, ec.ECDSA(SHA256()))
        else:
            key.key.verify(signature, data)
    except InvalidSignature:
        raise TamperedError(
            f"is not a signature of these bytes by key {key.keyid8}",
            where=where,
            hint="the bundle was changed after it was signed, or the signature is damaged: copy it again",
        ) from None


def _fields(value: object, where: str, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TamperedError(f"{what} is missing or not an object", where=where)
    return value


def _cap(data: bytes, where: str) -> None:
    if len(data) > LIMITS.signature_bytes:
        raise TamperedError(
            f"is larger than {LIMITS.signature_bytes} bytes, the limit of a signature", where=where
        )
