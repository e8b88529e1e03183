"""A guard for what might never end. How fast it is stays the matter of the bench."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ends(*, within: float = 60) -> Iterator[None]:
    """Fails the test when its block still runs after `within` seconds: far above a slow machine's need."""

    def hung(*_: object) -> None:
        raise AssertionError(f"still running after {within:.0f} s")

    before = signal.signal(signal.SIGALRM, hung)
    signal.setitimer(signal.ITIMER_REAL, within)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
