"""The seams: what users may put in, and what their part has to look like."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    import socket

    import trio

    from ._facts import (
        CloseReason,
        ConnectionInfo,
        RequestInfo,
        RequestRecord,
        ResponseConnection,
        ResponseEnd,
        ResponseInfo,
    )
    from ._origin import Origin
    from ._proxy.proxy import Direct, Proxy


class AddressInfo(NamedTuple):
    """One address to try: the 5-tuple of :func:`socket.getaddrinfo`, with names.

    Socket factories written for aiohttp, which take this tuple, work as they are.

    Attributes:
      family: such as ``socket.AF_INET6``.
      type: always ``socket.SOCK_STREAM``.
      proto: such as ``socket.IPPROTO_TCP``.
      canonname: mostly empty.
      sockaddr: what ``connect`` takes: a tuple that begins with address and port; for
        ``AF_UNIX`` the path, a str.
    """

    family: int
    type: int
    proto: int
    canonname: str
    sockaddr: Any


AnySocket: TypeAlias = "socket.socket | trio.socket.SocketType"

SocketFactory: TypeAlias = "Callable[[AddressInfo], AnySocket | Awaitable[AnySocket]]"
"""Makes the socket for one address, before bind and connect; sync or async.

Called once per address tried, in a task of the pool. It returns a ``SOCK_STREAM`` socket of the
address's family, which is not connected. The pool owns that from then on, and closes it on every
path. An async one may be cancelled, when another address has won or the dial is called off: then it
closes what it has made and not returned.

To raise ``OSError`` skips that address; any other exception reaches the caller as itself.
"""


@runtime_checkable
class NowaitSocket(Protocol):
    """What a Trio socket of a socket factory's own make may have besides Trio's methods.

    Trio's sockets let other tasks run after each operation. A pool does that once for a request,
    where the answer may arrive meanwhile, and so it is quicker with methods that act at once. The
    sockets of the standard library have them, and those of :mod:`triopool.testing`.
    """

    def send_nowait(self, data: bytes | bytearray | memoryview, /) -> int:
        """Send what is taken at once, at least one byte; return how many it was.

        Raises:
          BlockingIOError: nothing is taken at once.
          OSError: the connection broke.
        """
        ...

    def recv_nowait(self, max_bytes: int, /) -> bytes:
        """The next bytes that have arrived; ``b""`` at the end.

        Raises:
          BlockingIOError: nothing has arrived.
          OSError: the connection broke.
        """
        ...

    async def wait_readable(self) -> None:
        """Wait until :meth:`recv_nowait` would not raise ``BlockingIOError``."""


ProxyChooser: TypeAlias = "Callable[[Origin], Proxy | str | Direct]"
"""Says which proxy the requests for an origin go through: any function of this shape.

:class:`triopool.ProxyRules` is one. One of your own::

    TOR = triopool.Proxy("socks5h://127.0.0.1:9050")

    def choose(origin):
        return TOR if origin.host.endswith(".onion") else triopool.DIRECT

    async with triopool.ConnectionPool(proxy=choose) as pool: ...

Called with each request, and with each redirect, in the task that sends it and before anything is
taken; so it should be quick. It has to answer: :data:`triopool.DIRECT` is the word for no proxy,
and None is a ``TypeError``. What it raises reaches the caller as itself.

Return the same :class:`triopool.Proxy` each time where you can: a URL is parsed each time.
"""


class Resolver(Protocol):
    """Finds the addresses of a host: any async callable of this shape.

    Never called for literal addresses. Lookups of one host at one time are one call, in a task of
    the pool: it goes on when the request that began it is cancelled, for at most a minute, and is
    cancelled when the pool is left. What it returns is cached for ``dns_ttl`` seconds.
    """

    async def __call__(self, host: str, port: int, /) -> Sequence[AddressInfo]:
        """The addresses of *host*, the preferred ones first.

        Args:
          host: a name as DNS has it: in lower case, in ASCII (IDNA).
          port: to be repeated in each address.

        Raises:
          OSError: there is no address; reaches the caller as :class:`triopool.ResolveError`.
          Exception: anything else reaches the caller as itself.
        """
        ...


class Instrument:
    """Hooks that tell what the pool does, as Trio's own instruments do. Override what you need.

    The hooks are synchronous and called in the middle of things: they should be quick, and of the
    pool they may call nothing but ``pool.statistics()``. An exception in a hook is logged to the
    ``triopool`` logger and switches that instrument off; no request is disturbed. Times are seconds
    on Trio's clock.

    The hooks whose names begin with "request" or "response" tell of requests. All events of one
    request carry the same ``request.id``. For each ``request_started`` there comes one
    ``request_failed``, or one ``response_started`` with one ``response_ended``. The other hooks
    tell of connections, which are the pool's: a connection that was dialled for one request may
    serve another one. ``request_connected`` says which connection a request got; a hook that tells
    of the same thing with and without the request is called without it first, in the same step.

    Two hooks get a :class:`triopool.RequestRecord`, one object with all that is known of a request:
    ``attempt_started``, which may add header fields, and ``request_ended``. They are called in the
    task of the request, so that context variables are those of its caller; ``request_ended`` may
    also be called by the task that leaves the pool, or that closes the response.
    """

    def queued(self, origin: Origin, waiting: int) -> None:
        """A request has to wait for a slot; *waiting* requests of the pool do, with this one."""

    def dial_started(self, origin: Origin) -> None:
        """A dial has its slot and begins."""

    def dialled(self, connection: ConnectionInfo, seconds: float) -> None:
        """A connection is open, *seconds* after its dial began."""

    def dial_failed(self, origin: Origin, error: BaseException | None) -> None:
        """A dial ended without a connection; *error* is None if it was called off."""

    def reused(self, connection: ConnectionInfo) -> None:
        """A request took an idle connection."""

    def handed_over(self, connection: ConnectionInfo, seconds: float) -> None:
        """A request that waited *seconds* got a connection, returned or freshly dialled."""

    def idled(self, connection: ConnectionInfo) -> None:
        """A connection serves nobody: it was given back, or dialled, and no request waits for it.

        Not called for one that is handed over or closed instead.
        """

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        """A connection's descriptor was closed."""

    def request_started(self, request: RequestInfo) -> None:
        """A request begins: the first of its events."""

    def attempt_started(self, record: RequestRecord) -> Iterable[tuple[str, str]] | None:
        """A request is about to be sent, or to be sent again after a stale connection.

        Called once for each attempt, before it waits for a connection: right after
        ``request_started``, or ``request_retried``.

        Returns:
          header fields to be sent with this attempt, or None. They go behind all others, and are
          never taken along to a redirect. One that the request has already is left out. Fields that
          frame the message, or are about the connection, are refused: that is an exception in a
          hook.
        """

    def request_queued(self, request: RequestInfo, waiting: int) -> None:
        """A request waits for a slot: :meth:`queued`, with the request that does."""

    def request_dial_started(self, request: RequestInfo) -> None:
        """A dial began for this request: :meth:`dial_started`, with the request.

        The request takes whichever comes first, this connection or one that is returned.
        """

    def request_connected(
        self, request: RequestInfo, connection: ResponseConnection, seconds: float
    ) -> None:
        """A request got *connection*, *seconds* after it asked for one: see ``connection.reused``.

        Follows :meth:`reused` or :meth:`handed_over`. Not called for a request over a connection
        that the program has leased.
        """

    def request_sent(self, request: RequestInfo, connection: ConnectionInfo) -> None:
        """A request is about to be written to a connection."""

    def request_retried(self, request: RequestInfo, error: BaseException) -> None:
        """A reused connection turned out stale; the request is sent again on another one."""

    def request_retry_planned(
        self, request: RequestInfo, reason: int | BaseException, seconds: float
    ) -> None:
        """A request has ended, and its session will send another one for the same in *seconds*.

        That is a :class:`triopool.Retry` at work, and no stale connection. The other request has
        an id of its own, and ``retried_from`` is that of this one. It is not sent if the caller
        is cancelled meanwhile.

        Args:
          reason: the status code of the response, or the error that the request failed with.
          seconds: how long the session waits. No slot is held for it.
        """

    def response_started(
        self, request: RequestInfo, response: ResponseInfo, connection: ConnectionInfo
    ) -> None:
        """The head of the final response is here, *response.seconds* after the request was made."""

    def response_ended(
        self, request: RequestInfo, response: ResponseInfo, end: ResponseEnd
    ) -> None:
        """A response that has started has ended: complete, failed, left or cancelled.

        Called exactly once for each :meth:`response_started`, with the same *response*.
        """

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        """A request raised *error*, which may be ``trio.Cancelled``, and has no response.

        A note on a cancellation (``__notes__``) tells what triopool was doing.
        """

    def request_ended(self, record: RequestRecord) -> None:
        """A request is over: the last of its events, whichever way it went.

        It follows ``request_failed``, or ``response_ended``. But where the connection has switched
        to another protocol it follows ``response_started``: what comes then is no HTTP.
        """
