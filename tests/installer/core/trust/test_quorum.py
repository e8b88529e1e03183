"""Owners as persons: what people read as one name counts once, at the desk and on hosts."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.errors import UntrustedError
from installer.core.trust.quorum import fold_owner, unmet
from installer.core.trust.rotation import check_successor
from installer.core.trust.signatures import Signature
from tests.rig.trustworld import NOW, headed, parsed, person, root

SPELLINGS = {
    "case": ("Ann Bo", "ANN BO"),
    "blanks": ("Ann Bo", "Ann  Bo"),
    "composed": (unicodedata.normalize("NFC", "Jörg"), unicodedata.normalize("NFD", "Jörg")),
    "composed capitals": ("JÖRG", unicodedata.normalize("NFD", "jörg")),
    "wide letters": ("Ann", "\uff21\uff4e\uff4e"),
    "sharp s": ("Groß", "GROSS"),
    "grapheme joiner": ("Ann", "An\u034fn"),
    "variation selector": ("Ann", "Ann\ufe0f"),
    "Khmer vowel": ("Ann", "\u17b4Ann"),
    "Hangul filler at the end": ("Ann", "Ann\u3164"),
    "Hangul filler as a blank": ("Ann Bo", "Ann\u3164Bo"),
    "empty Braille cell": ("Ann Bo", "Ann\u2800\u2800Bo"),
    "joiner before an accent": ("Jörg", "Jo\u034f\u0308rg"),
}
UNSEEN = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180f\u200b\u2060\u2800\u3164\ufe00\ufe0f\uffa0\U000e0100\U000e01ef"
)
both = pytest.mark.parametrize(("one", "other"), SPELLINGS.values(), ids=SPELLINGS)


@both
def test_spellings_that_read_the_same_are_one_person(one: str, other: str) -> None:
    assert one != other
    assert fold_owner(one) == fold_owner(other)


@given(st.text(UNSEEN, max_size=4), st.text(max_size=6), st.text(UNSEEN, max_size=4))
def test_characters_that_nobody_sees_make_no_other_person(one: str, name: str, other: str) -> None:
    assert fold_owner(f"{one}{name}{other}") == fold_owner(name)


@given(st.text(UNSEEN, max_size=4), st.text(max_size=6), st.text(max_size=6))
def test_an_owner_who_was_compared_before_is_the_same_person(unseen: str, name: str, rest: str) -> None:
    once = fold_owner(f"{name}{unseen}{rest}")
    assert fold_owner(once) == once


@pytest.mark.parametrize("other", ["AnnBo", "Ann-Bo", "Ann Boe", "Änn Bo"])
def test_names_that_read_differently_are_two_persons(other: str) -> None:
    assert fold_owner("Ann Bo") != fold_owner(other)


@both
def test_two_spellings_of_one_owner_make_no_threshold_of_two(one: str, other: str) -> None:
    made = headed(1, "Ann", "Ben", threshold=2)
    named = {"Ann": one, "Ben": other}
    keys = {k: replace(key, owner=named.get(key.owner, key.owner)) for k, key in made.keys.items()}
    made = replace(made, keys=keys)
    assert [gap.place for gap in unmet(made)] == ["role root"]
    data = b"{}"
    signatures = [
        Signature.parse(f"root.json.{who.keyid8}.{form}", content, "root.json")
        for who in (person("Ann").signer, person("Ben").signer)
        for form, content in who.sign(data).items()
    ]
    with pytest.raises(UntrustedError, match="not by the 2 owners"):
        check_successor(made, data, signatures, "root.json", NOW)


def test_a_root_in_the_field_with_two_spellings_of_one_owner_stays_readable() -> None:
    made = headed(1, "Ann", "Ben", threshold=2)
    named = {"Ann": "Ann Bo", "Ben": "Ann  Bo"}
    keys = {k: replace(key, owner=named.get(key.owner, key.owner)) for k, key in made.keys.items()}
    assert parsed(replace(made, keys=keys).document()).roles["root"].threshold == 2


class TestUnmet:
    def test_a_good_root_lacks_nothing(self) -> None:
        assert unmet(root()) == ()

    def test_a_revoked_key_leaves_a_role_and_its_policies_unmet(self) -> None:
        gone = frozenset({person("Sec").key.keyid})
        assert [gap.text for gap in unmet(root(revoked_keys=gone))] == [
            "role security: signatures of 1 owner are required, but no owners have a key that is not revoked",
            "environment production: the policy cannot be met: too few owners have a key for security",
        ]
