"""triopool: an HTTP/1.1 connection pool and client for Trio.

The layers, from what a program sees down to what touches a socket; imports point down only:

    _pool                        what a program opens, asks and leaves
    _stream  _lease  _response   what it gets
    _retry  _watch               when a request may be sent again; who is told
    _exchange  _upload  _request one request and its response
    _dial  _happy_eyeballs       from a name to a connection
    _resolve  _tls
    _slots  _queue  _slot        which connection a request gets: no HTTP, no sockets
    _snapshot  _statistics       what it counts, and how it shows it
    _http11  _wire               one connection: h11 over a socket
    _errors  _config  _origin    plain nouns
"""

from . import abc
from ._config import Timeouts
from ._connection_info import CloseReason, ConnectionInfo, ResponseConnection, TLSInfo
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
    StatusError,
    TLSError,
    TriopoolError,
    WriteError,
    WriteTimeout,
)
from ._lease import LeasedConnection
from ._logging import LoggingInstrument
from ._origin import Origin, PoolKey
from ._pool import ConnectionPool
from ._request import RequestInfo, RequestOptions
from ._response import Response, ResponseInfo
from ._statistics import OriginStatistics, PoolStatistics
from .abc import AddressInfo

__all__ = [
    "AddressInfo",
    "CloseReason",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionInfo",
    "ConnectionPool",
    "InvalidURL",
    "LeasedConnection",
    "LocalProtocolError",
    "LoggingInstrument",
    "Origin",
    "OriginStatistics",
    "PoolClosed",
    "PoolFull",
    "PoolKey",
    "PoolStatistics",
    "PoolTimeout",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RemoteProtocolError",
    "RequestInfo",
    "RequestOptions",
    "ResolveError",
    "Response",
    "ResponseConnection",
    "ResponseInfo",
    "StatusError",
    "TLSError",
    "TLSInfo",
    "Timeouts",
    "TriopoolError",
    "WriteError",
    "WriteTimeout",
    "abc",
]
