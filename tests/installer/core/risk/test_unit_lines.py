"""Units are read as systemd reads them; where versions of it disagree, the line is shown."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from installer.core.risk.unit_lines import directives, irregular_lines
from tests.rig.hang import ends

HIDDEN = "ExecStartPre=/bin/x"


def found(text: str) -> list[tuple[str, str]]:
    return [(section, f"{key}={value}") for _, section, key, value in directives(text)]


@pytest.mark.parametrize(
    "text",
    [
        f"Description=a\r{HIDDEN}\n",
        f"Description=a\0{HIDDEN}\n",
        f"{HIDDEN}\\",
        f"{HIDDEN} \\\n",
        f"Description=a \\\\\n{HIDDEN}\n",
        f"Description=a \\ \n{HIDDEN}\n",
        f"# a comment \\\n{HIDDEN}\n",
        f"; a comment \\\n{HIDDEN}\n",
        f"Description=a \\\n\n{HIDDEN}\n",
        f"\ufeff{HIDDEN}\n",
        f" \t{HIDDEN} \t\n",
    ],
)
def test_no_directive_hides_from_the_reader(text: str) -> None:
    assert HIDDEN in [line for _, line in found(text)]


@pytest.mark.parametrize(
    "text",
    [
        f"Description=a \\\n{HIDDEN}\n",
        f"Description=a \\\n# a comment\n{HIDDEN}\n",
        f"# a comment\n;{HIDDEN}\n",
        f"\u00a0{HIDDEN}\n",
    ],
)
def test_what_is_no_directive_for_systemd_is_none(text: str) -> None:
    assert HIDDEN not in [line for _, line in found(text)]


def test_sections_have_their_names_exactly() -> None:
    text = "A=1\n[Unit]\nB=2\n[[Service]]\nC=3\n[Service\nD=4\n [Service] \nE=5\n"
    assert found(text) == [
        ("", "A=1"), ("Unit", "B=2"), ("[Service]", "C=3"), ("[Service]", "D=4"), ("Service", "E=5"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number", "words"),
    [
        (f"Description=a\r{HIDDEN}\n", 1, "ends with a lone carriage return or NUL"),
        (f"Description=a\0{HIDDEN}\n", 1, "ends with a lone carriage return or NUL"),
        ("User=chat\\", 1, "ends with a backslash, but no line follows"),
        ("User=chat \\\n", 1, "ends with a backslash, but no line follows"),
        ("\ufeffUser=chat\n", 1, "begins with a byte order mark"),
        ("A=b\n# a comment \\\nUser=chat\n", 3, "versions of systemd disagree"),
        ("A=b \\\n# a comment\nUser=chat\n", 3, "versions of systemd disagree"),
        ("A=b \\\n\nUser=chat\n", 3, "versions of systemd disagree"),
        (f"A={'b' * 2045}{HIDDEN}\n", 1, "is longer than 2047 bytes"),
    ],
)
def test_a_line_that_not_everybody_reads_alike_is_shown(text: str, number: int, words: str) -> None:
    ((line, what),) = irregular_lines(text)
    assert line == number
    assert words in what


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\r\nExecStart=/bin/x\r\n",
        "ExecStart=/bin/x \\\n  # the port\n  --port=1 \\\n  --user=chat\n\nUser=chat\n",
        f"# {'a' * 3000}\n",
        f"Environment={'a' * 3000}",
        "",
    ],
)
def test_an_ordinary_line_is_not_shown(text: str) -> None:
    assert list(irregular_lines(text)) == []


def test_a_line_that_is_continued_a_million_times_ends() -> None:
    text = "a \\\n" * 1_000_000
    with ends():
        assert list(directives(text)) == []
        assert len(list(irregular_lines(text))) == 1


@pytest.mark.needs("systemd-analyze")
def test_units_of_every_shape_are_read_as_systemd_reads_them(tmp_path: Path) -> None:
    pieces = (
        "\n", "\n", "\n", "\r", "\r\n", "\0", "\\", "\\\\", "\\\n", " ", "\t", "#", ";", "=", "\u00a0",
        "\x0b", "\ufeff", "\n[Service]\n", "\n[Unit]\n", "[[Service]]", "\n[X-Y]\n", "x", '"', "\n# c\n",
    )  # fmt: skip
    source = random.Random(7)
    texts = {}
    for number in range(150):
        keys = [f"K{at}=" for at in range(20)]
        body = "".join(
            source.choice(pieces) + (key if source.random() < 0.7 else "") for key in keys for _ in "ab"
        )
        # It says the names of keys that it does not know. It refuses a unit without a command.
        texts[f"u{number}.service"] = f"[Service]\nExecStart=/bin/true\n{body}"
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
    env = {"SYSTEMD_UNIT_PATH": str(tmp_path), "SYSTEMD_LOG_COLOR": "0", "PATH": "/usr/bin:/bin"}
    argv = [
        "systemd-analyze",
        "verify",
        "--man=no",
        "--generators=no",
        *(str(tmp_path / name) for name in texts),
    ]
    said = subprocess.run(argv, env=env, capture_output=True, check=False, timeout=120).stderr.decode()
    checked = 0
    for name, text in texts.items():
        lines = [line for line in said.split("\n") if line.startswith(f"{tmp_path / name}:")]
        if any("Invalid section header" in line or "Bad characters" in line for line in lines):
            continue
        unknown = re.compile(r"Unknown key(?: name)? '(.*)' in section \[?'?(\w+)")
        theirs = [(match[2], match[1]) for line in lines if (match := unknown.search(line))]
        ours = [(part, key) for _, part, key, _ in directives(text) if part in ("Service", "Unit")]
        assert theirs == [each for each in ours if each[1] not in ("ExecStart", "")], text
        checked += bool(theirs)
    assert checked > 50
