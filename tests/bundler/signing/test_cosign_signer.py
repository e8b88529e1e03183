"""Key pairs in cosign's format: made by us or by cosign, used by us and by cosign."""

from __future__ import annotations

import base64
import json
import shutil
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from bundler.commands.keygen import KeyPair, generate_key_pair
from bundler.signing.cosign import LABEL, CosignSigner, encrypt_key
from installer.core.errors import UsageError
from installer.core.trust import cosign
from tests.rig.signing import Cosign

DATA = b"the signed bytes\n"


@pytest.fixture
def password(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COSIGN_PASSWORD", "pässword")
    return "pässword"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSIGN_PASSWORD", "pässword")
        return generate_key_pair(tmp_path_factory.mktemp("keys") / "k")


@pytest.fixture
def given(made: KeyPair, tmp_path: Path) -> KeyPair:
    """A fresh copy of one key pair: scrypt is slow on purpose."""
    private, public = (Path(shutil.copy(path, tmp_path)) for path in (made.private, made.public))
    return replace(made, private=private, public=public)


def rewrite(path: Path, change: Callable[[dict[str, Any]], object], label: str = "SIGSTORE") -> None:
    body = "".join(path.read_text().splitlines()[1:-1])
    document = json.loads(base64.b64decode(body))
    change(document)
    text = base64.b64encode(json.dumps(document).encode()).decode()
    name = f"ENCRYPTED {label} PRIVATE KEY"
    path.write_text(f"-----BEGIN {name}-----\n{text}\n-----END {name}-----\n")


class TestKeygen:
    def test_keygen_writes_both_halves_and_the_private_one_for_its_owner_only(
        self, password: str, tmp_path: Path
    ) -> None:
        pair = generate_key_pair(tmp_path / "release")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["release.key", "release.pub"]
        assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
        assert cosign.load_public_key(pair.public.read_text()).keyid == pair.keyid
        assert pair.private.read_text().startswith("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")

    def test_a_dotted_name_is_kept_whole(self, password: str, tmp_path: Path) -> None:
        assert generate_key_pair(tmp_path / "team-v1.2").public.name == "team-v1.2.pub"

    @pytest.mark.parametrize("suffix", ["key", "pub"])
    def test_nothing_is_written_over(self, password: str, tmp_path: Path, suffix: str) -> None:
        (tmp_path / f"k.{suffix}").write_text("precious")
        with pytest.raises(UsageError, match="exists already"):
            generate_key_pair(tmp_path / "k")
        assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(f"k.{suffix}", "precious")]

    def test_a_dangling_link_counts_as_existing(self, password: str, tmp_path: Path) -> None:
        (tmp_path / "k.key").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(UsageError, match="exists already"):
            generate_key_pair(tmp_path / "k")
        assert not (tmp_path / "elsewhere").exists()

    def test_a_missing_directory_is_named(self, password: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="No such file or directory"):
            generate_key_pair(tmp_path / "nowhere" / "k")

    def test_a_name_with_the_suffix_is_refused(self, password: str, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"without \.key"):
            generate_key_pair(tmp_path / "k.key")

    def test_the_prompt_is_asked_twice(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
        answers = ["one", "one", "one"]
        pair = generate_key_pair(tmp_path / "k", lambda _: answers.pop())
        assert CosignSigner.load(pair.private, lambda _: answers.pop()).keyid == pair.keyid

    def test_two_different_answers_write_nothing(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
        answers = ["one", "two"]
        with pytest.raises(UsageError, match="differ"):
            generate_key_pair(tmp_path / "k", lambda _: answers.pop())
        assert list(tmp_path.iterdir()) == []

    def test_without_a_terminal_the_variable_is_named(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
        with pytest.raises(UsageError, match="COSIGN_PASSWORD"):
            generate_key_pair(tmp_path / "k")

    def test_the_empty_password_is_a_password(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("COSIGN_PASSWORD", "")
        pair = generate_key_pair(tmp_path / "k")
        assert CosignSigner.load(pair.private).keyid == pair.keyid


class TestLoad:
    def test_a_loaded_key_signs_in_both_forms(self, password: str, given: KeyPair, tmp_path: Path) -> None:
        signer = CosignSigner.load(given.private)
        files = signer.sign(DATA)
        assert sorted(files) == ["sig", "sigstore.json"]
        assert not files["sig"].endswith(b"\n")
        cosign.verify_raw(signer.key, files["sig"], DATA)
        cosign.verify_bundle(signer.key, files["sigstore.json"], DATA)

    def test_a_wrong_password_is_told(
        self, password: str, given: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pair = given
        monkeypatch.setenv("COSIGN_PASSWORD", "wrong")
        with pytest.raises(UsageError, match="password is wrong"):
            CosignSigner.load(pair.private)

    def test_a_wrong_password_is_looked_for_where_it_came_from(
        self, given: KeyPair, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def hint(**words: Any) -> str:
            with pytest.raises(UsageError, match="password is wrong") as caught:
                CosignSigner.load(given.private, **words)
            return caught.value.hint

        monkeypatch.setenv("OTHER_PASSWORD", "wrong")
        monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
        assert hint(password=b"wrong", option="--provenance-password-from") == (
            "check what --provenance-password-from names: all of it is the password, but for a line break "
            "at its end"
        )
        assert hint(variable="OTHER_PASSWORD").startswith("check OTHER_PASSWORD")
        assert hint(prompt=lambda _question: "wrong").startswith("type the password of this key")

    def test_the_older_label_is_read(self, password: str, given: KeyPair, tmp_path: Path) -> None:
        pair = given
        rewrite(pair.private, lambda document: None, "COSIGN")
        assert CosignSigner.load(pair.private).keyid == pair.keyid

    def test_an_ed25519_key_is_read(self, password: str, tmp_path: Path) -> None:
        (tmp_path / "k.key").write_bytes(encrypt_key(ed25519.Ed25519PrivateKey.generate(), password.encode()))
        assert CosignSigner.load(tmp_path / "k.key").key.algorithm == "ed25519"

    def test_another_curve_is_refused(self, password: str, tmp_path: Path) -> None:
        (tmp_path / "k.key").write_bytes(
            encrypt_key(ec.generate_private_key(ec.SECP384R1()), password.encode())
        )
        with pytest.raises(UsageError, match="unsupported type"):
            CosignSigner.load(tmp_path / "k.key")

    @pytest.mark.parametrize(
        ("field", "value"), [("N", 2**30), ("N", 2), ("N", "65536"), ("r", 1024), ("p", 64)], ids=str
    )
    def test_work_beyond_the_allowed_is_refused_before_it_starts(
        self, password: str, given: KeyPair, tmp_path: Path, field: str, value: object
    ) -> None:
        pair = given
        rewrite(pair.private, lambda document: document["kdf"]["params"].update({field: value}))
        with pytest.raises(UsageError, match="parameters that are not allowed"):
            CosignSigner.load(pair.private)

    @pytest.mark.parametrize(
        "change",
        [
            lambda document: document.pop("kdf"),
            lambda document: document["kdf"].update(salt="AAAA"),
            lambda document: document["cipher"].update(nonce="AAAA"),
            lambda document: document.update(ciphertext="AAAA"),
            lambda document: document.update(ciphertext=7),
            lambda document: document.update(kdf=[]),
            lambda document: document["kdf"].update(name="pbkdf2"),
            lambda document: document["cipher"].update(name="aes"),
        ],
        ids=[
            "no kdf",
            "short salt",
            "short nonce",
            "short text",
            "number",
            "list",
            "other kdf",
            "other cipher",
        ],
    )
    def test_a_damaged_key_is_told(
        self, password: str, given: KeyPair, tmp_path: Path, change: Callable[[Any], object]
    ) -> None:
        pair = given
        rewrite(pair.private, change)
        with pytest.raises(UsageError, match=r": is damaged|: uses an unknown encryption method"):
            CosignSigner.load(pair.private)

    def test_the_public_half_is_told_from_the_private(
        self, password: str, given: KeyPair, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match=r"sign with the private key, NAME\.key"):
            CosignSigner.load(given.public)

    @pytest.mark.parametrize(
        ("label", "way"),
        [
            ("PRIVATE KEY", "import-key-pair"),
            (
                "EC PARAMETERS-----\nBggq\n-----END EC PARAMETERS-----\n-----BEGIN EC PRIVATE KEY",
                "import-key-pair",
            ),
            ("OPENSSH PRIVATE KEY", "run `bundle keygen NAME` to create one"),
            ("PGP PRIVATE KEY BLOCK", "give --gpg-key FINGERPRINT"),
            (LABEL, "the key is damaged: restore it from a backup"),
        ],
    )
    def test_a_key_of_another_tool_gets_the_way_out(
        self, password: str, tmp_path: Path, label: str, way: str
    ) -> None:
        (tmp_path / "k").write_text(f"-----BEGIN {label}-----\nAAAA: 1\n-----END {label}-----\n")
        with pytest.raises(UsageError) as caught:
            CosignSigner.load(tmp_path / "k")
        assert way in caught.value.hint

    def test_a_key_in_base64_gets_the_way_out(self, password: str, given: KeyPair, tmp_path: Path) -> None:
        (tmp_path / "k").write_bytes(base64.b64encode(given.private.read_bytes()))
        with pytest.raises(UsageError) as caught:
            CosignSigner.load(tmp_path / "k")
        assert caught.value.hint == "this is a key in base64: decode it with `base64 -d`"

    @pytest.mark.parametrize(
        ("word", "hint"),
        [
            ("env://COSIGN_PRIVATE_KEY", "give env:COSIGN_PRIVATE_KEY"),
            ("awskms:///alias/release", "with --prepare"),
            ("pkcs11:token=t;object=k?pin-value=123456", "with --prepare"),
        ],
    )
    def test_what_cosign_calls_a_key_gets_the_way_out(self, word: str, hint: str) -> None:
        with pytest.raises(UsageError) as caught:
            CosignSigner.load(word)
        assert hint in caught.value.hint
        assert "123456" not in str(caught.value)

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            (b"", "is empty"),
            (b"\xff\xfe", "is UTF-16 text"),
            (b"hello", "not a PEM file"),
            (b"A" * 100_000, "more than"),
        ],
    )
    def test_a_file_that_is_no_cosign_key_is_refused(
        self, password: str, given: KeyPair, tmp_path: Path, content: bytes, what: str
    ) -> None:
        (tmp_path / "k").write_bytes(content)
        with pytest.raises(UsageError, match=what):
            CosignSigner.load(tmp_path / "k")

    def test_a_missing_file_and_a_directory_are_told(
        self, password: str, given: KeyPair, tmp_path: Path
    ) -> None:
        for path in (tmp_path / "none", tmp_path):
            with pytest.raises(UsageError, match="cannot be read"):
                CosignSigner.load(path)

    def test_no_secret_is_in_its_repr(self, password: str, given: KeyPair, tmp_path: Path) -> None:
        assert "rivate" not in repr(CosignSigner.load(given.private))


class TestWithTheRealCosign:
    def test_we_sign_with_its_key_and_it_verifies(
        self, any_cosign: Cosign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        private = any_cosign.keygen("theirs", "pw")
        monkeypatch.setenv("COSIGN_PASSWORD", "pw")
        signer = CosignSigner.load(private)
        assert signer.public == (any_cosign.home / "theirs.pub").read_text()
        files = signer.sign(DATA)
        for name, content in {
            "F": DATA,
            "s": files["sig"],
            "b": files["sigstore.json"],
        }.items():
            (any_cosign.home / name).write_bytes(content)
        assert any_cosign.verify_raw(
            any_cosign.home / "theirs.pub", any_cosign.home / "s", any_cosign.home / "F"
        )
        assert any_cosign.verify_bundle(
            any_cosign.home / "theirs.pub", any_cosign.home / "b", any_cosign.home / "F"
        )

    def test_cosign_signs_with_our_key_and_we_verify(self, any_cosign: Cosign, password: str) -> None:
        pair = generate_key_pair(any_cosign.home / "ours")
        (any_cosign.home / "F").write_bytes(DATA)
        raw, bundle = any_cosign.sign(pair.private, any_cosign.home / "F", password)
        key = cosign.load_public_key(pair.public.read_text())
        cosign.verify_raw(key, raw, DATA)
        cosign.verify_bundle(key, bundle, DATA)
