"""The client: one way for every request, from its options to its response.

    prepare ──► redirects ──► lease ──► exchange ──► response
                    ▲           ▲__________│ the connection was stale: again, on another one
                    └───────────────────────────────────│ it redirects: that is a new request

The pool has one, for what it offers in public. So has each connection that a program has leased,
where a request takes its turn on that very connection. And the bridge to httpx uses the pool's.

What is owned on the way: nothing while a request waits for a connection; from then on a lease, by
its :class:`Exchange`; from the head of the response on, all by the :class:`Delivery`, which is what
:meth:`Client.send` returns. Exchange and delivery give the connection up by themselves if anything
is raised in them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import trio
from trio.lowlevel import enable_ki_protection

from .._config import check_count
from .._errors import (
    PoolClosed,
    PoolFull,
    PoolTimeout,
    ReadError,
    TriopoolError,
    WriteError,
)
from .._exchange import drain as _drain
from .._exchange.background import Background
from .._exchange.exchange import Exchange
from .._exchange.holding import Holding
from .._exchange.sending import Sending
from .._exchange.upgraded import UpgradedStream
from .._protocol.seam import Connection
from .._request.listener import SILENT, Listener
from .._request.options import RequestOptions, check_names
from .._request.preparations import Preparations
from .._request.request import Request
from .._slots.engine import Slots
from .._slots.lease import Lease
from ..abc import Instrument
from .block import Block
from .delivery import Delivery
from .redirect import leads_to
from .response import Response
from .retry import may_retry, prepare_retry, tell_what_began_it
from .turns import Turns
from .watch import Watches


class Client:
    """Sends the requests of one pool.

    Args:
      preparations: what is known from earlier requests.
      slots: where connections come from.
      instrument: is told how each request goes.
    """

    def __init__(self, preparations: Preparations, slots: Slots, instrument: Instrument) -> None:
        self.preparations = preparations
        self._slots = slots
        self._background = Background()
        self._watches = Watches(instrument)
        # The turns of a connection that the program has leased, if all requests go over that one.
        self._turns: Turns | None = None
        self._start_drain: Callable[[Exchange], None] = Exchange.start_drain

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to work: what goes on beside requests runs in *nursery*."""
        self._background.open(nursery)

    def stop(self) -> None:
        """The pool is left: end what goes on beside requests, and all responses."""
        self._background.stop()
        self._watches.pool_left()

    @property
    def drains(self) -> int:
        """How many connections are read to the end of a body that its request has left."""
        return self._background.count(_drain.NAME)

    def on(self, turns: Turns) -> Client:
        """The same client, but all requests go over one connection."""
        client = copy.copy(self)
        client._turns = turns
        client._start_drain = turns.start_drain
        return client

    def prepare(self, caller: str, method: str, url: str, options: RequestOptions) -> Request:
        """Check the arguments of a request; *caller* is what was called, for messages."""
        if not options:  # Spared the checks, which take a fifth of a request's time.
            return self.preparations.plain(method, url)
        check_names(caller, options)
        return self.preparations.special(method, url, **options)

    def stream(self, request: Request) -> Block[Response]:
        """The block in which the response to a request is read."""
        return Block("stream()", lambda: self.send(request), Response, Delivery.leave)

    @enable_ki_protection
    async def lease(self, request: Request) -> Turns:
        """A connection for the program itself, to where the request would go."""
        return Turns(await self._slots.acquire(request.key, request.timeouts), request)

    def connect(self, request: Request) -> Block[trio.abc.Stream]:
        """The block that holds a stream of the program's own to where a request would go."""
        return Block("connect()", lambda: self._open_stream(request), lambda it: it, _leave_stream)

    @enable_ki_protection
    async def _open_stream(self, request: Request) -> UpgradedStream:
        lease = await self._slots.acquire(request.key_of_stream, request.timeouts)
        connection: Connection = lease.connection

        def close() -> None:
            connection.close()
            lease.end()

        return UpgradedStream(connection.open_stream(), connection, close)

    async def warm_up(self, request: Request, n: int) -> None:
        """Dial until *n* connections to where a request would go are open.

        Raises:
          ConnectError, PoolClosed: as ``pool.warm_up()``.
          TypeError, ValueError: *n* is no number of connections.
        """
        check_count("n", n, least=0)
        await self._slots.warm_up(request.key, n, request.timeouts)

    @enable_ki_protection
    async def send(self, request: Request, listener: Listener = SILENT) -> Delivery:
        """Send a request, and what its redirects lead to; return the last response.

        Raises:
          RedirectError: a redirect can't be followed, or there were too many.
          TriopoolError: any phase's; and what the caller's body raised, as itself.
        """
        sending = Sending(request, listener)
        if request.redirects is None and request.replayable:
            # Most requests: nothing to follow, and no body that would have to be closed.
            return await self.answer(sending)
        previous: Delivery | None = None
        try:
            while True:
                delivery = await self.answer(sending, previous)
                following = await leads_to(delivery)
                if following is None:
                    return delivery
                sending, previous = following, delivery
        except BaseException:
            await sending.give_up_body()
            raise

    async def answer(self, sending: Sending, previous: Delivery | None = None) -> Delivery:
        """Send one request until it has a response; again, if a connection was stale.

        Follows no redirect, and closes no body that was not begun: that is for the caller, as
        :meth:`send` does it.

        Args:
          previous: the response whose redirect led here.

        Raises:
          TriopoolError: any phase's; and what the caller's body raised, as itself.
        """
        self._watches.begin(sending)
        lease: Lease | None = None
        holding: Holding
        first: TriopoolError | None = None
        try:
            if sending.request.to_be_measured:
                sending.request = await sending.request.measured()
            key, timeouts = sending.request.key, sending.request.timeouts
            while True:
                if self._turns is not None:
                    holding = await self._turns.take(sending.request)
                else:
                    # The lease of a stale connection goes along: so the request keeps its age, and
                    # the slot until it stands in line again.
                    lease = self._slots.acquire_nowait(key, lease) or await self._slots.acquire(
                        key, timeouts, lease, sending.listener
                    )
                    holding = lease
                    sending.listener.connected(lease.connection.info, reused=lease.reused)
                    if self._slots.has_last_leases and lease.is_last:
                        lease.connection.announce_end()
                # No checkpoint between here and attempt(), which looks after the lease.
                exchange = Exchange(sending, holding, self._background)
                try:
                    await exchange.attempt()
                    break
                except (ReadError, WriteError) as exc:
                    first = first or exc
                    # There is no other connection to try than the one that was leased.
                    if self._turns is not None or not may_retry(exchange):
                        exchange.abandon()
                        raise
                    sending.listener.retried(exc)
                    prepare_retry(exchange, self._slots)
        except BaseException as exc:
            if isinstance(exc, PoolTimeout | PoolFull | PoolClosed):
                # The slots know a key, whose origin may be that of a proxy which forwards.
                exc.origin = sending.request.url.origin
            if first is not None and isinstance(exc, TriopoolError):
                tell_what_began_it(exc, first)
            sending.listener.failed(exc)
            raise
        delivery = Delivery(exchange, self._start_drain, previous)
        sending.listener.answered(delivery)
        return delivery


async def _leave_stream(stream: UpgradedStream, error: BaseException | None) -> None:
    stream.close()
    await trio.lowlevel.cancel_shielded_checkpoint()
