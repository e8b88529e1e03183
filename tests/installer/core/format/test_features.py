"""What only a newer reader understands is said to need one, and is never called tampered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.core.errors import NeedsNewerError, TamperedError, UntrustedError, WaybillError
from installer.core.format import features, manifest_json
from installer.core.format.manifest import Manifest
from installer.core.jsonio import dumps_lines
from tests.rig import bundlebuild as build

NEWER: dict[str, dict[str, Any]] = {
    "a word": {"requires": ["names/9"]},
    "a word among known ones": {"requires": ["names/1", "nomad/1"]},
    "a schema": {"schema": "waybill/bundle/v2"},
}


def document(**fields: Any) -> bytes:
    return dumps_lines(json.loads(manifest_json.dump(build.plan().manifest)) | fields)


def outcome(data: bytes) -> WaybillError:
    with pytest.raises(WaybillError) as caught:
        manifest_json.parse(data)
    return caught.value


@pytest.mark.parametrize("retained", [False, True])
@pytest.mark.parametrize("what", NEWER)
def test_what_is_newer_needs_a_newer_version(what: str, retained: bool) -> None:
    with pytest.raises(NeedsNewerError) as caught:
        manifest_json.parse(document(**NEWER[what]), retained=retained)
    assert caught.value.exit_code == 19
    assert "newer version of Waybill" in caught.value.what
    assert "publisher" in caught.value.hint


@pytest.mark.parametrize("what", NEWER)
def test_nothing_else_is_judged_before(what: str) -> None:
    # Numbers, depth, fields, names and sizes that this version refuses.
    strange = document(
        **NEWER[what],
        files=[{"path": "nomads/../x", "size": -1, "deep": json.loads("[" * 40 + "]" * 40)}],
        created=1.5,
        nomads={"x" * 2_000_000: None},
    )
    assert outcome(strange).exit_code == 19
    # Not even that it is JSON.
    assert outcome(strange[:-3] + b"@").exit_code == 19


@pytest.mark.parametrize("space", [{"indent": 1}, {"separators": (", ", ": ")}])
@pytest.mark.parametrize("what", NEWER)
def test_another_written_form_is_understood_too(what: str, space: dict[str, Any]) -> None:
    assert outcome(json.dumps(json.loads(document(**NEWER[what])), **space).encode()).exit_code == 19


@pytest.mark.parametrize(
    "requires",
    [
        ["Names/1"],
        ["names"],
        ["names/0"],
        ["names/1\n"],
        [1],
        "names/1",
        {},
        ["names/1"],
        ["x"] * 65,
    ],
    ids=repr,
)
def test_a_list_that_is_none_is_malformed(requires: Any) -> None:
    assert isinstance(outcome(document(requires=requires)), TamperedError)


def test_an_unknown_word_that_stands_twice_needs_a_newer_version() -> None:
    assert isinstance(outcome(document(requires=["names/9"] * 2)), NeedsNewerError)


@pytest.mark.parametrize(
    "schema", ["waybill/bundle/v0", "waybill/bundle/v01", "waybill/state/v1", "", 1, None]
)
def test_a_schema_of_something_else_is_malformed(schema: Any) -> None:
    assert isinstance(outcome(document(schema=schema)), TamperedError)


def newer() -> build.Plan:
    plan = build.plan()
    return plan.resealed(document=document(requires=["names/9"]))


def test_the_signature_is_checked_before_the_features() -> None:
    with pytest.raises(UntrustedError):
        build.verified(newer().tar())
    with pytest.raises(NeedsNewerError):
        build.verified(build.signed(newer()).tar())


def test_a_word_that_nobody_signed_is_tampering() -> None:
    signed = build.signed()
    data = document(requires=["names/9"])
    forged = signed.changed("bundle.json", data=data)
    with pytest.raises(TamperedError):
        build.verified(forged.tar())


def test_an_unsigned_reading_gives_the_same_answer_about_features() -> None:
    with pytest.raises(NeedsNewerError):
        build.read(newer().tar())


def test_every_known_word_has_the_form_of_a_word() -> None:
    assert all(features.WORD.fullmatch(word) for word in features.KNOWN)


def test_what_is_required_is_written_sorted(monkeypatch: pytest.MonkeyPatch) -> None:
    def two(_manifest: Manifest) -> tuple[str, ...]:
        return ("a/1", "b/1")

    monkeypatch.setattr(manifest_json, "used_features", two)
    assert b'\n"requires":[\n"a/1",\n"b/1"\n],\n' in manifest_json.dump(build.plan().manifest)
