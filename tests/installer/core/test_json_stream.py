"""A large JSON object read piece by piece: as strict as in one go, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core import json_stream
from installer.core.errors import TamperedError
from installer.core.json_stream import load_object
from installer.core.jsonio import dumps, dumps_lines, loads_strict
from installer.core.limits import LIMITS, MIB

LISTS: dict[str, Callable[[Any, str], object]] = {"files": lambda value, _where: value}


def read(data: bytes) -> dict[str, Any]:
    found = load_object(data, "bundle.json", LIMITS.manifest_bytes, LISTS)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def refusal(text: str | bytes) -> TamperedError:
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(TamperedError) as caught:
        read(data)
    assert caught.value.where.startswith("bundle.json")
    assert len(str(caught.value)) < 400
    return caught.value


@pytest.fixture(scope="module")
def narrow() -> Iterator[None]:
    """Windows of a few bytes, so that every place of a small text is the border of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "LIMITS", replace(LIMITS, json_piece=48))
        patch.setattr(json_stream, "WINDOW", 48)
        yield


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "is not an object"),
        ("", "is not an object"),
        ("\ufeff{}", "is not an object"),
        ("{", "a key is expected"),
        ('{"a"', "`:` is expected"),
        ('{"a" 1}', "`:` is expected"),
        ('{"a": }', "is not JSON: Expecting value"),
        ('{"a": 1', "`,` or `}` is expected"),
        ('{"a": 1,}', "a key is expected"),
        ('{"a": 1 "b": 2}', "`,` or `}` is expected"),
        ("{1: 2}", "a key is expected"),
        ("{}{}", "other text follows"),
        ("{} // x", "other text follows"),
        ('{"files": [1', "`,` or `]` is expected"),
        ('{"files": [', "Expecting value"),
        ('{"files": [1,]}', "Expecting value"),
        ('{"files": [1 2]}', "`,` or `]` is expected"),
        ('{"files": [1}', "`,` or `]` is expected"),
        ('{"a": 1, "a": 1}', "the key 'a' twice"),
        ('{"files": [], "files": []}', "the key 'files' twice"),
        ('{"files": [{"a": 1, "a": 2}]}', "the key 'a' twice"),
        ('{"files": [1.0]}', "not an integer: 1.0"),
        ('{"a": NaN}', "not an integer: NaN"),
        ('{"files": [9007199254740993]}', "beyond 2^53"),
        ('{"files": ["\\ud800"]}', "lone surrogate"),
        ('{"\\ud800": 1}', "lone surrogate"),
        ('{"files": [' + "[" * 31 + "]" * 31 + "]}", "nested more than 32 levels deep"),
        ('{"a": ' + "[" * 32 + "]" * 32 + "}", "nested more than 32 levels deep"),
        ('{"files": [' + "[" * 200_000, "nested more than 32 levels deep"),
        ('{"a": ' + "[" * 200_000, "nested more than 32 levels deep"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_refused_in_one_go_is_refused_here(text: str, why: str) -> None:
    assert why in refusal(text).what


@pytest.mark.parametrize(
    "text", ['{"files": [' + "[" * 30 + "]" * 30 + "]}", '{"a": ' + "[" * 31 + "]" * 31 + "}"]
)
def test_the_depth_that_is_allowed_is_the_same(text: str) -> None:
    assert read(text.encode()) == loads_strict(text.encode(), "x", MIB)


def test_a_fault_names_its_line_wherever_the_window_is(narrow: None) -> None:
    rows = ",\n".join(f'"{n:030d}"' for n in range(100))
    assert refusal(f'{{"files": [\n{rows},\nx]}}').where == "bundle.json:102"


@pytest.mark.parametrize("before", range(60))
def test_what_is_not_utf8_is_refused_with_its_offset(narrow: None, before: int) -> None:
    good = b'{"files": ["' + "é".encode() * 20 + b'", "'
    assert refusal(good + b"x" * before + b'\xed\xa0\x80"]}').where == f"bundle.json@{len(good) + before}"
    assert refusal(b'{"files": ["' + b"x" * before + b"\xc3").what == "is not UTF-8"


plain = st.recursive(
    st.none() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text("abé", max_size=3), below, max_size=3)
    ),
    max_leaves=8,
)
objects = st.fixed_dictionaries(
    {}, optional={"files": st.lists(plain, max_size=12) | plain, "a": plain, "b": plain}
)


@given(objects, st.sampled_from(["", " ", "\n" * 50]))
def test_the_stream_reads_what_the_strict_reader_reads_or_refuses_what_is_too_large(
    narrow: None, value: dict[str, Any], space: str
) -> None:
    for data in (dumps(value), dumps_lines(value), dumps(value).replace(b",", f"{space},{space}".encode())):
        try:
            found = read(data)
        except TamperedError as error:
            # nothing but its size can be wrong with it
            why = error.what
        else:
            why = "more than 48 bytes"
            assert found == loads_strict(data, "x", MIB)
        assert "more than 48 bytes" in why


@given(
    st.text('{}[]",:0123456789.eE-+\\u \ntrfalsn', max_size=80).map(
        lambda text: b'{"files":[' + text.encode()
    )
)
def test_no_text_is_read_here_that_is_refused_in_one_go(narrow: None, data: bytes) -> None:
    try:
        found = read(data)
    except TamperedError:
        return
    assert found == loads_strict(data, "x", MIB)


def bomb(before: bytes, unit: bytes, after: bytes) -> bytes:
    room = LIMITS.manifest_bytes - len(before) - len(after)
    return before + (unit * (room // len(unit) + 1))[: room // len(unit) * len(unit) - 1] + after


BOMBS: dict[str, Callable[[], bytes]] = {
    "lists in place of files": lambda: bomb(b'{"files":[', b"[],", b"]}"),
    "lists in a list in place of a file": lambda: bomb(b'{"files":[[', b"[],", b"]]}"),
    "objects in a path": lambda: bomb(b'{"files":[{"path":[', b"{},", b"]}]}"),
    "lists in place of deployments": lambda: bomb(b'{"deploy":[', b"[],", b"]}"),
    "lists in options": lambda: bomb(b'{"deploy":[{"method":"files","options":{"a":[', b"[],", b"]}}]}"),
    "deployments with lists in options": lambda: bomb(
        b'{"deploy":[', b'{"method":"files","options":{"a":[[],[],[],[],[],[]]}},', b"]}"
    ),
    "objects of an unknown name": lambda: bomb(b'{"unknown":[', b'{"a":0},', b"]}"),
    "links with lists": lambda: bomb(b'{"links":[', b'{"path":"a","target":[[],[],[],[],[],[]]},', b"]}"),
    "lists in place of layers": lambda: bomb(b'{"images":[{"layers":[', b"[],", b"]}]}"),
    "many names with lists": lambda: (
        b"{" + b",".join(b'"%x":[%s]' % (n, b",".join([b"[]"] * 90_000)) for n in range(230)) + b"}"
    ),
    "one long text": lambda: bomb(b'{"files":["', "\U0001f600".encode(), b'"]}'),
    "spaces": lambda: bomb(b'{"files":[', b" ", b"]}"),
    "one deep list": lambda: b'{"files":[' + b"[" * (LIMITS.manifest_bytes - 10),
}
"""Made for their test only: all of them have 800 MiB, which the whole run of tests would carry."""


READ_IN_LITTLE = """
import re, resource, sys
from pathlib import Path
from installer.core.errors import TamperedError
from installer.core.format import manifest_json
data = sys.stdin.buffer.read()
has = int(re.search(r"VmData:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (has + int(sys.argv[1]),) * 2)
try:
    manifest_json.parse(data)
except TamperedError:
    print("refused")
"""
"""A process of its own, with a limit: to count each allocation here would take five times as long."""


@pytest.mark.parametrize("name", BOMBS)
def test_a_manifest_of_tiny_values_is_refused_in_little_memory(name: str) -> None:
    """64 MiB of empty lists are 1.7 GB as lists; what is read of them at once is one piece."""
    command = [sys.executable, "-c", READ_IN_LITTLE, str(96 * MIB)]
    done = subprocess.run(command, input=BOMBS[name](), capture_output=True, check=False, timeout=600)
    assert (done.stdout, done.stderr[-400:]) == (b"refused\n", b"")
