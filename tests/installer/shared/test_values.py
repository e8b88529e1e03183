"""A host's values: defaults, the site's file, --values, checked together."""

from __future__ import annotations

import json
import time

import pytest

from installer.core.errors import HostNotReadyError
from installer.shared import strict_yaml, values
from installer.shared.child.bounded_child import Bounds
from installer.shared.values import BuiltIns, Layer, configure, examine, resolve

BUILT_INS = BuiltIns("1.4.0", "lan-chat", "production")
DEFAULTS = Layer("config/values.yaml", b"chat:\n  port: 8080\n  tags: [a, b]\nlog: info\n", kind="defaults")
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


@pytest.mark.parametrize("port", ["4222.0", "-1.0"])
def test_a_number_with_a_fraction_of_zero_is_no_whole_number_since_it_would_be_rendered_so(port: str) -> None:
    (found,) = problems(site(f"host: h1\nchat: {{port: {port}}}\n"))
    assert found.startswith("/etc/waybill/lan-chat/values.yaml:2: chat.port must be a whole number, but is ")


def numbers(**keywords: object) -> Layer:
    return Layer("config/values.schema.json", json.dumps({"properties": {"port": keywords}}).encode())


@pytest.mark.parametrize("keywords", [{"enum": [1, 2]}, {"const": 1}])
def test_a_whole_number_that_a_schema_allows_is_not_allowed_with_a_fraction(keywords: dict) -> None:
    schema = numbers(**keywords)
    assert resolve([Layer("v", b"port: 1\n")], schema, BUILT_INS)["port"] == 1
    (found,) = problems(Layer("v", b"port: 1.0\n"), schema=schema)
    assert found.startswith("v:1: port ")
    assert "1.0" in found


@pytest.mark.parametrize("keywords", [{"type": "number"}, {"enum": [1.0]}, {"const": 1.0}])
def test_a_fraction_of_zero_is_a_number_where_the_schema_asks_for_one(keywords: dict) -> None:
    values = resolve([Layer("v", b"port: 1.0\n")], numbers(**keywords), BUILT_INS)
    assert repr(values["port"]) == "1.0"


def test_true_is_no_whole_number() -> None:
    (found,) = problems(Layer("v", b"port: true\n"), schema=numbers(type="integer"))
    assert "must be a whole number" in found


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
    values = resolve(
        [Layer("d", b"labels: {}\n", kind="defaults"), site("labels: {a: b}\n")], None, BUILT_INS
    )
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


OPEN_SCHEMA = Layer(
    "config/values.schema.json",
    b'{"properties": {"log": {"type": "string"}, "licence": {"type": "string", "writeOnly": true}}}',
)


def test_a_key_that_no_default_and_no_schema_knows_is_an_error_in_the_file_that_has_it():
    """JSON Schema lets every key through that a schema does not forbid."""
    cluster = Layer("/clusters/a.yaml", b"\nlgo: debug\n", kind="cluster")
    found = problems(DEFAULTS, cluster, site("log: debug\n"), schema=OPEN_SCHEMA)
    assert found == ["/clusters/a.yaml:2: lgo is not a value of this release\n  hint: did you mean log?"]


def test_a_wrong_value_is_named_in_the_layer_that_set_it_and_not_in_a_weaker_or_stronger_one():
    layers = [
        DEFAULTS,
        Layer("/e.yaml", b"log: info\nchat:\n  port: 70000\n", kind="environment"),
        Layer("/c.yaml", b"\nchat:\n  tags: x\n", kind="cluster"),
        site("host: h\nlog: loud\n"),
    ]
    assert sorted(each.split(": ")[0] for each in problems(*layers)) == [
        "/c.yaml:3",
        "/e.yaml:3",
        "/etc/waybill/lan-chat/values.yaml:2",
    ]


def test_a_setting_is_the_strongest_layer_and_named_as_it_was_typed():
    layers = [DEFAULTS, site("host: h\n"), Layer.setting("chat.port", "9"), Layer.setting("chat.port", "10")]
    assert resolve(layers, SCHEMA, BUILT_INS)["chat"] == {"port": 10, "tags": ["a", "b"]}
    (found,) = problems(*layers, Layer.setting("chat.port", "99999"))
    assert found.startswith("--set chat.port: chat.port is 99999, the maximum is 65535")


def test_a_setting_of_an_entry_of_a_list_is_told_that_lists_are_replaced():
    (found,) = problems(DEFAULTS, Layer.setting("chat.tags.0", "c"), schema=None)
    assert found.startswith("--set chat.tags.0: chat.tags is a list, which is replaced as a whole")
    assert "--set 'chat.tags=[FIRST, SECOND]'" in found


def test_a_setting_that_the_schema_calls_a_secret_is_refused():
    (found,) = problems(DEFAULTS, Layer.setting("licence", "WXYZ-1234"), schema=OPEN_SCHEMA)
    assert found.startswith("--set licence: sets licence, which is a secret by the schema of the release")
    assert "WXYZ" not in found


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([site(f"a: {number}\n") for number in range(values.MAX_LAYERS + 1)], "more than 256 layers"),
        ([site("# " + "x" * (strict_yaml.MAX_BYTES - 2))] * 9, "larger than 8 MiB together"),
    ],
    ids=["layers", "bytes"],
)
def test_what_all_layers_cost_together_is_bounded_before_one_is_parsed(monkeypatch, layers, what):
    monkeypatch.setattr(Layer, "parse", lambda *_: pytest.fail("was parsed"))
    assert [what in each.what for each in configure(layers, None, BUILT_INS).problems] == [True]


def test_the_values_of_all_layers_together_are_bounded_while_they_are_parsed(monkeypatch):
    monkeypatch.setattr(values, "MAX_VALUES", 10)
    layers = [site("a: [1, 2, 3, 4, 5]\n"), Layer("more.yaml", b"b: [1, 2, 3, 4, 5]\n")]
    (found,) = configure(layers, None, BUILT_INS).problems
    assert found.where == "more.yaml:1"
    assert "what other files left over" in found.what


def test_keys_that_nothing_knows_are_looked_for_where_time_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a schema refers to is followed for every key: a bundle must not make that take for ever."""
    monkeypatch.setattr("installer.shared.values.BOUNDS", Bounds(seconds=1, total=1))
    monkeypatch.setattr("installer.shared.values.unknown_keys", lambda *_: iter(int, 1))
    (found,) = problems(DEFAULTS, site("log: info\n"), schema=OPEN_SCHEMA)
    assert "seconds of processor time" in found


def test_a_file_of_something_else_is_refused_soon_and_in_few_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "BOUNDS", Bounds(seconds=5, total=5))
    started = time.process_time()
    found = problems(site("".join(f"k{number}: 1\n" for number in range(20_000))))
    # Each problem was compared with all others: this took many times as long.
    assert time.process_time() - started < 5
    assert len(found) == values.MAX_PROBLEMS + 1
    assert found[-1].startswith("the values: have 19951 more problems, which are not listed")
