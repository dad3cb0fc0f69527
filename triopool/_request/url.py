"""URLs: from what the user wrote to the origin, the request target and the Host header.

The standard library parses, and ``idna`` encodes names. What we add is to be strict where a lenient
reading could send a request elsewhere than its author thought (control characters, odd numeric
hosts, what looks like credentials and is none), and to leave everything else as it was written:
characters that may not stand in a target are percent-encoded, and what is encoded already is not
touched. (URL libraries that normalise break signed URLs.)

A URL may hold a secret anywhere: a password, a token in its path or query. So a message says no
more of a URL than where it leads, and nothing here remembers one.
"""

from __future__ import annotations

import contextlib
import inspect
import ipaddress
import re
from collections.abc import Callable
from typing import NamedTuple, TypeAlias
from urllib.parse import ParseResult, SplitResult, quote, unquote, urlsplit

import idna

from .._body.form import Params, encode_pairs
from .._config import type_of
from .._errors import InvalidURL
from .._origin import Origin
from .auth import BasicAuth

_DEFAULT_PORTS = {"http": 80, "https": 443}

# The standard library keeps the last URLs that it has split, with all that is in them, for as long
# as the process runs. This is the same function without its cache.
_urlsplit: Callable[[str], SplitResult] = inspect.unwrap(urlsplit)

# Control characters anywhere, space at either end: the standard library would strip some.
_STRIPPED = re.compile(r"[\x00-\x1f\x7f]|\A\s|\s\Z")
# RFC 3986 section 3.2.1.
_USERINFO = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*")
# After the brackets of an IPv6 address; some versions of the standard library skip other things.
_BRACKETED = re.compile(r"\[[^\[\]]*\](?::[0-9]*)?")
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")
# What may stand in a target beside letters, digits and "_.-~" (RFC 3986 sections 2.2, 3.3, 3.4).
# "%" is here so that what is encoded stays as it is; "|[]^`{}\\" are not here, and get encoded.
_LEGAL = "!$&'()*+,;=:@/?%"
# A registered name, after IDNA: letters, digits, and "-_" as DNS labels use them.
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
# WHATWG URL, "ends in a number": a last label that an IPv4 parser may take for a number.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?", re.ASCII)
_NOT_ABSOLUTE = (
    ": an absolute URL such as https://example.org/ is needed (a session with a base_url takes "
    "relative ones)"
)

# RFC 3986 appendix B: scheme, authority, path, query with its "?". The fragment is left out.
_REFERENCE = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?")
# The part of a URL that a message may quote, if there is no doubt about it: scheme, host and port.
_TELLABLE = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]{0,15}://)(?:[^/?#@]*@)?"
    r"([A-Za-z0-9._-]{1,60}|\[[0-9A-Fa-f:.]{1,60}\])(:[0-9]{1,5})?(?=[/?#]|\Z)"
)


def _tellable(url: str) -> str:
    """What a message says of a URL: where it leads, if there is no doubt about that.

    If an "@" follows, what looks like host and port may be a name and a part of a password.
    """
    match = _TELLABLE.match(url)
    if match is None or "@" in url[match.end() :]:
        return "the URL"
    scheme, host, port = match.groups(default="")
    return f"the URL to {scheme}{host}{port}"


Tell: TypeAlias = Callable[[str], str]


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
        raise TypeError(f"url must be a str, not {type_of(url)}{_as_str(url)}")
    parsed = _parse(url)
    return parsed if params is None else add_params(parsed, params)


def _as_str(url: object) -> str:
    """How to make a str of what a program has in place of one."""
    if isinstance(url, bytes):
        return ": give url.decode()"
    if isinstance(url, ParseResult | SplitResult):
        return ": give url.geturl()"
    return ": give str(url)" if type(url).__name__ == "URL" else ""


def add_params(parsed: URL, params: Params) -> URL:
    """The URL with *params* added to its query; see :func:`parse`."""
    query = encode_pairs(params, "params")
    if not query:
        return parsed
    if not parsed.target.endswith(("?", "&")):
        query = ("&" if "?" in parsed.target else "?") + query
    return parsed._replace(target=parsed.target + query)


def _parse(url: str) -> URL:
    parts, port = parts_of(url)
    if parts.scheme not in _DEFAULT_PORTS:
        hint = "" if "://" in url else _NOT_ABSOLUTE
        if parts.scheme in ("ws", "wss"):
            hint = (
                ": triopool.websocket.connect() takes it; for a WebSocket write http:// or https://"
            )
        raise InvalidURL(f"{_tellable(url)} is not an http or https URL{hint}")
    default = _DEFAULT_PORTS[parts.scheme]
    origin, auth = place_of(url, parts, default if port is None else port)
    # RFC 6874 section 4: the zone means something on this machine only, and is not sent.
    host = origin._replace(host=origin.host.partition("%")[0]).bracketed_host
    explicit = "" if origin.port == default else f":{origin.port}"
    return URL(origin, _target(url, parts), host + explicit, auth)


def parts_of(url: str, tell: Tell = _tellable) -> tuple[SplitResult, int | None]:
    """The parts of a URL of any scheme, and its port; nothing else is checked.

    Args:
      tell: what messages say of the URL.

    Raises:
      InvalidURL: the parts can't be told apart.
    """
    if _STRIPPED.search(url):
        raise InvalidURL(f"{tell(url)} has a control character in it, or space around it")
    split = _split(url)
    if split is None:
        # A slash in a password ends the host, and the rest of the name is taken for a port.
        look_at = "percent-encode its credentials" if "@" in url else "brackets and port"
        raise InvalidURL(f"{tell(url)} can't be parsed: look at its host, {look_at}")
    return split


def place_of(
    url: str, parts: SplitResult, port: int, tell: Tell = _tellable
) -> tuple[Origin, BasicAuth | None]:
    """Where a URL of any scheme leads, and the credentials in it.

    Args:
      parts: from :func:`parts_of`.
      port: the URL's, or the default of its scheme.
      tell: what messages say of the URL.

    Raises:
      InvalidURL: host, port or credentials can't be used.
    """
    auth = _credentials(url, parts, tell)
    if port == 0:
        raise InvalidURL(f"{tell(url)} has port 0, where nobody can listen")
    return Origin(parts.scheme, _host(url, parts, tell), port), auth


def join(base: URL, reference: str) -> URL:
    """The URL that *reference* means in a response from *base* (RFC 3986 section 5.2).

    As in browsers, a reference that repeats the scheme and has no host is a relative one.

    Raises:
      InvalidURL: as :func:`parse`.
    """
    match = _REFERENCE.match(reference)
    assert match is not None  # Every part may be missing.
    scheme, authority, path, query = match.groups(default="")
    if _STRIPPED.search(reference) or scheme.lower() not in ("", base.origin.scheme):
        return _parse(reference)
    if authority:
        return _parse(reference if scheme else f"{base.origin.scheme}:{reference}")
    base_path, mark, base_query = base.target.partition("?")
    if path:
        above = "" if path.startswith("/") else base_path[: base_path.rindex("/") + 1]
        path = _without_dots(above + path)
    else:
        path, query = base_path, query or mark + base_query
    return base._replace(target=_encoded_target(reference, path, query), auth=None)


def _without_dots(path: str) -> str:
    """Follow the segments "." and ".." of a path that begins with a slash (section 5.2.4)."""
    kept: list[str] = []
    *above, last = path.split("/")[1:]
    for segment in above:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if last == "..":
        del kept[-1:]
    return "/".join(["", *kept, "" if last in (".", "..") else last])


def _split(url: str) -> tuple[SplitResult, int | None] | None:
    """The parts and the port, or None if they can't be told apart.

    Raises nothing: the standard library's error quotes what may be credentials.
    """
    try:
        parts = _urlsplit(url)
        return parts, parts.port
    except ValueError:
        return None


def _credentials(url: str, parts: SplitResult, tell: Tell) -> BasicAuth | None:
    """Name and password in front of the host (RFC 3986 section 3.2.1).

    Strict about their characters: some programs take the host from behind the first "@" or
    backslash, and some from behind the last "@".
    """
    userinfo, at, _ = parts.netloc.rpartition("@")
    if not userinfo:
        if at:
            raise InvalidURL(f"{tell(url)} has an '@' with no credentials before it")
        return None
    name, _, password = userinfo.partition(":")
    if _USERINFO.fullmatch(userinfo):
        # Raised below, so that it has no context: the errors of decoding quote what they found.
        with contextlib.suppress(ValueError):
            return BasicAuth(unquote(name, errors="strict"), unquote(password, errors="strict"))
    raise InvalidURL(
        f"the credentials in {tell(url)} can't be used: percent-encode what is not a letter "
        "or digit in them; a colon in the name, and control characters, can't be sent at all"
    )


def _target(url: str, parts: SplitResult) -> str:
    # The standard library doesn't tell "/?" from "/". They differ in a signed URL.
    query = f"?{parts.query}" if "?" in url.partition("#")[0] else ""
    return _encoded_target(url, parts.path or "/", query)


def _encoded_target(url: str, path: str, query: str) -> str:
    target = _percent_encoded(path + query)
    if target is None:
        raise InvalidURL(f"{_tellable(url)} has half a surrogate pair in it")
    return target


def _percent_encoded(text: str) -> str | None:
    try:
        return quote(text, safe=_LEGAL)
    except UnicodeEncodeError:
        return None


def _host(url: str, parts: SplitResult, tell: Tell) -> str:
    host = parts.hostname
    if not host:
        raise InvalidURL(f"{tell(url)} names no host")
    if "[" in parts.netloc:
        authority = parts.netloc.rpartition("@")[2]
        return _ipv6(url, host if _BRACKETED.fullmatch(authority) else authority, tell)
    if "%" in host:
        host = unquote(host)
    host, problem = host_name(host)
    if problem:
        raise InvalidURL(f"the host of {tell(url)} {problem}")
    return host


def check_server_hostname(name: str, called: str = "server_hostname") -> str:
    """A name to send as SNI and to verify, checked as a URL's host is, and as an origin has it.

    An IPv6 address stands without brackets.

    Args:
      called: what messages call it.

    Raises:
      ValueError: it is not the name of a host, and no address.
    """
    # A zone, as in "fe80::1%eth0", could have anything in it.
    is_ipv6 = "%" not in name and _is_ipv6(name)
    host, problem = (name.lower(), "") if is_ipv6 else host_name(name)
    if problem:
        raise ValueError(f"{called} {problem}")
    return host


def host_name(host: str) -> tuple[str, str]:
    """A name or an IPv4 address as an origin has it, and "" or what is wrong with it."""
    if not host.isascii():
        host, problem = _idna(host)
        if problem:
            return "", f"is not a legal name: {problem}"
    host = host.lower()
    if not _NAME.fullmatch(host) or len(host) > 254:
        return "", "is not a legal name"
    return _ipv4(host) if _NUMERIC.fullmatch(host) else (host, "")


def _idna(host: str) -> tuple[str, str]:
    """The name in ASCII, and "" or what is wrong with it.

    idna's error quotes the name, however long it is: here it says "it".
    """
    try:
        return idna.encode(host, uts46=True).decode("ascii"), ""
    except idna.IDNAError as exc:
        return "", re.sub(r"(['\"]).*\1", "it", str(exc), flags=re.DOTALL)


def _ipv6(url: str, host: str, tell: Tell) -> str:
    address, percent, zone = host.partition("%")
    # RFC 6874 writes a zone as "%25eth0"; many write "%eth0". "%25" alone is the zone 25.
    if zone != "25":
        zone = zone.removeprefix("25")
    if not _is_ipv6(address):
        raise InvalidURL(f"the host of {tell(url)} is not an IPv6 address")
    if percent and not _ZONE.fullmatch(zone):
        raise InvalidURL(f"the host of {tell(url)} has a zone that is no name of an interface")
    return address + percent + zone


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _ipv4(host: str) -> tuple[str, str]:
    """Accept a dotted quad, and nothing else that some system would take for an address.

    ``http://127.1/`` and ``http://2130706433/`` reach the loopback interface through
    ``getaddrinfo``, past many a filter that looks at the URL.
    """
    with contextlib.suppress(ValueError):
        return str(ipaddress.IPv4Address(host)), ""
    return "", "looks like a number but is no IPv4 address: write it as four decimal numbers"
