"""Symbols in ASCII where the locale has no UTF-8; names are never changed."""

from __future__ import annotations

import pytest

from installer.shared.command.console import Console
from installer.shared.terminal.charset import as_shown, shows_utf8


@pytest.mark.parametrize(
    ("environ", "utf8"),
    [
        ({}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LANG": "C.UTF-8"}, True),
        ({"LANG": "de_DE.utf8"}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, True),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "C"}, False),
        ({"LANG": "C", "LC_ALL": ""}, False),
    ],
)
def test_the_locale_says_what_is_shown(environ: dict[str, str], utf8: bool) -> None:
    assert shows_utf8(environ) is utf8


def test_every_output_is_ascii_in_the_c_locale(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    console = Console("install")
    console.result("1.4.0 → 1.5.0 … Ünsal", dict)
    console.note("≥ 3")
    console.json_output = True
    console.result("", lambda: {"text": "→"})
    console.finish(0)
    console.finish(0)
    said = capsys.readouterr()
    # A document is for programs: RFC 8259 has one encoding.
    assert said.out.startswith("1.4.0 -> 1.5.0 ... Ünsal\n")
    assert "→" in said.out
    assert said.err == ">= 3\n"


def test_text_stays_in_other_locales(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert as_shown("→ …") == "→ …"
