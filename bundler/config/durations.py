"""Durations and expiry dates as people type them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from installer.core.errors import UsageError
from installer.core.timestamps import parse_time
from installer.core.trust.root import MAX_AGE_DAYS

_DAYS = re.compile(r"([1-9][0-9]{0,4})d")
# The units of the schema.
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_expiry(text: str, now: datetime) -> datetime:
    """Read an expiry.

    Args:
        text: `365d`, or a time of the form 2030-01-31T00:00:00Z.
        now: The time from which days are counted.

    Returns:
        The end, in whole seconds.

    Raises:
        UsageError: It is neither, or is in the past.
    """
    match = _DAYS.fullmatch(text)
    # Days are what people plan in; hours of validity would only invite clock problems.
    moment = now + timedelta(days=int(match[1])) if match else parse_time(text)
    if moment is None:
        raise UsageError(
            "is not a duration or time", where=text[:40], hint="use 365d, or 2030-01-31T00:00:00Z"
        )
    # Something that is expired from the start can only be a typing error.
    if moment <= now:
        raise UsageError("is in the past", where=text[:40])
    # Times in roots and approvals have whole seconds.
    return moment.replace(microsecond=0)


def seconds(duration: str) -> int:
    """Return the seconds of a duration such as `60s` or `180d` that fits the schema."""
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def days(text: str) -> int:
    """Read a number of days, `14d`.

    Raises:
        UsageError: It is none.
    """
    if not (text.endswith("d") and text[:-1].isdecimal() and 1 <= int(text[:-1]) <= MAX_AGE_DAYS):
        raise UsageError("is not a number of days", where=text[:40], hint="use for example 14d")
    return int(text[:-1])
