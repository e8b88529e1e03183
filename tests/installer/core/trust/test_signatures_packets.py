"""The packets of an OpenPGP key, by RFC 4880, 4.2: where one ends, and what is none."""

from __future__ import annotations

import base64
import hashlib

import pytest

from installer.core.errors import TamperedError
from installer.core.limits import LIMITS
from installer.core.trust import gpgv

KEY, USER_ID = 6, 13
LONGEST = {0: 0xFF, 1: 0xFFFF, 2: 20_000}
"""Bytes of a packet of the old format, by its type of length; the longest that a test needs of the last."""


def armored(data: bytes, label: str = "PUBLIC KEY BLOCK") -> str:
    return f"-----BEGIN PGP {label}-----\n\n{base64.b64encode(data).decode()}\n-----END PGP {label}-----\n"


def body(size: int) -> bytes:
    return b"\x04" + bytes(at % 251 for at in range(size - 1))


def new_format(tag: int, body: bytes) -> bytes:
    size = len(body)
    if size < 192:
        length = bytes([size])
    elif size < 8384:
        length = bytes([192 + (size - 192 >> 8), size - 192 & 0xFF])
    else:
        length = b"\xff" + size.to_bytes(4, "big")
    return bytes([0xC0 | tag]) + length + body


def old_format(tag: int, body: bytes, kind: int) -> bytes:
    return bytes([0x80 | tag << 2 | kind]) + len(body).to_bytes(1 << kind, "big") + body


def fingerprint(body: bytes) -> str:
    """As RFC 4880, 12.2, has it."""
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("size", [1, 191, 192, 193, 447, 448, 8383, 8384, 8385])
def test_a_length_of_the_new_format_takes_one_octet_or_two_or_five(size: int) -> None:
    key = body(size)
    ring = new_format(KEY, key) + new_format(USER_ID, b"Release")
    assert gpgv.load_public_key(armored(ring)) == (fingerprint(key), ring)


@pytest.mark.parametrize("size", [1, 193])
def test_five_octets_may_say_a_small_length_too(size: int) -> None:
    key = body(size)
    ring = bytes([0xC0 | KEY, 255]) + size.to_bytes(4, "big") + key
    assert gpgv.load_public_key(armored(ring))[0] == fingerprint(key)


@pytest.mark.parametrize("kind", LONGEST)
@pytest.mark.parametrize("size", [1, 191, 224, 255])
def test_a_length_of_the_old_format_takes_one_octet_or_two_or_four(kind: int, size: int) -> None:
    for key in (body(size), body(LONGEST[kind])):
        ring = old_format(KEY, key, kind) + old_format(USER_ID, b"Release", 0)
        assert gpgv.load_public_key(armored(ring)) == (fingerprint(key), ring)


@pytest.mark.parametrize("nothing", [new_format(USER_ID, b""), old_format(USER_ID, b"", 1)])
def test_the_last_packet_may_be_empty(nothing: bytes) -> None:
    assert gpgv.load_public_key(armored(new_format(KEY, body(9)) + nothing))[0] == fingerprint(body(9))


MALFORMED = {
    "no packet at all": b"\x04" + bytes(40),
    "no packet, with a length of its own": bytes([0x18 | 1]) + body(300),
    "a tag and nothing else": bytes([0xC0 | USER_ID]),
    "an old tag and nothing else": bytes([0x80 | USER_ID << 2]),
    "half of a length of two octets": bytes([0xC0 | USER_ID, 192]),
    "half of a length of five octets": bytes([0xC0 | USER_ID, 255, 0, 0]),
    "half of an old length": bytes([0x80 | USER_ID << 2 | 2, 0, 0]),
    "one octet less than the length says": new_format(USER_ID, b"Release")[:-1],
    "one octet less than an old length says": old_format(USER_ID, b"Release", 1)[:-1],
    "the shortest partial length": bytes([0xC0 | USER_ID, 224, 0]) + bytes(8384),
    "the longest partial length": bytes([0xC0 | USER_ID, 254, 0]) + bytes(16064),
    "an indefinite length": bytes([0x80 | USER_ID << 2 | 3]) + bytes(7) + b"\x01A",
}


@pytest.mark.parametrize("packet", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_whole_packet_is_named_with_its_place(packet: bytes) -> None:
    key = new_format(KEY, body(9))
    with pytest.raises(TamperedError, match="is not well-formed OpenPGP") as caught:
        gpgv.load_public_key(armored(key + packet), "release.asc")
    assert caught.value.where == f"release.asc@{len(key)}"


@pytest.mark.parametrize("version", [0, 3, 5, 6])
def test_a_key_of_another_version_is_refused(version: int) -> None:
    with pytest.raises(TamperedError, match="is not an OpenPGP key of version 4"):
        gpgv.load_public_key(armored(new_format(KEY, bytes([version]) + body(8))))


def test_a_signature_in_the_place_of_a_key_is_refused_as_what_it_is() -> None:
    with pytest.raises(TamperedError, match="is not one armored OpenPGP public key block"):
        gpgv.load_public_key(armored(new_format(KEY, body(9)), "SIGNATURE"))


def test_base64_with_more_padding_than_it_takes_is_damaged() -> None:
    text = armored(new_format(KEY, body(9)))
    gpgv.load_public_key(text)
    with pytest.raises(TamperedError, match="has damaged base64"):
        gpgv.load_public_key(text.replace("\n-----END", "====\n-----END"))


def signature_refused(data: bytes) -> str:
    with pytest.raises(TamperedError) as caught:
        gpgv.verify("0" * 40, b"", data, b"")
    return caught.value.what


def test_a_signature_may_be_as_large_as_the_limit_and_not_a_byte_larger() -> None:
    assert signature_refused(b"x" * LIMITS.signature_bytes).startswith("is not one armored OpenPGP signature")
    assert signature_refused(b"x" * (LIMITS.signature_bytes + 1)).startswith("is larger than")


def test_a_signature_with_bytes_that_are_no_text_is_malformed() -> None:
    assert signature_refused(b"\xff\xfe").startswith("is not one armored OpenPGP signature")
