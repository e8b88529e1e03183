"""Colour for people on a terminal, never needed, and never where it was not asked for."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from installer.shared.terminal.colour import ALARMS, coloured, is_coloured
from installer.shared.terminal.text import safe
from tests.rig.hang import ends

ROOT = Path(__file__).parents[4]

TEXT = """\
error: the host is not ready
  hint: nothing was changed
lan-chat 1.4.0 is installed
  DRIFT      1 difference:
    /etc/a has different content

--- /etc/a
+++ /etc/a
@@ -1,2 +1,2 @@
-old
+new
 same

- a list, which is no difference
note: a note
"""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("colours")
def test_differences_errors_hints_and_alarms_are_coloured_and_nothing_else() -> None:
    shown = coloured(TEXT, Terminal())
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == TEXT
    marked = re.findall(r"\x1b\[([0-9;]+)m(.*?)\x1b\[0m", shown)
    assert marked == [
        ("1;31", "error:"), ("36", "hint:"), ("1;31", "DRIFT"), ("31", "--- /etc/a"), ("32", "+++ /etc/a"),
        ("36", "@@ -1,2 +1,2 @@"), ("31", "-old"), ("32", "+new"), ("33", "note:"),
    ]  # fmt: skip


# Words in capitals that begin a text and are no alarm, or are in a table, whose rows have their own colour.
NO_ALARMS = {
    "RISKS", "ALLOWED", "WAYBILL TRUST SHEET", "PUBLIC KEY BLOCK", "PUBLIC KEY", "FLOCK", "PRIVATE",
    "REPAIRED", "SEALED", "LEFT BEHIND", "WHAT", "VERB", "HTTP", "JSON", "SLSA", "YAML",
}  # fmt: skip


@pytest.mark.parametrize("word", ALARMS)
@pytest.mark.usefixtures("colours")
def test_every_alarm_is_marked_at_the_beginning_of_a_line_or_column(word: str) -> None:
    marked = f"\x1b[1;31m{word}\x1b[0m"
    for before, after in (("", ": x"), ("  ", " x"), ("- ", ""), ("expires  2026-11-29  ", "")):
        assert coloured(f"{before}{word}{after}", Terminal()) == f"{before}{marked}{after}"
    for text in (f"x{word}", f"{word}X", f"a {word}", f"{word}-x"):
        assert coloured(text, Terminal()) == text


def test_every_word_in_capitals_at_the_beginning_of_a_text_is_an_alarm_or_known_to_be_none() -> None:
    found = {
        word[1]
        for path in (*ROOT.glob("installer/**/*.py"), *ROOT.glob("bundler/**/*.py"))
        for word in re.finditer(
            r"""f?["'] *(?:- )?([A-Z][A-Z-]{3,}(?: [A-Z]{2,})*)(?::? +[{a-z]|:)""", path.read_text()
        )
    }
    assert found - set(ALARMS) - NO_ALARMS == set()
    assert {"FAILED", "DRIFT", "UNFINISHED", "BROKEN"} <= found


@pytest.mark.usefixtures("colours")
def test_a_long_line_of_blanks_is_looked_at_once() -> None:
    with ends():
        coloured(" " * 1_000_000 + "x", Terminal())
        coloured("x  " * 300_000, Terminal())


@pytest.mark.usefixtures("colours")
def test_what_comes_from_a_bundle_brings_no_escape_of_its_own() -> None:
    shown = coloured(safe("error: \x1b[2Jgone"), Terminal())
    assert shown == "\x1b[1;31merror:\x1b[0m \\x1b[2Jgone"


@pytest.mark.usefixtures("colours")
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_user_who_turns_colours_off_gets_none(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    assert is_coloured(Terminal())
    monkeypatch.setenv(name, value)
    assert coloured(TEXT, Terminal()) == TEXT


@pytest.mark.usefixtures("colours")
def test_no_terminal_gets_none() -> None:
    closed = io.StringIO()
    closed.close()
    assert [is_coloured(each) for each in (io.StringIO(), None, closed)] == [False, False, False]
