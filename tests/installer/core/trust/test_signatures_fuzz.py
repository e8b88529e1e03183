"""Whatever bytes come in, the readers of keys, signatures and roots answer with one of our errors."""

from __future__ import annotations

import base64
import contextlib
import json

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from installer.core.errors import WaybillError
from installer.core.trust import cosign, gpgv
from installer.core.trust.root_json import parse_root

PEM = ec.generate_private_key(ec.SECP256R1()).public_key()
KEY = cosign.load_public_key(PEM.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
ROOT_FIELDS = ("schema", "version", "expires", "keys", "roles", "environments", "revoked")


def armor(label: str, body: bytes) -> str:
    text = base64.b64encode(body).decode()
    return f"-----BEGIN PGP {label}-----\n\n{text}\n-----END PGP {label}-----\n"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_openpgp_packets_are_answered_with_our_errors(body: bytes) -> None:
    with contextlib.suppress(WaybillError):
        gpgv.load_public_key(armor("PUBLIC KEY BLOCK", body))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_public_key_is_read_or_refused(body: bytes) -> None:
    text = base64.b64encode(body).decode()
    with contextlib.suppress(WaybillError):
        cosign.load_public_key(f"-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=100).map(base64.b64encode))
def test_raw_signatures_are_answered_with_our_errors(data: bytes) -> None:
    with contextlib.suppress(WaybillError):
        cosign.verify_raw(KEY, data, b"x")
        raise AssertionError("accepted")


@settings(max_examples=200, deadline=None)
@given(JSON, JSON, JSON)
def test_sigstore_bundles_are_answered_with_our_errors(
    material: object, digest: object, signature: object
) -> None:
    document = {
        "mediaType": cosign.MEDIA_TYPE,
        "verificationMaterial": {"publicKey": material},
        "messageSignature": {"messageDigest": digest, "signature": signature},
    }
    with contextlib.suppress(WaybillError):
        cosign.verify_bundle(KEY, json.dumps(document).encode(), b"x")
        raise AssertionError("accepted")


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ROOT_FIELDS), JSON, st.sampled_from(("", "release", KEY.keyid, "keys", "threshold")))
def test_any_root_is_read_or_refused(field: str, value: object, below: str) -> None:
    document: dict[str, object] = {
        "schema": "waybill/root/v1",
        "version": 1,
        "expires": "2027-01-31T00:00:00Z",
        "keys": {KEY.keyid: {"scheme": "cosign", "owner": "Ana", "public": KEY.pem()}},
        "roles": {"release": {"keys": [KEY.keyid], "threshold": 1}},
        "environments": {},
        "revoked": {"keys": [], "bundles": []},
    }
    parse_root(json.dumps(document).encode())
    document[field] = {below: value} if below else value
    with contextlib.suppress(WaybillError):
        parse_root(json.dumps(document).encode())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=8), st.sampled_from((b"\xc6", b"\x98", b"\x99", b"\x9a", b"\x9b")))
def test_openpgp_headers_that_are_cut_short_are_answered_with_our_errors(body: bytes, first: bytes) -> None:
    with contextlib.suppress(WaybillError):
        gpgv.load_public_key(armor("PUBLIC KEY BLOCK", first + body))
