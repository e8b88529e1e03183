"""YAML is read strictly, with a line for everything."""

from __future__ import annotations

import pytest

from installer.shared import strict_yaml


def problems(text: str | bytes) -> list[str]:
    data = text if isinstance(text, bytes) else text.encode()
    return [str(problem) for problem in strict_yaml.load(data, "f.yaml").problems]


def test_plain_values_have_the_types_one_expects():
    document = strict_yaml.load(
        b"""\
text: hello world
quoted: "1.10"
version: 1.2.3
number: 42
negative: -7
float: 2.5
yes_: true
nothing:
tilde: ~
list: [a, 1, {b: c}]
empty: {}
block: |
  line one
  line two
""",
        "f.yaml",
    )
    assert document.problems == ()
    assert document.value == {
        "text": "hello world", "quoted": "1.10", "version": "1.2.3", "number": 42, "negative": -7,
        "float": 2.5,
        "yes_": True, "nothing": None, "tilde": None, "list": ["a", 1, {"b": "c"}], "empty": {},
        "block": "line one\nline two\n",
    }  # fmt: skip


def test_every_key_and_item_knows_its_line():
    document = strict_yaml.load(b"# comment\na:\n  b:\n    - x\n    - c: 1\n", "f.yaml")
    assert document.where(("a", "b", 1, "c")) == "f.yaml:5"
    assert document.where(("a", "b", 0)) == "f.yaml:4"
    assert document.where(("a", "not there")) == "f.yaml:2"


@pytest.mark.parametrize(
    "scalar",
    [
        "1.10", "1.0e3", "1e3", "0755", "0o755", "0x1F", "+1", "1_000", ".5", "1.", "-0", "12:30", "1:30:00",
        ".inf", "-.inf", ".nan", "no", "No", "YES", "on", "Off", "True", "FALSE", "Null", "NULL",
        "2024-01-01",
        "2024-01-01 10:00:00", "99999999999999999999", "<<", "=",
    ],
)  # fmt: skip
def test_a_scalar_that_could_change_its_meaning_is_refused(scalar):
    found = problems(f"ok: 1\nkey: {scalar}\n")
    assert len(found) == 1
    assert found[0].startswith("f.yaml:2: ")
    assert f'"{scalar}"' in found[0]
    assert problems(f'key: "{scalar}"\n') == []


@pytest.mark.parametrize(
    "scalar", ["y", "n", "1.2.3", "a1", "10.0.0.1", "1.4.0-rc.1", "redis:7", "-", "60s", "1a"]
)
def test_what_every_reader_takes_for_text_needs_no_quotes(scalar):
    document = strict_yaml.load(f"key: {scalar}x\nother: [{scalar}]\n".encode(), "f.yaml")
    assert document.problems == () or scalar == "-"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: &x 1\n", "anchor &x"),
        ("a: &x [1]\nb: *x\n", "alias *x"),
        ("<<: {a: 1}\n", "merge key"),
        ("a: !!python/object/apply:os.system [id]\n", "tag !!python"),
        ("a: !vault x\n", "tag !vault"),
        ("!vault a: x\n", "tag !vault"),
        ("!!null a: x\n", "tag !!null"),
        ("a: 1\na: 2\n", "'a' twice, first in line 1"),
        ("a: {b: 1, b: 2}\n", "'b' twice"),
        ("1: a\n", "has the key 1"),
        ("no: a\n", "has the key no"),
        ("? [a, b]\n: c\n", "key that is not text"),
        ("a: 1\n---\nb: 2\n", "second YAML document"),
        ("a: b: c\n", "not YAML"),
        ("a:\n\t- b\n", "not YAML"),
        ("a: [1\n", "not YAML"),
        ("a: \x00\n", "U+0000"),
    ],
)
def test_what_is_not_plain_data_is_refused(text, what):
    assert any(what in problem for problem in problems(text))


def test_all_problems_are_said_at_once_each_with_its_line():
    found = problems("a: 1.10\nb: no\nc: {d: 0755}\na: 1\n")
    assert [problem.split(": ")[0] for problem in found] == ["f.yaml:1", "f.yaml:2", "f.yaml:3", "f.yaml:4"]


def test_bytes_that_are_not_utf8_are_named_by_their_line():
    assert problems(b"a: 1\nb: \xff\n")[0].startswith("f.yaml:2: is not UTF-8")


@pytest.mark.parametrize("character", ["\x00", "\x1b", "\x7f", "\ufffe"])
def test_a_character_that_yaml_does_not_allow_is_named_with_its_line(character: str) -> None:
    (found,) = problems(f"a: ä\nb: x{character}\n")
    assert found.startswith(f"f.yaml:2: contains the character U+{ord(character):04X}, which YAML does not")


def test_too_large_too_deep_and_too_many_are_refused():
    assert "larger than 1024 KiB" in problems(b"a: " + b"x" * 2**20)[0]
    assert "deeper than 32" in problems("[" * 40 + "]" * 40)[0]
    assert "more than 100000" in problems("[" + "1," * 100_001 + "]")[0]


def test_a_byte_order_mark_is_no_part_of_the_first_key():
    assert strict_yaml.load(b"\xef\xbb\xbfa: 1\n", "f.yaml").value == {"a": 1}


def test_both_parsers_of_pyyaml_give_the_same(monkeypatch):
    import yaml

    text = b"a: [1, {b: no}]\nc: 'x'\nd: &e 1.10\n"
    fast = strict_yaml.load(text, "f.yaml")
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert strict_yaml.load(text, "f.yaml") == fast
