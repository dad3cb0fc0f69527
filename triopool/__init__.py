"""triopool: an HTTP/1.1 connection pool and client for Trio.

The layers, from what a program sees down to what touches a socket; imports point down only:

    httpx  httpx2                the same under another API; imported by who wants it, and with it
    _httpx_...                     what the two have in common
    _pool                        what a program opens, asks and leaves
    _stream  _lease  _response   what it gets
    _redirect  _retry  _watch    where a request goes next; when it may be sent again; who is told
    _reading  _decoding          a response's body, as its reader gets it
    _charset
    _exchange  _upload           one request and its response
    _background                  what runs beside it
    _upgraded                    what is left of a connection when HTTP is over
    _preparations                the requests of a pool that are alike, checked once
    _request  _fields            what is sent, checked
    _places                      where requests went before
    _hints                       what other clients call it
    _body  _content  _auth
    _only_public                 a socket factory to put into it
    _dial  _happy_eyeballs       from a name to a connection
    _resolve  _system_resolver  _tls
    _slots  _queue  _slot        which connection a request gets: no HTTP, no sockets
    _snapshot  _statistics       what it counts, and how it shows it
    _http11  _wire  _patience    one connection: h11 over a socket, and how long to wait for it
    _scanner                     what a response has to pass before h11 sees it
    _url  _errors  _config       plain nouns
    _response_end  _origin
    _progress  _deadlines  _channel
    _threads  _control_c  _trio_only
"""

from . import abc
from ._body.content import Part
from ._client.errors import RedirectError, StatusError
from ._client.lease import LeasedConnection
from ._client.response import Response
from ._config import Redirects, Timeouts
from ._dial.only_public import OnlyPublic, only_public
from ._errors import (
    ConnectError,
    ConnectTimeout,
    InvalidURL,
    LocalProtocolError,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    ProxyError,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
    ResolveError,
    TLSError,
    TriopoolError,
    WriteError,
    WriteTimeout,
)
from ._exchange.upgraded import UpgradedStream
from ._facts import (
    CloseReason,
    ConnectionInfo,
    Outcome,
    Progress,
    RequestInfo,
    ResponseConnection,
    ResponseEnd,
    ResponseInfo,
    Spent,
    TLSInfo,
)
from ._instruments.logging import LoggingInstrument
from ._origin import Origin, PoolKey
from ._pool import ConnectionPool
from ._request.auth import BasicAuth, BearerAuth
from ._request.options import RequestOptions
from ._statistics import OriginStatistics, PoolStatistics
from .abc import AddressInfo

__all__ = [
    "AddressInfo",
    "BasicAuth",
    "BearerAuth",
    "CloseReason",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionInfo",
    "ConnectionPool",
    "InvalidURL",
    "LeasedConnection",
    "LocalProtocolError",
    "LoggingInstrument",
    "OnlyPublic",
    "Origin",
    "OriginStatistics",
    "Outcome",
    "Part",
    "PoolClosed",
    "PoolFull",
    "PoolKey",
    "PoolStatistics",
    "PoolTimeout",
    "Progress",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RedirectError",
    "Redirects",
    "RemoteProtocolError",
    "RequestInfo",
    "RequestOptions",
    "ResolveError",
    "Response",
    "ResponseConnection",
    "ResponseEnd",
    "ResponseInfo",
    "Spent",
    "StatusError",
    "TLSError",
    "TLSInfo",
    "Timeouts",
    "TriopoolError",
    "UpgradedStream",
    "WriteError",
    "WriteTimeout",
    "abc",
    "only_public",
]


def _name_classes_as_users_do() -> None:
    """So that tracebacks, reprs and pickles say ``triopool.ReadTimeout``, wherever that stands."""
    import contextlib
    import inspect
    from typing import get_type_hints

    private = [
        value
        for value in globals().values()
        if isinstance(value, type) and value.__module__.startswith(f"{__name__}._")
    ]
    for value in private:
        # The annotations of a class are text, and get_type_hints() reads them in the module that
        # the class names. From now on it would do so here, where most names are not known. So we
        # replace the text by what it means, before any class has its new name.
        meanings = get_type_hints(value)
        own = inspect.get_annotations(value)
        value.__annotations__ = {name: meanings[name] for name in own}
    for value in private:
        value.__module__ = __name__
        # Python 3.13 would show what stands here in that line, if asked for the class's source.
        with contextlib.suppress(AttributeError):
            del value.__firstlineno__  # type: ignore[attr-defined]


_name_classes_as_users_do()
