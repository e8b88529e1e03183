"""Templates are rendered to exact bytes, strictly, and within bounds."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from installer.core.errors import HostNotReadyError
from installer.shared.rendering.template import RenderError, render
from tests.rig.hang import ends

VALUES = {
    "chat": {"port": 8080, "items": 3, "none": None, "list": [1, 2], "name": "lan & <chat>"},
    "flag": True,
    "waybill": {"version": "1.4.0"},
}


def rendered(template: str) -> bytes:
    return render(template.encode(), "chatd.j2", VALUES)


def fault(template: str | bytes) -> RenderError:
    with pytest.raises(RenderError) as caught:
        render(template if isinstance(template, bytes) else template.encode(), "chatd.j2", VALUES)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [
        b"", b"no newline", b"one\n", b"\n\n\n", b"a\r\nb\r\n", b"a\r\nb", b"a\rb\r", b"a\n\r\n\rb",
        b"\xef\xbb\xbfbom\n",
        b"\x00\x01\x1c\x1d\x1e\x1f\x7f", "ü € \u2028 \u0085\r\n".encode(), b"  trailing  \r\n\t",
        b"{ } % # {# #}{",
        b"x" * 3_000_000 + b"\r\n" + b"y" * 3_000_000,
    ],
)  # fmt: skip
def test_text_outside_of_tags_comes_out_byte_for_byte(text):
    expected = text.replace(b"{# #}", b"")
    assert render(text, "t", {}) == expected


@given(st.text(st.characters(codec="utf-8", exclude_characters="{}"), max_size=200))
def test_any_text_without_braces_comes_out_byte_for_byte(text):
    assert render(text.encode(), "t", {}) == text.encode()


@given(st.text(max_size=50).filter(lambda text: text.isprintable() or "\r" in text or "\x1f" in text))
def test_values_come_out_byte_for_byte(value):
    try:
        expected = value.encode()
    except UnicodeEncodeError:
        return
    assert render(b"a\r\n{{ v }}\r\n", "t", {"v": value}) == b"a\r\n" + expected + b"\r\n"


def test_crlf_is_kept_around_and_inside_of_tags():
    template = b"{% for i in [1, 2] %}\r\n{{\r\n  i\r\n}}\r\n{%- endfor %}\r\nend"
    assert render(template, "t", {}) == b"\r\n1\r\n2\r\nend"
    assert render(b'{{ "a\r\nb" }}{% raw %}\r\n{{ x }}{% endraw %}', "t", {}) == b"a\r\nb\r\n{{ x }}"


def test_values_are_used_and_nothing_is_escaped():
    assert (
        rendered("port={{ chat.port }} {{ chat.name }} {{ waybill.version }}")
        == b"port=8080 lan & <chat> 1.4.0"
    )
    assert rendered("{{ chat | tojson }}").startswith(b'{"port": 8080')
    assert rendered("{{ chat.name | tojson }}") == b'"lan & <chat>"'


def test_a_key_is_found_before_a_method_of_the_same_name():
    assert rendered("{{ chat.items }}") == b"3"
    assert rendered("{% for k, v in waybill.items() %}{{ k }}={{ v }}{% endfor %}") == b"version=1.4.0"


@pytest.mark.parametrize(
    ("template", "line", "key"),
    [
        ("\n\n{{ chat.prt }}", 3, "chat.prt"),
        ("{{ nothing }}", 1, "nothing"),
        ('a\n{{ chat["x"] }}', 2, "chat.x"),
        ("{{ chat.port.sub }}", 1, "chat.port.sub"),
        ("a\r\nb\r\n{{ nothing.at.all }}", 3, "nothing"),
        ("\n{% if chat.on %}x{% endif %}", 2, "chat.on"),
        ("\n{% for x in chat.xs %}{% endfor %}", 2, "chat.xs"),
        ("{{ chat.port }}\n{{ chat.none }}", 2, "chat.none"),
    ],
)
def test_a_value_that_is_not_there_is_named_with_template_line_and_key(template, line, key):
    error = fault(template)
    assert (error.template, error.line, error.key) == ("chatd.j2", line, key)
    assert error.where == f"chatd.j2:{line}"
    assert key in error.what
    assert isinstance(error, HostNotReadyError)


@pytest.mark.parametrize(
    ("template", "line", "what"),
    [
        ("{% if %}", 1, "syntax"),
        ("a\n{% for x in y %}", 2, "endfor"),
        ("\n{{ x | nofilter }}", 2, "nofilter"),
        ("\n{{ 1 + }}", 2, "syntax"),
        ("{% do x %}", 1, "unknown tag"),
        ('\n{% include "/etc/passwd" %}', 2, "another template"),
        ('{% extends "base" %}', 1, "another template"),
        ('\n{% import "m" as m %}', 2, "another template"),
        ("\n{{ 1 / 0 }}", 2, "division"),
        ("{{ chat.port + 'a' }}", 1, "unsupported"),
        ("{{ chat.list | map('string') }}", 1, "prints a generator"),
        ("{{ ''.upper }}", 1, "prints a function"),
        ("{{ [1] | random }}", 1, "random"),
        ("{{ lipsum() }}", 1, "lipsum"),
    ],
)
def test_a_faulty_template_is_refused_with_its_line(template, line, what):
    error = fault(template)
    assert what in error.what
    assert error.line == line
    assert error.hint


def test_bytes_that_are_not_utf8_are_named_by_offset_and_line():
    error = fault(b"ok\nab\xfe")
    assert "offset 5" in error.what
    assert error.line == 2


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ ''['__class__'].__mro__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ chat.list.append(3) }}",
        "{{ chat.update({'port': 1}) }}",
        "{{ self.__init__.__globals__ }}",
        "{{ '{0.__class__}'.format(chat) }}",
        "{{ ('{0.__class__}' | format)(chat) }}",
        "{% set x = range.__self__ %}{{ x }}",
        "{{ namespace.__init__.__globals__ }}",
    ],
)
def test_nothing_but_values_is_in_reach(template):
    before = repr(VALUES)
    fault(template)
    assert repr(VALUES) == before


NS = '{% set ns = namespace(x="aaaaaaaaaaaaaaaa") %}{% for i in range(60) %}'


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
        "{% for a in range(100000000) %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(40) }}",
        '{{ "x" * 10**9 }}',
        "{{ [1] * 10**9 }}",
        "{{ 9 ** 99999 ** 9 }}",
        '{{ "x" | center(1000000000) }}',
        '{{ "x".ljust(1000000000) }}',
        '{{ "x".zfill(1000000000) }}',
        '{{ "%1000000000d" % 1 }}',
        '{{ "%*d" % (1000000000, 1) }}',
        '{{ "{:1000000000}".format(1) }}',
        '{{ "%1000000000d" | format(1) }}',
        '{{ "\\n" | indent(1000000000, true, true) }}',
        "{{ [1] | batch(1000000000, 0) | list }}",
        NS + "{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        NS + "{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        NS + "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}{{ ns.x }}",
        NS + '{% set ns.x = ns.x.replace("a", ns.x) %}{% endfor %}{{ ns.x }}',
        NS + "{% set ns.x = [ns.x, ns.x] | join(ns.x) %}{% endfor %}{{ ns.x }}",
        "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
        "{{ 1 }}" * 20_001,
    ],
)
def test_what_would_take_for_ever_or_all_memory_is_refused_soon(template):
    with ends():
        fault(template)


def test_loops_know_their_length_and_last_round():
    template = (
        "{% for x in chat.list %}{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}"
    )
    assert rendered(template) == b"1/2,2/2"


def test_the_same_values_give_the_same_bytes():
    template = "{{ waybill | tojson }}{{ chat.list }}"
    assert rendered(template) == rendered(template)


DOCUMENT = Path(__file__).parents[4] / "docs" / "how-to" / "set-site-values.md"


def test_blocks_without_empty_lines_are_written_as_the_document_shows() -> None:
    section = DOCUMENT.read_text().split("## Blocks without empty lines", 1)[1]
    template, wanted = re.findall(r"```(?:jinja|text)\n(.*?)```", section, re.DOTALL)[:2]
    values = {"ports": {"client": 4222}, "log": {"file": "/var/log/chat.log"}, "peers": ["a", "b"]}
    assert render(template.encode(), "blocks.conf.j2", values).decode() == wanted
    empty = render(template.encode(), "blocks.conf.j2", {**values, "log": {"file": ""}, "peers": []})
    assert empty == b"listen 4222\nend\n"


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("a\n{% if flag %}\nb\n{% endif %}\nc\n", b"a\n\nb\n\nc\n"),
        ("a\n  {% if flag %}\n  b\n  {% endif %}\nc\n", b"a\n  \n  b\n  \nc\n"),
        ("{% for i in chat.list %}\n- {{ i }}\n{% endfor %}\n", b"\n- 1\n\n- 2\n\n"),
        ("{# note #}\na\n", b"\na\n"),
        ("{% set x = 1 %}\na\n", b"\na\n"),
    ],
)
def test_white_space_of_blocks_is_what_it_was_for_every_installed_release(template, wanted) -> None:
    """`trim_blocks` or `lstrip_blocks` would change files of releases that are installed (ADR 0647)."""
    assert rendered(template) == wanted
