"""Strict JSON: one text has one meaning, or is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.errors import TamperedError
from installer.core.jsonio import dumps, dumps_lines, loads_strict

MIB = 1 << 20


def refusal(text: str | bytes, limit: int = MIB) -> TamperedError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(TamperedError) as caught:
        loads_strict(data, "bundle.json", limit)
    assert caught.value.where.startswith("bundle.json")
    assert len(str(caught.value)) < 400
    return caught.value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 1}', "the key 'a' twice"),
        ('{"x": {"a": 1, "b": 2, "a": 3}}', "the key 'a' twice"),
        ('{"a": 1, "\\u0061": 2}', "the key 'a' twice"),
        ("NaN", "not an integer: NaN"),
        ("[Infinity]", "not an integer: Infinity"),
        ("[-Infinity]", "not an integer: -Infinity"),
        ("1.0", "not an integer: 1.0"),
        ("[1e3]", "not an integer: 1e3"),
        ("9007199254740993", "beyond 2^53"),
        ("-9007199254740993", "beyond 2^53"),
        ("9" * 5000, "beyond 2^53: 9999"),
        ('"\\ud800"', "lone surrogate"),
        ('{"\\udfff": 1}', "lone surrogate"),
        ('["\\ud83d", "\\ude00"]', "lone surrogate"),
        ("[" * 33 + "]" * 33, "nested more than 32 levels deep"),
        ('{"a":' * 33 + "1" + "}" * 33, "nested more than 32 levels deep"),
        ("[" * 200_000, "nested more than 32 levels deep"),
        ('{"a":' * 100_000, "nested more than 32 levels deep"),
        ("", "is not JSON"),
        ("{}{}", "is not JSON"),
        ("{'a': 1}", "is not JSON"),
        ("[1,]", "is not JSON"),
        ("\ufeff{}", "begins with a byte order mark (BOM)"),
        ('"a\nb"', "is not JSON"),
        ("01", "is not JSON"),
        ("{} // x", "is not JSON"),
        ('{"' + "k" * 9999 + '": 1, "' + "k" * 9999 + '": 2}', "twice"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_text_that_two_readers_may_understand_differently_is_refused(text: str, why: str) -> None:
    assert why in refusal(text).what


@pytest.mark.parametrize("data", [b"\xff", b'"\xed\xa0\x80"', b'"\xc0\x80"'])
def test_what_is_not_utf8_is_refused_with_its_offset(data: bytes) -> None:
    error = refusal(data)
    assert error.what == "is not UTF-8"
    assert error.where.startswith("bundle.json@")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named(encoding: str) -> None:
    error = refusal('{"a": 1}'.encode(encoding))
    assert error.what.startswith("is UTF-16 text")
    assert "editor" in error.hint


def test_a_fault_names_its_line() -> None:
    assert refusal('{\n"a": 1,\n"b" 2\n}').where == "bundle.json:3"


def test_a_text_larger_than_its_limit_is_not_looked_at() -> None:
    assert "is 11 bytes, more than the 10 allowed" in refusal(b"[" * 11, limit=10).what


@pytest.mark.parametrize(
    "text", ["9007199254740992", "-9007199254740992", "[" * 32 + "]" * 32, '"\\ud83d\\ude00"']
)
def test_the_bounds_themselves_are_allowed(text: str) -> None:
    assert loads_strict(text.encode(), "x", MIB) == json.loads(text)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text("abc\u00e9", max_size=3), below, max_size=4)
    ),
    max_leaves=20,
)


@given(plain)
def test_what_is_written_is_read_back_as_it_was(value: Any) -> None:
    assert loads_strict(dumps(value), "x", MIB) == value
    if isinstance(value, dict):
        assert loads_strict(dumps_lines(value), "x", MIB) == value


@given(st.dictionaries(st.text("abc", min_size=1), plain, min_size=1))
def test_a_document_has_one_written_form_whatever_the_order_of_its_keys(value: dict[str, Any]) -> None:
    turned = dict(reversed(value.items()))
    assert dumps(value) == dumps(turned)
    assert dumps_lines(value) == dumps_lines(turned)


@given(st.binary(max_size=60) | st.text('{}[]",:0123456789.eE-+\\u \ntrfalsn', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_never_more(data: bytes) -> None:
    try:
        loads_strict(data, "x", MIB)
    except TamperedError:
        return
    json.loads(data)


@pytest.mark.parametrize(
    "text", ["", '"a\nb"', '"a', '"\\x"', '{"a"', '{"a":}', "[1,]", "{}{}", '"\\u12"', "{1}"]
)
def test_the_reason_why_a_text_is_no_json_is_a_whole_phrase(text: str) -> None:
    what = refusal(text).what
    assert what.startswith("is not JSON: ")
    assert what.rstrip(": ").rsplit(" ", 1)[-1] not in ("at", "starting")
    assert not what.endswith(":")
