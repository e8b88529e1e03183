"""An Ed25519 key pair in cosign's files, which `bundle keygen` does not make: its signatures never differ."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from nacl.secret import SecretBox

from tests.rig.desk import PASSWORD

COST = 32768


def write_ed25519_key(path: Path) -> None:
    """Write NAME.key, sealed with the desk's password, and NAME.pub; the same pair each time."""

    def fixed(what: str, size: int = 32) -> bytes:
        return hashlib.sha256(f"waybill test {what}".encode()).digest()[:size]

    private = Ed25519PrivateKey.from_private_bytes(fixed("key"))
    plain = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    secret = Scrypt(salt=fixed("salt"), length=32, n=COST, r=8, p=1).derive(PASSWORD.encode())
    sealed = SecretBox(secret).encrypt(plain, fixed("nonce", 24)).ciphertext
    parameters = {"N": COST, "r": 8, "p": 1}
    document = {
        "kdf": {"name": "scrypt", "params": parameters, "salt": _text(fixed("salt"))},
        "cipher": {"name": "nacl/secretbox", "nonce": _text(fixed("nonce", 24))},
        "ciphertext": _text(sealed),
    }
    label = "ENCRYPTED SIGSTORE PRIVATE KEY"
    body = _text(json.dumps(document).encode())
    path.write_text(f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    path.with_suffix(".pub").write_bytes(public)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
