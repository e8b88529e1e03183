"""The time while a command runs: by the clock of the host, and by one that nobody can set."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from installer.core.errors import ClockError
from installer.core.timestamps import format_time
from installer.core.trust.policy import SKEW


def since_boot() -> float:
    """Return the seconds since the boot, suspended time included; no setting of the clock changes it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Watch:
    """Notices a clock that is set while somebody is asked or a bundle is staged.

    Args:
        clock: Returns the time of the host, with its zone.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._began, self._from = clock(), since_boot()

    def trusted(self) -> datetime:
        """Return the time that may be recorded as passed: never more than really went by since the start."""
        return min(self._clock(), self._began + timedelta(seconds=since_boot() - self._from))

    @property
    def steady(self) -> bool:
        """Whether the clock went as time went by, but for what two correct clocks may differ."""
        return abs((self._clock() - self.trusted()).total_seconds()) <= SKEW and not self._set_back()

    def require_not_set_back(self) -> None:
        """Refuse a clock that was set back since the command began: what has expired may look valid.

        Raises:
            ClockError: It was.
        """
        if self._set_back():
            raise ClockError(
                f"the clock of this host shows {format_time(self._clock())}, but this command began at "
                f"{format_time(self._began)}",
                hint="correct the clock (check it with `date -u`), then run the command again",
            )

    def _set_back(self) -> bool:
        return (self._began - self._clock()).total_seconds() > SKEW
