"""Private keys that are not text: DER, PKCS #12, Java key stores, OpenPGP, KeePass.

Each is recognised by its first bytes and its structure, never by the name of the file: a certificate may be
called `.key`, and a key anything. A store without keys is no secret: every Java runtime has `cacerts`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

# Object identifiers, as DER has them (PKCS #12 is RFC 7292, PKCS #8 encryption RFC 8018).
_OID = b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01"
_KEY_BAGS = (_OID + b"\x01", _OID + b"\x02")
_CERTIFICATE_BAG = _OID + b"\x03"
_ENCRYPTED_DATA = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06"
_PKCS5 = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05"
_PKCS12 = b"\x06\x0a\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01"
_JAVA_STORES = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}
_JAVA_CERTIFICATE = 2
_MOST_ENTRIES = 10_000
_KEEPASS = (b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5", b"\x03\xd9\xa2\x9a\x65\xfb\x4b\xb5")
FIRST_BYTES = frozenset(
    (
        0x30,
        *(each[0] for each in (*_JAVA_STORES, *_KEEPASS)),
        *range(0x94, 0x98),
        *range(0x9C, 0xA0),
        0xC5,
        0xC7,
    )
)
"""What a key that is not text can begin with: DER, Java key stores, KeePass, secret keys of OpenPGP."""
# RFC 4880 and RFC 9580: secret-key and secret-subkey packets, versions, and algorithms.
_SECRET_TAGS, _VERSIONS = (5, 7), (3, 4, 5, 6)
_ALGORITHMS = {1, 2, 3, 16, 17, 18, 19, 20, 22, 25, 26, 27, 28}


def key_in(data: bytes) -> str:
    """Return what kind of private key or key store some bytes are; empty if they are none.

    Args:
        data: The whole file.
    """
    for find in _FINDERS:
        if found := find(data):
            return found
    return ""


def _der(data: bytes) -> str:
    if data[:1] != b"\x30":
        return ""
    start, length = _length(data)
    body = data[start:]
    # PKCS #12 is version 3 and then the content; BER of any length is allowed there.
    if body[:4] == b"\x02\x01\x03\x30":
        return _pkcs12(data)
    if start + length != len(data):
        return ""
    if body[:1] == b"\x30" and (_PKCS5 in body[:20] or _PKCS12 in body[:20]):
        return "an encrypted private key (DER)"
    # PKCS #1, PKCS #8 and SEC 1 all begin with a version of 0 or 1.
    if body[:3] not in (b"\x02\x01\x00", b"\x02\x01\x01"):
        return ""
    return "a private key (DER)" if _loads(data) else ""


def _loads(data: bytes) -> bool:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    try:
        # Whether the numbers of the key fit together does not matter here, and takes long to check.
        load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError):
        return False
    except UnsupportedAlgorithm:
        # A key on a curve that the library does not know is a key.
        return True
    return True


def _length(data: bytes) -> tuple[int, int]:
    """Return where the content of a DER value begins, and its length; 0 for the indefinite one of BER."""
    first = data[1] if len(data) > 1 else 0
    if first < 0x80:
        return 2, first
    count = first & 0x7F
    return 2 + count, int.from_bytes(data[2 : 2 + count], "big")


def _pkcs12(data: bytes) -> str:
    # Keys stand in the open as to their kind, even if they themselves are encrypted.
    if any(bag in data for bag in _KEY_BAGS):
        return "a private key (PKCS #12)"
    if _CERTIFICATE_BAG in data and _ENCRYPTED_DATA not in data:
        return ""
    # Nobody can tell without the password: it counts as what such files mostly are.
    return "a PKCS #12 store with encrypted content"


def _java_store(data: bytes) -> str:
    kind = _JAVA_STORES.get(data[:4])
    if kind is None:
        return ""
    try:
        version, count = struct.unpack_from(">II", data, 4)
        offset = 12
        for _ in range(min(count, _MOST_ENTRIES)):
            (tag,) = struct.unpack_from(">I", data, offset)
            if tag != _JAVA_CERTIFICATE:
                return f"a private key (Java key store, {kind})"
            offset = _after_certificate(data, offset, version)
    except struct.error:
        # What cannot be read to its end cannot be called free of keys.
        return f"a Java key store ({kind}) that cannot be read"
    return ""


def _after_certificate(data: bytes, offset: int, version: int) -> int:
    """Return where the entry after a trusted certificate begins: alias, date, type, certificate."""
    (alias,) = struct.unpack_from(">H", data, offset + 4)
    offset += 6 + alias + 8
    if version > 1:
        (kind,) = struct.unpack_from(">H", data, offset)
        offset += 2 + kind
    (size,) = struct.unpack_from(">I", data, offset)
    return int(offset + 4 + size)


def _openpgp(data: bytes) -> str:
    if len(data) < 16 or not data[0] & 0x80:
        return ""
    tag, start, length = _packet(data)
    if tag not in _SECRET_TAGS or start + length > len(data) or length < 8:
        return ""
    version = data[start]
    # Version 3 has two bytes of validity before the algorithm.
    algorithm = data[start + (7 if version == 3 else 5)]
    # A creation before 1991 or after 2038 is no key, but other data with such a first byte.
    created = int.from_bytes(data[start + 1 : start + 5], "big")
    after = data[start + length : start + length + 1]
    # Another packet follows, or nothing.
    whole = not after or bool(after[0] & 0x80)
    is_key = version in _VERSIONS and algorithm in _ALGORITHMS and 660_000_000 < created < 2**31
    return "a private key (OpenPGP)" if is_key and whole else ""


def _packet(data: bytes) -> tuple[int, int, int]:
    """Return tag, start and length of the first packet; a length of 0 if it is not given in one piece."""
    if not data[0] & 0x40:
        size = (1, 2, 4, 0)[data[0] & 3]
        return data[0] >> 2 & 0x0F, 1 + size, int.from_bytes(data[1 : 1 + size], "big")
    tag, first = data[0] & 0x3F, data[1]
    if first < 192:
        return tag, 2, first
    if first < 224:
        return tag, 3, ((first - 192) << 8) + data[2] + 192
    return tag, 6, int.from_bytes(data[2:6], "big") if first == 255 else 0


def _keepass(data: bytes) -> str:
    return "a password database (KeePass)" if data.startswith(_KEEPASS) else ""


_FINDERS: tuple[Callable[[bytes], str], ...] = (_der, _java_store, _openpgp, _keepass)
