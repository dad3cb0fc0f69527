"""An in-memory network on Trio's clock.

Long because of its docstrings: all that a test can do with a network is told in one place.

A client that finds its servers by a resolver and makes its connections by a socket factory can be
pointed at this network instead of the kernel's, and notices no difference::

    async def greet(request: Request) -> Reply:
        return Reply(body=b"hello", delay=2.5)

    async def test_that_we_are_greeted(autojump_clock):
        async with Network() as network, network.pool() as pool:
            network.serve("http://example.org", greet)
            response = await pool.get("http://example.org/")
        assert response.text == "hello"
        assert trio.current_time() == 2.5

What :meth:`~Network.serve` and :meth:`~Network.pool` do can be said piece by piece, where a test is
about the pieces::

    network.host("example.org", "2001:db8::1", "192.0.2.1")
    network.hang("2001:db8::1", 80)
    network.listen("192.0.2.1", 80, http_server(greet))
    ConnectionPool(resolver=network.resolve, socket_factory=network.socket)

Nothing in the client is replaced or patched: it dials, races, binds, sets options, speaks TLS,
closes, as it does in production. What is different is that no packet and no thread is involved,
so that with a :class:`trio.testing.MockClock` the time that things take is exact, a minute costs
nothing, and when all tasks wait for the network, only the test can have caused it.

How an endpoint answers is told by one call each: :meth:`~Network.listen`, :meth:`~Network.refuse`,
:meth:`~Network.hang`. The last call for an endpoint counts, for attempts to connect that start
after it. An endpoint that was never mentioned refuses at once, as a machine does where nobody
listens. The servers run in the network's own nursery, one task for each connection. They stand
for programs of somebody else, so what they may do to the test is limited:

* An exception in a handler is a bug of the test. It cancels the body of ``async with``, and leaves
  the block as itself; if the body has raised something else meanwhile, both leave it in an
  ``ExceptionGroup``, the handler's first. A connection is closed after its handler's failure is
  known, so the body is cancelled before it sees that. A handler may close the connection itself
  and fail afterwards: if the body is left meanwhile, the handler still gets a few steps to end.
* ``BrokenResourceError`` and ``ClosedResourceError`` are no bug: the client went away, or the test
  closed the server's end. They end that one connection.
* At the end of the block the handlers are cancelled, and an exception of the body goes on as itself
  and not in an ``ExceptionGroup``.
"""

from __future__ import annotations

import errno
import ipaddress
import math
import socket
import ssl
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import trio
from trio.socket import SocketType

from triopool._pool import ConnectionPool
from triopool.abc import AddressInfo

from ._arguments import check_callable, check_count, check_seconds
from ._endpoint import Endpoint, endpoint, family_of, sockaddr_of
from ._http_server import HTTPServer, Reply, Respond, always
from ._kernel import Action, Kernel, NetworkEvent, Route
from ._place import place_of
from ._socket import NetworkSocket
from ._stream import Handler

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


LAST_STEPS = 20
"""How many times a handler that has closed its connection may be scheduled before the network
cancels it, as its block is left. Enough for the end of a few nurseries; picked, not derived."""


FIRST_ADDRESS = ipaddress.IPv4Address("198.18.0.1")
"""Of those that :meth:`Network.serve` gives to names. RFC 2544 has them for tests of networks."""


@dataclass(frozen=True, slots=True)
class _Host:
    addresses: tuple[str, ...]
    lookup_delay: float


class Network:
    """A network with its own names, addresses and servers. See the top of the module.

    An async context manager; servers run, and connections work, inside of it.

    Args:
      buffer_size: how many bytes one side can send before the other reads any; per direction.
    """

    def __init__(self, *, buffer_size: int = 65536) -> None:
        check_count("buffer_size", buffer_size, least=1)
        self._kernel = Kernel(buffer_size)
        self._hosts: dict[str, _Host] = {}
        self._addresses_given = 0
        self._accepted: Counter[Endpoint] = Counter()
        self._failures: list[BaseException] = []
        # The server's ends of the connections whose handlers have not ended.
        self._served: set[SocketType] = set()
        self._nursery: trio.Nursery | None = None
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._nursery = await self._exits.enter_async_context(trio.open_nursery())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The nursery is not told about the body's exception, because it would put it in a group.
        # It is shielded, so that no cancellation from outside can take that exception's place;
        # and it is cancelled, so there is nothing to wait for that the shield could prolong.
        nursery = self._running_nursery()
        self._kernel.routes.clear()  # the servers are gone: a client that still dials is refused
        nursery.cancel_scope.shield = True
        await self._let_handlers_fail()
        nursery.cancel_scope.cancel()
        await self._exits.aclose()
        self._nursery = None
        self._raise_failures(exc_value)

    async def _let_handlers_fail(self) -> None:
        """Let handlers end that have closed their connection.

        The client sees the end of a connection before its handler has ended. If it takes that
        for the network's fault and leaves, a cancellation would replace the handler's exception.
        """
        with trio.CancelScope(shield=True):
            for _ in range(LAST_STEPS):
                if self._served.issubset(self._kernel.server_sockets):
                    return
                await trio.lowlevel.checkpoint()

    def _raise_failures(self, of_body: BaseException | None) -> None:
        if not self._failures:
            return
        of_body = _without_cancelled(of_body)
        errors = [*self._failures, *([of_body] if of_body else [])]
        if len(errors) == 1:
            raise errors[0]
        raise BaseExceptionGroup("exceptions in the handlers of the network", errors)

    def _running_nursery(self) -> trio.Nursery:
        if self._nursery is None:
            raise RuntimeError("the servers run inside of `async with network:` only")
        return self._nursery

    # ── The usual ──────────────────────────────────────────────────────────────────────────────

    def serve(
        self,
        url: str,
        respond: Respond | Reply,
        *,
        connect_delay: float = 0.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> HTTPServer:
        """Let an HTTP server answer for an origin; return it, to see what it was asked.

        The host gets an address, unless it is one, or :meth:`host` has given it some: then the
        server listens at all of them.

        Args:
          url: such as ``"http://a.test"`` or ``"https://a.test:8443"``.
          respond: called with each :class:`Request`, returns a :class:`Reply`; or the reply that
            all requests get.
          connect_delay: how long the client's ``connect`` takes, in seconds.
          ssl_context: the server's side of TLS, for https.

        Raises:
          ValueError: *url* is not that of an origin; or https has no context, or http has one.
        """
        place = place_of(url)
        if place.is_tls and ssl_context is None:
            raise ValueError("https needs an ssl_context, that of the server")
        if ssl_context is not None and not place.is_tls:
            raise ValueError(f"an ssl_context is for https, and this is {url!r}")
        server = HTTPServer(always(respond) if isinstance(respond, Reply) else respond)
        for address in [place.host] if place.is_literal else self._addresses_of(place.host):
            self.listen(
                address, place.port, server, connect_delay=connect_delay, ssl_context=ssl_context
            )
        return server

    def _addresses_of(self, name: str) -> Sequence[str]:
        entry = self._hosts.get(_canonical(name))
        if entry is None or not entry.addresses:
            address = str(FIRST_ADDRESS + self._addresses_given)
            self._addresses_given += 1
            self.host(name, address, lookup_delay=entry.lookup_delay if entry else 0.0)
            return [address]
        return entry.addresses

    def pool(self, **options: Any) -> ConnectionPool:
        """Make a pool whose network this is: ``async with network.pool() as pool: ...``

        Args:
          options: those of :class:`triopool.ConnectionPool`.
        """
        usual: dict[str, Any] = {"resolver": self.resolve, "socket_factory": self.socket}
        return ConnectionPool(**(usual | options))

    # ── What the network is like ───────────────────────────────────────────────────────────────

    def host(self, name: str, *addresses: str, lookup_delay: float = 0.0) -> None:
        """Give *name* these literal *addresses*, in the order that lookups return them.

        Without addresses the name is known not to exist, which can take a while, too.

        Args:
          name: the host name, in any case.
          addresses: IPv4 and IPv6, mixed as you like.
          lookup_delay: how long a lookup takes, in seconds.

        Raises:
          ValueError: an address is not a literal one.
        """
        if not isinstance(name, str):
            raise TypeError(f"a host's name must be a str, not {name!r}")
        check_seconds("lookup_delay", lookup_delay)
        for address in addresses:
            endpoint(address, 0)
        self._hosts[_canonical(name)] = _Host(addresses, lookup_delay)

    def listen(
        self,
        address: str,
        port: int | None,
        handler: Handler,
        *,
        connect_delay: float = 0.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Accept connections to *address* and *port*, and run *handler* for each.

        The connection is closed when *handler* returns, if not before.

        Args:
          address: a literal IP address; with a *port* of None, the path of a Unix socket.
          port: the port, or None.
          handler: called with a ``trio.SocketStream``, or with a ``trio.SSLStream`` after its
            handshake. Clients that fail the handshake are dropped, and not told to *handler*.
          connect_delay: how long the client's ``connect`` takes, in seconds.
          ssl_context: the server's side of TLS; None for plain TCP.

        Raises:
          ValueError: *address* is not a literal one, or the context is for clients.
        """
        check_callable("handler", handler)
        check_seconds("connect_delay", connect_delay)
        _check_context(ssl_context)
        where = endpoint(address, port)

        def accept(server_end: SocketType) -> None:
            self._accepted[where] += 1
            self._running_nursery().start_soon(self._serve, handler, ssl_context, server_end)

        self._kernel.routes[where] = Route(connect_delay, accept)

    def refuse(
        self,
        address: str,
        port: int | None,
        *,
        after: float = 0.0,
        error: int = errno.ECONNREFUSED,
    ) -> None:
        """Answer attempts to connect with an error.

        Args:
          address: a literal IP address; with a *port* of None, the path of a Unix socket.
          port: the port, or None.
          after: how long the answer takes, in seconds.
          error: the errno, such as ``errno.EHOSTUNREACH``.
        """
        check_seconds("after", after)
        check_count("error", error, least=1)
        self._kernel.routes[endpoint(address, port)] = Route(after, error=error)

    def hang(self, address: str, port: int | None) -> None:
        """Never answer attempts to connect, as a black hole or a firewall that drops packets.

        Args:
          address: a literal IP address; with a *port* of None, the path of a Unix socket.
          port: the port, or None.
        """
        self._kernel.routes[endpoint(address, port)] = Route(math.inf)

    # ── What a client uses ─────────────────────────────────────────────────────────────────────

    async def resolve(self, host: str, port: int, /) -> Sequence[AddressInfo]:
        """Look *host* up, as slowly as it was told to be. A :class:`triopool.abc.Resolver`.

        Raises:
          socket.gaierror: the name is not known.
        """
        self._kernel.record("resolve", host)
        return await self._look_up(host, port)

    async def _look_up(self, host: str, port: int) -> Sequence[AddressInfo]:
        entry = self._hosts.get(_canonical(host), _Host((), 0.0))
        await trio.sleep(entry.lookup_delay)
        if not entry.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [_address_info(endpoint(address, port)) for address in entry.addresses]

    def socket(self, address: AddressInfo) -> NetworkSocket:
        """Make a socket for *address*, not yet connected. A :data:`triopool.abc.SocketFactory`."""
        return NetworkSocket(self._kernel, address)

    # ── What a server uses that is a client itself ─────────────────────────────────────────────

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Connect to *host* as one of the servers does: for proxies.

        Nothing of it is in the log, which tells what the clients did, and the socket is one of
        :attr:`open_server_sockets`. The addresses of a name are tried in turn.

        Args:
          host: a name that the network was told of, or a literal IP address.
          port: the port.

        Raises:
          OSError: the name is not known (that is a ``socket.gaierror``), or no address of it takes
            the connection: then it is what the last one said.
        """
        try:
            addresses: Sequence[AddressInfo] = [_address_info(endpoint(host, port))]
        except ValueError:
            addresses = await self._look_up(host, port)
        *others, last = addresses
        for address in others:
            with suppress(OSError):
                return await self._connect(address)
        return await self._connect(last)

    async def _connect(self, address: AddressInfo) -> trio.SocketStream:
        sock = NetworkSocket(self._kernel, address, server_side=True)
        try:
            await sock.connect(address.sockaddr)
        except OSError:
            sock.close()
            raise
        return trio.SocketStream(sock)

    # ── What happened ──────────────────────────────────────────────────────────────────────────

    @property
    def log(self) -> Sequence[NetworkEvent]:
        """What the clients did, in order."""
        return tuple(self._kernel.log)

    def events(self, *actions: Action) -> list[NetworkEvent]:
        """Return the part of :attr:`log` that has these *actions*."""
        return [event for event in self._kernel.log if event.action in actions]

    @property
    def open_sockets(self) -> Sequence[NetworkSocket]:
        """The clients' sockets that have been made and not been closed, oldest first."""
        return _ours(self._kernel.client_sockets)

    @property
    def open_server_sockets(self) -> Sequence[NetworkSocket]:
        """The server's ends of connections, if not closed, in the order of their acceptance.

        With those, in between, by which servers have connected to others (:meth:`connect`).

        ``network.open_server_sockets[0].close()`` is how a test closes, or with ``reset()``
        breaks, a connection from the server's side without the handler's help.
        """
        return _ours(self._kernel.server_sockets)

    def connections_accepted(self, address: str, port: int | None) -> int:
        """Return how many connections to *address* and *port* were accepted so far."""
        return self._accepted[endpoint(address, port)]

    # ── Serving ────────────────────────────────────────────────────────────────────────────────

    async def _serve(
        self, handler: Handler, ssl_context: ssl.SSLContext | None, server_end: SocketType
    ) -> None:
        self._served.add(server_end)
        try:
            await _converse(handler, ssl_context, server_end)
        except BaseException as error:
            # Not only an Exception: what pytest.fail() raises is none.
            failure = _without_cancelled(error)
            if failure is None:
                raise
            self._failures.append(failure)
            self._running_nursery().cancel_scope.cancel()
        finally:
            server_end.close()
            self._served.remove(server_end)


async def _converse(
    handler: Handler, ssl_context: ssl.SSLContext | None, server_end: SocketType
) -> None:
    stream: trio.abc.Stream = trio.SocketStream(server_end)
    try:
        if ssl_context is not None:
            # Web servers don't wait for the client's close_notify either.
            stream = trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
            await stream.do_handshake()
        await handler(stream)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client went away, or the test closed our end


def _ours(sockets: Iterable[SocketType]) -> tuple[NetworkSocket, ...]:
    # The kernel knows them as sockets only, so that it need not know what they are made of.
    return cast("tuple[NetworkSocket, ...]", tuple(sockets))


def _check_context(ssl_context: object) -> None:
    if ssl_context is None:
        return
    if not isinstance(ssl_context, ssl.SSLContext):
        raise TypeError(f"ssl_context must be an ssl.SSLContext, not {ssl_context!r}")
    if ssl_context.protocol is ssl.PROTOCOL_TLS_CLIENT:
        raise ValueError("ssl_context is for clients: a server needs ssl.PROTOCOL_TLS_SERVER")


def _canonical(name: str) -> str:
    return name.lower().removesuffix(".")


def _address_info(where: Endpoint) -> AddressInfo:
    return AddressInfo(
        family_of(where), socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sockaddr_of(where)
    )


def _without_cancelled(error: BaseException | None) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1]
    return None if isinstance(error, trio.Cancelled) else error
