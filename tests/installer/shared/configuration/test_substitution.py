"""What takes the place of references, and what is said of values that are not known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installer.shared.configuration.merge import Merged
from installer.shared.configuration.substitution import Hidden, Substitution, dotted_group
from installer.shared.values import BuiltIns, Layer, configure

PASSWORD = Hidden("hunter22", "<secret://file/db>")
BUILT_INS = BuiltIns("1.0.0", "lan-chat")


def test_a_hidden_text_is_what_it_is_and_shows_its_reference() -> None:
    assert PASSWORD == "hunter22"
    shown = [f"{PASSWORD} {PASSWORD!s} {PASSWORD!r} {PASSWORD:>3}", str([PASSWORD]), f"{ {'a': PASSWORD} }"]
    assert "hunter22" not in "".join(shown)
    assert PASSWORD.value == "hunter22"


def test_only_what_is_on_the_way_is_copied() -> None:
    values: dict[str, Any] = {
        "db": {"password": "r", "host": {"a": 1}},
        "keys": ["r", "x"],
        "other": {"b": 2},
    }
    before = json.dumps(values)
    made = Substitution({("db", "password"): PASSWORD, ("keys", 0): PASSWORD}).applied(values)
    assert made == {
        "db": {"password": "hunter22", "host": {"a": 1}},
        "keys": ["hunter22", "x"],
        "other": {"b": 2},
    }
    assert type(made["db"]["password"]) is str
    assert made["other"] is values["other"]
    assert made["db"]["host"] is values["db"]["host"]
    assert json.dumps(values) == before


def test_an_entry_of_a_list_belongs_to_the_value_of_the_list() -> None:
    assert dotted_group(("db", "password")) == "db.password"
    assert dotted_group(("users", 0, "password")) == "users"


@pytest.mark.parametrize(
    ("rule", "text", "problems"),
    [
        ({"pattern": "^[a-z]+$"}, "secret://file/db", 0),
        ({"pattern": "^[a-z]+$"}, "UPPER", 1),
        ({"type": "integer"}, "secret://file/db", 0),
        ({"oneOf": [{"const": "a"}, {"const": "b"}]}, "secret://file/db", 0),
    ],
)
def test_what_the_schema_says_of_a_reference_is_not_known_before_it_is_resolved(
    rule: dict[str, Any], text: str, problems: int
) -> None:
    schema = Layer("schema.json", json.dumps({"properties": {"password": rule}}).encode())
    layers = [Layer("values.yaml", f"password: {text}\n".encode(), kind="defaults")]
    assert len(configure(layers, schema, BUILT_INS).problems) == problems


def test_a_rule_about_a_group_counts_as_far_as_the_reference_has_no_part_in_it() -> None:
    schema = Layer("schema.json", json.dumps({"required": ["user"], "minProperties": 3}).encode())
    layers = [Layer("values.yaml", b"password: secret://file/db\n", kind="defaults")]
    whats = [each.what for each in configure(layers, schema, BUILT_INS).problems]
    assert any("user is missing" in what for what in whats)


def test_no_store_is_asked_if_a_file_cannot_be_read() -> None:
    def substitute(_merged: Merged) -> Substitution:
        pytest.fail("a store was asked")

    layers = [
        Layer("values.yaml", b"password: secret://file/db\n", kind="defaults"),
        Layer("site.yaml", b"password: [\n"),
    ]
    found = configure(layers, None, BUILT_INS, substitute=substitute)
    assert [each.where for each in found.problems] == ["site.yaml:2"]
