"""One cookie: what a server sets, read and judged as RFC 6265bis says; and to whom it goes back.

``http.cookiejar`` has the nouns that Python programs exchange, ``Cookie`` and ``CookieJar``, and we
use them. How it reads and judges we don't use, for it was written before RFC 6265 and has stayed
so. Among other things it

- removes a cookie of any domain that a server names in an expired one, before it asks its policy:
  so any site can log a user out of any other;
- sends a cookie without ``Domain`` to all subdomains as well, unless told otherwise;
- takes ``Domain=0.2.1`` from 192.0.2.1, and drops a cookie whose ``Max-Age`` it can't read;
- lets an http answer set, or replace, what only https may have, and knows no ``__Host-``;
- has no bound on anything, and lets ``urlsplit`` keep the URLs of requests.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from .._request.url import URL
from .http_date import http_date
from .public_suffixes import IsPublicSuffix

if TYPE_CHECKING:
    from http.cookiejar import Cookie

MAX_BYTES = 4096
"""Of a name and a value together, as in browsers."""
MAX_ATTRIBUTE_BYTES = 1024
"""Of the value of an attribute; a longer one counts as not there."""
MAX_FIELD_BYTES = 16 * 1024
MAX_SECONDS = 400 * 24 * 3600
"""How far in the future a cookie may expire."""

HTTP_ONLY = "HTTPOnly"
"""As :mod:`http.cookiejar` calls it."""

# A tab is a control character as well: the file format has no way to write one.
CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_SECONDS = re.compile(r"-?[0-9]{1,12}", re.ASCII)
_BLANK = " \t"


def read(field: bytes, url: URL, now: float, is_public_suffix: IsPublicSuffix) -> Cookie | None:
    """The cookie that a response from *url* sets; None if it must not, or if it is none.

    One that has expired is to be removed.

    Args:
      field: the value of a Set-Cookie field.
      now: in seconds since 1970.
    """
    if len(field) > MAX_FIELD_BYTES or CONTROL.search(field):
        return None
    pair, *more = field.decode("latin-1").split(";")
    name, equals, value = (part.strip(_BLANK) for part in pair.partition("="))
    if not equals or not name or len(name) + len(value) > MAX_BYTES:
        return None
    attributes = _attributes(more)
    host = url.origin.host
    domain = _domain(attributes.get("domain", ""), host, is_public_suffix)
    if domain is None:
        return None
    secure = "secure" in attributes
    path = attributes.get("path", "")
    if not path.startswith("/"):
        path = _default_path(url)
    is_for_host = domain == host
    if secure and url.origin.scheme != "https":
        return None
    if not _keeps_its_prefix(
        name, secure=secure, for_root="path" in attributes and path == "/", for_host=is_for_host
    ):
        return None
    expires = _expires(attributes, now)
    return make(
        name,
        value,
        domain=domain,
        path=path,
        secure=secure,
        expires=expires,
        http_only="httponly" in attributes,
    )


def make(
    name: str,
    value: str,
    *,
    domain: str,
    path: str,
    secure: bool,
    expires: int | None,
    http_only: bool,
) -> Cookie:
    """A cookie as :mod:`http.cookiejar` has it.

    Args:
      domain: of a host; or one that begins with a dot, for all hosts below it as well.
      expires: in seconds since 1970; None for: with the session.
    """
    # Not on top: it takes 8 ms, with which a program without cookies can begin sooner.
    from http.cookiejar import Cookie

    for_domain = domain.startswith(".")
    return Cookie(
        version=0,
        name=name,
        value=value,
        port=None,
        port_specified=False,
        domain=domain,
        domain_specified=for_domain,
        domain_initial_dot=for_domain,
        path=path,
        path_specified=True,
        secure=secure,
        expires=expires,
        discard=expires is None,
        comment=None,
        comment_url=None,
        rest={HTTP_ONLY: ""} if http_only else {},
    )


def _attributes(parts: list[str]) -> dict[str, str]:
    """By their names in lower case; of several with one name the last one counts."""
    found = {}
    for part in parts:
        name, _, value = (text.strip(_BLANK) for text in part.partition("="))
        if len(value) <= MAX_ATTRIBUTE_BYTES:
            found[name.lower()] = value
    return found


def _domain(given: str, host: str, is_public_suffix: IsPublicSuffix) -> str | None:
    """To whom it goes: a host, or a domain with a dot in front; None if it must not be set."""
    given = given.removeprefix(".").lower()
    if not given:
        return host
    # With a dot at its end a public suffix is not on the list.
    if not given.isascii() or given.endswith(".") or not is_below(host, given):
        return None
    if is_public_suffix(given):
        return host if given == host else None
    return host if _is_address(host) else f".{given}"


def _expires(attributes: dict[str, str], now: float) -> int | None:
    at: float | None = None
    max_age = attributes.get("max-age", "")
    if _SECONDS.fullmatch(max_age):
        at = now + int(max_age)
    elif "expires" in attributes:
        at = http_date(attributes["expires"].encode("latin-1"))
    return None if at is None else int(min(at, now + MAX_SECONDS))


def _default_path(url: URL) -> str:
    above = path_of(url).rpartition("/")[0]
    return above or "/"


def _keeps_its_prefix(name: str, *, secure: bool, for_root: bool, for_host: bool) -> bool:
    """What ``__Host-`` and ``__Secure-`` in front of a name promise (RFC 6265bis section 4.1.3)."""
    lower = name.lower()
    if lower.startswith("__host-"):
        return secure and for_root and for_host
    return secure or not lower.startswith("__secure-")


# ── To whom it goes ────────────────────────────────────────────────────────────────────────────


def goes_to(cookie: Cookie, url: URL) -> bool:
    """Whether a request to *url* has this cookie with it, unless it has expired."""
    host = url.origin.host
    if cookie.domain.startswith("."):
        if not is_below(host, cookie.domain[1:]):
            return False
    elif cookie.domain != host:
        return False
    if cookie.secure and url.origin.scheme != "https":
        return False
    return is_under(path_of(url), cookie.path)


def is_below(host: str, domain: str) -> bool:
    """Whether a host is the domain, or below it (RFC 6265 section 5.1.3)."""
    return host == domain or (host.endswith(f".{domain}") and not _is_address(host))


def is_under(path: str, of_cookie: str) -> bool:
    """Whether a path is a cookie's, or below it (RFC 6265 section 5.1.4)."""
    if not path.startswith(of_cookie):
        return False
    return of_cookie.endswith("/") or path[len(of_cookie) :][:1] in ("", "/")


def path_of(url: URL) -> str:
    return url.target.partition("?")[0]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
