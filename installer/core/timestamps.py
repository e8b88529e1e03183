"""Times as documents carry them: RFC 3339, UTC, whole seconds, `Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


def format_time(moment: datetime) -> str:
    """Return a time in the form of documents, such as `2030-01-31T00:00:00Z`."""
    return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


def format_seconds(seconds: int) -> str:
    """Return seconds since 1970 in the same form."""
    return format_time(datetime.fromtimestamp(seconds, UTC))


def expired_text(expired: datetime, now: datetime) -> str:
    """Return that something has expired, with what the clock shows: one that runs ahead looks the same."""
    return f"expired on {format_time(expired)}; the clock shows {format_time(now)}"


def parse_time(text: object) -> datetime | None:
    """Read a time of a document; return None for anything but the one form that is allowed."""
    # The pattern first: strptime(3) accepts single digits, which would give one time two spellings.
    if not isinstance(text, str) or not _TIME.fullmatch(text):
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
