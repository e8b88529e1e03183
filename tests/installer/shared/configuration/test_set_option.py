"""`--set KEY=VALUE` is typed like a value of a file, and never takes a secret."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from installer.shared.configuration.set_option import MAX_BYTES, parse_setting
from installer.shared.values import BuiltIns, Layer, configure


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("port", "14222", {"port": 14222}),
        ("ports.client", "14222", {"ports": {"client": 14222}}),
        ("name", '"14222"', {"name": "14222"}),
        ("on", "true", {"on": True}),
        ("ratio", "0.5", {"ratio": 0.5}),
        ("log", "info", {"log": "info"}),
        ("log", "null", {"log": None}),
        ("log", "''", {"log": ""}),
        ("url", "http://a:1/x#y", {"url": "http://a:1/x#y"}),
        ("text", "'a # b'", {"text": "a # b"}),
        ("peers", "[a, 'b']", {"peers": ["a", "b"]}),
        ("a.b", "{c: 1}", {"a": {"b": {"c": 1}}}),
        ("db.password_file", "/etc/x", {"db": {"password_file": "/etc/x"}}),
        ("secrets.user", "x", {"secrets": {"user": "x"}}),
    ],
)
def test_a_value_is_read_like_one_of_a_file(key: str, text: str, value: Any) -> None:
    found = parse_setting(key, text)
    assert (found.problems, found.value) == ((), value)


@pytest.mark.parametrize(
    ("key", "text", "what"),
    [
        ("", "1", "has no key"),
        ("a..b", "1", "has a key that is not words with dots in between"),
        ("a b", "1", "has a key that is not words with dots in between"),
        ("peers[0]", "1", "has a key that is not words with dots in between"),
        ("mode", "0644", "would be read as a number"),
        ("on", "yes", "yes is ambiguous"),
        ("a", " ", "has no value"),
        ("a", "x\ny", "has a value of several lines"),
        ("a", "b: c", "is not YAML"),
        ("a", "- b", "is not YAML"),
        ("a", "[b", "is not YAML"),
        ("a", "x # y", "begins a comment"),
        ("a", "# y", "begins with #"),
        ("a", "|", "begins with |"),
        ("a", "!!str x", "has the tag !!str"),
        ("a", "&x y", "sets the anchor"),
        ("a", "x" * (MAX_BYTES + 1), "is longer than 64 KiB"),
        (".".join("a" * 40), "1", "is nested deeper than 32 levels"),
        ("a", "[" * 40 + "]" * 40, "is nested deeper than 32 levels"),
        ("a", "\udcff", "is not UTF-8"),
    ],
)
def test_what_is_not_one_value_is_refused(key: str, text: str, what: str) -> None:
    found = parse_setting(key, text)
    assert found.value is None
    assert {each.where for each in found.problems} == {f"--set {key}"}
    assert what in found.problems[0].what
    assert found.problems[0].hint


@pytest.mark.parametrize("text", ["007", "0644", "yes", "2024-01-31", "=", "1.10"])
def test_the_hint_can_be_typed_in_a_shell(text: str) -> None:
    (problem,) = parse_setting("name", text).problems
    (word,) = (each for each in problem.hint.split() if each.startswith("name="))
    script = f"printf %s {word}"
    argument = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    key, _, value = argument.partition("=")
    found = parse_setting(key, value)
    assert (found.problems, found.value) == ((), {"name": text})


def test_a_number_in_a_list_is_quoted_for_yaml_and_the_list_for_the_shell() -> None:
    (problem,) = parse_setting("peers", "[a, 007]").problems
    assert problem.hint == "quote it: \"007\", and the whole value in single quotes: peers='…'"


@pytest.mark.parametrize(
    ("key", "text", "hint"),
    [
        ("mode", "755", "put it in quotes: mode='\"755\"'"),
        ("a.mode", "755", "put it in quotes: a.mode='\"755\"'"),
        ("a", "{mode: 755}", "put it in quotes: \"755\", and the whole value in single quotes: a='…'"),
    ],
)
def test_a_number_where_the_schema_wants_text_is_quoted_as_it_is_typed(
    key: str, text: str, hint: str
) -> None:
    inner = '"mode": {"type": "string"}'
    schema = f'{{"properties": {{{inner}, "a": {{"properties": {{{inner}}}}}}}}}'
    layer = Layer(f"--set {key}", text.encode(), kind="set")
    found = configure([layer], Layer("schema", schema.encode()), BuiltIns("1.0.0", "lan-chat"))
    assert [each.hint for each in found.problems] == [hint]


@pytest.mark.parametrize("text", ["b: c", "[b", "- b", "'b"])
def test_the_hint_about_what_is_not_yaml_names_no_lines(text: str) -> None:
    (problem, *_) = parse_setting("name", text).problems
    assert "line" not in problem.hint
    assert "name='\"…\"'" in problem.hint


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("db.password", "hunter2"),
        ("apiToken", "hunter2"),
        ("db", "{user: x, password: hunter2}"),
        ("users", "[{name: a, password: hunter2}]"),
        ("secrets", "{anything: {inside: hunter2}}"),
        ("secrets.db", "hunter2"),
        ("password", "yes hunter2: no"),
        ("password", "hunter2 # x"),
        ("password.a", "{b: hunter2}"),
    ],
)
def test_a_secret_is_refused_with_the_remedy_and_not_repeated(key: str, text: str) -> None:
    found = parse_setting(key, text)
    assert found.value is None
    (problem,) = found.problems
    assert "is a secret by its name" in problem.what
    assert "values file that only root can read (mode 0600)" in problem.hint
    assert "hunter2" not in repr(found.problems)
