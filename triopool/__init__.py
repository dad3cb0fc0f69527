"""An HTTP/1.1 connection pool and client for Trio.

Open a pool, and ask::

    import trio
    import triopool

    async def main():
        async with triopool.ConnectionPool() as pool:
            response = await pool.get("https://www.example.org/")
            print(response.status_code, response.text)

            with trio.fail_after(10):  # a deadline is Trio's
                async with pool.stream("GET", "https://www.example.org/large") as response:
                    async for chunk in response:
                        print(len(chunk))

    trio.run(main)

Where to read on:

- ``help(triopool.ConnectionPool)``: the options of a pool, with their defaults, and what it does.
- ``help(triopool.ConnectionPool.request)``: the options of a request, and the errors.
- ``help(triopool.Response)``: status, headers, body.
- ``help(triopool.Timeouts)``: the limits of the phases of a request.
- :class:`TriopoolError` is the base of all errors.
- :mod:`triopool.abc` has what a program may put in, such as instruments and resolvers;
  :mod:`triopool.testing` a network in memory; :mod:`triopool.httpx` the same pool under httpx.
"""

# For those who work on triopool. help() does not show it, and tests/test_layers.py reads it.
__rooms__ = """
The rooms, from what a program sees down to what touches a socket. Behind the arrow stands what the
files of a room may import beside one another, also for types only; ``tests/test_layers.py`` sees to
it. Each room's ``__init__.py`` says more of it.

    httpx httpx2   a transport and a client under the API of these libraries, and with them
        -> _httpx _pool
    websocket      a WebSocket client
        -> _websocket _naming
    _websocket     the handshake, which is a request, and what follows on its connection
        -> _pool _session.session _client _exchange.upgraded _proxy.choice _request _body
           the ground
    opentelemetry  traces and metrics, by the conventions of OpenTelemetry
        -> _errors _facts _origin _version abc
    prometheus     what a pool counts, as Prometheus scrapes it
        -> _pool _statistics _trio_only
    _httpx         what the two have in common
        -> _pool _client _proxy _request _body the ground
    _pool          what a program opens, asks and leaves; it wires the parts together
        -> _requests _session.budget _client.client _proxy _slots _dial _protocol.parsers _request
           _instruments the ground
    _requests      what a pool can be asked for: requests and all that is made of them
        -> _session _client _reading.lines _request _proxy.choice the ground
    _session       what requests have in common, their cookies, and when to try again
        -> _client _exchange.sending _reading.lines _request _proxy _body the ground
    _client        the way of a request, from what the caller asks to the response that it gets
        -> _exchange _protocol.seam _reading _request _proxy.proxy _slots _instruments the ground
    _exchange      one request and its response, on a connection that it is given
        -> _protocol.seam _protocol.heads _request _body _decoding _groups _errors _facts
    _reading       a body as its reader wants it: text, lines, JSON, events, a file
        -> _body
    _slots         which connection a request gets: no HTTP, no sockets
        -> _instruments _statistics _deadlines _config _errors _facts _origin _pool_key abc
    _dial          from a name to an open connection: addresses, their race, sockets, trust
        -> _protocol _proxy.proxy _transport _deadlines _threads _control_c _config _errors _facts
           _origin _pool_key abc
    _proxy         which proxy, and on which way through it
        -> _request.auth _request.url _request.fields _habits _config _errors _facts _origin
           _pool_key abc
    _request       what is sent, checked
        -> _proxy _body _protocol.request_head _decoding _config _errors _facts _habits _origin
           _pool_key
    _protocol      HTTP/1.1 over one connection
        -> _transport _deadlines _config _errors _facts _origin _pool_key _version
    _transport     bytes: a socket, and TLS over it
        -> _errors _facts _origin _pool_key
    _body          what the caller gives as a body, as something that can be sent
        -> _threads _config
    _instruments   the user's instruments as one, and one that writes a log
        -> _protocol.request_head _config _errors _facts _origin abc
    testing        for tests of programs: a network, its servers, a sweep of cancellations
        -> _naming _pool abc

The ground, on which they stand:

    abc            what users may put in, and what it has to look like
        -> _facts _origin _proxy.proxy
    _errors        all that we raise
        -> _origin
    _facts         what we tell of requests, responses and connections
        -> _origin
    _statistics    what a pool counts
        -> _pool_key
    _pool_key      what makes two connections alike
        -> _origin _proxy.proxy
    _origin        scheme, host and port
        -> nothing
    _config        what the user sets, checked
        -> _habits
    _habits        what people write from habit, and what to write instead
        -> nothing
    _decoding      content encodings, undone a piece at a time
        -> nothing
    _deadlines     time limits, kept by one task
        -> nothing
    _charset _naming _threads _control_c _trio_only _own_nursery _groups _version   small tools
        -> nothing
"""

from . import _habits, abc
from ._body.multipart import Part
from ._client.event_source import EventSource
from ._client.lease import LeasedConnection
from ._client.response import RedirectError, Response, StatusError
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
    ProxyInfo,
    RequestInfo,
    RequestRecord,
    ResponseConnection,
    ResponseEnd,
    ResponseInfo,
    Spent,
    TLSInfo,
)
from ._instruments.logging import LoggingInstrument
from ._naming import name_classes as _name_classes
from ._origin import Origin
from ._pool import ConnectionPool
from ._pool_key import PoolKey
from ._proxy.proxy import DIRECT, Direct, Proxy
from ._proxy.rules import ProxyRules
from ._reading.events import ServerSentEvent
from ._reading.links import Link
from ._request.auth import BasicAuth, BearerAuth
from ._request.options import RequestOptions
from ._session.budget import RetryBudget
from ._session.cookies import Cookies
from ._session.options import SessionOptions, SessionRequestOptions
from ._session.retry import Retry
from ._session.session import Session
from ._statistics import OriginStatistics, PoolStatistics
from ._version import __version__ as __version__
from .abc import AddressInfo

__all__ = [
    "DIRECT",
    "AddressInfo",
    "BasicAuth",
    "BearerAuth",
    "CloseReason",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionInfo",
    "ConnectionPool",
    "Cookies",
    "Direct",
    "EventSource",
    "InvalidURL",
    "LeasedConnection",
    "Link",
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
    "Proxy",
    "ProxyError",
    "ProxyInfo",
    "ProxyRules",
    "ReadError",
    "ReadTimeout",
    "RedirectError",
    "Redirects",
    "RemoteProtocolError",
    "RequestInfo",
    "RequestOptions",
    "RequestRecord",
    "ResolveError",
    "Response",
    "ResponseConnection",
    "ResponseEnd",
    "ResponseInfo",
    "Retry",
    "RetryBudget",
    "ServerSentEvent",
    "Session",
    "SessionOptions",
    "SessionRequestOptions",
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


_name_classes(globals(), __name__)
_habits.answer_for_module(globals(), __name__)
