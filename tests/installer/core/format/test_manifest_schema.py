"""The parser of bundle.json and its JSON Schema say the same, as far as a schema can say it."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from installer.core.errors import TamperedError
from installer.core.format import manifest_json
from tests.rig.manifests import BASE, FULL

PATH = Path(__file__).parents[4] / "schemas" / "v1" / "bundle.schema.json"
SCHEMA: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def parses(document: Any) -> bool:
    """Says what the parser says of fields; whether they contradict each other no schema can tell."""
    try:
        manifest_json.parse(json.dumps(document).encode())
    except TamperedError as error:
        # a fault of the document as a whole, of a name or of a place comes from the rules behind the parser
        return error.where == "bundle.json" and isinstance(document, dict)
    return True


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


def test_the_schema_of_the_manifest_is_one_of_2020_12() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_no_object_has_fields_that_the_schema_does_not_know() -> None:
    open_ended = [found for found in objects(SCHEMA) if found.get("additionalProperties") is not False]
    # the branches of `allOf` close it, for each method
    assert open_ended == [SCHEMA["$defs"]["deployment"]["properties"]["options"]]


def test_every_field_says_what_it_is() -> None:
    def said(field: dict[str, Any]) -> bool:
        target = SCHEMA["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field
        return any(
            key in field or key in target for key in ("description", "const", "enum", "items", "pattern")
        )

    for found in objects(SCHEMA):
        for name, field in found.get("properties", {}).items():
            assert said(field) or field.get("type") == "integer", name


@pytest.mark.parametrize("manifest", [BASE, FULL], ids=["small", "full"])
def test_what_we_write_is_valid(manifest: Any) -> None:
    VALIDATOR.validate(json.loads(manifest_json.dump(manifest)))


VALUES = st.sampled_from(
    [
        None, True, False, 0, 1, -1, 2**53, 99, "", "x", "0644", "0999", "a\nb", "docs/x", "../x",
        "linux/amd64", "root:root", "1.4.0", "2026-01-01T00:00:00Z", "2026-1-1",
        "f" * 64, "sha256:" + "f" * 64, "/opt/x",
        [], ["x"], {}, {"x": 1}, "command",
    ]
)  # fmt: skip


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, (dict, list)):
            yield from places(value, (*path, key))


DOCUMENT = json.loads(manifest_json.dump(FULL))
PLACES = list(places(DOCUMENT))


@settings(max_examples=400)
@given(st.sampled_from(PLACES), VALUES, st.sampled_from(["set", "drop", "add"]))
def test_parser_and_schema_agree_on_any_one_change(place: tuple[Any, ...], value: Any, how: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    if how == "set":
        holder[place[-1]] = value
    elif how == "drop":
        del holder[place[-1]]
    elif isinstance(holder, dict):
        holder["surprise"] = value
    valid, parsed = VALIDATOR.is_valid(document), parses(document)
    if valid != parsed:
        # a schema that is stricter than the fields is only doing what the rules do afterwards
        assert parsed
        assert not valid
        with pytest.raises(TamperedError):
            manifest_json.parse(json.dumps(document).encode())


def test_a_value_of_a_wrong_type_is_refused_by_both_wherever_it_stands() -> None:
    pick = random.Random(4)
    for place in PLACES:
        document = copy.deepcopy(DOCUMENT)
        holder = document
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = pick.choice([None, 1.5, {"x": []}, [[]], "\x00"])
        with pytest.raises(TamperedError):
            manifest_json.parse(json.dumps(document).encode())
        assert not VALIDATOR.is_valid(document), place
