"""Environment files are read as Compose reads them, and what it would read in another way is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from installer.shared.rendering.env_file import MAX_BYTES, assigned_in, completed, is_reserved, read
from installer.shared.rendering.env_values import env_value
from tests.rig.needs import needs

LINES = """\
# a comment
PLAIN=a b  c
 SPACED= x \t
export EXPORTED=1
HASH=a#b # comment
SINGLE='a $b "c" # \\n' # comment
DOUBLE="a 'b' \\$c \\"d\\" \\\\e # f"
TABBED="a\\tb"
EMPTY=
QUOTED=''
"""
TEXTS = (
    "",
    "a b",
    "it's",
    'say "x"',
    "a\\b",
    "it's a \\",
    "$HOME ${A} $$",
    "#no",
    " blanks ",
    "é☃",
    "a=b",
    "`x`",
)


def test_values_are_those_that_compose_reads(tmp_path: Path) -> None:
    rows = "".join(f"T{number}={env_value(text, 'compose')}\n" for number, text in enumerate(TEXTS))
    data = completed((LINES + rows).encode(), {"WAYBILL_ROOT": "", "WAYBILL_PRODUCT": "it's"})
    found = read(data, "x", own=True)
    assert found.problems == []
    assert [found.values[f"T{number}"] for number in range(len(TEXTS))] == list(TEXTS)
    (tmp_path / "env").write_bytes(data)
    (tmp_path / "c.yaml").write_text("services: {a: {image: x}}\n")
    done = subprocess.run(
        [needs("compose"), "-f", "c.yaml", "--env-file", "env", "config", "--environment"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "HOME": "/"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    said = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert {name: said.get(name) for name in found.values} == found.values


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("word", "sets no variable"),
        ("A: b", "sets no variable"),
        ("A = b", "sets no variable"),
        ("A", "sets no variable"),
        ("=x", "sets no variable"),
        ("1A=x", "sets no variable"),
        ("A=$HOME", "has a `$`"),
        ('A="$HOME"', "has a `$`"),
        ('A="\\\\$HOME"', "has a `$`"),
        ("A='x", "unfinished single quote"),
        ("A='x' y", "unfinished single quote"),
        ("A='it\\'s'", "unfinished single quote"),
        ('A="x', "unfinished double quote"),
        ('A="x\\"', "unfinished double quote"),
        ('A="\\a"', "escape"),
        ('A="\\x41"', "escape"),
        ("A=#x", "begins with `#`"),
        ("A=a\x00b", "control character"),
        ("A=a\x1bb", "control character"),
        ("B=1\nB=2", "sets B a second time"),
        ("WAYBILL_ROOT=/x", "sets WAYBILL_ROOT"),
        ("COMPOSE_FILE=x", "sets COMPOSE_FILE"),
        ("DOCKER_HOST=x", "sets DOCKER_HOST"),
        ("PATH=x", "sets PATH"),
        ("HOME=x", "sets HOME"),
    ],
)
def test_what_compose_may_read_in_another_way_is_refused_with_its_line(line: str, what: str) -> None:
    (problem,) = read(f"OK=1\n{line}\n".encode(), "deploy/x.env.j2").problems
    assert problem.where == "deploy/x.env.j2"
    assert problem.what.startswith(f"line {2 + line.count(chr(10))} of what is rendered ")
    assert what in problem.what
    assert problem.hint


def test_a_value_is_never_quoted() -> None:
    for line in ("A='wrong-horse", "A=$wrong-horse", "wrong-horse", 'A="\\awrong-horse"'):
        (problem,) = read(line.encode(), "x").problems
        assert "wrong-horse" not in f"{problem}"


def test_a_release_may_choose_profiles() -> None:
    assert read(b"COMPOSE_PROFILES=extra\n", "x").problems == []
    assert not is_reserved("COMPOSE_PROFILES")


def test_a_file_that_is_too_large_or_not_text_is_refused() -> None:
    assert "larger" in read(b"#" * (MAX_BYTES + 1), "x").problems[0].what
    assert "UTF-8" in read(b"\xff", "x").problems[0].what


def test_lines_of_windows_are_read() -> None:
    assert read(b"A=1\r\nB='x'\r\n", "x").values == {"A": "1", "B": "x"}


def test_names_are_found_in_a_template_unless_they_are_rendered() -> None:
    template = b"# X=1\nA={{ a }}\n{% if b %}B=1{% endif %}\n{% for c in d %}\n  export C=1\n{% endfor %}\n"
    assert assigned_in(template) == {"A", "B", "C"}
    assert assigned_in(b"A=1\n{{ name }}=2\n") is None
    assert assigned_in(b"A=1\nX_{% if a %}B{% endif %}=2\n") is None
