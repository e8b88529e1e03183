"""A guard for what might never end. How fast it is stays the matter of the bench."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends(*, within: float = 60) -> Iterator[None]:
    """Fail the test when its block hangs; a busy machine is no reason to.

    Args:
        within: Seconds of this process's own processor time, far above what a slow machine needs. Where
            the block waits for something else, ten times as many seconds of the clock.
    """
    timers = (
        (signal.SIGPROF, signal.ITIMER_PROF, within, "of processor time"),
        (signal.SIGALRM, signal.ITIMER_REAL, 10 * within, ""),
    )
    limits = {
        number: f"still running after {seconds:.0f} s {of}".rstrip() for number, _, seconds, of in timers
    }

    def hung(number: int, _: object) -> None:
        raise AssertionError(limits[signal.Signals(number)])

    before = [(number, signal.signal(number, hung)) for number in limits]
    try:
        for _, timer, seconds, _ in timers:
            signal.setitimer(timer, seconds)
        yield
    finally:
        for _, timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for number, handler in before:
            signal.signal(number, handler)
