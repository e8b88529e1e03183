"""Colour for people on a terminal, never needed, and never where it was not asked for."""

from __future__ import annotations

import io
import re

import pytest

from installer.shared.terminal.colour import coloured, is_coloured
from installer.shared.terminal.text import safe

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


@pytest.mark.usefixtures("colours")
def test_what_comes_from_a_bundle_brings_no_escape_of_its_own() -> None:
    shown = coloured(safe("error: \x1b[2Jgone"), Terminal())
    assert shown == "\x1b[1;31merror:\x1b[0m \\x1b[2Jgone"


@pytest.mark.usefixtures("colours")
@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_who_wants_none_gets_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    assert is_coloured(Terminal())
    monkeypatch.setenv(name, value)
    assert coloured(TEXT, Terminal()) == TEXT


@pytest.mark.usefixtures("colours")
def test_no_terminal_gets_none() -> None:
    closed = io.StringIO()
    closed.close()
    assert [is_coloured(each) for each in (io.StringIO(), None, closed)] == [False, False, False]
