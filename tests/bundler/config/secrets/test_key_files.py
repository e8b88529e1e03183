"""Keys that are not text are found by their structure, and stores without keys are no secrets."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from bundler.config.secrets.key_files import key_in
from tests.rig.hang import ends
from tests.rig.signing import gpg_home

EC = ec.generate_private_key(ec.SECP256R1())
DER, PKCS8 = serialization.Encoding.DER, serialization.PrivateFormat.PKCS8
PLAIN = serialization.NoEncryption()
SECRET = serialization.BestAvailableEncryption(b"x")


def certificate() -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(name, name, EC.public_key(), 1)
    from datetime import UTC, datetime

    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    return builder.not_valid_after(datetime(2036, 1, 1, tzinfo=UTC)).sign(EC, hashes.SHA256())


CERTIFICATE = certificate()
STORE = pkcs12.serialize_key_and_certificates
TRADITIONAL = serialization.PrivateFormat.TraditionalOpenSSL


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (EC.private_bytes(DER, PKCS8, PLAIN), "a private key (DER)"),
        (EC.private_bytes(DER, TRADITIONAL, PLAIN), "a private key (DER)"),
        (EC.private_bytes(DER, PKCS8, SECRET), "an encrypted private key (DER)"),
        (ed25519.Ed25519PrivateKey.generate().private_bytes(DER, PKCS8, PLAIN), "a private key (DER)"),
        (rsa.generate_private_key(65537, 1024).private_bytes(DER, TRADITIONAL, PLAIN), "a private key (DER)"),
        (dsa.generate_private_key(1024).private_bytes(DER, TRADITIONAL, PLAIN), "a private key (DER)"),
        (STORE(b"x", EC, CERTIFICATE, None, SECRET), "a private key (PKCS #12)"),
        (STORE(b"x", EC, None, None, PLAIN), "a private key (PKCS #12)"),
        (
            pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(CERTIFICATE, b"x")], SECRET),
            "a PKCS #12 store with encrypted content",
        ),
    ],
    ids=[
        "EC, PKCS #8", "EC, SEC 1", "EC, encrypted", "Ed25519", "RSA", "DSA",
        "PKCS #12 with a certificate", "PKCS #12 without one", "an encrypted trust store",
    ],
)  # fmt: skip
def test_keys_are_found_whatever_the_file_is_called(data: bytes, kind: str) -> None:
    assert key_in(data) == kind


@pytest.mark.parametrize(
    "data",
    [
        CERTIFICATE.public_bytes(DER),
        EC.public_key().public_bytes(DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(CERTIFICATE, b"x")], PLAIN),
        b"0 files\n",
        b"\x30\x03\x02\x01\x00",
        b"",
        b"\x7fELF" + bytes(100),
        b"\x95" * 200,
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=["certificate", "public key", "trust store", "text", "DER", "nothing", "ELF", "OpenPGP tags", "PNG"],
)
def test_what_holds_no_key_is_not_suspected(data: bytes) -> None:
    assert key_in(data) == ""


def java_store(*tags: int, magic: bytes = b"\xfe\xed\xfe\xed") -> bytes:
    """A store as `keytool -storetype JKS` writes it; the bytes of the certificate do not matter."""
    text = lambda word: struct.pack(">H", len(word)) + word  # noqa: E731
    entry = text(b"alias") + bytes(8) + text(b"X.509") + struct.pack(">I", 9) + bytes(9)
    return magic + struct.pack(">II", 2, len(tags)) + b"".join(struct.pack(">I", tag) + entry for tag in tags)


def test_a_java_store_is_a_secret_if_it_has_a_key() -> None:
    assert key_in(java_store(2, 2) + bytes(20)) == ""
    assert key_in(java_store(2, 1)) == "a private key (Java key store, JKS)"
    assert key_in(java_store(3, magic=b"\xce\xce\xce\xce")) == "a private key (Java key store, JCEKS)"
    # Cut within the last certificate, and before it: whether a key follows is not known then.
    assert key_in(java_store(2, 2)[:-9]) == ""
    assert "cannot be read" in key_in(java_store(2, 2)[:50])


def test_a_password_database_is_found() -> None:
    assert key_in(b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5" + bytes(100)) == "a password database (KeePass)"


@pytest.mark.needs("gpg")
def test_openpgp_keys_are_found_and_public_ones_are_not(tmp_path: Path) -> None:
    with gpg_home() as home:
        command = [
            "gpg",
            "--homedir",
            str(home.path),
            "--batch",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        ]
        for kind in ("ed25519", "rsa2048"):
            subprocess.run(
                [*command, "--quick-generate-key", f"{kind}@example.org", kind],
                check=True,
                capture_output=True,
            )
            for word, found in (("--export-secret-keys", "a private key (OpenPGP)"), ("--export", "")):
                done = subprocess.run(
                    [*command, word, f"{kind}@example.org"], check=True, capture_output=True
                )
                assert key_in(done.stdout) == found, (kind, word)


def test_random_bytes_are_no_keys() -> None:
    """With the first bytes of each kind, which 1 file of 30 has by accident."""
    chance = random.Random(1)
    for first in (b"\x30\x82", b"\x95\x01", b"\xc5", b"\xc7\x40", b"\x9d\x01"):
        for _ in range(400):
            assert key_in(first + chance.randbytes(200)) == ""


@pytest.mark.parametrize("unit", [b"\x30\x80", b"\xfe\xed\xfe\xed", b"\x95\x00", b"\x02\x01\x03\x30"])
def test_a_megabyte_of_anything_is_read_soon(unit: bytes) -> None:
    with ends():
        key_in((b"\x30\x84\x00\x0f\xff\xfa" + unit * 2**20)[: 2**20])
        key_in((unit * 2**20)[: 2**20])
