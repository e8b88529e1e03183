"""Templates are checked before they travel."""

from __future__ import annotations

import pytest

from bundler.config.checks.templates import KnownValues, check

VALUES = {"chat": {"port": 80, "tags": ["a"], "none": None}, "labels": {}, "waybill": {"version": "1"}}
SCHEMA = {
    "type": "object",
    "properties": {
        "host": {"type": "string"},
        "chat": {"type": "object", "properties": {"tls": {"$ref": "#/$defs/tls"}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "open": {"anyOf": [{"type": "object"}, {"type": "string"}]},
        "any": True,
    },
    "$defs": {"tls": {"type": "object", "properties": {"cert": {"type": "string"}}}},
}


def problems(template: str, schema=SCHEMA) -> list[str]:
    return [str(problem) for problem in check(template.encode(), "c.j2", KnownValues(VALUES, schema))]


@pytest.mark.parametrize(
    "template",
    [
        "{{ chat.port }} {{ waybill.version }}",
        "{{ host }}",
        "{{ chat.tls.cert }}",
        "{{ labels.anything }}",
        "{{ open.whatever.it.is }} {{ any.x }}",
        "{% for tag in chat.tags %}{{ tag }}{{ loop.index }}{% endfor %}",
        "{% for k, v in chat.items() %}{{ k }}{% endfor %}",
        "{% set x = 1 %}{{ x }}",
        "{% macro m(a) %}{{ a.b }}{% endmacro %}",
        "{{ nothing | default(3) }}",
        "{% if nothing is defined %}{{ nothing.at.all }}{% endif %}",
        "{{ chat.none }}",
        "{{ chat.tags[0] }}",
        "{{ range(3) | list }}",
        "{{ 'chat.port' | origin }} {{ 'chat' | origin }} {{ 'chat.tls.cert' | origin }}",
        "{{ chat.port | env('systemd') }}",
        "plain text",
    ],
)
def test_values_of_the_defaults_and_of_the_schema_are_known(template):
    assert problems(template) == []


@pytest.mark.parametrize(
    ("template", "line", "what", "hint"),
    [
        ("\n{{ chat.prt }}", 2, "chat.prt", "did you mean chat.port?"),
        ("{{ hosst }}", 1, "hosst", "did you mean host?"),
        ("{{ chat.tls.key }}", 1, "chat.tls.key", "values schema"),
        ("{{ chat.port.x }}", 1, "chat.port.x", "values schema"),
        ("{{ waybill.release }}", 1, "waybill.release", "version, product, environment"),
        ("{% if a %}\n{{ b }}{% endif %}", 1, "uses a", ""),
        ("\r\n\r\n{{ gone }}\r\n", 3, "gone", ""),
        ("{{ x", 1, "template syntax", ""),
        ("\n# {{ 'chat.prt' | origin }}", 2, "asks for the origin of chat.prt", "did you mean chat.port?"),
        ("{{ 'waybill.version' | origin }}", 1, "which Waybill sets itself", "value of a layer"),
        ("\n{{ chat.tags | env('sh') }}", 2, "it is a list (rendered with the default values)", "NAME={{"),
        ("\n{{ chat.port / 0 }}", 2, "division by zero (rendered with the default values)", ""),
        ("\n{{ chat.port + 'a' }}", 2, "rendered with the default values", ""),
    ],
)
def test_a_value_that_nothing_knows_is_named(template, line, what, hint):
    found = problems(template)
    assert found[0].startswith(f"c.j2:{line}: ")
    assert what in found[0]
    assert hint in found[0]


def test_all_unknown_values_are_named_at_once():
    assert len(problems("{{ a }}\n{{ b.c }}\n{{ chat.x }}")) == 3


def test_without_a_schema_only_the_defaults_are_known():
    assert problems("{{ host }}", None)
    assert problems("{{ chat.port }}", None) == []
