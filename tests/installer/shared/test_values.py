"""A host's values: defaults, the site's file, --values, checked together."""

from __future__ import annotations

import json

import pytest

from installer.core.errors import HostNotReadyError
from installer.shared.bounded_child import Bounds
from installer.shared.values import BuiltIns, Layer, examine, resolve

BUILT_INS = BuiltIns("1.4.0", "lan-chat", "production")
DEFAULTS = Layer("config/values.yaml", b"chat:\n  port: 8080\n  tags: [a, b]\nlog: info\n")
SCHEMA = Layer(
    "config/values.schema.json",
    json.dumps(
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["host"],
            "properties": {
                "host": {"type": "string", "description": "The name of the host. As in DNS."},
                "log": {"enum": ["info", "debug"]},
                "chat": {
                    "type": "object",
                    "properties": {"port": {"type": "integer", "maximum": 65535}, "tags": {"type": "array"}},
                },
            },
        }
    ).encode(),
)


def site(text: str) -> Layer:
    return Layer("/etc/waybill/lan-chat/values.yaml", text.encode())


def problems(*layers: Layer, schema: Layer | None = SCHEMA) -> list[str]:
    with pytest.raises(HostNotReadyError) as caught:
        resolve(layers, schema, BUILT_INS)
    return [str(problem) for problem in caught.value.problems]


def test_mappings_are_merged_and_everything_else_is_replaced():
    values = resolve([DEFAULTS, site("host: h1\nchat:\n  tags: [c]\n")], SCHEMA, BUILT_INS)
    assert values["chat"] == {"port": 8080, "tags": ["c"]}
    assert values["log"] == "info"
    assert values["waybill"] == {"version": "1.4.0", "product": "lan-chat", "environment": "production"}


def test_the_strongest_layer_wins():
    values = resolve([DEFAULTS, site("host: h1\nlog: debug\n"), Layer("v", b"host: h2\n")], SCHEMA, BUILT_INS)
    assert (values["host"], values["log"]) == ("h2", "debug")


def test_everything_wrong_in_all_layers_is_said_at_once_with_file_and_line():
    found = problems(DEFAULTS, site("chat:\n  port: 99999\nlgo: debug\n"), Layer("more.yaml", b"log: loud\n"))
    assert {problem.split(": ")[0] for problem in found} == {
        "more.yaml",
        "more.yaml:1",
        "/etc/waybill/lan-chat/values.yaml:2",
        "/etc/waybill/lan-chat/values.yaml:3",
    }
    text = "\n".join(found)
    assert "unknown key lgo" in text
    assert "did you mean log?" in text
    assert "chat.port is 99999, the maximum is 65535" in text
    assert "host is missing (the name of the host)" in text
    assert "set it in /etc/waybill/lan-chat/values.yaml" in text


def test_the_sites_file_is_read_as_strictly_as_bundle_yaml():
    found = problems(DEFAULTS, site("host: no\n"))
    assert len(found) == 1
    assert found[0].startswith(
        "/etc/waybill/lan-chat/values.yaml:1: no is ambiguous: it can mean false or a text\n"
    )


def test_a_group_cannot_be_replaced_by_a_single_value():
    assert "group of values (port, tags)" in problems(DEFAULTS, site("host: h\nchat: 8080\n"))[0]


def test_the_name_waybill_is_taken():
    assert "sets waybill" in problems(DEFAULTS, site("host: h\nwaybill: {version: '9'}\n"))[0]


def test_without_a_schema_a_key_that_no_default_has_is_refused():
    found = problems(DEFAULTS, site("chat:\n  prt: 1\n"), schema=None)
    assert found == [
        (
            "/etc/waybill/lan-chat/values.yaml:2: chat.prt is not a value of this release\n"
            "  hint: did you mean port?"
        )
    ]


def test_without_a_schema_an_empty_group_takes_any_key():
    values = resolve([Layer("d", b"labels: {}\n"), site("labels: {a: b}\n")], None, BUILT_INS)
    assert values["labels"] == {"a": "b"}


def test_a_file_that_holds_no_mapping_is_refused_and_an_empty_one_is_fine():
    assert "must hold a mapping" in problems(DEFAULTS, site("- a\n"))[0]
    assert resolve([DEFAULTS, site("# nothing yet\n")], None, BUILT_INS)["log"] == "info"


def test_missing_values_are_no_fault_while_the_site_has_not_spoken():
    values, found = examine([DEFAULTS], SCHEMA, BUILT_INS, complete=False)
    assert found == []
    assert values["log"] == "info"


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        (b"{", "is not JSON"),
        (b'{"type": 1}', "is not a JSON Schema"),
        (b'{"type": "nothing"}', "is not a JSON Schema"),
        (b"[]", "must hold a JSON object"),
        (b'{"a": 1, "a": 2}', "'a' twice"),
        (b'{"$ref": "https://example.com/s.json"}', "outside the file"),
        (b'{"$ref": "#/$defs/x"}', "not in the file"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_schema_that_cannot_be_used_is_named(schema, what):
    found = problems(DEFAULTS, schema=Layer("s.json", schema))
    assert what in found[0]
    assert found[0].startswith("s.json")


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "object", "properties": {"host": {"pattern": "^(a+)+$"}}}',
        '{"type": "object", "additionalProperties": {"pattern": "^(([a-z])+.)+[A-Z]([a-z])+$"}}',
        '{"$defs": {"a": {"pattern": "(a|aa)+$"}}, "additionalProperties": {"$ref": "#/$defs/a"}}',
    ],
)
def test_a_pattern_that_tries_every_way_is_ended(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("installer.shared.values.BOUNDS", Bounds(seconds=1, total=1))
    (found,) = problems(DEFAULTS, site(f"host: {'a' * 60}!"), schema=Layer("s.json", text.encode()))
    assert found.startswith("s.json: needs more than 1 seconds of processor time to check these values")
    assert "repetition inside a repetition" in found


def test_references_that_multiply_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice a schema that has twice a schema: 2^30 looks at one value."""
    monkeypatch.setattr("installer.shared.values.BOUNDS", Bounds(seconds=1, total=1))
    twice = {f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(30)}
    text = json.dumps({"$defs": {**twice, "a30": {"type": "object"}}, "$ref": "#/$defs/a0"})
    (found,) = problems(DEFAULTS, schema=Layer("s.json", text.encode()))
    assert "seconds of processor time" in found


def test_a_schema_that_refers_to_itself_without_end_is_named() -> None:
    (found,) = problems(DEFAULTS, schema=Layer("s.json", b'{"$ref": "#"}'))
    assert found.startswith("s.json: contains a circular reference")
