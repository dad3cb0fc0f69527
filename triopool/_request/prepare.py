"""From what a caller gave to a :class:`Request`: all is checked here, before anything is taken."""

from __future__ import annotations

import inspect
import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from .._body.body import Body, to_body
from .._config import (
    Timeouts,
    check_bool,
    check_count,
    check_redirects,
    check_ssl_context,
    check_timeouts,
    described,
)
from .._errors import InvalidURL, LocalProtocolError
from .._proxy.choice import ProxyOption, proxy_or_none
from .._proxy.chooser import Chooser
from . import fields as _fields
from .auth import Auth, check_auth
from .options import RequestOptions
from .places import Places
from .request import SAFE, Request
from .url import URL, check_server_hostname

USUAL = SAFE | {"POST", "PUT", "PATCH", "DELETE", "CONNECT"}
"""Methods that may be given in lower case. Others are sent as they are (RFC 9110 section 9.1)."""

# RFC 9112 section 3.2.3; the host is for the proxy to check.
_AUTHORITY = re.compile(r"(\[[^\[\]]+\]|[^\[\]:/@]+):[0-9]{1,5}")


def prepare(
    method: str,
    url: str,
    *,
    default_timeouts: Timeouts,
    places: Places,
    chooser: Chooser | None = None,
    **options: Unpack[RequestOptions],
) -> Request:
    """Check everything that the caller gave; see :meth:`ConnectionPool.request`.

    Args:
      default_timeouts: the pool's.
      places: what the pool remembers of earlier requests.
      chooser: the pool's, for requests that name no proxy; None if they go directly.
      options: by the names of the request's options; nothing has looked at their values.

    Raises:
      LocalProtocolError, InvalidURL, TypeError, ValueError: an argument is wrong.
      Exception: what the user's own chooser raises, as itself.
    """
    if not isinstance(method, str):
        raise TypeError(f"method must be a str, not {type(method).__name__}")
    if method.upper() in USUAL:
        method = method.upper()
    try:
        parsed = places.parse(url, options.get("params"))
    except InvalidURL:
        if "://" not in method:
            raise
        raise TypeError("the method comes first: request('GET', url)") from None
    if not options and method != "CONNECT":
        # What a method and a URL say is most of what there is to check.
        return Request(
            places=places,
            method=method,
            url=parsed,
            timeouts=default_timeouts,
            auth=parsed.auth,
            **_way(None, parsed, chooser),
        )
    timeouts = options.get("timeouts")
    if timeouts is not None:
        check_timeouts(timeouts)
    attributes = {
        name: _PASSED_ON[name](name, value) for name, value in options.items() if name in _PASSED_ON
    }
    headers = options.get("headers")
    fields = [] if headers is None else _fields.read(headers)
    names = _fields.names_of(fields) if fields else set()
    target = attributes.get("target")
    if target is None:
        refuse_proxy_authorization(names)
    multipart = options.get("multipart")
    body, content_type = to_body(
        content=options.get("content"),
        json=options.get("json"),
        form=options.get("form"),
        multipart=multipart,
    )
    if multipart is not None and "content-type" in names:
        raise ValueError("multipart= makes its own Content-Type, with its boundary: leave it out")
    if method == "CONNECT":
        _check_connect(target, body)
    return Request(
        places=places,
        method=method,
        url=parsed,
        timeouts=timeouts or default_timeouts,
        fields=fields,
        body=body,
        body_length=len(body) if isinstance(body, bytes) else None,
        content_type=content_type,
        auth=_choose_auth(options.get("auth"), names, parsed),
        server_hostname=_server_hostname(options.get("server_hostname"), parsed),
        ssl_context=_ssl_context(options.get("ssl_context"), parsed),
        expect_continue=_expects_continue(options, fields, names, body),
        redirects=check_redirects(options.get("follow_redirects", False)),
        **_way(options.get("proxy"), parsed, chooser),
        **attributes,
    )


def _way(named: ProxyOption | None, url: URL, chooser: Chooser | None) -> dict[str, Any]:
    """The attributes of a request that say which proxy it goes through, if any."""
    if named is not None:
        return {"proxy": proxy_or_none("proxy", named)}
    if chooser is not None:
        return {"proxy": chooser(url.origin), "chooser": chooser}
    return {}


def refuse_proxy_authorization(names: set[str]) -> None:
    """Refuse the field that is for a proxy, unless the caller speaks with one, and gives a target.

    Args:
      names: of the caller's fields, in lower case.

    Raises:
      LocalProtocolError: it is among them.
    """
    if "proxy-authorization" in names:
        raise LocalProtocolError(
            "a header 'Proxy-Authorization' would reach the origin: a proxy's credentials stand in "
            "its URL, or in Proxy(auth=)"
        )


def refuse_switch(request: Request) -> None:
    """Refuse what may become another protocol: only a block can hold its connection.

    Raises:
      LocalProtocolError: it may.
    """
    if request.may_switch:
        raise LocalProtocolError(
            "a request for another protocol (CONNECT, or with an Upgrade header) needs stream(), "
            "whose block holds the connection: 'async with pool.stream(...) as response:'"
        )


# ── One option each ────────────────────────────────────────────────────────────────────────────


def _bool(name: str, value: object) -> object:
    check_bool(name, value)
    return value


def _target(name: str, value: object) -> object:
    if value is not None and not (isinstance(value, str) and value):
        raise TypeError(f"{name} must be a str that is not empty, or None, not {_shown(value)}")
    return value


def _hook(name: str, value: object) -> object:
    if value is not None and (not callable(value) or inspect.iscoroutinefunction(value)):
        verdict = "is async" if callable(value) else "is not"
        raise TypeError(f"{name} must be callable, and not async: {described(value)} {verdict}")
    return value


_PASSED_ON: Mapping[str, Callable[[str, Any], Any]] = {
    "target": _target,
    "idempotent": lambda name, value: None if value is None else _bool(name, value),
    "decode": _bool,
    "on_informational": _hook,
    "on_progress": _hook,
    "max_body_bytes": lambda name, value: check_count(name, value, least=0),
}
"""Options that are attributes of a request, by the same name, and the function that checks each."""


def _server_hostname(name: object, url: URL) -> str | None:
    if name is None:
        return None
    if not (isinstance(name, str) and name):
        raise TypeError(f"server_hostname must be a name or None, not {_shown(name)}")
    if url.origin.scheme != "https":
        raise ValueError("server_hostname is for https URLs only")
    return check_server_hostname(name)


def _ssl_context(context: object, url: URL) -> ssl.SSLContext | None:
    checked = check_ssl_context(context)
    if checked is not None and url.origin.scheme != "https":
        raise ValueError("ssl_context is for https URLs only")
    return checked


def _expects_continue(
    options: RequestOptions, fields: list[_fields.Field], names: set[str], body: Body
) -> bool:
    expects = options.get("expect_continue", False)
    check_bool("expect_continue", expects)
    # A caller who writes the field by hand means it, too.
    if "expect" in names and _fields.expects_continue(fields):
        expects = True
    # RFC 9110 section 10.1.1: not without a body.
    return expects and body != b""


def _choose_auth(auth: object, names: set[str], url: URL) -> Auth | None:
    """The credentials to send: the argument's, or else the URL's, or none beside a header.

    Raises:
      ValueError: there is an argument and a header.
    """
    chosen = check_auth(auth)
    if "authorization" not in names:
        return chosen or url.auth
    if chosen is not None:
        raise ValueError("give either auth= or an Authorization header, not both")
    return None


def _check_connect(target: str | None, body: Body) -> None:
    if target is None or not _AUTHORITY.fullmatch(target):
        raise LocalProtocolError(
            "CONNECT is asked of a proxy, and needs whom to connect to: target='host:port'"
        )
    if body != b"":
        raise LocalProtocolError("CONNECT has no body (RFC 9110 section 9.3.6)")


def _shown(value: object) -> str:
    return "an empty one" if value == "" else described(value)
