"""Progress in lines: the time left is an estimate from bytes that moved, or is not shown."""

from __future__ import annotations

from typing import Any

import pytest

from installer.shared.humanize import duration_text
from installer.shared.terminal import progress_view
from installer.shared.terminal.progress_view import LONGEST

MB = 10**6


class Said:
    """A log that keeps its lines."""

    log_format = "text"

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, text: str, level: str = "info", **fields: Any) -> None:
        self.lines.append(text)


class Clock:
    """The time of the module, set by the test."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_view, "time", clock)
    return clock


def test_a_long_wait_before_the_first_byte_does_not_count(clock: Clock) -> None:
    said = Said()
    lines = progress_view._Lines(said)
    lines.start("read inputs", 1000 * MB)
    clock.now += 300
    lines.advance(1)
    # One byte in five minutes: no time is made of that.
    assert said.lines == ["read inputs: 1 B of 1.0 GB, 0 B/s"]
    for _ in range(6):
        clock.now += 1
        lines.advance(20 * MB)
    assert said.lines[1].endswith("MB/s, about 1 min left")


def test_a_steady_rate_gives_the_time_left(clock: Clock) -> None:
    said = Said()
    lines = progress_view._Lines(said)
    lines.start("read inputs", 100 * MB)
    for _ in range(5):
        clock.now += 1
        lines.advance(10 * MB)
    assert said.lines == ["read inputs: 50.0 MB of 100.0 MB, 10.0 MB/s, about 5 s left"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3540, "59 min"), (3600, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_times_are_in_the_units_in_which_people_wait(seconds: float, shown: str) -> None:
    assert duration_text(seconds) == shown


@pytest.mark.parametrize(("bytes_a_second", "known"), [(1, False), (10 * MB, True)])
def test_the_bar_shows_no_time_of_days(bytes_a_second: int, known: bool) -> None:
    from rich.progress import Progress

    now = [0.0]
    bar = Progress(get_time=lambda: now[0], auto_refresh=False)
    task = bar.add_task("x", total=1000 * MB)
    for _ in range(3):
        now[0] += 1
        bar.advance(task, bytes_a_second)
    shown = progress_view._time_left().render(bar.tasks[0]).plain
    assert (shown != "-:--:--") is known
    assert LONGEST == 24 * 3600
