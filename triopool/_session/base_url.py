"""The base URL of a session: what relative URLs are joined to, and a bound where that is asked for.

Joined as RFC 3986 section 5 says, and as a browser does it. So with ``https://a.test/v1/`` as the
base, ``users`` is ``/v1/users``, ``/users`` is ``/users``, ``?q`` is ``/v1/?q`` and ``""`` is the
base itself; and if the base has no slash at its end, its last segment is replaced, as that of a
page is by a link in it. httpx does otherwise: there ``/users`` is ``/v1/users``. We keep to the
standard, because a program that gets its URLs from somewhere (a ``Link`` field, a ``next`` in a
body) gets references as the standard means them.

A base is a bound only if that is asked for. What a server is to see as a path below it is not
enough then: many servers decode a path before they look for ``..`` in it. So whatever could become
``..`` by decoding once more is refused, too.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from .._request import url as _url
from .._request.url import URL

_MOST_DECODINGS = 5
"""How often a path is decoded in the search for ``..``; one that needs more is refused."""

_SEPARATORS = re.compile(rb"[/\\]")
# What follows a semicolon is a parameter of the segment to some servers, and ignored. A NUL ends a
# path, to those written in C; other control characters and blanks are left out by what parses the
# decoded path as a URL once more, as browsers do.
_IGNORED = re.compile(rb"[;\x00].*|[\x01-\x20\x7f]", re.DOTALL)


def resolve(base: URL | None, reference: object) -> URL:
    """Where a URL leads that was given to a session with this base.

    Raises:
      InvalidURL: it can't be used; or it is relative, and there is no base.
      TypeError: it is no str.
    """
    if not isinstance(reference, str):
        raise TypeError(f"url must be a str, not {type(reference).__name__}")
    return _url.parse(reference) if base is None else _url.join(base, reference)


def as_text(url: URL) -> str:
    """The same URL as text, without credentials. (``str(url)`` has no zone of an IPv6 address.)"""
    return f"{url.origin}{url.target}"


def check_bound(base: URL) -> None:
    """See that a base can be a bound.

    Raises:
      ValueError: it does not end with a slash, or has something else behind its path.
    """
    if not base.target.endswith("/") or "?" in base.target:
        raise ValueError(
            "confined=True needs a base_url whose path ends with '/': without it, relative URLs "
            "replace its last part, so that it would be no bound"
        )


def leads_out(base: URL, url: URL) -> bool:
    """Whether a URL leads out of a base that is a bound: another origin, or no path below it."""
    if url.origin != base.origin or not url.target.startswith(base.target):
        return True
    return _may_go_up(url.target.partition("?")[0])


def _may_go_up(path: str) -> bool:
    """Whether a server that decodes the path, perhaps twice, could find ``..`` in it."""
    raw = path.encode()
    for _ in range(_MOST_DECODINGS):
        if any(_IGNORED.sub(b"", part) == b".." for part in _SEPARATORS.split(raw)):
            return True
        decoded = unquote_to_bytes(raw)
        if decoded == raw:
            return False
        raw = decoded
    return True
