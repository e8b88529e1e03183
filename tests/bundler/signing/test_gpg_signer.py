"""Signing with GPG by its agent, and making trust of its keys."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bundler.signing.gpg import GpgSigner, export_public, normal_fingerprint
from installer.core.errors import ExpiredError, HostNotReadyError, UsageError
from installer.core.trust import gpgv
from tests.rig.needs import needs
from tests.rig.signing import PASSPHRASE, GpgHome, gpg_home

DATA = b"first line\nsecond line\n"


@pytest.fixture(scope="module")
def home() -> Iterator[GpgHome]:
    with gpg_home() as made:
        yield made


@pytest.fixture(scope="module")
def key(home: GpgHome) -> str:
    return home.key("Release <r@example.org>")


@pytest.fixture(autouse=True)
def nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYBILL_GPG_PASSPHRASE", "GPG_TTY", "DISPLAY"):
        monkeypatch.delenv(name, raising=False)


def verify(home: GpgHome, fingerprint: str, signature: bytes, data: bytes = DATA) -> None:
    needs("gpgv")
    found, ring = gpgv.load_public_key(home.public(fingerprint))
    gpgv.verify(found, ring, signature, data)


def test_what_it_signs_we_verify(home: GpgHome, key: str) -> None:
    signer = GpgSigner(key, home.path)
    files = signer.sign(DATA)
    assert list(files) == ["asc"]
    assert (signer.keyid, signer.keyid8) == (key, key[-8:])
    verify(home, key, files["asc"])


def test_what_it_signs_gpg_verifies(home: GpgHome, key: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(DATA)
    (tmp_path / "f.asc").write_bytes(GpgSigner(key, home.path).sign(DATA)["asc"])
    home.run("--verify", str(tmp_path / "f.asc"), str(tmp_path / "f"))
    (tmp_path / "f").write_bytes(DATA + b"x")
    with pytest.raises(AssertionError, match="BAD signature"):
        home.run("--verify", str(tmp_path / "f.asc"), str(tmp_path / "f"))


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"one\r\ntwo\r\n", b"no newline at the end", bytes(range(256)) * 4096]
)
def test_any_bytes_are_signed_as_they_are(home: GpgHome, key: str, data: bytes) -> None:
    verify(home, key, GpgSigner(key, home.path).sign(data)["asc"], data)


def test_the_user_s_gpg_conf_does_not_weaken_it(home: GpgHome, key: str) -> None:
    other = home.key("Default")
    (home.path / "gpg.conf").write_text(f"digest-algo SHA1\ndefault-key {other}\ntextmode\narmor\n")
    try:
        verify(home, key, GpgSigner(key, home.path).sign(DATA)["asc"])
    finally:
        (home.path / "gpg.conf").unlink()


def test_a_fingerprint_with_spaces_and_capitals_is_understood(home: GpgHome, key: str) -> None:
    shown = " ".join(key.upper()[at : at + 4] for at in range(0, 40, 4))
    assert GpgSigner(shown, home.path).keyid == key


def test_a_subkey_s_fingerprint_leads_to_the_primary_key() -> None:
    with gpg_home() as home:
        primary = home.key("With Subkey")
        home.run("--passphrase", "", "--quick-add-key", primary, "ed25519", "sign", "never")
        rows = home.run("--with-colons", "--list-keys", primary).decode().splitlines()
        subkey = [row.split(":")[9] for row in rows if row.startswith("fpr")][1].lower()
        signer = GpgSigner(subkey, home.path)
        assert signer.keyid == primary
        verify(home, primary, signer.sign(DATA)["asc"])


@pytest.fixture(scope="module")
def locked() -> Iterator[tuple[GpgHome, str]]:
    with gpg_home() as home:
        (home.path / "gpg-agent.conf").write_text(
            "default-cache-ttl 0\nmax-cache-ttl 0\npinentry-program /bin/false\n"
        )
        yield home, home.key("Locked", passphrase=PASSPHRASE)


class TestPassphrase:
    def test_the_passphrase_is_taken_from_the_variable(
        self, locked: tuple[GpgHome, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home, key = locked
        monkeypatch.setenv("WAYBILL_GPG_PASSPHRASE", PASSPHRASE)
        verify(home, key, GpgSigner(key, home.path).sign(DATA)["asc"])

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\nmore"])
    def test_one_with_a_line_break_is_told_and_not_repeated(
        self, locked: tuple[GpgHome, str], monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        home, key = locked
        monkeypatch.setenv("WAYBILL_GPG_PASSPHRASE", PASSPHRASE + end)
        with pytest.raises(UsageError, match="has a line break") as caught:
            GpgSigner(key, home.path).sign(DATA)
        assert caught.value.hint == "check WAYBILL_GPG_PASSPHRASE"
        assert PASSPHRASE not in str(caught.value)

    def test_a_wrong_one_is_looked_for_where_it_came_from(self, locked: tuple[GpgHome, str]) -> None:
        home, key = locked
        with pytest.raises(UsageError, match="GPG did not sign") as caught:
            GpgSigner(key, home.path, passphrase="wrong").sign(DATA)
        assert caught.value.hint == "check what --password-from names"

    @pytest.mark.parametrize("given", ["wrong", "", None])
    def test_a_wrong_empty_or_missing_one_is_told_and_signs_nothing(
        self, locked: tuple[GpgHome, str], monkeypatch: pytest.MonkeyPatch, given: str | None
    ) -> None:
        home, key = locked
        subprocess.run(["gpgconf", "--homedir", str(home.path), "--kill", "all"], check=True)
        if given is not None:
            monkeypatch.setenv("WAYBILL_GPG_PASSPHRASE", given)
        with pytest.raises(UsageError, match=r"GPG did not sign.*\n.*WAYBILL_GPG_PASSPHRASE"):
            GpgSigner(key, home.path).sign(DATA)


class TestKey:
    @pytest.mark.parametrize(
        "text", ["", "Release", "r@example.org", "0x11223344", "1" * 39, "1" * 41, "--armor"]
    )
    def test_what_is_no_whole_fingerprint_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a full GPG fingerprint"):
            normal_fingerprint(text)

    def test_a_key_in_place_of_one_is_not_repeated(self) -> None:
        key = "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQIGBGUx1234\n"
        with pytest.raises(UsageError, match="is not a full GPG fingerprint") as caught:
            normal_fingerprint(key)
        assert "lQIG" not in str(caught.value)

    def test_an_unknown_one_is_told(self, home: GpgHome) -> None:
        with pytest.raises(UsageError, match="no secret key"):
            GpgSigner("1" * 40, home.path)
        with pytest.raises(UsageError, match="no public key"):
            export_public("1" * 40, home.path)

    def test_a_key_whose_secret_half_is_elsewhere_cannot_sign_but_can_be_trusted(
        self, home: GpgHome, key: str
    ) -> None:
        with gpg_home() as other:
            other.run("--import", data=home.public(key).encode())
            with pytest.raises(UsageError, match="no secret key"):
                GpgSigner(key, other.path)
            assert gpgv.load_public_key(export_public(key, other.path))[0] == key

    def test_a_revoked_one_is_refused(self) -> None:
        with gpg_home() as home:
            key = home.key("Revoked")
            home.revoke(key)
            with pytest.raises(ExpiredError, match="revoked"):
                GpgSigner(key, home.path)

    def test_an_expired_one_is_refused(self) -> None:
        with gpg_home() as home:
            key = home.key("Expired", expires="1d", at="20200101T000000")
            with pytest.raises(ExpiredError, match="expired"):
                GpgSigner(key, home.path)

    def test_a_host_without_gpg_is_told_what_to_install(
        self, home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(HostNotReadyError, match="package gnupg"):
            GpgSigner(key, home.path)

    def test_the_home_is_taken_from_the_environment(
        self, home: GpgHome, key: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("GNUPGHOME", str(home.path))
        assert GpgSigner(key).keyid == key
        assert os.environ["GNUPGHOME"] == str(home.path)

    def test_the_public_key_carries_no_signatures_of_others(self, home: GpgHome, key: str) -> None:
        other = home.key("Notary")
        home.run("--passphrase", "", "--local-user", other, "--quick-sign-key", key)
        before = home.public(key)
        exported = GpgSigner(key, home.path).public
        assert len(exported) < len(before)
        assert gpgv.load_public_key(exported)[0] == key
