"""From one root to the next: the threshold of both, one version at a time, nothing parsed unsigned."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from installer.core.errors import ExpiredError, RefusedError, TamperedError, UntrustedError, WaybillError
from installer.core.trust.root import Root
from installer.core.trust.rotation import check_successor, require_unexpired
from installer.core.trust.signatures import Signature
from tests.rig.trustworld import NOW, headed, person


def encoded(made: Root) -> bytes:
    return json.dumps(made.document()).encode()


def signed(data: bytes, *names: str) -> list[Signature]:
    return [
        Signature.parse(f"root.json.{person(name).signer.keyid8}.{form}", content, "root.json")
        for name in names
        for form, content in person(name).signer.sign(data).items()
    ]


def step(old: Root, new: Root, *names: str) -> Root:
    data = encoded(new)
    return check_successor(old, data, signed(data, *names), "root.json", NOW)


def refused(kind: type[WaybillError], old: Root, new: Root, *names: str) -> str:
    with pytest.raises(kind) as caught:
        step(old, new, *names)
    assert type(caught.value) is kind
    return str(caught.value)


def test_the_same_people_make_the_next_one() -> None:
    assert step(headed(1, "Ann"), headed(2, "Ann"), "Ann").version == 2


def test_old_and_new_people_hand_over_together() -> None:
    step(headed(1, "Ann"), headed(2, "Ben"), "Ann", "Ben")


def test_the_old_alone_cannot_hand_over_to_people_who_have_not_signed() -> None:
    assert "the new version itself" in refused(UntrustedError, headed(1, "Ann"), headed(2, "Ben"), "Ann")


def test_the_new_alone_cannot_take_over() -> None:
    text = refused(UntrustedError, headed(1, "Ann"), headed(2, "Ben"), "Ben")
    assert "none of the 1 owners that version 1, which is trusted here" in text
    assert "Ann" in text


def test_both_thresholds_count() -> None:
    old = headed(1, "Ann", "Ben", "Cid", threshold=2)
    new = headed(2, "Ann", "Dan", "Eli", threshold=2)
    step(old, new, "Ann", "Ben", "Dan")
    assert (
        "signed by only Ann, not by the 2 owners that version 1, which is trusted here, requires"
        in refused(UntrustedError, old, new, "Ann", "Dan", "Eli")
    )
    refused(UntrustedError, old, new, "Ann", "Ben")


def test_one_person_with_two_keys_is_one() -> None:
    old = headed(1, "Ann", "Ben", "Cid", threshold=2)
    key = replace(person("Ben").key, owner="ANN")
    old = replace(old, keys={**old.keys, key.keyid: key})
    refused(UntrustedError, old, headed(2, "Ann"), "Ann", "Ben")


@pytest.mark.parametrize(
    ("version", "words"), [(1, "replaced only by a later"), (3, "version 2 must be applied first")]
)
def test_versions_go_up_by_one(version: int, words: str) -> None:
    assert words in refused(RefusedError, headed(1, "Ann"), headed(version, "Ann"), "Ann")


def test_a_root_that_names_nobody_is_never_replaced() -> None:
    bare = headed(1, "Ann")
    bare = replace(bare, roles={name: role for name, role in bare.roles.items() if name != "root"})
    assert "set up trust again" in refused(UntrustedError, bare, headed(2, "Ann"), "Ann")


def test_a_successor_must_be_replaceable_too() -> None:
    bare = headed(2, "Ann")
    bare = replace(bare, roles={name: role for name, role in bare.roles.items() if name != "root"})
    refused(UntrustedError, headed(1, "Ann"), bare, "Ann")


def test_nothing_is_parsed_before_it_is_signed() -> None:
    with pytest.raises(UntrustedError):
        check_successor(headed(1, "Ann"), b"\xff{{{", [], "root.json", NOW)
    data = b"not json"
    with pytest.raises(TamperedError):
        check_successor(headed(1, "Ann"), data, signed(data, "Ann"), "root.json", NOW)


def test_a_byte_that_was_changed_is_refused() -> None:
    data = encoded(headed(2, "Ann"))
    with pytest.raises(TamperedError):
        check_successor(headed(1, "Ann"), data + b" ", signed(data, "Ann"), "root.json", NOW)


def test_a_key_that_the_old_root_has_revoked_signs_nothing() -> None:
    old = replace(headed(1, "Ann", "Ben"), revoked_keys=frozenset({person("Ann").key.keyid}))
    assert "was revoked" in refused(UntrustedError, old, headed(2, "Ben"), "Ann")


def test_a_new_root_may_revoke_who_signed_it_first_but_not_count_them() -> None:
    gone = frozenset({person("Ann").key.keyid})
    new = replace(headed(2, "Ann", "Ben"), revoked_keys=gone)
    step(headed(1, "Ann"), new, "Ann", "Ben")
    refused(UntrustedError, headed(1, "Ann"), new, "Ann")


def test_expiry_is_looked_at_on_the_last_one_only() -> None:
    past = headed(2, "Ann", expires=NOW - timedelta(days=1))
    middle = step(headed(1, "Ann", expires=NOW - timedelta(days=9)), past, "Ann")
    with pytest.raises(ExpiredError, match="version 2"):
        require_unexpired(middle, "root.json", NOW)
    require_unexpired(step(middle, headed(3, "Ann"), "Ann"), "root.json", NOW)


def test_a_root_is_in_force_until_its_last_second() -> None:
    last = headed(2, "Ann", expires=NOW)
    require_unexpired(last, "root.json", NOW)
    with pytest.raises(ExpiredError):
        require_unexpired(last, "root.json", NOW + timedelta(seconds=1))


def test_signatures_without_end_are_refused() -> None:
    data = encoded(headed(2, "Ann"))
    check_successor(headed(1, "Ann"), data, signed(data, "Ann") * 32, "root.json", NOW)
    with pytest.raises(TamperedError, match="more than 64"):
        check_successor(headed(1, "Ann"), data, signed(data, "Ann") * 40, "root.json", NOW)


def test_the_refusal_names_only_owners_who_can_still_sign() -> None:
    old = headed(1, "Ann", "Ben", "Cid", "Dan", threshold=3)
    late = replace(person("Dan").key, not_after=NOW - timedelta(days=1))
    old = replace(
        old,
        keys={**old.keys, late.keyid: late},
        revoked_keys=frozenset({person("Cid").key.keyid}),
    )
    data = encoded(headed(2, "Ann"))
    for names, hint in (
        (("Ann",), f"can still sign: Ben (cosign {person('Ben').key.keyid8}): `bundle trust sign"),
        (("Ann", "Ben"), "nobody else can sign it: "),
    ):
        with pytest.raises(UntrustedError) as caught:
            check_successor(old, data, signed(data, *names), "root.json", NOW)
        assert caught.value.hint.startswith(hint)
