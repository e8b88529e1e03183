"""Signatures of cosign key pairs: what is taken, what is refused, what the real cosign says to the same."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bundler.signing import cosign as signing
from installer.core.errors import TamperedError
from installer.core.limits import LIMITS
from installer.core.trust import cosign
from tests.rig.needs import needs
from tests.rig.signing import Cosign

DATA = b"0" * 64 + b"  docs/CHANGELOG.md\n"


def signer_of(private: Any) -> signing.CosignSigner:
    return signing.CosignSigner(private)


@pytest.fixture(scope="module")
def signer() -> signing.CosignSigner:
    return signer_of(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture(scope="module")
def made(signer: signing.CosignSigner) -> tuple[bytes, dict[str, Any]]:
    files = signer.sign(DATA)
    return files["sig"], json.loads(files["sigstore.json"])


def refused(check: Callable[..., None], *arguments: object) -> str:
    with pytest.raises(TamperedError) as caught:
        check(*arguments, "SHA256SUMS.x")
    return str(caught.value)


class TestPublicKey:
    def test_the_id_of_a_public_key_is_the_hash_of_its_der(
        self, signer: signing.CosignSigner, tmp_path: Path
    ) -> None:
        (tmp_path / "k.pub").write_text(signer.public)
        der = subprocess.run(
            [needs("openssl"), "pkey", "-pubin", "-in", str(tmp_path / "k.pub"), "-outform", "DER"],
            capture_output=True,
            check=True,
        ).stdout
        assert signer.keyid == hashlib.sha256(der).hexdigest()
        assert signer.keyid8 == signer.keyid[:8]

    def test_ed25519_is_told_by_the_key_alone(self) -> None:
        assert signer_of(ed25519.Ed25519PrivateKey.generate()).key.algorithm == "ed25519"

    def test_crlf_and_blank_lines_around_it_do_not_matter(self, signer: signing.CosignSigner) -> None:
        text = "\n" + signer.public.replace("\n", "\r\n") + "\n"
        assert cosign.load_public_key(text) == signer.key

    @pytest.mark.parametrize(
        "private",
        [
            ec.generate_private_key(ec.SECP384R1()),
            ec.generate_private_key(ec.SECP256K1()),
            rsa.generate_private_key(65537, 2048),
        ],
        ids=["p384", "secp256k1", "rsa"],
    )
    def test_other_kinds_of_public_keys_are_refused(self, private: Any) -> None:
        pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        assert "type that is not supported" in refused(cosign.load_public_key, pem)

    def test_a_key_of_an_algorithm_that_nobody_knows_cannot_be_read(self) -> None:
        public = ed25519.Ed25519PrivateKey.generate().public_key()
        der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        body = base64.b64encode(der.replace(b"\x2b\x65\x70", b"\x2b\x65\x7f", 1)).decode()
        pem = f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"
        assert "is not a public key that can be read" in refused(cosign.load_public_key, pem)

    def test_a_private_key_is_refused(self) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        assert "not a public key in PEM" in refused(cosign.load_public_key, pem)

    def test_a_compressed_point_is_refused_since_it_would_give_a_second_id(self) -> None:
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        point = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        head = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
        body = base64.b64encode(head + point).decode()
        pem = f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"
        assert "encoding that is not supported" in refused(cosign.load_public_key, pem)

    @pytest.mark.parametrize(
        "change",
        [
            lambda pem: "",
            lambda pem: pem + pem,
            lambda pem: "x" + pem,
            lambda pem: pem.replace("PUBLIC KEY", "CERTIFICATE"),
            lambda pem: pem.replace("MF", "!!"),
            lambda pem: pem.replace("MFkw", "MFkx"),
        ],
        ids=["empty", "two", "text before", "certificate", "not base64", "damaged"],
    )
    def test_what_is_not_one_public_key_is_refused(
        self, signer: signing.CosignSigner, change: Callable[[str], str]
    ) -> None:
        refused(cosign.load_public_key, change(signer.public))


class TestRawSignature:
    def test_ours_is_good(self, signer: signing.CosignSigner, made: tuple[bytes, Any]) -> None:
        cosign.verify_raw(signer.key, made[0], DATA)

    def test_a_final_newline_is_allowed(self, signer: signing.CosignSigner, made: tuple[bytes, Any]) -> None:
        cosign.verify_raw(signer.key, made[0] + b"\n", DATA)

    def test_openssl_verifies_ours(
        self, signer: signing.CosignSigner, made: tuple[bytes, Any], tmp_path: Path
    ) -> None:
        (tmp_path / "k.pub").write_text(signer.public)
        (tmp_path / "f.sig").write_bytes(made[0])
        (tmp_path / "f").write_bytes(DATA)
        script = "openssl base64 -d -A -in f.sig -out s && openssl dgst -sha256 -verify k.pub -signature s f"
        needs("openssl")
        done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=False, text=True)
        assert (done.returncode, done.stdout) == (0, "Verified OK\n")

    def test_we_verify_what_openssl_signs(self, tmp_path: Path) -> None:
        needs("openssl")
        script = (
            "openssl ecparam -name prime256v1 -genkey -noout -out k"
            " && openssl ec -in k -pubout -out k.pub 2>/dev/null"
            " && openssl dgst -sha256 -sign k f | openssl base64 -A > f.sig"
        )
        (tmp_path / "f").write_bytes(DATA)
        subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True, capture_output=True)
        key = cosign.load_public_key((tmp_path / "k.pub").read_text())
        cosign.verify_raw(key, (tmp_path / "f.sig").read_bytes(), DATA)

    @pytest.mark.parametrize("data", [DATA + b"\n", DATA[:-1], b"", DATA.upper()])
    def test_other_bytes_are_refused(
        self, signer: signing.CosignSigner, made: tuple[bytes, Any], data: bytes
    ) -> None:
        assert "not a signature of these bytes" in refused(cosign.verify_raw, signer.key, made[0], data)

    def test_another_key_is_refused(self, made: tuple[bytes, Any]) -> None:
        other = signer_of(ec.generate_private_key(ec.SECP256R1()))
        refused(cosign.verify_raw, other.key, made[0], DATA)

    def test_every_flipped_bit_is_refused(
        self, signer: signing.CosignSigner, made: tuple[bytes, Any]
    ) -> None:
        raw = base64.b64decode(made[0])
        for bit in range(len(raw) * 8):
            bad = bytearray(raw)
            bad[bit // 8] ^= 1 << bit % 8
            refused(cosign.verify_raw, signer.key, base64.b64encode(bytes(bad)), DATA)

    @pytest.mark.parametrize(
        "change",
        [
            lambda sig: b"",
            lambda sig: sig + b"\n\n",
            lambda sig: b" " + sig,
            lambda sig: sig[:20] + b"\n" + sig[20:],
            base64.b64decode,
            lambda sig: sig.replace(b"M", b"\xff", 1),
            lambda sig: base64.b64encode(base64.b64decode(sig) + b"\0"),
            lambda sig: sig + sig,
            lambda sig: sig + b"A" * LIMITS.signature_bytes,
        ],
        ids=[
            "empty",
            "blank line",
            "space",
            "wrapped",
            "binary",
            "not ascii",
            "trailing byte",
            "twice",
            "huge",
        ],
    )
    def test_a_malformed_file_is_refused(
        self, signer: signing.CosignSigner, made: tuple[bytes, Any], change: Callable[[bytes], bytes]
    ) -> None:
        refused(cosign.verify_raw, signer.key, change(made[0]), DATA)

    def test_a_file_that_is_too_large_is_not_decoded(self, signer: signing.CosignSigner) -> None:
        most = b"A" * LIMITS.signature_bytes
        assert "is not a signature of these bytes" in refused(cosign.verify_raw, signer.key, most, DATA)
        assert "is larger than 65536 bytes, the limit" in refused(
            cosign.verify_raw, signer.key, most + b"AAAA", DATA
        )

    @pytest.mark.parametrize("text", [b"A", b"", b"YQ", b"YR==", b"YQ==YQ==", b"YQ= =", b"Y-_=", b"YQ==="])
    def test_what_is_no_base64_or_has_another_spelling_is_said_to_be_none(
        self, signer: signing.CosignSigner, text: bytes
    ) -> None:
        assert "the signature is not base64" in refused(cosign.verify_raw, signer.key, text, DATA)
        assert "is not a signature of these bytes" in refused(cosign.verify_raw, signer.key, b"YQ==", DATA)

    def test_an_ed25519_key_never_takes_an_ecdsa_signature(self, made: tuple[bytes, Any]) -> None:
        refused(cosign.verify_raw, signer_of(ed25519.Ed25519PrivateKey.generate()).key, made[0], DATA)


BAD_BUNDLES: dict[str, Callable[[dict[str, Any]], object]] = {
    "v0.2": lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
    "other spelling of the media type": lambda b: b.update(mediaType=cosign.MEDIA_TYPE.upper()),
    "no media type": lambda b: b.pop("mediaType"),
    "no signature": lambda b: b.pop("messageSignature"),
    "attestation beside it": lambda b: b.update(dsseEnvelope={"payload": ""}),
    "attestation in its place": lambda b: b.update(dsseEnvelope=b.pop("messageSignature")),
    "two signatures": lambda b: b.update(messageSignature=[b["messageSignature"]] * 2),
    "unknown field": lambda b: b.update(extra=1),
    "certificate": lambda b: b.update(verificationMaterial={"certificate": {"rawBytes": "AAAA"}}),
    "certificate beside the key": lambda b: b["verificationMaterial"].update(
        certificate={"rawBytes": "AAAA"}
    ),
    "no material": lambda b: b.pop("verificationMaterial"),
    "no key in the material": lambda b: b["verificationMaterial"].pop("publicKey"),
    "key that is no object": lambda b: b["verificationMaterial"].update(publicKey=[]),
    "unknown field beside the signature": lambda b: b["messageSignature"].update(extra=1),
    "no digest": lambda b: b["messageSignature"].pop("messageDigest"),
    "empty digest": lambda b: b["messageSignature"].update(messageDigest={}),
    "digest of other bytes": lambda b: b["messageSignature"]["messageDigest"].update(
        digest=base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    ),
    "digest cut short": lambda b: b["messageSignature"]["messageDigest"].update(digest="AAAA"),
    "other hash": lambda b: b["messageSignature"]["messageDigest"].update(algorithm="SHA2_512"),
    "signature not base64": lambda b: b["messageSignature"].update(signature="@@@@"),
    "signature a number": lambda b: b["messageSignature"].update(signature=1),
    "signature empty": lambda b: b["messageSignature"].update(signature=""),
}


class TestSigstoreBundle:
    def test_ours_is_good(self, signer: signing.CosignSigner, made: tuple[bytes, dict[str, Any]]) -> None:
        cosign.verify_bundle(signer.key, json.dumps(made[1]).encode(), DATA)

    def test_the_hint_decides_nothing(
        self, signer: signing.CosignSigner, made: tuple[bytes, dict[str, Any]]
    ) -> None:
        document = json.loads(json.dumps(made[1]))
        document["verificationMaterial"]["publicKey"]["hint"] = "AAAA"
        cosign.verify_bundle(signer.key, json.dumps(document).encode(), DATA)

    def test_log_entries_and_timestamps_are_not_looked_at(
        self, signer: signing.CosignSigner, made: tuple[bytes, dict[str, Any]]
    ) -> None:
        document = json.loads(json.dumps(made[1]))
        document["verificationMaterial"].update(tlogEntries=[{}], timestampVerificationData={})
        cosign.verify_bundle(signer.key, json.dumps(document).encode(), DATA)

    @pytest.mark.parametrize("fault", BAD_BUNDLES)
    def test_a_sigstore_bundle_with_a_fault_is_refused(
        self, signer: signing.CosignSigner, made: tuple[bytes, Any], fault: str
    ) -> None:
        document = json.loads(json.dumps(made[1]))
        BAD_BUNDLES[fault](document)
        refused(cosign.verify_bundle, signer.key, json.dumps(document).encode(), DATA)

    @pytest.mark.parametrize("text", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000])
    def test_what_is_no_object_is_refused(self, signer: signing.CosignSigner, text: bytes) -> None:
        refused(cosign.verify_bundle, signer.key, text, DATA)

    @pytest.mark.parametrize("part", ["verificationMaterial", "messageSignature"])
    def test_a_part_that_is_missing_is_named(
        self, signer: signing.CosignSigner, made: tuple[bytes, dict[str, Any]], part: str
    ) -> None:
        document = {name: value for name, value in made[1].items() if name != part}
        text = refused(cosign.verify_bundle, signer.key, json.dumps(document).encode(), DATA)
        assert f"{part} is missing or not an object" in text
        assert "the document is missing" in refused(cosign.verify_bundle, signer.key, b"[]", DATA)
        message = {**made[1], "messageSignature": {"signature": "AAAA"}}
        text = refused(cosign.verify_bundle, signer.key, json.dumps(message).encode(), DATA)
        assert "messageDigest is missing" in text
        message["messageSignature"] = {**made[1]["messageSignature"], "signature": "@"}
        text = refused(cosign.verify_bundle, signer.key, json.dumps(message).encode(), DATA)
        assert "the signature is not base64" in text

    def test_a_duplicate_key_is_refused(self, signer: signing.CosignSigner, made: tuple[bytes, Any]) -> None:
        text = json.dumps(made[1]).replace('"signature":', '"signature": "AAAA", "signature":')
        assert "twice" in refused(cosign.verify_bundle, signer.key, text.encode(), DATA)

    def test_a_good_digest_does_not_replace_the_signature(
        self, signer: signing.CosignSigner, made: tuple[bytes, Any]
    ) -> None:
        document = json.loads(json.dumps(made[1]))
        document["messageSignature"]["messageDigest"]["digest"] = base64.b64encode(
            hashlib.sha256(b"y").digest()
        ).decode()
        assert "not a signature" in refused(
            cosign.verify_bundle, signer.key, json.dumps(document).encode(), b"y"
        )

    def test_ed25519_signs_and_verifies(self) -> None:
        signer = signer_of(ed25519.Ed25519PrivateKey.generate())
        files = signer.sign(DATA)
        cosign.verify_raw(signer.key, files["sig"], DATA)
        cosign.verify_bundle(signer.key, files["sigstore.json"], DATA)


class TestAgainstTheRealCosign:
    def write(self, any_cosign: Cosign, signer: signing.CosignSigner) -> tuple[Path, Path, Path, Path]:
        files = signer.sign(DATA)
        paths = [any_cosign.home / name for name in ("k.pub", "F", "F.sig", "F.sigstore.json")]
        contents = [
            signer.public.encode(),
            DATA,
            files["sig"],
            files["sigstore.json"],
        ]
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        return paths[0], paths[1], paths[2], paths[3]

    def test_cosign_verifies_what_we_sign_and_nothing_else(
        self, any_cosign: Cosign, signer: signing.CosignSigner
    ) -> None:
        public, data, raw, bundle = self.write(any_cosign, signer)
        assert any_cosign.verify_raw(public, raw, data)
        assert any_cosign.verify_bundle(public, bundle, data)
        data.write_bytes(DATA + b"x")
        assert not any_cosign.verify_raw(public, raw, data)
        assert not any_cosign.verify_bundle(public, bundle, data)

    def test_cosign_3_verifies_our_ed25519_bundle(self, tmp_path: Path) -> None:
        any_cosign = Cosign(needs("cosign3"), 3, tmp_path)
        public, data, _, bundle = self.write(any_cosign, signer_of(ed25519.Ed25519PrivateKey.generate()))
        assert any_cosign.verify_bundle(public, bundle, data)

    def test_we_verify_what_it_signs_with_its_key(self, any_cosign: Cosign) -> None:
        private = any_cosign.keygen("theirs", "pw")
        (any_cosign.home / "F").write_bytes(DATA)
        raw, bundle = any_cosign.sign(private, any_cosign.home / "F", "pw")
        key = cosign.load_public_key((any_cosign.home / "theirs.pub").read_text())
        cosign.verify_raw(key, raw, DATA)
        cosign.verify_bundle(key, bundle, DATA)
        refused(cosign.verify_raw, key, raw, DATA + b"x")
        refused(cosign.verify_bundle, key, bundle, DATA + b"x")
