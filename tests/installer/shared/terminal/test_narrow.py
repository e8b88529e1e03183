"""On a narrow terminal nothing is cut and no column is lost."""

from __future__ import annotations

import re
import sys

import pytest

from installer.shared.terminal.narrow import arranged, fits, stacked
from tests.rig.terminal import on_terminal

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


def test_a_row_that_goes_on_with_the_one_before_is_stacked_below_it() -> None:
    rows = [["N", "WHAT"], ["1", "apply 1.4.0"], ["", "released by rel"], ["2", "remove"]]
    assert [line for _, line in stacked(rows, 40)] == [
        "N     1", "WHAT  apply 1.4.0", "      released by rel", "", "N     2", "WHAT  remove", "",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [24, 40, 60, 80, 120])
def test_an_arranged_table_has_every_letter_within_the_width(width: int) -> None:
    text = arranged(ROWS, width)
    assert max(map(len, text.splitlines())) <= width
    assert all("".join(cell.split()) in "".join(text.split()) for cell in ROWS[1][:3])


def test_a_table_that_fits_is_not_changed() -> None:
    rows = [("SIZE", "PATH"), ("1", "a"), ("20", "b")]
    assert arranged(rows, 80, right=(0,)) == "SIZE  PATH\n   1  a\n  20  b"


def test_the_last_column_wraps_below_itself() -> None:
    rows = [("N", "PATH"), ("1", "x" * 30)]
    assert arranged(rows, 27) == f"N  PATH\n1  {'x' * 24}\n   {'x' * 6}"


BAR = """
from installer.shared.command.console import Console
view = Console("install").progress()
view.start("verify", 3_000_000_000)
for _ in range(30):
    view.advance(100_000_000)
view.done()
"""


@pytest.mark.parametrize("columns", [100, 70, 40])
def test_the_bar_stays_on_one_line(columns: int) -> None:
    text = on_terminal([sys.executable, "-c", BAR], columns=columns).text
    drawn = [line for line in re.split(r"[\r\n]", text) if line.strip()]
    assert drawn
    assert max(len(line.rstrip()) for line in drawn) <= columns
    assert all(line.startswith("verify") for line in drawn), drawn
    assert ("/s" in text) is (columns >= 80)
