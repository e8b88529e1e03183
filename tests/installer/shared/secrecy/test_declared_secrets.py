"""Values of a site are secret because of their keys, or because the schema of the values says so."""

from __future__ import annotations

import pytest

from installer.shared.secrecy.declared import secret_values
from tests.rig.hang import ends

VALUES = {
    "port": 5432,
    "db": {"user": "chat", "password": "one-secret", "password_file": "/run/x"},
    "secrets": {"user": "chat", "mq": "two-secret", "list": ["three-secret"]},
    "license": {"code": "four-secret"},
    "pin": 123456,
    "tokens": ["five-secret"],
    "reference": {"password": "secret://vault/x"},
}
SCHEMA = {
    "properties": {
        "license": {"$ref": "#/$defs/license"},
        "pin": {"allOf": [{"type": "integer"}, {"writeOnly": True}]},
    },
    "$defs": {"license": {"properties": {"code": {"type": "string", "writeOnly": True}}}},
}


def test_values_of_a_site_are_secret_by_key_and_by_schema() -> None:
    assert secret_values(VALUES, SCHEMA) == {
        ("db", "password"): "one-secret",
        ("secrets", "mq"): "two-secret",
        ("secrets", "list", 0): "three-secret",
        ("license", "code"): "four-secret",
        ("pin",): "123456",
        ("tokens", 0): "five-secret",
    }


@pytest.mark.parametrize(
    "value",
    ["$uper-2.0", "@lpha-2.0", "<angle-2.0>", "{{x}}-2.0", "env:x", "/run/x", "amqp://u", "${X}", "vault:y"],
)
def test_a_password_that_looks_like_a_reference_is_one(value: str) -> None:
    assert secret_values({"password": value}) == {("password",): value}


@pytest.mark.parametrize("value", ["none", "changeme", "true", "***"])
def test_a_word_that_says_that_there_is_no_password_is_none(value: str) -> None:
    assert secret_values({"password": value}) == {}


@pytest.mark.parametrize("value", ["none", "changeme", "$uper-2.0"])
def test_whatever_the_schema_marks_as_secret_is_one(value: str) -> None:
    assert secret_values({"x": value}, {"properties": {"x": {"writeOnly": True}}}) == {("x",): value}


def test_everything_below_what_the_schema_marks_as_secret_is_secret() -> None:
    values = {"login": {"user": "chat", "cert_path": "/etc/x", "roles": ["admin"], "on": True}}
    assert secret_values(values, {"properties": {"login": {"writeOnly": True}}}) == {
        ("login", "user"): "chat",
        ("login", "cert_path"): "/etc/x",
        ("login", "roles", 0): "admin",
    }


def test_a_reference_to_a_store_is_no_secret_even_if_the_schema_marks_it() -> None:
    schema = {"properties": {"x": {"writeOnly": True}}}
    assert secret_values({"x": "secret://vault/x"}, schema) == {}


MARKED = {"writeOnly": True}
WAYS = {
    "a reference to the whole": {"properties": {"a": {"$ref": "#"}, "x": MARKED}},
    "a reference into a list": {"allOf": [{}, {"properties": {"x": MARKED}}], "$ref": "#/allOf/1"},
    "an anchor": {"$ref": "#it", "$defs": {"y": {"$anchor": "it", "properties": {"x": MARKED}}}},
    "an escaped name": {"$ref": "#/$defs/a%20~1b", "$defs": {"a /b": {"properties": {"x": MARKED}}}},
    "a condition": {"if": {}, "then": {"properties": {"x": MARKED}}},
    "a dependent schema": {"dependentSchemas": {"x": {"properties": {"x": MARKED}}}},
    "a pattern": {"patternProperties": {"^x": MARKED}},
    "all other keys": {"additionalProperties": MARKED},
    "keys that nothing else names": {"unevaluatedProperties": MARKED},
    "a long chain": {
        "$ref": "#/$defs/0",
        "$defs": {
            **{str(at): {"$ref": f"#/$defs/{at + 1}"} for at in range(500)},
            "500": {"properties": {"x": MARKED}},
        },
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_a_schema_may_mark_a_secret_in_any_way(way: str) -> None:
    assert secret_values({"x": "s3cret"}, WAYS[way]) == {("x",): "s3cret"}


@pytest.mark.parametrize("word", ["items", "contains", "unevaluatedItems"])
def test_a_schema_may_mark_the_entries_of_a_list(word: str) -> None:
    assert secret_values({"x": ["s3cret"]}, {"properties": {"x": {word: MARKED}}}) == {("x", 0): "s3cret"}


def test_values_may_be_nested_deeper_than_any_stack() -> None:
    values: object = "s3cret"
    for _ in range(20_000):
        values = {"password": values}
    assert list(secret_values(values).values()) == ["s3cret"]


def test_a_schema_with_as_many_ways_as_it_likes_ends() -> None:
    # Each part leads to the next one in thirty ways: 30 to the power of 40 ways, and 40 parts.
    parts = {str(at): {"anyOf": [{"$ref": f"#/$defs/{at + 1}"}] * 30} for at in range(40)}
    schema = {"$ref": "#/$defs/0", "$defs": {**parts, "40": {"properties": {"x": MARKED}}}}
    with ends():
        assert secret_values({"x": "s3cret"}, schema) == {("x",): "s3cret"}


def test_what_a_schema_is_too_large_to_be_asked_about_is_secret() -> None:
    schema = {"anyOf": [{"additionalProperties": {"type": "string"}} for _ in range(20_000)]}
    with ends():
        found = secret_values({f"k{at}": f"value {at}" for at in range(20_000)}, schema)
    assert found[("k19999",)] == "value 19999"


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#", "allOf": [{"$ref": "#"}, {"$ref": "#"}], "properties": {"a": {"$ref": "#"}}}
    assert secret_values({"a": {"a": {"a": "x"}}}, schema) == {}
