"""What is written into a file of environment variables is read back, by the programs that read such files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from installer.shared.rendering.env_values import FORMS, env_value
from installer.shared.rendering.template import RenderError, render
from tests.rig.needs import needs

TEXTS = st.text(
    st.one_of(
        st.sampled_from("'\"\\$`#; \t=!%*?~{}[]()&|<>"),
        st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\u2028\u2029"),
    ),
    max_size=40,
)
ODD = (
    "",
    " a ",
    "a\\",
    "\\'",
    "it's",
    '"q"',
    "$HOME",
    "$(id)",
    "`id`",
    "a # b",
    "\\n",
    "é\t漢",
    "''",
    "~",
    "-n",
)


def writable(text: str) -> bool:
    try:
        env_value(text, "sh")
    except ValueError:
        return False
    return True


def systemd_value(line: str) -> str:
    """Read a value by the grammar of EnvironmentFile= in systemd.exec(5)."""
    assert line[0] == line[-1] == '"'
    found, rest = [], iter(line[1:-1])
    for letter in rest:
        if letter == '"':
            raise AssertionError("the value ends before the line does")
        if letter == "\\":
            escaped = next(rest)
            # A backslash stays before any other character in new versions, and goes in old ones.
            assert escaped in '"\\`$'
            found.append(escaped)
        else:
            found.append(letter)
    return "".join(found)


def in_shell(lines: list[str], tmp_path: Path) -> list[str]:
    """Source a file in a real shell; give the values of A0, A1, …"""
    file = tmp_path / "variables"
    file.write_text("".join(f"A{number}={line}\n" for number, line in enumerate(lines)), encoding="utf-8")
    names = " ".join(f'"$A{number}"' for number in range(len(lines)))
    script = f". '{file}' && printf '%s\\0' {names}"
    done = subprocess.run(["/bin/sh", "-euc", script], capture_output=True, check=True, timeout=60)
    return done.stdout.decode().split("\0")[:-1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(TEXTS.filter(writable), min_size=1, max_size=20))
@example(list(ODD))
def test_a_shell_reads_what_was_written(tmp_path: Path, texts: list[str]) -> None:
    assert in_shell([env_value(text, "sh") for text in texts], tmp_path) == texts


@given(TEXTS.filter(writable))
def test_systemd_reads_what_was_written(text: str) -> None:
    assert systemd_value(env_value(text, "systemd")) == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(TEXTS.filter(writable), min_size=1, max_size=20))
@example(list(ODD))
def test_a_shell_reads_the_form_of_systemd_alike(tmp_path: Path, texts: list[str]) -> None:
    """The grammar of systemd is that of a shell, but for what stands outside of quotes."""
    assert in_shell([env_value(text, "systemd") for text in texts], tmp_path) == texts


def test_compose_reads_what_was_written(tmp_path: Path) -> None:
    compose = needs("compose")
    texts = [*ODD, "a\\'b\"c$d\\", "'\\\\'", '\\"', "$$", "${X:-y}", "\\$x"]
    (tmp_path / "e.env").write_text(
        "".join(f"A{number}={env_value(text, 'compose')}\n" for number, text in enumerate(texts))
    )
    (tmp_path / "compose.yaml").write_text("services: {a: {image: x, env_file: [e.env]}}\n")
    words = [compose, "-f", str(tmp_path / "compose.yaml"), "config", "--format", "json"]
    done = subprocess.run(words, capture_output=True, check=True, timeout=60)
    read = json.loads(done.stdout)["services"]["a"]["environment"]
    # Its own output is a Compose file again, in which a dollar is written twice.
    assert [read[f"A{number}"].replace("$$", "$") for number in range(len(texts))] == texts


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("two\nlines", "line break"),
        ("a\rb", "line break"),
        ("a\0b", "line break"),
        ("a\u2028b", "line break"),
        ("\x1b[0m", "control character"),
        ("\ufffe", "no character"),
        (None, "null"),
        (["a"], "a list"),
        ({"a": 1}, "a map"),
    ],
)
def test_what_cannot_be_read_back_is_refused(form: str, value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        env_value(value, form)


@pytest.mark.parametrize(("value", "text"), [(True, "'true'"), (14222, "'14222'"), (0.5, "'0.5'")])
def test_numbers_and_booleans_are_written_as_in_yaml(value: object, text: str) -> None:
    assert env_value(value, "sh") == text


def test_a_template_writes_values_by_the_filter() -> None:
    template = b'A={{ name | env("systemd") }}\nB={{ on | env("compose") }}\nC={{ name | env("sh") }}\n'
    made = render(template, "app.env", {"name": 'it\'s "x"', "on": True})
    assert made.decode() == "A=\"it's \\\"x\\\"\"\nB='true'\nC='it'\\''s \"x\"'\n"


@pytest.mark.parametrize(
    ("template", "what"),
    [
        (b'\nA={{ secret | env("sh") }}', "it contains a line break"),
        (b'\nA={{ name | env("bash") }}', "'bash' is not one of: systemd, compose, sh"),
        (b'\nA={{ nothing | env("sh") }}', "the value nothing is not defined"),
    ],
)
def test_a_template_with_a_value_that_cannot_be_written_names_the_line(template: bytes, what: str) -> None:
    with pytest.raises(RenderError) as caught:
        render(template, "app.env", {"secret": "first\nsecond", "name": "x"})
    assert (caught.value.where, what in caught.value.what) == ("app.env:2", True)
    assert "first" not in str(caught.value)
