"""root.json: the one reader, the schema that says the same, and what only the reader can know."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from installer.core.errors import MediaError, TamperedError, UntrustedError
from installer.core.timestamps import format_time, parse_time
from installer.core.trust.root import ROOT_BYTES, Root, display_fingerprint, fingerprint, same_fingerprint
from installer.core.trust.root_json import load_root, parse_root
from installer.core.trust.root_view import view
from installer.core.trust.signatures import TrustedKey
from tests.rig.documents import at, schema, validator, without
from tests.rig.signing import gpg_home
from tests.rig.trustworld import parsed

fits = validator("root")

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def new_key(owner: str) -> TrustedKey:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return TrustedKey.from_public(
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(), owner
    )


ANA, BO = new_key("Ana"), new_key("Bo Ünal")
KEYS = (ANA, BO)
ONE, TWO = (key.keyid for key in KEYS)
GOOD: dict[str, Any] = {
    "schema": "waybill/root/v1",
    "version": 3,
    "expires": "2027-01-31T00:00:00Z",
    "keys": {key.keyid: {"scheme": "cosign", "owner": key.owner, "public": key.public} for key in KEYS},
    "roles": {"release": {"keys": [ONE, TWO], "threshold": 2}, "security": {"keys": [TWO], "threshold": 1}},
    "environments": {},
    "revoked": {"keys": ["a" * 64, "b" * 40], "bundles": ["c" * 64]},
}


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = copy.deepcopy(GOOD)
    change(document)
    return document


BOTH_REFUSE: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {name}": without(name) for name in GOOD},
    **{f"{name} is null": at(name, value=None) for name in GOOD},
    **{f"{name} is a list": at(name, value=[]) for name in GOOD},
    "unknown field": at("policy", value={}),
    "other schema": at("schema", value="waybill/root/v2"),
    "version 0": at("version", value=0),
    "version -1": at("version", value=-1),
    "version true": at("version", value=True),
    "version text": at("version", value="1"),
    "expires a number": at("expires", value=1),
    "expires a date": at("expires", value="2027-01-31"),
    "expires with an offset": at("expires", value="2027-01-31T00:00:00+00:00"),
    "expires with fractions": at("expires", value="2027-01-31T00:00:00.5Z"),
    "expires with a space": at("expires", value="2027-01-31 00:00:00Z"),
    "expires in foreign digits": at("expires", value="２027-01-31T00:00:00Z"),
    "expires in month 13": at("expires", value="2027-13-31T00:00:00Z"),
    "expires at hour 24": at("expires", value="2027-01-31T24:00:00Z"),
    "expires in a leap second": at("expires", value="2027-01-31T23:59:60Z"),
    "no keys at all": at("keys", value={}),
    "key id in capitals": lambda d: d["keys"].update({ONE.upper(): d["keys"].pop(ONE)}),
    "key id short": lambda d: d["keys"].update({ONE[:8]: d["keys"].pop(ONE)}),
    "key is text": at("keys", ONE, value=ANA.public),
    "key without owner": without("keys", ONE, "owner"),
    "key without public": without("keys", ONE, "public"),
    "key without scheme": without("keys", ONE, "scheme"),
    "key with a further field": at("keys", ONE, "trusted", value=True),
    "key of an unknown scheme": at("keys", ONE, "scheme", value="minisign"),
    "owner empty": at("keys", ONE, "owner", value=""),
    "owner a number": at("keys", ONE, "owner", value=7),
    "owner too long": at("keys", ONE, "owner", value="x" * 101),
    "owner with a space before": at("keys", ONE, "owner", value=" Ana"),
    "owner with a space after": at("keys", ONE, "owner", value="Ana "),
    "owner with an escape": at("keys", ONE, "owner", value="Ana\x1b[2K"),
    "owner with a newline": at("keys", ONE, "owner", value="Ana\n"),
    "owner with a bidi control": at("keys", ONE, "owner", value="Ana\u202ecb"),
    "owner with a zero width space": at("keys", ONE, "owner", value="An\u200ba"),
    "public a number": at("keys", ONE, "public", value=1),
    "public with an escape": at("keys", ONE, "public", value="\x1b"),
    "public empty": at("keys", ONE, "public", value=""),
    "not_after null": at("keys", ONE, "not_after", value=None),
    "not_after a date": at("keys", ONE, "not_after", value="2027-01-31"),
    "no release role": without("roles", "release"),
    "unknown role": at("roles", "admin", value={"keys": [ONE], "threshold": 1}),
    "role a list": at("roles", "release", value=[ONE]),
    "role without threshold": without("roles", "release", "threshold"),
    "role without keys": without("roles", "release", "keys"),
    "role with a further field": at("roles", "release", "any", value=True),
    "role names a key twice": at("roles", "release", "keys", value=[ONE, TWO, TWO]),
    "role names no id": at("roles", "release", "keys", value=["Ana"]),
    "threshold 0": at("roles", "release", "threshold", value=0),
    "threshold true": at("roles", "security", "threshold", value=True),
    "an environment": at("environments", "prod", value={}),
    "revoked without bundles": without("revoked", "bundles"),
    "revoked with a further field": at("revoked", "owners", value=[]),
    "revoked key short": at("revoked", "keys", value=["a" * 8]),
    "revoked bundle with prefix": at("revoked", "bundles", value=["sha256:" + "c" * 64]),
    "revoked bundle with a newline": at("revoked", "bundles", value=["c" * 64 + "\n"]),
    "expires with a newline": at("expires", value="2027-01-31T00:00:00Z\n"),
    "revoked twice": at("revoked", "bundles", value=["c" * 64] * 2),
}
READER_REFUSES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a day that is not": at("expires", value="2027-02-30T00:00:00Z"),
    "public is another key's": at("keys", ONE, "public", value=BO.public),
    "public is no key": at("keys", ONE, "public", value="hello"),
    "scheme is the other one": at("keys", ONE, "scheme", value="gpg"),
    "role names an unknown key": at("roles", "release", "keys", value=[ONE, "d" * 64]),
    "threshold beyond the owners": at("roles", "release", "threshold", value=3),
    "two keys of one owner do not make two": at("keys", TWO, "owner", value="ANA"),
    "role without any key": at("roles", "security", "keys", value=[]),
}


class TestReader:
    def test_a_good_one_is_read(self) -> None:
        root = parsed(GOOD)
        assert (root.version, format_time(root.expires)) == (3, "2027-01-31T00:00:00Z")
        assert root.keys == {key.keyid: key for key in KEYS}
        assert root.roles["release"].keys == tuple(sorted((ONE, TWO)))
        assert root.roles["release"].threshold == 2
        assert root.revoked_keys == {"a" * 64, "b" * 40}
        assert root.revoked_bundles == {"c" * 64}

    def test_what_is_written_is_read_the_same(self) -> None:
        root = parsed(changed(at("keys", ONE, "not_after", value="2026-12-31T23:59:59Z")))
        assert parsed(root.document()) == root
        assert fits(root.document())

    @pytest.mark.parametrize("fault", BOTH_REFUSE)
    def test_reader_and_schema_refuse_the_same_roots(self, fault: str) -> None:
        document = changed(BOTH_REFUSE[fault])
        assert not fits(document)
        with pytest.raises(TamperedError):
            parsed(document)

    @pytest.mark.parametrize("fault", READER_REFUSES)
    def test_the_reader_knows_better_than_the_schema(self, fault: str) -> None:
        document = changed(READER_REFUSES[fault])
        assert fits(document)
        with pytest.raises(TamperedError) as caught:
            parsed(document)
        assert caught.value.problems

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: None,
            at("environments", value={}),
            at("keys", ONE, "not_after", value="2027-01-31T00:00:00Z"),
            at("keys", ONE, "owner", value="Größe & Söhne, Абв 漢字"),
            at("revoked", value={"keys": [], "bundles": []}),
            at("roles", "root", value={"keys": [TWO, ONE], "threshold": 1}),
        ],
        ids=["as it is", "no environments", "not_after", "owner in Unicode", "nothing revoked", "role root"],
    )
    def test_reader_and_schema_accept_the_same_roots(
        self, change: Callable[[dict[str, Any]], object]
    ) -> None:
        document = changed(change)
        assert fits(document)
        parsed(document)

    def test_the_schema_is_one(self) -> None:
        jsonschema.Draft202012Validator.check_schema(schema("root"))

    def test_every_problem_is_named_at_once(self) -> None:
        def change(document: dict[str, Any]) -> None:
            for fault in ("version 0", "expires a date", "owner empty", "threshold 0", "revoked key short"):
                BOTH_REFUSE[fault](document)

        with pytest.raises(TamperedError) as caught:
            parsed(changed(change))
        text = "\n".join(problem.where for problem in caught.value.problems)
        for where in ("version", "expires", "owner", "roles.release.threshold", "revoked.keys"):
            assert where in text

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"1", b'{"a":1,"a":2}', b"\xff", b"\xef\xbb\xbf{}"])
    def test_what_is_no_document_is_refused(self, text: bytes) -> None:
        with pytest.raises(TamperedError):
            parse_root(text)

    def test_a_huge_one_is_refused_unread(self) -> None:
        with pytest.raises(TamperedError, match="more than"):
            parse_root(b" " * (ROOT_BYTES + 1))

    def test_two_keys_with_one_short_id_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(TrustedKey, "keyid8", property(lambda self: "12345678"))
        with pytest.raises(TamperedError, match="short id 12345678"):
            parsed(GOOD)

    def test_a_gpg_key_is_read(self) -> None:
        with gpg_home() as home:
            keyid = home.key("Release")
            document = changed(
                at("keys", keyid, value={"scheme": "gpg", "owner": "C", "public": home.public(keyid)})
            )
        document["roles"]["release"]["keys"].append(keyid)
        assert fits(document)
        key = parsed(document).keys[keyid]
        assert (key.scheme, key.keyid8) == ("gpg", keyid[-8:])


class TestFile:
    def test_a_root_is_read_with_its_bytes(self, tmp_path: Path) -> None:
        (tmp_path / "root.json").write_text(json.dumps(GOOD))
        root, data = load_root(tmp_path / "root.json")
        assert (root, data) == (parsed(GOOD), json.dumps(GOOD).encode())

    def test_absent_means_no_trust(self, tmp_path: Path) -> None:
        with pytest.raises(UntrustedError, match="no such file"):
            load_root(tmp_path / "root.json")

    def test_a_directory_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(MediaError, match="Is a directory"):
            load_root(tmp_path)


class TestFingerprint:
    DIGITS = fingerprint(b"root")

    def test_a_fingerprint_is_shown_in_groups_of_four(self) -> None:
        assert display_fingerprint(self.DIGITS).split(" ") == [
            self.DIGITS[i : i + 4] for i in range(0, 64, 4)
        ]

    @pytest.mark.parametrize(
        "typed",
        [
            DIGITS,
            DIGITS.upper(),
            display_fingerprint(DIGITS),
            "sha256:" + DIGITS,
            f"  {DIGITS[:32]}\n{DIGITS[32:]} ",
        ],
    )
    def test_spacing_and_case_do_not_matter(self, typed: str) -> None:
        assert same_fingerprint(typed, self.DIGITS)

    @pytest.mark.parametrize("typed", ["", DIGITS[:63], DIGITS + "0", DIGITS[:8], "g" * 64, "ä" * 64])
    def test_a_shorter_or_other_fingerprint_is_not_the_same(self, typed: str) -> None:
        assert not same_fingerprint(typed, self.DIGITS)


class TestTime:
    def test_a_time_is_utc_in_whole_seconds(self) -> None:
        moment = datetime(2026, 1, 1, 2, 0, 0, 5, timezone(timedelta(hours=2)))
        assert format_time(moment) == "2026-01-01T00:00:00Z"
        assert parse_time("2026-01-01T00:00:00Z") == datetime(2026, 1, 1, tzinfo=UTC)

    def test_the_first_years_have_four_digits(self) -> None:
        assert parse_time(format_time(datetime(5, 1, 1, tzinfo=UTC))) == datetime(5, 1, 1, tzinfo=UTC)


class TestView:
    @pytest.fixture
    def root(self) -> Root:
        def change(document: dict[str, Any]) -> None:
            document["keys"][ONE]["not_after"] = "2026-01-01T00:00:00Z"
            document["revoked"]["keys"].append(TWO)

        return parsed(changed(change))

    def test_the_view_of_a_root_says_who_is_trusted_for_what_and_who_no_more(self, root: Root) -> None:
        rows = {row.key.owner: (row.roles, row.state) for row in view(root, b"x", NOW).keys}
        assert rows == {"Ana": (("release",), "expired"), "Bo Ünal": (("release", "security"), "revoked")}

    def test_the_lines_of_a_view_fit_a_terminal_and_its_json_is_json(self, root: Root) -> None:
        shown = view(root, b"x", NOW)
        assert max(len(line) for line in shown.lines()) <= 80
        assert "release: signatures of 2 owners are required" in "\n".join(shown.lines())
        assert json.loads(json.dumps(shown.as_json()))["expired"] is False
        assert view(root, b"x", NOW + timedelta(days=400)).expired
