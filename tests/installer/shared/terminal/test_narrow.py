"""On a narrow terminal nothing is cut and no column is lost."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Sequence

import pytest

from installer.shared.terminal.narrow import fits, stacked

ROWS = [
    ["N", "TIME", "WHO", "WHAT"],
    [
        "1",
        "2026-11-24 03:12:05",
        "root (alice)",
        "apply 1.4.0 started as transaction 000001\nreleased by rel",
    ],
    ["2", "2026-11-24 03:12:09", "root (alice)", ""],
]


@pytest.mark.parametrize(("width", "wanted"), [(120, True), (80, True), (60, False), (40, False)])
def test_a_table_fits_or_is_stacked(width: int, wanted: bool) -> None:
    assert fits(ROWS, width) is wanted


@pytest.mark.parametrize("width", [60, 40, 24])
def test_stacked_rows_have_every_field_within_the_width(width: int) -> None:
    lines = list(stacked(ROWS, width))
    assert {number for number, _ in lines} == {1, 2}
    assert max(len(line) for _, line in lines) <= width
    text = " ".join(" ".join(line for _, line in lines).split())
    for word in ("2026-11-24", "03:12:05", "alice", "000001", "WHO", "WHAT"):
        assert word in text


BAR = """
from installer.shared.console import Console
view = Console("install").progress()
view.start("verify", 3_000_000_000)
for _ in range(30):
    view.advance(100_000_000)
view.done()
"""


def shown(columns: int, program: Sequence[str]) -> str:
    """Return what a program shows on a terminal of so many columns."""
    main, other = pty.openpty()
    env = {**os.environ, "COLUMNS": str(columns), "LINES": "24", "TERM": "xterm"}
    with subprocess.Popen(program, stdin=other, stdout=other, stderr=other, env=env) as child:
        os.close(other)
        data = b""
        while True:
            try:
                piece = os.read(main, 65536)
            except OSError:  # the end, as Linux tells it
                break
            if not piece:
                break
            data += piece
        assert child.wait() == 0
    os.close(main)
    return data.decode()


@pytest.mark.parametrize("columns", [100, 70, 40])
def test_the_bar_stays_on_one_line(columns: int) -> None:
    text = shown(columns, [sys.executable, "-c", BAR])
    drawn = [
        line for line in re.split(r"[\r\n]", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)) if line.strip()
    ]
    assert drawn
    assert max(len(line.rstrip()) for line in drawn) <= columns
    assert all(line.startswith("verify") for line in drawn), drawn
    assert ("/s" in text) is (columns >= 80)
