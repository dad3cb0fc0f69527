"""Whether the rest of a broken download can be asked for, and whether it is what came (RFC 9110).

No I/O.

**A rest is only good if it is the rest of the same.** So it is asked for with If-Range and a strong
validator: the server then sends the rest of exactly that version, or else all of the new one. A
weak ETag says "much the same", and a Last-Modified of the very second of the response may stand for
two versions (sections 8.8.1 and 8.8.2.2): with these we begin anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)
_STRONG = re.compile(r'"[\x21\x23-\x7e]{0,1000}+"')


def validator_of(headers: Mapping[str, str]) -> str | None:
    """What If-Range may say of a response with these fields; None if nothing is strong enough."""
    etag = headers.get("ETag")
    if etag is not None:
        return etag if _STRONG.fullmatch(etag) else None
    modified = headers.get("Last-Modified", "")
    changed_at, sent_at = _date(modified), _date(headers.get("Date", ""))
    if changed_at is None or sent_at is None or (sent_at - changed_at).total_seconds() < 1:
        return None
    return modified if modified.isascii() else None


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    # Without "GMT" it has no time zone, and can't be compared.
    return None if date.tzinfo is None else date


def is_the_rest(headers: Mapping[str, str], start: int, validator: str) -> bool:
    """Whether a 206 with these fields has what follows the first *start* bytes of the same."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None or int(match[1]) != start:
        return False
    return headers.get("ETag", validator) == validator or not validator.startswith('"')


def whole_length(headers: Mapping[str, str]) -> int | None:
    """The length of the whole that a 206 is a part of; None if the server does not say."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    return None if match is None or match[3] == "*" else int(match[3])


def length_of(headers: Mapping[str, str]) -> int | None:
    """The length of the whole, of a 200 that has all of it; None if the server does not say."""
    text = headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() else None
