"""Progress on a terminal, and in a log: bytes, rate and time left."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from installer.shared.humanize import duration_text
from installer.shared.humanize import size_text as size
from installer.shared.progress import Progress
from installer.shared.terminal.narrow import FULL, SHORT

LONGEST = 24 * 3600
"""Seconds left above which none are shown."""


class Log(Protocol):
    """Where lines go: the console."""

    @property
    def log_format(self) -> str:
        """Whether lines are `text` or `json`."""

    def shown(self, text: str) -> str:
        """Return text as the terminal may have it: without secrets, and with what it can show."""

    def log(self, text: str, level: str = "info", **fields: Any) -> None:
        """Write a line, as text or as JSON with these fields."""

    def keep(self, text: str, level: str, fields: Mapping[str, Any]) -> None:
        """Keep for the document of the run what is written elsewhere, or not at all."""


def progress_view(log: Log, *, bar: bool = True) -> Progress:
    """Return what shows the progress of a command: a bar on a terminal if it may be one, else lines."""
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    if bar and log.log_format == "text" and on_terminal and os.environ.get("TERM") != "dumb":
        return _Bar(log)
    return _Lines(log)


def _level(step: str) -> str:
    """Return the level that the event of a step deserves."""
    if step.endswith("failed") or step == "rolled back":
        return "error"
    return "warning" if step.startswith("undo") or step == "point of no return" else "info"


class _Lines(Progress):
    """Progress as lines: one every five seconds, and one at the end of a phase."""

    EVERY = 5.0
    PAUSE = 2.0
    """Seconds without a byte after which it is a pause: it says nothing about the rate of what follows."""

    def __init__(self, console: Log) -> None:
        self._console = console
        self._lock = threading.Lock()
        self._label, self._total, self._done = "", 0, 0
        self._began = self._reported = self._moved = 0.0
        self._moving = 0.0

    def start(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0
        self._began = self._reported = self._moved = time.monotonic()
        self._moving = 0.0

    def advance(self, count: int) -> None:
        # Several threads report bytes.
        with self._lock:
            self._done += count
            now = time.monotonic()
            # An engine may prepare its images for minutes before it sends the first byte.
            self._moving += min(now - self._moved, self.PAUSE)
            self._moved = now
            if now - self._reported < self.EVERY:
                return
            self._reported = now
        rate = self._done / max(self._moving, 0.001)
        seconds = (self._total - self._done) / max(rate, 1)
        # A longer time is an estimate from too few bytes, and helps nobody.
        left = f", about {duration_text(seconds)} left" if self._total and seconds < LONGEST else ""
        of = f" of {size(self._total)}" if self._total else ""
        self._line(f"{self._label}: {size(self._done)}{of}, {size(int(rate))}/s{left}")

    def note(self, text: str) -> None:
        self._console.log(text)

    def warn(self, text: str) -> None:
        self._console.log(text, "warning", event="warning")

    def output(self, source: str, lines: Sequence[str]) -> None:
        if self._console.log_format == "json":
            for line in lines:
                self._console.log(line, event="output", source=source)

    def step(self, text: str, **fields: Any) -> None:
        if self._console.log_format == "json":
            step = str(fields.get("step", ""))
            about = fields.get("label") or fields.get("kind")
            said = text or (f"{step}: {about}" if about else step)
            self._console.log(said, _level(step), event="step", **fields)
        else:
            self._console.keep(text, "info", fields)
            super().step(text)

    def done(self) -> None:
        took = time.monotonic() - self._began
        if self._done:
            self._line(f"{self._label}: {size(self._done)} in {took:.1f} s")

    def _line(self, text: str) -> None:
        if self._console.log_format == "json":
            about: dict[str, Any] = {"label": self._label, "done": self._done, "total": self._total}
            self._console.log(text, event="progress", **about)
        else:
            self._console.log(text)


def _time_left() -> Any:
    """Return the column with the time left."""
    from rich import progress
    from rich.text import Text

    class TimeLeft(progress.TimeRemainingColumn):
        """Shows no time of days, which is an estimate from too few bytes."""

        def render(self, task: progress.Task) -> Text:
            known = task.time_remaining is not None and task.time_remaining < LONGEST
            return super().render(task) if known else Text("-:--:--", style="progress.remaining")

    return TimeLeft()


class _Bar(Progress):
    """Progress as a bar with bytes, rate and time left."""

    def __init__(self, console: Log) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None

    def start(self, label: str, total: int) -> None:
        from rich import progress
        from rich.console import Console as Rich

        self.done()
        terminal = Rich(stderr=True, highlight=False, markup=False)
        columns: list[progress.ProgressColumn] = [progress.TextColumn("{task.description}", markup=False)]
        # A bar that wraps is drawn again on every line: on a narrow terminal it shows less instead.
        if terminal.width >= FULL:
            columns += [progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn()]
            columns.append(_time_left())
        elif terminal.width >= SHORT:
            columns += [progress.BarColumn(bar_width=12), progress.DownloadColumn()]
        else:
            columns.append(progress.TaskProgressColumn())
        self._bar = progress.Progress(*columns, console=terminal)
        self._bar.start()
        self._task = self._bar.add_task(self._console.shown(label), total=total or None)

    def advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.advance(self._task, count)

    # Lines go through the console like all others. While there is a bar, rich puts what is written to stderr
    # above it.
    def note(self, text: str) -> None:
        self._console.log(text)

    def warn(self, text: str) -> None:
        self._console.log(text, "warning", event="warning")

    def step(self, text: str, **fields: Any) -> None:
        self._console.keep(text, "info", fields)
        super().step(text)

    def done(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
