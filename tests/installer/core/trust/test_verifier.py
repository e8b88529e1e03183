"""Decisions: what is accepted on what grounds, and every refusal with its own exit code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from bundler.signing.cosign import CosignSigner, generate
from bundler.signing.gpg import GpgSigner
from installer.core.errors import (
    CheckFailedError,
    ExpiredError,
    RevokedError,
    TamperedError,
    UntrustedError,
    WaybillError,
)
from installer.core.limits import LIMITS
from installer.core.trust import gpgv
from installer.core.trust.root import Role, Root
from installer.core.trust.signature_check import SignatureEvidence
from installer.core.trust.signatures import Signature, TrustedKey, split_name, verify
from installer.core.trust.verifier import Trust, pinned_key_trust
from tests.rig.needs import needs
from tests.rig.signing import GpgHome, gpg_home

SUMS = b"0" * 64 + b"  docs/CHANGELOG.md\n"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def signatures(signer: CosignSigner | GpgSigner, data: bytes = SUMS) -> list[Signature]:
    return [
        Signature.parse(f"SHA256SUMS.{signer.keyid8}.{form}", content)
        for form, content in signer.sign(data).items()
    ]


@dataclass(frozen=True)
class Person:
    signer: CosignSigner
    key: TrustedKey


def person(owner: str) -> Person:
    signer = generate(b"")[1]
    return Person(signer, TrustedKey.from_public(signer.public, owner))


ANA, BO, EVE = person("Ana"), person("Bo"), person("Eve")


def root_of(*keys: TrustedKey, threshold: int = 1) -> Root:
    return Root(
        version=1,
        expires=NOW + timedelta(days=100),
        keys={key.keyid: key for key in keys},
        roles={"release": Role(tuple(key.keyid for key in keys), threshold)},
    )


ROOT = root_of(ANA.key)


def check(root: Root, found: list[Signature], sums: bytes = SUMS, now: datetime = NOW) -> SignatureEvidence:
    return Trust(root, lambda: now).check_release(sums, found)


def refused(
    error: type[WaybillError], root: Root, found: list[Signature], sums: bytes = SUMS, now: datetime = NOW
) -> str:
    with pytest.raises(error) as caught:
        check(root, found, sums, now)
    assert type(caught.value) is error
    return str(caught.value)


class TestAccepted:
    def test_a_signature_of_a_trusted_key_is_accepted(self) -> None:
        evidence = check(ROOT, signatures(ANA.signer))
        assert evidence.identity == hashlib.sha256(SUMS).hexdigest()
        assert evidence.owners == ("Ana",)
        assert {item.keyid for item in evidence.accepted} == {ANA.key.keyid}
        assert evidence.rejected == ()

    @pytest.mark.parametrize("form", ["sig", "sigstore.json"])
    def test_either_form_of_a_signature_alone_is_accepted(self, form: str) -> None:
        check(ROOT, [item for item in signatures(ANA.signer) if item.form == form])

    def test_a_stranger_s_signature_beside_it_is_reported_and_harms_nothing(self) -> None:
        evidence = check(ROOT, signatures(EVE.signer) + signatures(ANA.signer))
        assert evidence.owners == ("Ana",)
        assert {item.kind for item in evidence.rejected} == {"untrusted"}

    def test_garbage_under_a_stranger_s_name_is_not_even_parsed(self) -> None:
        garbage = Signature.parse("SHA256SUMS.00000000.sigstore.json", b"\xff" * 100)
        assert len(check(ROOT, [garbage, *signatures(ANA.signer)]).rejected) == 1

    def test_a_signature_is_accepted_until_the_last_second_of_key_and_root(self) -> None:
        key = replace(ANA.key, not_after=NOW)
        check(replace(root_of(key), expires=NOW), signatures(ANA.signer))

    def test_the_evidence_of_a_signature_check_is_json(self) -> None:
        found = check(ROOT, signatures(EVE.signer) + signatures(ANA.signer)).as_json()
        again = json.loads(json.dumps(found))
        assert (again["role"], again["owners"], again["threshold"]) == ("release", ["Ana"], 1)
        assert len(again["accepted"]) == len(again["rejected"]) == 2


class TestUntrusted:
    def test_a_bundle_without_a_signature_is_refused_with_the_trusted_keys(self) -> None:
        text = refused(UntrustedError, ROOT, [])
        assert "has no signature" in text
        assert f"{ANA.key.keyid8} (cosign, Ana)" in text

    def test_a_bundle_that_only_strangers_signed_is_refused_with_signers_and_trusted_keys(self) -> None:
        text = refused(UntrustedError, ROOT, signatures(EVE.signer))
        assert text.startswith("SHA256SUMS: is not signed by a key that is trusted here\n")
        assert EVE.key.keyid8 in text
        assert ANA.key.keyid8 in text

    def test_a_signature_by_a_key_of_another_role_is_not_trusted(self) -> None:
        root = replace(
            root_of(ANA.key, BO.key),
            roles={"release": Role((ANA.key.keyid,), 1), "security": Role((BO.key.keyid,), 1)},
        )
        refused(UntrustedError, root, signatures(BO.signer))

    def test_a_role_that_nobody_has_trusts_nobody(self) -> None:
        refused(UntrustedError, replace(ROOT, roles={}), signatures(ANA.signer))

    def test_a_role_without_keys_trusts_nobody(self) -> None:
        refused(UntrustedError, replace(ROOT, roles={"release": Role((), 1)}), signatures(ANA.signer))


class TestTampered:
    def test_a_changed_byte_of_the_list_is_tampering(self) -> None:
        refused(TamperedError, ROOT, signatures(ANA.signer), SUMS.replace(b"0", b"1", 1))

    def test_the_signature_of_a_stranger_under_a_trusted_name_is_tampering(self) -> None:
        forged = [
            Signature(f"SHA256SUMS.{ANA.key.keyid8}.{item.form}", item.form, ANA.key.keyid8, item.data)
            for item in signatures(EVE.signer)
        ]
        refused(TamperedError, ROOT, forged)

    @pytest.mark.parametrize("form", ["sig", "sigstore.json"])
    def test_one_bad_form_of_a_signature_is_tampering(self, form: str) -> None:
        bad = [replace(item, data=b"AAAA") if item.form == form else item for item in signatures(ANA.signer)]
        refused(TamperedError, ROOT, bad)

    def test_a_signature_of_a_trusted_key_over_other_bytes_is_tampering_though_another_is_good(self) -> None:
        refused(
            TamperedError, root_of(ANA.key, BO.key), signatures(ANA.signer) + signatures(BO.signer, b"old")
        )

    def test_more_signatures_than_the_limit_are_tampering(self) -> None:
        refused(TamperedError, ROOT, signatures(ANA.signer) * LIMITS.signatures)
        most = (signatures(ANA.signer) * LIMITS.signatures)[: LIMITS.signatures]
        assert len(check(ROOT, most).accepted) == LIMITS.signatures


class TestExpired:
    def test_a_signature_is_refused_when_the_root_has_expired(self) -> None:
        assert "installed releases keep running" in refused(
            ExpiredError, ROOT, signatures(ANA.signer), now=ROOT.expires + timedelta(seconds=1)
        )

    def test_a_signature_is_refused_when_the_key_has_expired(self) -> None:
        root = root_of(replace(ANA.key, not_after=NOW - timedelta(seconds=1)))
        assert "key " + ANA.key.keyid8 + " of Ana expired on" in refused(
            ExpiredError, root, signatures(ANA.signer)
        )

    def test_a_signature_of_an_expired_key_over_other_bytes_is_tampering(self) -> None:
        root = root_of(replace(ANA.key, not_after=NOW - timedelta(seconds=1)))
        refused(TamperedError, root, signatures(ANA.signer), b"other")

    def test_a_revoked_key_is_refused(self) -> None:
        root = replace(ROOT, revoked_keys=frozenset({ANA.key.keyid}))
        assert "was revoked" in refused(ExpiredError, root, signatures(ANA.signer))

    def test_a_revoked_bundle_is_refused_whoever_signed_it(self) -> None:
        root = replace(ROOT, revoked_bundles=frozenset({hashlib.sha256(SUMS).hexdigest()}))
        assert "this bundle was revoked" in refused(RevokedError, root, signatures(ANA.signer))

    def test_an_expired_or_revoked_key_beside_a_good_one_is_reported_and_harms_nothing(self) -> None:
        root = replace(root_of(ANA.key, BO.key), revoked_keys=frozenset({BO.key.keyid}))
        evidence = check(root, signatures(BO.signer) + signatures(ANA.signer))
        assert {item.kind for item in evidence.rejected} == {"revoked"}


class TestThreshold:
    def test_two_owners_count_as_two(self) -> None:
        evidence = check(
            root_of(ANA.key, BO.key, threshold=2), signatures(ANA.signer) + signatures(BO.signer)
        )
        assert evidence.owners == ("Ana", "Bo")

    def test_one_owner_in_two_forms_makes_one(self) -> None:
        text = refused(UntrustedError, root_of(ANA.key, BO.key, threshold=2), signatures(ANA.signer) * 2)
        assert "1 of the 2 owners" in text

    def test_two_keys_of_one_owner_count_as_one(self) -> None:
        root = root_of(ANA.key, replace(BO.key, owner="ana"), EVE.key, threshold=2)
        refused(UntrustedError, root, signatures(ANA.signer) + signatures(BO.signer))

    def test_a_revoked_key_does_not_count(self) -> None:
        root = replace(root_of(ANA.key, BO.key, threshold=2), revoked_keys=frozenset({BO.key.keyid}))
        refused(ExpiredError, root, signatures(ANA.signer) + signatures(BO.signer))


class TestGpg:
    @pytest.fixture(scope="class")
    @classmethod
    def home(cls) -> Iterator[GpgHome]:
        needs("gpgv")
        with gpg_home() as made:
            yield made

    @pytest.fixture(scope="class")
    @classmethod
    def signer(cls, home: GpgHome) -> GpgSigner:
        return GpgSigner(home.key("Release"), home.path)

    def test_a_gpg_signature_is_accepted(self, signer: GpgSigner) -> None:
        evidence = check(root_of(TrustedKey.from_public(signer.public, "Gi")), signatures(signer))
        assert [(item.scheme, item.keyid) for item in evidence.accepted] == [("gpg", signer.keyid)]

    def test_a_gpg_signature_over_other_bytes_is_tampering(self, signer: GpgSigner) -> None:
        refused(
            TamperedError, root_of(TrustedKey.from_public(signer.public, "Gi")), signatures(signer), b"other"
        )

    def test_a_key_that_expired_or_was_revoked_by_its_owner_is_refused(self) -> None:
        with gpg_home() as home:
            expired = home.key("Expired", expires="1d", at="20200101T000000")
            revoked = home.key("Revoked")
            made = {
                expired: home.sign(expired, SUMS, "--faked-system-time", "20200101T010000"),
                revoked: home.sign(revoked, SUMS),
            }
            home.revoke(revoked)
            for keyid, data in made.items():
                root = root_of(TrustedKey.from_public(home.public(keyid), "Gi"))
                stale = Signature.parse(f"SHA256SUMS.{keyid[-8:]}.asc", data)
                refused(ExpiredError, root, [stale])
                both = root_of(TrustedKey.from_public(home.public(keyid), "Gi"), ANA.key)
                beside = check(both, [stale, *signatures(ANA.signer)])
                assert [item.kind for item in beside.rejected] == ["expired"]

    def test_a_signature_renamed_to_a_trusted_name_is_refused(self, home: GpgHome, signer: GpgSigner) -> None:
        data = home.sign(home.key("Stranger"), SUMS)
        root = root_of(TrustedKey.from_public(signer.public, "Gi"))
        refused(TamperedError, root, [Signature.parse(f"SHA256SUMS.{signer.keyid8}.asc", data)])

    def test_a_gpg_signature_does_not_count_without_gpgv(
        self, signer: GpgSigner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = signatures(signer)
        monkeypatch.setattr(gpgv, "find_program", lambda: None)
        key = TrustedKey.from_public(signer.public, "Gi")
        assert "package gpgv" in refused(CheckFailedError, root_of(key), found)
        evidence = check(root_of(key, ANA.key), found + signatures(ANA.signer))
        assert (evidence.owners, [item.kind for item in evidence.rejected]) == (("Ana",), ["unchecked"])

    def test_the_key_in_a_root_made_by_hand_must_match_its_id(self, signer: GpgSigner) -> None:
        key = replace(TrustedKey.from_public(signer.public, "Gi"), keyid="0" * 32 + signer.keyid8)
        with pytest.raises(TamperedError, match="has the fingerprint"):
            verify(key, signatures(signer)[0], SUMS)

    def test_a_pinned_gpg_key_is_trusted(self, signer: GpgSigner) -> None:
        assert pinned_key_trust(signer.public).check_release(SUMS, signatures(signer)).owners == (
            "the given key",
        )


class TestPublicKey:
    def test_a_cosign_key_whose_base64_has_the_letters_pgp_is_no_openpgp_key(self) -> None:
        """One key in three thousand has them."""
        public = (
            "-----BEGIN PUBLIC KEY-----\n"
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAESQv1Of1sAVf/dJY6k0rvO6FyqPZJ\n"
            "3phqSMChZc5zjLHf8DQebBRv+z0mOox/CJUPGPYIiqg4R+0tHN5T+GZDUA==\n"
            "-----END PUBLIC KEY-----\n"
        )
        assert TrustedKey.from_public(public, "Ana").scheme == "cosign"


class TestPinnedKey:
    def test_a_pinned_key_alone_may_release(self) -> None:
        trust = pinned_key_trust(ANA.signer.public)
        assert trust.root.version == 0  # nobody published it
        assert trust.check_release(SUMS, signatures(ANA.signer)).accepted
        with pytest.raises(UntrustedError):
            trust.check_release(SUMS, signatures(BO.signer))
        with pytest.raises(TamperedError):
            trust.check_release(SUMS + b"x", signatures(ANA.signer))

    def test_a_file_that_is_no_public_key_is_refused(self) -> None:
        with pytest.raises(TamperedError, match=r"release\.pub: is not a public key"):
            pinned_key_trust("hello", "release.pub")


class TestNames:
    @pytest.mark.parametrize("form", ["sig", "sigstore.json", "asc"])
    def test_a_signature_s_name_says_key_and_form(self, form: str) -> None:
        found = Signature.parse(f"SHA256SUMS.0a1b2c3d.{form}", b"")
        assert (found.keyid8, found.form) == ("0a1b2c3d", form)
        assert found.scheme == ("gpg" if form == "asc" else "cosign")

    @pytest.mark.parametrize(
        "name",
        [
            "SHA256SUMS",
            "SHA256SUMS.room",
            "SHA256SUMS.0A1B2C3D.sig",
            "SHA256SUMS.0a1b2c3.sig",
            "SHA256SUMS.0a1b2c3d.sig\n",
            "SHA256SUMS.0a1b2c3d.pem",
            "SHA256SUMS0a1b2c3d.sig",
            "x/SHA256SUMS.0a1b2c3d.sig",
            "root.json.0a1b2c3d.sig",
            ".0a1b2c3d.sig",
        ],
    )
    def test_another_name_is_none(self, name: str) -> None:
        assert split_name(name) is None
        with pytest.raises(TamperedError):
            Signature.parse(name, b"")

    def test_the_signed_file_may_be_another(self) -> None:
        assert split_name("root.json.0a1b2c3d.sig", "root.json") == ("0a1b2c3d", "sig")

    def test_a_key_does_not_try_the_signature_of_another(self) -> None:
        with pytest.raises(UntrustedError):
            verify(BO.key, signatures(ANA.signer)[0], SUMS)

    def test_a_key_does_not_try_a_signature_of_another_scheme_under_its_digits(self) -> None:
        name = f"SHA256SUMS.{ANA.key.keyid8}.asc"
        with pytest.raises(UntrustedError, match="was not made by the trusted key"):
            verify(ANA.key, Signature.parse(name, signatures(ANA.signer)[0].data), SUMS)

    def test_a_cosign_key_in_a_root_made_by_hand_must_match_its_id(self) -> None:
        key = replace(ANA.key, keyid=ANA.key.keyid8 + "0" * 56)
        for signature in signatures(ANA.signer):
            with pytest.raises(TamperedError, match=f"has the id {ANA.key.keyid}, not {key.keyid}"):
                verify(key, signature, SUMS)
