"""References to secrets: one form for each store, a whole value each, and an exact reason for every other."""

from __future__ import annotations

import pytest

from installer.core.errors import Problem
from installer.secrets.references import Reference
from installer.secrets.registry import STORES, parse, references_in


def fault(text: str) -> Problem:
    found = parse(text)
    assert isinstance(found, Problem), found
    return found


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("secret://file/db-password", Reference("file", "db-password")),
        ("secret://file/größe", Reference("file", "größe")),
        ("secret://vault/secret/app/db#password", Reference("vault", "secret/app/db", "password")),
        ("secret://vault/kv1/db#pass-word", Reference("vault", "kv1/db", "pass-word")),
        ("secret://systemd-credential/db.password", Reference("systemd-credential", "db.password")),
    ],
)
def test_a_reference_says_store_path_and_key(text: str, reference: Reference) -> None:
    assert parse(text) == reference
    assert str(reference) == text


@pytest.mark.parametrize("store", STORES)
def test_the_example_of_each_store_is_a_reference(store: str) -> None:
    found = parse(STORES[store].form.example)
    assert isinstance(found, Reference)
    assert found.store == store


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("postgres://u:secret://file/db@h", "has text before the reference", "put the text around it"),
        (" secret://file/db", "has text before the reference", "a whole value"),
        ("secret://file/db and more", "has a blank or a line break in the reference", "a whole value"),
        ("secret://file/db\n", "has a blank or a line break in the reference", "a whole value"),
        ("secret://file/a,secret://file/b", "contains 2 references in one value", "a whole value"),
        ("Secret://file/db", "begins with another spelling of secret://", "in small letters"),
        ("secret://", "names the store '', which Waybill does not know", "the stores are: file, vault"),
        (
            "secret://fil/db",
            "names the store 'fil', which Waybill does not know",
            "did you mean secret://file/…?",
        ),
        (
            "secret://sops/app.yaml#key",
            "names the store 'sops'",
            "the stores are: file, vault, systemd-credential",
        ),
        ("secret://file", "names a store and nothing in it", "write secret://file/NAME"),
        ("secret://file/", "names a store and nothing in it", "write secret://file/NAME"),
        ("secret://file/a/b", "has a slash in the name", "write secret://file/NAME"),
        ("secret://file/..", "has the part .., which would lead elsewhere", "write secret://file/NAME"),
        ("secret://file/a#b", "names a key, which this store does not have", "write secret://file/NAME"),
        ("secret://file/%2e%2e", "has the character % at position 15", "written as they are"),
        (
            "secret://file/{{name}}",
            "has the character { at position 15",
            "without quotes, escapes or placeholders",
        ),
        ("secret://vault/secret#key", "has one part only", "write secret://vault/MOUNT/PATH#KEY"),
        ("secret://vault/secret/db", "does not say which key", "write secret://vault/MOUNT/PATH#KEY"),
        ("secret://vault/secret/db#", "does not say which key", "write secret://vault/MOUNT/PATH#KEY"),
        ("secret://vault/secret//db#k", "has an empty part", "write secret://vault/MOUNT/PATH#KEY"),
        ("secret://vault/secret/db/#k", "has an empty part", "write secret://vault/MOUNT/PATH#KEY"),
        (
            "secret://vault/secret/../sys/x#k",
            "has the part .., which would lead elsewhere",
            "write secret://vault/",
        ),
        ("secret://vault/secret/db#a#b", "has a second # in it", "write secret://vault/MOUNT/PATH#KEY"),
        ("secret://vault/secret/db?version=1#k", "has the character ? at position 25", "written as they are"),
        (
            "secret://systemd-credential/a:b",
            "has a name that is not one of systemd",
            "write secret://systemd-",
        ),
        (
            "secret://systemd-credential/größe",
            "has a name that is not one of systemd",
            "write secret://systemd-",
        ),
    ],
)
def test_a_faulty_reference_has_its_reason_and_remedy(text: str, what: str, hint: str) -> None:
    found = fault(text)
    assert what in found.what
    assert hint in found.hint


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("secret://file/db\u202e", "has the invisible character U+202E at position 17"),
        ("secret://file/d\x00b", "has the invisible character U+0000 at position 16"),
        ("secret://file/gro\u0308sse", "is not in the composed form of Unicode (NFC)"),
        ("secret://file/" + "a" * 256, "has a part of more than 255 bytes"),
        ("secret://vault/secret/db#" + "k" * 256, "has a key of more than 255 bytes"),
        ("secret://file/" + "a" * 2000, "is longer than the 1024 characters"),
    ],
)
def test_names_are_bounded_and_have_one_spelling(text: str, what: str) -> None:
    assert what in fault(text).what


@pytest.mark.parametrize(
    "text",
    ["hunter2secret://file/db", "secret://file/db hunter2", "secret://file/{hunter2}", "SECRET://hunter2"],
)
def test_what_stands_around_a_reference_is_not_quoted(text: str) -> None:
    found = fault(text)
    assert "hunter2" not in found.what + found.hint


def test_references_are_found_wherever_they_are_and_other_values_are_left() -> None:
    values = {
        "db": {"password": "secret://file/db", "host": "db.lan"},
        "keys": ["a", "secret://file/key"],
        "n": 5,
    }
    found, problems = references_in(values, lambda path: "values.yaml")
    assert found == {("db", "password"): Reference("file", "db"), ("keys", 1): Reference("file", "key")}
    assert problems == []


def test_all_faults_are_told_with_key_and_place() -> None:
    values = {"db": {"password": "x secret://file/db"}, "secret://file/key": 1, "list": ["secret://none/x"]}
    _, problems = references_in(values, lambda path: f"values.yaml:{len(path)}")
    assert [(each.where, each.what) for each in problems] == [
        ("values.yaml:2", "db.password has text before the reference"),
        ("values.yaml:1", "the value is a key; only a value can be a reference"),
        ("values.yaml:2", "list[0] names the store 'none', which Waybill does not know"),
    ]
