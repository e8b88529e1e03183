"""Key pairs in cosign's format: generate, read, and sign.

A private key is PKCS#8, encrypted with NaCl's secretbox under a key that scrypt derives from the password.
Keys work with cosign in both directions.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bundler.signing import Prompt, Signer
from bundler.signing.secret_source import BASE64_KEY, STDIN, read_secret, refuse_reference
from installer.core.errors import TamperedError, UsageError
from installer.core.jsonio import dumps, loads_strict
from installer.core.limits import KIB
from installer.core.trust import cosign

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


# cosign writes this label; older versions wrote the second of those below, and both are read.
LABEL = "ENCRYPTED SIGSTORE PRIVATE KEY"
PASSWORD_VARIABLE = "COSIGN_PASSWORD"
_LABELS = (LABEL, "ENCRYPTED COSIGN PRIVATE KEY")
_PEM = re.compile(r"\s*-----BEGIN ([A-Z ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----\s*")
_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,60})-----")
_COSTS = (32768, 65536, 131072)
"""Accepted values of scrypt's N; a larger one would be a denial of service."""
# What cosign itself uses; its readers accept no other block size and parallelism.
_COST, _BLOCK, _PARALLEL = 65536, 8, 1
# Far above any key: a larger file is not a key, and is not read.
_KEY_BYTES = 64 * KIB


class CosignSigner(Signer):
    """Signs with a cosign key pair.

    Args:
        private: The private half, ECDSA on P-256 or Ed25519.

    Attributes:
        key: The public half.
        keyid: SHA-256 of the public key's SubjectPublicKeyInfo, 64 hex digits.
        keyid8: The first eight digits of it.
        public: The public key in PEM, as `NAME.pub` has it.
    """

    def __init__(self, private: EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        self._private = private
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key = cosign.load_public_key(pem.decode())
        self.keyid, self.keyid8, self.public = self.key.keyid, self.key.keyid8, self.key.pem()

    @classmethod
    def load(
        cls,
        source: Path | str,
        prompt: Prompt | None = None,
        variable: str = "COSIGN_PASSWORD",
        password: bytes | None = None,
        option: str = "--password-from",
    ) -> CosignSigner:
        """Read a private key that `bundle keygen` or cosign wrote.

        Args:
            source: `NAME.key`, or as `read_secret` takes it.
            prompt: Asks for the password if the variable is not set; None where there is no terminal.
            variable: The variable of the environment that has the password.
            password: The password, if it is known already; it comes before the variable.
            option: The option that names where the password comes from, for messages.

        Returns:
            The signer.

        Raises:
            UsageError: It cannot be read or is not such a key; the password is wrong or there is no terminal.
        """
        if isinstance(source, str):
            refuse_reference(source)
        data = read_secret(source, _KEY_BYTES, "run `bundle keygen NAME` to create one")
        where = "standard input" if source == STDIN else str(source)
        sealed = parse_key(data, where)
        hint = f"check what {option} names: all of it is the password, but for a line break at its end"
        if password is None:
            # Whoever looks for the mistake has to look where the password came from.
            hint = "type the password of this key, or give " + option
            if variable in os.environ:
                hint = (
                    f"check {variable}: as it is set, its value is used as the password, even if it is empty"
                )
            password = ask_password(f"Password of {where}: ", prompt, variable, option)
        return decrypt_key(sealed, password, where, hint)

    def sign(self, data: bytes) -> dict[str, bytes]:
        """Sign `data` as cosign would.

        Args:
            data: The exact bytes.

        Returns:
            The raw signature (`.sig`) and the Sigstore bundle (`.sigstore.json`), both of the same signature.
        """
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.hashes import SHA256

        # Ed25519 signs the message itself; ECDSA signs its digest.
        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            signature = self._private.sign(data, ec.ECDSA(SHA256()))
        else:
            signature = self._private.sign(data)
        encoded = base64.b64encode(signature)
        document = {
            "mediaType": cosign.MEDIA_TYPE,
            "verificationMaterial": {"publicKey": {"hint": _b64(bytes.fromhex(self.keyid))}},
            "messageSignature": {
                # cosign needs the digest for Ed25519, too: without it, it cannot verify even its own
                # signature.
                "messageDigest": {"algorithm": "SHA2_256", "digest": _b64(hashlib.sha256(data).digest())},
                "signature": encoded.decode(),
            },
        }
        return {"sig": encoded, "sigstore.json": dumps(document)}


@dataclass(frozen=True, slots=True)
class EncryptedKey:
    """A private key under a password, its parameters checked.

    Attributes:
        cost: scrypt's N.
        salt: scrypt's salt, 32 bytes.
        nonce: secretbox's nonce, 24 bytes.
        ciphertext: Tag and text.
    """

    cost: int
    salt: bytes
    nonce: bytes
    ciphertext: bytes


def parse_key(data: bytes, where: str) -> EncryptedKey:
    """Read the outer form of a private key; needs no password.

    Args:
        data: The file's bytes.
        where: How errors name it.

    Returns:
        The sealed key.

    Raises:
        UsageError: It is not an encrypted key in cosign's format, or asks for too much work.
    """
    text = data[:_KEY_BYTES].decode("ascii", "replace")
    match = _PEM.fullmatch(text)
    if match is None or match[1] not in _LABELS:
        what = f"is not a PEM file with the label {LABEL}"
        raise UsageError(what, where=where, hint=_hint_for(text))
    try:
        # The parameters are checked before any work is done with them.
        document = loads_strict(
            cosign.decode_base64("".join(match[2].split()), "it", where), where, _KEY_BYTES
        )
        kdf, cipher = document["kdf"], document["cipher"]
        if kdf["name"] != "scrypt" or cipher["name"] != "nacl/secretbox":
            raise UsageError("uses an unknown encryption method", where=where)
        parameters = kdf["params"]
        # A forged key file could otherwise ask for gigabytes of memory.
        if parameters["N"] not in _COSTS or parameters["r"] != _BLOCK or parameters["p"] != _PARALLEL:
            raise UsageError(
                f"has scrypt parameters that are not allowed: {parameters!s:.100}",
                where=where,
                hint=f"allowed: N {', '.join(map(str, _COSTS))}; r {_BLOCK}; p {_PARALLEL}",
            )
        salt, nonce, ciphertext = (
            cosign.decode_base64(part, "it", where)
            for part in (kdf["salt"], cipher["nonce"], document["ciphertext"])
        )
    except (TamperedError, KeyError, TypeError):
        raise UsageError("is damaged", where=where, hint="restore it from a backup") from None
    # Checked here, since scrypt and secretbox would raise errors that tell a person nothing.
    if len(salt) != 32 or len(nonce) != 24 or len(ciphertext) < 16:
        raise UsageError("is damaged", where=where, hint="restore it from a backup")
    return EncryptedKey(parameters["N"], salt, nonce, ciphertext)


def _hint_for(text: str) -> str:
    """Return what to do with a file that is no key of ours: wrong files of the right kind are common."""
    labels = _BEGIN.findall(text)
    if any(label in _LABELS for label in labels):
        return "the key is damaged: restore it from a backup"
    if any(label.startswith("PGP ") for label in labels):
        return "this is a GPG key: import it with `gpg --import FILE`, and give --gpg-key FINGERPRINT"
    if "PUBLIC KEY" in labels:
        return "this is the public key: sign with the private key, NAME.key"
    if any(label.endswith("PRIVATE KEY") and label != "OPENSSH PRIVATE KEY" for label in labels):
        return "convert an openssl key with `cosign import-key-pair --key FILE`"
    if text.lstrip().startswith(BASE64_KEY):
        return "this is a key in base64: decode it with `base64 -d`"
    return "run `bundle keygen NAME` to create one"


def decrypt_key(sealed: EncryptedKey, password: bytes, where: str, hint: str) -> CosignSigner:
    """Open a private key with its password.

    Args:
        sealed: The key.
        password: The password.
        where: How errors name the key.
        hint: Where to look if the password is wrong.

    Returns:
        The signer.

    Raises:
        UsageError: The password is wrong, or the type of the key is not supported.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519
    from cryptography.hazmat.primitives.serialization import load_der_private_key
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        plain = SecretBox(_stretch(password, sealed.salt, sealed.cost)).decrypt(
            sealed.ciphertext, sealed.nonce
        )
    except CryptoError:
        raise UsageError("the password is wrong", where=where, hint=hint) from None
    try:
        # The password was right, since secretbox authenticates: what fails here is the content.
        private = load_der_private_key(plain, None)
    except ValueError:
        raise UsageError("does not contain a PKCS#8 key", where=where) from None
    # Other curves could be opened, but no verifier on a host would accept their signatures.
    if isinstance(private, ec.EllipticCurvePrivateKey) and isinstance(private.curve, ec.SECP256R1):
        return CosignSigner(private)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return CosignSigner(private)
    raise UsageError("is a key of an unsupported type", where=where, hint="use ECDSA on P-256, or Ed25519")


def generate(password: bytes) -> tuple[bytes, CosignSigner]:
    """Make a new key pair, ECDSA on P-256.

    Args:
        password: The password of the private key; may be empty.

    Returns:
        The bytes of `NAME.key`, and the signer, whose `public` is the text of `NAME.pub`.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    return encrypt_key(private, password), CosignSigner(private)


def encrypt_key(private: EllipticCurvePrivateKey | Ed25519PrivateKey, password: bytes) -> bytes:
    """Seal a private key with a password.

    Args:
        private: The key.
        password: The password; may be empty.

    Returns:
        The bytes of a `NAME.key` file.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from nacl.secret import SecretBox

    # Encrypted by secretbox below, not by PKCS#8: that is cosign's format.
    plain = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    # Fresh for each key: the same password must never give the same encryption key.
    salt, nonce = os.urandom(32), os.urandom(24)
    ciphertext = SecretBox(_stretch(password, salt, _COST)).encrypt(plain, nonce).ciphertext
    document: dict[str, Any] = {
        "kdf": {
            "name": "scrypt",
            "params": {"N": _COST, "r": _BLOCK, "p": _PARALLEL},
            "salt": _b64(salt),
        },
        "cipher": {"name": "nacl/secretbox", "nonce": _b64(nonce)},
        "ciphertext": _b64(ciphertext),
    }
    # cosign's own files have no line break at the end of the JSON.
    body = _b64(dumps(document).rstrip(b"\n"))
    lines = [body[at : at + 64] for at in range(0, len(body), 64)]
    return "\n".join([f"-----BEGIN {LABEL}-----", *lines, f"-----END {LABEL}-----", ""]).encode()


def ask_password(
    question: str,
    prompt: Prompt | None,
    variable: str = PASSWORD_VARIABLE,
    option: str = "--password-from",
) -> bytes:
    """Get a password: from the environment if it is set, even if empty; else by asking.

    Args:
        question: The text of the prompt.
        prompt: Asks a person; None if there is no terminal.
        variable: The variable of the environment that may have it.
        option: The option that names where it comes from.

    Returns:
        The password.

    Raises:
        UsageError: It is not set and there is no terminal.
    """
    given = os.environ.get(variable)
    # Set but empty is an answer, too: cosign uses it as the empty password.
    if given is not None:
        # The exact bytes of the environment, whatever the locale.
        return os.fsencode(given)
    if prompt is None:
        raise UsageError(
            "the password of the key is needed, but no terminal is available",
            hint=f"set {variable}, or give {option} SOURCE",
        )
    return prompt(question).encode()


def _stretch(password: bytes, salt: bytes, cost: int) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, n=cost, r=_BLOCK, p=_PARALLEL).derive(password)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
