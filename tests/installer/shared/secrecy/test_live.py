"""The output of a program that still runs: lines as they come, without secrets."""

from __future__ import annotations

import sys

import pytest

from installer.shared.child import process
from installer.shared.secrecy.known import Secrets
from installer.shared.secrecy.live import LiveLines

KEY = [
    "-----BEGIN PRIVATE KEY-----",
    *["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw" + "q" * 28] * 3,
    "-----END PRIVATE KEY-----",
]


def live(*values: str, most: int = 100) -> tuple[LiveLines, list[str]]:
    secrets, seen = Secrets(), list[str]()
    secrets.add(values)
    return LiveLines(secrets, 40, most, seen.extend), seen


def test_lines_are_told_as_they_come_without_secrets() -> None:
    lines, seen = live("open-sesame-4711")
    lines.take([b"one", b"with open-sesame-4711"])
    assert seen == ["one", "with ***"]
    lines.take([b"x" * 50, b"bad \xff"])
    assert seen[2:] == ["x" * 39 + "…", "bad \ufffd"]
    lines.end()
    assert len(seen) == 4


def test_what_needs_the_lines_before_it_is_hidden_line_by_line() -> None:
    lines, seen = live()
    for line in [*KEY, "after", "- name: DB_PASSWORD", "  value: hunter22"]:
        lines.take([line.encode()])
    lines.end()
    text = "\n".join(seen)
    assert "MIIEvQ" not in text
    assert "hunter22" not in text
    assert "after" in text


def test_a_secret_of_several_lines_is_hidden_because_nothing_is_told_before_the_end() -> None:
    lines, seen = live("first half\nand rest")
    lines.take([b"first half"])
    assert seen == []
    lines.take([b"and rest", b"done"])
    lines.end()
    assert seen == ["***", "***", "done"]


def test_more_lines_than_are_logged_are_counted() -> None:
    lines, seen = live(most=2)
    lines.take([b"a"])
    lines.take([b"b", b"c", b"d"])
    lines.end()
    assert seen == ["a", "b", "and 2 more lines, which are not logged"]


def test_a_program_is_heard_while_it_runs_and_a_line_without_an_end_afterwards() -> None:
    seen = list[bytes]()
    # It waits for an answer to its first line: whoever heard it at the end only would wait for ever.
    code = "import sys; print('ready', flush=True); sys.stdin.read(); "
    code += "print('bad', file=sys.stderr); print('end', end='')"

    def answer():  # type: ignore[no-untyped-def]
        while b"ready" not in seen:
            yield b" " * 4096

    ended = process.run([sys.executable, "-c", code], timeout=60, stdin=answer(), told=seen.extend)
    assert ended.ok
    assert sorted(seen) == [b"bad", b"end", b"ready"]


@pytest.mark.parametrize(
    "size", [process.OUTPUT_LIMIT, process.OUTPUT_LIMIT + 1], ids=["longest", "too-long"]
)
def test_a_line_that_is_too_long_is_not_told(size: int) -> None:
    seen = list[bytes]()
    code = f"print('x' * {size}); print('after')"
    process.run([sys.executable, "-c", code], timeout=60, told=seen.extend)
    assert [len(line) < 100 for line in seen] == [size > process.OUTPUT_LIMIT, True]
