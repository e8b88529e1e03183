"""Files that were mixed up, a key for a root or a bundle for either: wrong usage, and no alarm."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bundler.commands.verify import load_trust
from bundler.trust.root_files import root_bytes
from installer.core.errors import TamperedError, UsageError
from installer.core.trust.root_json import load_root
from tests.rig.trustworld import World, person, root

PEM = person("Rea").signer.public
TAR = World().tar()
OTHERS = {
    "a public key": (PEM.encode(), "is a public key, not a root"),
    "an armored key": (b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAA==\n", "is a public key, not a root"),
    "a private key": (
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\nAA==\n",
        "is a PRIVATE key, not a root",
    ),
    "a signature": (b"-----BEGIN PGP SIGNATURE-----\n\nAA==\n", "is a signature, not a root"),
    "a bundle": (TAR, "is a tar archive, such as a bundle, not a root"),
    "a large bundle": (TAR.ljust(2 << 20, b"\0"), "is a tar archive, such as a bundle, not a root"),
    "a manifest": (
        b'{"schema": "waybill/manifest/v1", "product": "x"}',
        "is another JSON document, not a root",
    ),
    "a statement": (b'{"_type": "https://in-toto.io/Statement/v1"}', "is another JSON document, not a root"),
}
DAMAGED_ROOTS = {
    "cut off": root_bytes(root())[:-100],
    "no JSON": b"hello",
    "a program": b"#!/bin/sh\nid\n",
    "empty": b"",
    "schema lost": json.dumps({**root().document(), "schema": "x"}).encode(),
    "keys lost": b'{"schema": "waybill/root/v1", "version": 1}',
    "of a later format": b'{"schema": "waybill/root/v2"}',
    "too large": root_bytes(root()).ljust(2 << 20),
    "a list": b"[]",
    "an object": b"{}",
}


@pytest.mark.parametrize(("data", "said"), OTHERS.values(), ids=OTHERS)
def test_a_file_of_another_kind_is_no_tampered_root(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        load_root(path)
    assert (caught.value.what, caught.value.where) == (said, str(path))
    assert caught.value.hint == "give a root.json, as `bundle trust init` writes it"


@pytest.mark.parametrize("data", DAMAGED_ROOTS.values(), ids=DAMAGED_ROOTS)
def test_a_root_that_is_damaged_is_tampered(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "root.json"
    path.write_bytes(data)
    with pytest.raises(TamperedError):
        load_root(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (root_bytes(root()), "is a JSON document, not a public key"),
        (TAR[:100_000], "is a tar archive, such as a bundle, not a public key"),
        (b"-----BEGIN PGP SIGNATURE-----\n\nAA==\n", "is a signature, not a public key"),
        (b"-----BEGIN CERTIFICATE-----\nAA==\n", "is a certificate, not a public key"),
        (b"hello", "is not a public key"),
        (b"", "is not a public key"),
        (TAR.ljust(2 << 20, b"\0"), "has more than 1048576 bytes"),
    ],
    ids=["a root", "a bundle", "a signature", "a certificate", "a text", "nothing", "a large bundle"],
)
def test_a_file_of_another_kind_is_no_tampered_key(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        load_trust(path, None)
    assert (caught.value.what, caught.value.where) == (said, str(path))
    assert "a root.json is given with --root" in caught.value.hint


def test_a_public_key_that_is_damaged_is_tampered(tmp_path: Path) -> None:
    path = tmp_path / "rea.pub"
    path.write_text(PEM.replace("M", "?", 1))
    with pytest.raises(TamperedError):
        load_trust(path, None)
