"""Retry-After (RFC 9110 section 10.2.3): how long a server asks to be left alone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

from .http_date import http_date

_SECONDS = re.compile(rb"[0-9]+")


def retry_after(fields: Iterable[tuple[bytes, bytes]]) -> float | None:
    """The seconds from now for which the server asks to be left alone; None if it doesn't.

    A date is read by the server's own clock, as far as its Date field shows it, so that ours need
    not be right. Several fields: the longest. What can't be read counts as not there.
    """
    waits: list[float] = []
    date: bytes | None = None
    for name, value in fields:
        if name.lower() == b"date":
            date = value
    for name, value in fields:
        if name.lower() != b"retry-after":
            continue
        if _SECONDS.fullmatch(value.strip()):
            waits.append(float(value))
        elif (at := http_date(value)) is not None:
            now = None if date is None else http_date(date)
            waits.append(max(0.0, at - (time.time() if now is None else now)))
    return max(waits, default=None)
