"""What an HTTP proxy may be sent: requests in absolute form, CONNECT, and nothing that is not its.

What a client should not send is an error of the test, and no message shows any part of credentials.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from contextlib import suppress
from dataclasses import dataclass

import h11

from ._request import Request

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[!$&'()*+,\-.0-9;=A-Z_a-z~]+)(?::([1-9][0-9]{0,4}))?")
_ABSOLUTE = re.compile(r"http://([^/?#]*)(/[^#]*|)")
_BASIC = re.compile(r"Basic ([A-Za-z0-9+/]+={0,2})")
_BEARER = re.compile(r"Bearer ([A-Za-z0-9\-._~+/]+=*)")

# What a request may well say, but only to the server at the far end of the tunnel.
_NOT_BEFORE_A_TUNNEL = {
    *("authorization", "cookie", "referer", "expect", "upgrade"),
    *("content-length", "transfer-encoding"),
}


@dataclass(frozen=True)
class Target:
    """What a request asks a proxy for.

    Attributes:
      authority: host and perhaps port, as the client wrote them.
      path: in the form in which an origin is asked; empty for a tunnel.
    """

    authority: str
    host: str
    port: int
    path: str


def read_target(request: Request) -> Target:
    """What *request* asks a proxy for.

    Raises:
      h11.RemoteProtocolError: it is neither CONNECT nor in absolute form, or no proper one.
    """
    if request.method == "CONNECT":
        return _read_authority(request.target, path="")
    match = _ABSOLUTE.fullmatch(request.target)
    if match is None:
        raise _mistake("a target that is no URL of http: proxies are asked in absolute form")
    authority, path = match[1], match[2]
    if not path and request.method != "OPTIONS":
        raise _mistake("a URL without a path")
    return _read_authority(authority, path=path or "*")


def _read_authority(authority: str, *, path: str) -> Target:
    # What is before an "@" is not shown.
    if "@" in authority:
        raise _mistake("a name or a password in the target")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match[2] or 1) > 65535 or not _is_host(match[1]):
        raise _mistake(f"a host and a port that are none: {authority!r}")
    if not (match[2] or path):
        raise _mistake(f"CONNECT to {authority!r}, without a port")
    return Target(authority, match[1].strip("[]"), int(match[2] or 80), path)


def _is_host(host: str) -> bool:
    if not host.startswith("["):
        return True
    with suppress(ValueError):
        ipaddress.IPv6Address(host[1:-1])
        return True
    return False


def check_fields(request: Request, asked: Target, *, wants_credentials: bool) -> None:
    """See that *request* says to the proxy what is for the proxy, and nothing else.

    Raises:
      h11.RemoteProtocolError: it does not.
    """
    names = [name for name, _ in request.headers]
    if request.header("host") != asked.authority:
        raise _mistake(f"a Host that is not {asked.authority!r}")
    if "proxy-connection" in names:
        raise _mistake("Proxy-Connection, which no standard has")
    if names.count("proxy-authorization") > int(wants_credentials):
        raise _mistake("Proxy-Authorization, " + ("twice" if wants_credentials else "unasked"))
    given = request.header("proxy-authorization")
    if given is not None and not _are_credentials(given):
        raise _mistake("a Proxy-Authorization that is neither Basic nor Bearer")
    if request.method == "CONNECT":
        if told := _NOT_BEFORE_A_TUNNEL.intersection(names):
            raise _mistake(f"with CONNECT what is for the server behind: {', '.join(sorted(told))}")
    elif "upgrade" in names:
        raise _mistake("an Upgrade to be forwarded: that needs a tunnel")


def _are_credentials(value: str) -> bool:
    if match := _BASIC.fullmatch(value):
        with suppress(binascii.Error):
            return b":" in base64.b64decode(match[1], validate=True)
        return False
    return _BEARER.fullmatch(value) is not None


def field_value(credentials: object) -> str | None:
    """What Proxy-Authorization has to be."""
    if credentials is None:
        return None
    if isinstance(credentials, str):
        return f"Bearer {credentials}"
    if isinstance(credentials, tuple) and [*map(type, credentials)] == [str, str]:
        return f"Basic {base64.b64encode(':'.join(credentials).encode()).decode('ascii')}"
    raise TypeError("credentials must be a name and a password, or a token: (str, str), or str")


def _mistake(what: str) -> h11.RemoteProtocolError:
    return h11.RemoteProtocolError(f"the client sent the proxy {what}")
