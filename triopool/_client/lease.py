"""``pool.lease()``: one connection, held by the user for several exchanges.

For protocols that tie state to a connection (NTLM, a pinned backend), and for requests that go one
after the other without asking the pool in between.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Unpack

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import LocalProtocolError, WriteError
from .._exchange.background import Background
from .._exchange.exchange import Exchange
from .._exchange.sending import Sending
from .._facts import CloseReason, Condition, ConnectionInfo
from .._request.request import Request, refuse_switch
from .._slots.lease import Lease
from .block import StreamContext
from .redirect import follow
from .response import Response
from .watch import Watches

if TYPE_CHECKING:
    from .._origin import PoolKey
    from .._request.request import RequestOptions


class Turn:
    """One exchange's right to a connection that the user has leased.

    Released, it leaves the connection with its lease; closed, it ends that too.

    Attributes:
      drained: None while the user has the exchange in hand; once it was left to be drained, set
        when that has ended.
    """

    __slots__ = ("_lease", "connection", "drained", "ended", "reused")

    just_seen = False

    def __init__(self, lease: Lease, *, reused: bool) -> None:
        self._lease = lease
        self.connection = lease.connection
        self.reused = reused
        self.ended = False
        self.drained: trio.Event | None = None

    def release(self) -> None:
        self.ended = True
        if self.drained is not None:
            self.drained.set()

    def close(self, reason: CloseReason) -> None:
        if not self.ended:
            self._lease.close(reason)
            self.release()


class LeasedConnection:
    """A connection held for several exchanges, one at a time. From ``async with pool.lease(url)``.

    There are no retries on another connection here, for it would be another one.
    """

    def __init__(
        self,
        lease: Lease,
        key: PoolKey,
        prepare: Callable[..., Request],
        background: Background,
        watches: Watches,
    ) -> None:
        self._lease = lease
        self._key = key
        self._prepare = prepare
        self._background = background
        self._watches = watches
        self._turn: Turn | None = None

    @property
    def info(self) -> ConnectionInfo:
        """The connection's facts: id, addresses, TLS."""
        info: ConnectionInfo = self._lease.connection.info
        return info

    @property
    def is_usable(self) -> bool:
        """Whether another exchange can be tried; False once the connection has been closed."""
        return not (self._lease.ended or self._lease.connection.closed)

    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Response:
        """As ``pool.request()``, on this connection. *url* may be a path that begins with ``/``.

        If cancelled, the connection is closed.

        Raises:
          WriteError: the connection is closed (nothing was sent): lease another one.
          ValueError: *url* is for another origin.
          trio.BusyResourceError: the last exchange is not finished.
        """
        request = self._check(method, url, options)
        refuse_switch(request)
        async with self._stream(request) as response:
            await response.read()
        return response

    def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> StreamContext:
        """As ``pool.stream()``, on this connection. See :meth:`request`."""
        return self._stream(self._check(method, url, options))

    def _check(self, method: str, url: str, options: RequestOptions) -> Request:
        if str(url).startswith("/"):
            url = f"{self._key.origin}{url}"
        if options.get("server_hostname") is None:
            options["server_hostname"] = self._key.server_hostname
        request = self._prepare("a leased connection", method, url, options)
        if request.key != self._key:
            raise ValueError(self._not_for(request))
        return request

    def _not_for(self, request: Request) -> str:
        return f"this connection is leased for {self._key}, it can't be used for {request.key}"

    def _stream(self, request: Request) -> StreamContext:
        return StreamContext(lambda: follow(request, self._send))

    @enable_ki_protection
    async def _send(self, sending: Sending, previous: Response | None) -> Response:
        exchange = await self._watches.watched(sending, self._exchange(sending))
        return Response(exchange, self._drain, previous)

    async def _exchange(self, sending: Sending) -> Exchange:
        if sending.request.key != self._key:
            raise LocalProtocolError(f"a redirect leads away: {self._not_for(sending.request)}")
        if sending.request.to_be_measured:
            sending.request = await sending.request.measured()
        exchange = Exchange(sending, await self._take_turn(), self._background)
        await exchange.open()
        return exchange

    async def _take_turn(self) -> Turn:
        """Wait for the last exchange, if it was left to be drained; see that all is well."""
        last = self._turn
        if last is not None and last.drained is not None:
            await last.drained.wait()
        if self._turn is not last or (last is not None and not last.ended):
            raise trio.BusyResourceError("the last exchange on this connection is not finished")
        turn = self._turn = Turn(self._lease, reused=last is not None or self._lease.reused)
        try:
            await self._check_fitness()
        except BaseException:
            turn.close(CloseReason.STALE)
            raise
        return turn

    async def _check_fitness(self) -> None:
        """What arrived between two exchanges belongs to nobody: close the connection."""
        if self.is_usable:
            connection = self._lease.connection
            condition = connection.condition()
            if condition is Condition.FRESH:
                return
            if condition is Condition.UNSURE and await connection.settle():
                return
        raise WriteError(
            f"the leased connection to {self._key} has been closed: lease another one",
            origin=self._key.origin,
            phase="write",
        )

    def _drain(self, exchange: Exchange) -> None:
        assert self._turn is not None
        self._turn.drained = trio.Event()
        exchange.start_drain()

    def end(self, *, finished: bool) -> None:
        """Give the connection back to the pool; close it if an exchange is not finished."""
        if finished and (self._turn is None or self._turn.ended):
            self._lease.release()
        else:
            self._lease.close(CloseReason.DISCARDED)


class LeaseContext:
    """What ``pool.lease()`` returns: ``async with`` it."""

    def __init__(self, acquire: Callable[[], Awaitable[LeasedConnection]]) -> None:
        self._acquire: Callable[[], Awaitable[LeasedConnection]] | None = acquire
        self._leased: LeasedConnection | None = None

    @enable_ki_protection
    async def __aenter__(self) -> LeasedConnection:
        acquire, self._acquire = self._acquire, None
        if acquire is None:
            raise RuntimeError("this block has been entered already: call lease() again")
        self._leased = await acquire()
        return self._leased

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._leased is not None
        self._leased.end(finished=exc is None)
        await trio.lowlevel.cancel_shielded_checkpoint()
