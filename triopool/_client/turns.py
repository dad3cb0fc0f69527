"""The exchanges on a connection that the user has leased: each has its turn, one at a time."""

from __future__ import annotations

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import LocalProtocolError, WriteError
from .._exchange.exchange import Exchange
from .._facts import CloseReason, Condition, Spent
from .._protocol.seam import Connection
from .._request.request import Request
from .._slots.lease import Lease


class Turn:
    """One exchange's right to use a connection that the user has leased.

    To the exchange this looks like a lease of the pool's. When it ends, the connection stays with
    the user's lease; but if the connection is spent, that lease ends too.

    Attributes:
      drained: None while the user has the response in hand. If the rest of it was left to be read
        by the pool, an event that is set when that has ended.
    """

    __slots__ = ("_lease", "connection", "drained", "ended", "reused")

    just_seen = False

    def __init__(self, lease: Lease, *, reused: bool) -> None:
        self._lease = lease
        self.connection: Connection = lease.connection
        self.reused = reused
        self.ended = False
        self.drained: trio.Event | None = None

    def end(self, reason: CloseReason = CloseReason.DISCARDED) -> None:
        self.ended = True
        if self.connection.spent is not None:
            self._lease.end(reason)
        if self.drained is not None:
            self.drained.set()


class Turns:
    """The exchanges on a connection that the user has leased: one at a time.

    Attributes:
      request: one that was not sent, for where the connection leads.
      connection: the connection.
    """

    def __init__(self, lease: Lease, request: Request) -> None:
        self.request = request
        self.connection: Connection = lease.connection
        self._lease = lease
        self._last: Turn | None = None

    @property
    def usable(self) -> bool:
        """Whether another exchange can be tried."""
        return not (self._lease.ended or self.connection.closed)

    async def take(self, request: Request) -> Turn:
        """The turn of a request. Waits for the exchange before it, if that was left to be drained.

        Raises:
          LocalProtocolError: a redirect has led the request elsewhere.
          WriteError: the connection has been closed.
          trio.BusyResourceError: the exchange before it is not finished.
        """
        if not self.leads_to(request):
            raise LocalProtocolError(f"a redirect leads away: {self.not_for(request)}")
        last = self._last
        if last is not None and last.drained is not None:
            await last.drained.wait()
        # Another task may have taken a turn while we waited.
        if self._last is not last or (last is not None and not last.ended):
            raise trio.BusyResourceError("the last exchange on this connection is not finished")
        turn = self._last = Turn(self._lease, reused=last is not None or self._lease.reused)
        try:
            # The turn is ours already: nothing else can use the connection while we look at it.
            await self._check_fitness()
        except BaseException:
            self._close(Spent.STALE, CloseReason.STALE)
            turn.end()
            raise
        return turn

    async def _check_fitness(self) -> None:
        """See that nothing has arrived since the last exchange: it would be no answer to ours.

        Raises:
          WriteError: something has, or the connection was closed.
        """
        if self.usable:
            condition = self.connection.condition()
            if condition is Condition.FRESH:
                return
            if condition is Condition.UNSURE and await self.connection.settle():
                return
        raise WriteError(
            f"the leased connection to {self.request.way} has been closed: lease another one",
            origin=self.request.url.origin,
            phase="write",
        )

    def leads_to(self, request: Request) -> bool:
        """Whether the connection is one for a request: to its origin, and on its way."""
        leased = self.request
        return request.key == leased.key and request.url.origin == leased.url.origin

    def not_for(self, request: Request) -> str:
        leased = self.request
        why = f"this connection is leased for {leased.way}, it can't be used for {request.way}"
        if request.may_switch and leased.key.forwarded:
            why += " with another protocol: that takes a tunnel, Proxy(tunnel=True)"
        return why

    def start_drain(self, exchange: Exchange) -> None:
        """Let the pool read what is left of the last exchange; the next one waits for that."""
        assert self._last is not None
        self._last.drained = trio.Event()
        exchange.start_drain()

    @enable_ki_protection
    def end(self, *, finished: bool) -> None:
        """Give the connection back; close it if an exchange is unfinished. May be called again."""
        if finished and (self._last is None or self._last.ended):
            self._lease.end()
        else:
            self._close(Spent.CUT_SHORT, CloseReason.DISCARDED)

    def _close(self, why: Spent, reason: CloseReason) -> None:
        # If the lease has ended, the connection may be another request's by now.
        if not self._lease.ended:
            self.connection.close(why)
            self._lease.end(reason)

    async def leave(self, error: BaseException | None) -> None:
        """Give the connection back, as its block is left, with the exception *error* if any."""
        self.end(finished=error is None)
        await trio.lowlevel.cancel_shielded_checkpoint()
