"""A key that neither the defaults nor the schema know is a misspelt one, in the file that has it."""

from __future__ import annotations

from typing import Any

import pytest

from installer.shared import strict_yaml
from installer.shared.configuration.known_keys import unknown_keys
from tests.rig.hang import ends

DEFAULTS = {"ports": {"client": 4222}, "labels": {}, "tls": None, "peers": []}
PORT = {"type": "integer"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "ports": {"$ref": "#/$defs/ports"},
        "log": {"properties": {"file": {"type": "string"}}},
        "extra": {"type": "object"},
        "open": {"properties": {"a": {}}, "additionalProperties": True},
        "typed": {"additionalProperties": {"properties": {"a": {}}}},
        "patterned": {"patternProperties": {"^x": {}}},
        "either": {"oneOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
    },
    "$defs": {"ports": {"properties": {"client": PORT, "monitor": PORT}}, "loop": {"$ref": "#/$defs/loop"}},
}


def said(text: str, schema: dict[str, Any] | None = SCHEMA, defaults: dict[str, Any] = DEFAULTS) -> list[str]:
    document = strict_yaml.load(text.encode(), "site.yaml")
    return [
        f"{each.where} {each.what}; {each.hint}"
        for each in unknown_keys(document, defaults, schema, "waybill")
    ]


def test_a_misspelt_key_is_told_with_the_one_that_was_meant() -> None:
    assert said("\nprots: {client: 1}\n") == [
        "site.yaml:2 prots is not a value of this release; did you mean ports?"
    ]


def test_a_misspelt_key_of_a_group_is_told_although_the_schema_says_nothing_of_further_keys() -> None:
    (found,) = said("ports:\n  client: 1\n  montior: 2\n")
    assert found == "site.yaml:3 ports.montior is not a value of this release; did you mean monitor?"


def test_where_nothing_is_near_the_known_keys_are_listed() -> None:
    (found,) = said("ports: {x: 1}\n")
    assert found.endswith("known values at this level: client, monitor")


@pytest.mark.parametrize(
    "text",
    [
        "ports: {monitor: 1}",
        "log: {file: x}",
        "extra: {anything: {at: all}}",
        "open: {b: {c: 1}}",
        "typed: {x: {a: 1}}",
        "patterned: {y: 1}",
        "either: {c: 1}",
        "labels: {rack: 7}",
        "tls: {cert: x}",
        "waybill: {version: x}",
    ],
)
def test_what_the_schema_or_an_empty_default_leaves_open_is_no_misspelt_key(text: str) -> None:
    assert said(text) == []


def test_a_key_below_a_typed_group_is_checked() -> None:
    (found,) = said("typed: {x: {b: 1}}\n")
    assert "typed.x.b is not a value" in found


def test_without_a_schema_the_defaults_have_the_keys() -> None:
    assert said("labels: {rack: 7}\npeers: {a: 1}\n", None) == []
    assert said("ports: {monitor: 1}\n", None) != []
    assert said("anything: 1\n", None, {}) == []


def test_references_that_go_in_circles_end() -> None:
    circle = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}
    with ends():
        assert said("x: {y: 1}\n", circle, {}) != []


def test_references_that_multiply_are_looked_at_once_for_each_group() -> None:
    parts = {
        f"a{n}": {"$ref": f"#/$defs/a{n + 1}", "additionalProperties": {"$ref": f"#/$defs/a{n + 1}"}}
        for n in range(60)
    }
    schema = {"$defs": {**parts, "a60": {"properties": {"z": {}}}}, "$ref": "#/$defs/a0"}
    text = "".join("  " * depth + "k:\n" for depth in range(30)) + "  " * 30 + "x: 1\n"
    with ends():
        assert said(text, schema, {}) == []


def test_a_reference_with_keys_next_to_it_knows_both() -> None:
    schema = {"$defs": {"a": {"properties": {"x": {}}}}, "$ref": "#/$defs/a", "properties": {"y": {}}}
    assert said("x: 1\ny: 1\n", schema, {}) == []
    assert "did you mean" not in said("zzzz: 1\n", schema, {})[0]
