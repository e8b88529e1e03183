"""`bundle trust init` and `show`: a root that a host takes, and every way in which it cannot be made."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bundler.commands.keygen import KeyPair, generate_key_pair
from bundler.commands.trust_init import init_root, show_root
from bundler.config.durations import parse_expiry
from bundler.signing.cosign import CosignSigner
from installer.core.errors import TamperedError, UntrustedError, UsageError
from installer.core.timestamps import format_time
from installer.core.trust.root import fingerprint
from installer.core.trust.root_json import load_root
from installer.core.trust.signatures import Signature
from installer.core.trust.verifier import Trust
from tests.rig.signing import gpg_home

NOW = datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[KeyPair]:
    directory = tmp_path_factory.mktemp("keys")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COSIGN_PASSWORD", "")
        return [generate_key_pair(directory / name) for name in ("ana", "bo")]


def test_a_host_trusts_what_the_key_signs(
    keys: list[KeyPair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    made = init_root(tmp_path / "root.json", [keys[0].public], now=NOW)
    root, data = load_root(tmp_path / "root.json")
    assert (made.fingerprint, format_time(root.expires)) == (fingerprint(data), "2027-06-01T12:00:00Z")
    assert [(row.key.owner, row.roles) for row in made.keys] == [("ana", ("release",))]
    signer = CosignSigner.load(keys[0].private)
    files = signer.sign(b"sums")
    found = [
        Signature.parse(f"SHA256SUMS.{signer.keyid8}.{form}", content) for form, content in files.items()
    ]
    assert Trust(root, lambda: NOW).check_release(b"sums", found).owners == ("ana",)


def test_show_says_what_init_said(keys: list[KeyPair], tmp_path: Path) -> None:
    made = init_root(
        tmp_path / "root.json", [keys[0].public, keys[1].public], owners=["A", "B"], threshold=2, now=NOW
    )
    assert show_root(tmp_path / "root.json", NOW) == made


def test_the_same_input_makes_the_same_bytes(keys: list[KeyPair], tmp_path: Path) -> None:
    for name, order in (("a", keys), ("b", keys[::-1])):
        init_root(tmp_path / name, [pair.public for pair in order], now=NOW)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_one_owner_may_hold_all_keys(keys: list[KeyPair], tmp_path: Path) -> None:
    made = init_root(tmp_path / "root.json", [pair.public for pair in keys], owners=["Team"], now=NOW)
    assert {row.key.owner for row in made.keys} == {"Team"}


def test_a_gpg_key_is_taken_by_fingerprint_or_as_a_file(tmp_path: Path) -> None:
    with gpg_home() as home:
        key = home.key("Release")
        made = init_root(tmp_path / "a.json", [], [key], gpg_home=home.path, now=NOW)
        (tmp_path / "team.asc").write_text(home.public(key))
    again = init_root(tmp_path / "b.json", [tmp_path / "team.asc"], now=NOW)
    assert made.keys[0].key.keyid == again.keys[0].key.keyid == key
    assert (made.keys[0].key.owner, again.keys[0].key.owner) == (f"gpg-{key[-8:]}", "team")


class TestRefused:
    def test_an_existing_root_is_not_written_over(self, keys: list[KeyPair], tmp_path: Path) -> None:
        (tmp_path / "root.json").write_text("precious")
        with pytest.raises(UsageError, match="exists already"):
            init_root(tmp_path / "root.json", [keys[0].public], now=NOW)
        assert (tmp_path / "root.json").read_text() == "precious"

    def test_a_root_without_a_key_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="--release-key"):
            init_root(tmp_path / "root.json", [], now=NOW)

    def test_a_private_key_in_a_root_is_refused(self, keys: list[KeyPair], tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="PRIVATE"):
            init_root(tmp_path / "root.json", [keys[0].private], now=NOW)

    def test_a_file_that_is_no_key_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "k.pub").write_bytes(b"\xffhello")
        for path in (tmp_path / "k.pub", tmp_path / "none.pub", tmp_path):
            with pytest.raises(UsageError):
                init_root(tmp_path / "root.json", [path], now=NOW)

    def test_one_key_that_is_given_twice_is_refused(self, keys: list[KeyPair], tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="given twice"):
            init_root(tmp_path / "root.json", [keys[0].public] * 2, now=NOW)

    def test_a_threshold_that_cannot_be_met_is_refused(self, keys: list[KeyPair], tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="have only 1 owner"):
            init_root(
                tmp_path / "root.json", [pair.public for pair in keys], owners=["Team"], threshold=2, now=NOW
            )
        with pytest.raises(UsageError, match="integer from 1"):
            init_root(tmp_path / "root.json", [keys[0].public], threshold=0, now=NOW)

    def test_owners_that_do_not_pair_up_with_keys_are_refused(
        self, keys: list[KeyPair], tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match="2 owners for 1 keys"):
            init_root(tmp_path / "root.json", [keys[0].public], owners=["A", "B"], now=NOW)

    @pytest.mark.parametrize("owner", ["", " x", "x\n", "\x1b[2J", "x" * 101])
    def test_an_owner_that_cannot_be_shown_is_refused(
        self, keys: list[KeyPair], tmp_path: Path, owner: str
    ) -> None:
        with pytest.raises(UsageError, match="is not a valid owner"):
            init_root(tmp_path / "root.json", [keys[0].public], owners=[owner], now=NOW)

    @pytest.mark.parametrize(
        "text", ["", "365", "0d", "-1d", "1y", "1.5d", "2026-06-01", "tomorrow", "999999d"]
    )
    def test_a_length_of_time_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="not a duration or time"):
            parse_expiry(text, NOW)

    def test_an_end_in_the_past_is_refused(self) -> None:
        with pytest.raises(UsageError, match="in the past"):
            parse_expiry("2026-06-01T12:00:00Z", NOW)

    def test_nothing_is_left_behind(self, keys: list[KeyPair], tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            init_root(tmp_path / "root.json", [keys[0].public], threshold=9, now=NOW)
        assert list(tmp_path.iterdir()) == []

    def test_show_refuses_what_is_not_there_or_is_no_root(self, tmp_path: Path) -> None:
        with pytest.raises(UntrustedError):
            show_root(tmp_path / "root.json")
        (tmp_path / "root.json").write_text(json.dumps({"schema": "x"}))
        with pytest.raises(TamperedError):
            show_root(tmp_path / "root.json")


def test_days_count_from_now() -> None:
    assert parse_expiry("14d", NOW) == NOW.replace(microsecond=0) + timedelta(days=14)
