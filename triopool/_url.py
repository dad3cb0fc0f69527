"""URLs: from what the user wrote to the origin, the request target and the Host header.

Parsing is the standard library's, names are ``idna``'s. What is ours is to be strict where a
lenient reading could send a request elsewhere than its author thought (control characters, odd
numeric hosts, what looks like credentials and is none), and to leave everything else as it was
written: characters that may not stand in a target are percent-encoded, and nothing that is
encoded already is touched. (URL libraries that normalise break signed URLs.)
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urlencode, urljoin, urlsplit

import idna

from ._auth import BasicAuth
from ._errors import InvalidURL
from ._origin import Origin

Scalar: TypeAlias = str | int | float | bool | None
# Any, and not "Scalar | Iterable[Scalar]": type checkers give up on a literal dict with both.
Params: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Scalar]]

_DEFAULT_PORTS = {"http": 80, "https": 443}

# Control characters anywhere, space at either end: the standard library would strip some.
_STRIPPED = re.compile(r"[\x00-\x1f\x7f]|\A\s|\s\Z")
# RFC 3986 section 3.2.1.
_USERINFO = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*")
# After the brackets of an IPv6 address; some versions of the standard library skip other things.
_BRACKETED = re.compile(r"\[[^\[\]]*\](?::[0-9]*)?")
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")
# What may stand in a target beside letters, digits and "_.-~" (RFC 3986 sections 2.2, 3.3, 3.4);
# "%" so that what is encoded stays so, and "|[]^`{}\\" are left to be encoded.
_LEGAL = "!$&'()*+,;=:@/?%"
# A registered name, after IDNA: letters, digits, and "-_" as DNS labels use them.
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
# WHATWG URL, "ends in a number": a last label that an IPv4 parser may take for a number.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.ASCII)


class URL(NamedTuple):
    """A URL, ready to be used.

    Attributes:
      origin: where to connect.
      target: the request target in origin form (RFC 9112 section 3.2.1).
      host_header: the origin's host, with its port unless that is the default one.
      auth: the credentials that stood in it. Not part of ``str()``.
    """

    origin: Origin
    target: str
    host_header: str
    auth: BasicAuth | None = None

    def __str__(self) -> str:
        return f"{self.origin.scheme}://{self.host_header}{self.target}"


def parse(url: str, params: Params | None = None) -> URL:
    """Parse an absolute http or https URL, and add *params* to its query.

    Raises:
      InvalidURL: it can't be used; the message says why. It never quotes credentials.
      TypeError: it is not a str.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    parsed = _parse(url)
    query = None if params is None else encode_pairs(params, "params")
    if not query:
        return parsed
    joint = "" if parsed.target.endswith(("?", "&")) else "&" if "?" in parsed.target else "?"
    return parsed._replace(target=f"{parsed.target}{joint}{query}")


@lru_cache(maxsize=512)
def _parse(url: str) -> URL:
    if _STRIPPED.search(url):
        raise InvalidURL(f"{_shown(url)} has a control character in it, or space around it")
    split = _split(url)
    if split is None:
        # A slash in a password ends the host, and the rest of the name is taken for a port.
        look_at = "percent-encode its credentials" if "@" in url else "brackets and port"
        raise InvalidURL(f"{_shown(url)} can't be parsed: look at its host, {look_at}")
    parts, port = split
    if parts.scheme not in _DEFAULT_PORTS:
        hint = "" if "://" in url else ": an absolute URL such as https://example.org/ is needed"
        if parts.scheme in ("ws", "wss"):
            hint = ": for a WebSocket write http:// or https://, and ask for an upgrade"
        raise InvalidURL(f"{_shown(url)} is not an http or https URL{hint}")
    auth = _credentials(url, parts)
    default = _DEFAULT_PORTS[parts.scheme]
    if port == 0:
        raise InvalidURL(f"{_shown(url)} has port 0, where nobody can listen")
    origin = Origin(parts.scheme, _host(url, parts), default if port is None else port)
    # RFC 6874 section 4: the zone is nobody's business but ours.
    host = origin._replace(host=origin.host.partition("%")[0]).bracketed_host
    explicit = "" if origin.port == default else f":{origin.port}"
    return URL(origin, _target(url, parts), host + explicit, auth)


def join(base: URL, reference: str) -> URL:
    """The URL that *reference* means in a response from *base* (RFC 3986 section 5).

    Raises:
      InvalidURL: as :func:`parse`.
    """
    if _STRIPPED.search(reference):
        return _parse(reference)  # which says what is wrong with it
    try:
        joined = urljoin(str(base), reference)
    except ValueError:
        joined = reference
    return _parse(joined)


def _split(url: str) -> tuple[SplitResult, int | None] | None:
    """None if it can't be done. (The error quotes what may be credentials.)"""
    try:
        parts = urlsplit(url)
        return parts, parts.port
    except ValueError:
        return None


def _credentials(url: str, parts: SplitResult) -> BasicAuth | None:
    """Name and password in front of the host (RFC 3986 section 3.2.1).

    Strict about their characters: some programs take the host from behind the first "@" or
    backslash, and some from behind the last "@".
    """
    userinfo, at, _ = parts.netloc.rpartition("@")
    if not userinfo:
        if at:
            raise InvalidURL(f"{_shown(url)} has an '@' with no credentials before it")
        return None
    name, _, password = userinfo.partition(":")
    if _USERINFO.fullmatch(userinfo):
        # Not raised where it is found: that would quote them.
        with contextlib.suppress(ValueError):
            return BasicAuth(unquote(name, errors="strict"), unquote(password, errors="strict"))
    raise InvalidURL(
        f"the credentials in {_shown(url)} can't be used: percent-encode what is not a letter or "
        "digit in them; a colon in the name, and control characters, can't be sent at all"
    )


def _target(url: str, parts: SplitResult) -> str:
    path, query = _quoted(parts.path), _quoted(parts.query)
    if path is None or query is None:
        raise InvalidURL(f"{_shown(url)} has half a surrogate pair in it")
    # The standard library doesn't tell "/?" from "/"; who signed the one meant it.
    has_query = "?" in url.partition("#")[0]
    return f"{path or '/'}?{query}" if has_query else path or "/"


def _quoted(text: str) -> str | None:
    try:
        return quote(text, safe=_LEGAL)
    except UnicodeEncodeError:
        return None


def _host(url: str, parts: SplitResult) -> str:
    host = parts.hostname
    if not host:
        raise InvalidURL(f"{_shown(url)} names no host")
    if "[" in parts.netloc:
        authority = parts.netloc.rpartition("@")[2]
        return _ipv6(url, host if _BRACKETED.fullmatch(authority) else authority)
    if "%" in host:
        host = unquote(host)
    if not host.isascii():
        host, problem = _idna(host)
        if problem:
            raise InvalidURL(f"the host of {_shown(url)} is not a legal name: {problem}")
    host = host.lower()
    if not _NAME.fullmatch(host) or len(host) > 254:
        raise InvalidURL(f"the host of {_shown(url)} is not a legal name")
    if _NUMERIC.fullmatch(host):
        return _ipv4(url, host)
    return host


def _idna(host: str) -> tuple[str, str]:
    """The name in ASCII, or what is wrong with it. (The error quotes it at any length.)"""
    try:
        return idna.encode(host, uts46=True).decode("ascii"), ""
    except idna.IDNAError as exc:
        return "", _short(str(exc))


def _ipv6(url: str, host: str) -> str:
    # RFC 6874 writes a zone as "%25eth0"; many write "%eth0".
    address, percent, zone = host.partition("%")
    zone = zone.removeprefix("25") if zone != "25" else zone
    if not _is_ipv6(address):
        raise InvalidURL(f"the host of {_shown(url)} is not an IPv6 address")
    if percent and not _ZONE.fullmatch(zone):
        raise InvalidURL(f"the host of {_shown(url)} has a zone that is no name of an interface")
    return address + percent + zone


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _ipv4(url: str, host: str) -> str:
    """Accept a dotted quad, and nothing else that some system would take for an address.

    ``http://127.1/`` and ``http://2130706433/`` reach the loopback interface through
    ``getaddrinfo``, past many a filter that looks at the URL.
    """
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError as exc:
        raise InvalidURL(
            f"the host of {_shown(url)} looks like a number but is no IPv4 address: "
            "write it as four decimal numbers"
        ) from exc


def encode_pairs(pairs: Any, what: str) -> str:
    """Encode a query or a form: names and values, a value that is a list once for each of it.

    Args:
      pairs: a mapping, or pairs.
      what: what to call it in an error.
    """
    if isinstance(pairs, str | bytes) or not isinstance(pairs, Iterable):
        raise TypeError(
            f"{what} must be a mapping, or an iterable of (name, value) pairs, "
            f"not {type(pairs).__name__}"
        )
    flat: list[tuple[str, str]] = []
    for name, value in pairs.items() if isinstance(pairs, Mapping) else pairs:
        if not isinstance(name, str):
            raise TypeError(f"a name in {what} must be a str, not {type(name).__name__}")
        is_list = isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)
        flat.extend((name, _text(what, name, one)) for one in (value if is_list else [value]))
    try:
        return urlencode(flat)
    except UnicodeEncodeError:
        pass
    # Not where it was raised: that one quotes the value.
    raise ValueError(f"{what} has half a surrogate pair in it")


def as_text(value: object) -> str | None:
    """A value of a query or a form: booleans as JSON has them, None as an empty one.

    None for what is no text.
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value)
    return None


def _text(what: str, name: str, value: object) -> str:
    text = as_text(value)
    if text is not None:
        return text
    hint = ": a file goes into multipart=" * (
        what == "form" and isinstance(value, bytes | os.PathLike)
    )
    raise TypeError(
        f"{name!r} in {what} must be a str, a number, a bool or None, "
        f"not {type(value).__name__}{hint}"
    )


def _shown(url: str) -> str:
    """A URL for a message: shortened, escaped, without credentials, query and fragment.

    What looks like a path may be the rest of a password with a slash in it, so nothing is shown
    that has an "@" behind it.
    """
    if "@" in url:
        scheme = re.match(r"https?:", url)
        url = f"{scheme[0] if scheme else ''}//{url.rpartition('@')[2]}"
    return _short(re.split(r"[?#]", url, maxsplit=1)[0])


def _short(text: str) -> str:
    """Escaped, in quotes, and cut after that: an escape is up to ten characters for one."""
    shown = ascii(text)
    return shown if len(shown) <= 100 else f"{shown[:97]}...'"
