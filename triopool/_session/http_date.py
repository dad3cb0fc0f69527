"""Dates as HTTP has them (RFC 9110 section 5.6.7), and as cookies have them, which is odder."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_tz

_MOST_BYTES = 64
"""The longest of HTTP's three forms has 33."""


def http_date(value: bytes) -> float | None:
    """A date in any of the forms that are in use, in seconds since 1970; None if it is none."""
    if len(value) > _MOST_BYTES or not value.isascii():
        return None
    try:
        parts = parsedate_tz(value.decode("ascii"))
        if parts is None:
            return None
        year, month, day, hour, minute, second = parts[:6]
        # 60 is a leap second. HTTP has no other zone than GMT, whatever is written there.
        when = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return when.timestamp()
