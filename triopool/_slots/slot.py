"""A slot: the right to have one connection open, and what became of it; and an origin's share.

A slot is the borrower of two ``CapacityLimiter`` tokens, the origin's and the pool's, from before
the socket is made until its descriptor is closed. It lives through these states, and no others:

    DIALLING ──► BUSY ◄──► IDLE
        │          │         │
        └──────────┴─────────┴──► CLOSED

and from DIALLING to IDLE, when nobody waits for a fresh connection any more. A connection that is
handed over goes from BUSY to BUSY: it is never idle in between, so no newcomer can take it.
"""

from __future__ import annotations

import enum
import logging
import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import trio

from .._facts import Condition
from .._statistics import Counts, nothing_counted

if TYPE_CHECKING:
    from .._pool_key import PoolKey
    from .pooled import Pooled

logger = logging.getLogger("triopool")


class State(enum.Enum):
    """What a slot is. *leads_to*: what it can become."""

    DIALLING = "dialling"
    IDLE = "idle"
    BUSY = "busy"
    CLOSED = "closed"

    # Tuples at the states themselves: to look a member up in a dictionary or a set calls Python.
    leads_to: tuple[State, ...]


State.DIALLING.leads_to = (State.BUSY, State.IDLE, State.CLOSED)
State.IDLE.leads_to = (State.BUSY, State.CLOSED)
State.BUSY.leads_to = (State.IDLE, State.BUSY, State.CLOSED)
State.CLOSED.leads_to = ()


class Share:
    """What one origin has of the pool: its slots, its idle connections, and what became of them.

    It knows no request that waits. It is in this file because a share is made of slots, and a slot
    knows its share.

    Attributes:
      key: whose it is.
      limiter: bounds the connections open to this origin, by slot.
      idle: a stack; the last one was used most recently. For :class:`.idle.Idle` to change.
      counts: what has happened to it. For :class:`.journal.Journal` to change.
    """

    __slots__ = ("counts", "idle", "key", "limiter")

    def __init__(self, key: PoolKey, max_connections: float) -> None:
        self.key: PoolKey = key
        self.limiter: trio.CapacityLimiter = trio.CapacityLimiter(max_connections)
        self.idle: OrderedDict[Slot, None] = OrderedDict()
        self.counts: Counts = nothing_counted()

    @property
    def full(self) -> bool:
        """Whether as many connections to it are open as may be."""
        return self.limiter.available_tokens <= 0


class Slot:
    """One slot, and the connection in it.

    Attributes:
      share: that of the origin it belongs to.
      state: see the module's essay.
      connection: None while dialling, and where the dial failed.
      expires_at: the end of its lifetime, on Trio's clock.
      idle_until: while idle, when it will have been idle for too long.
      used: counts up with each use of any connection; orders the idle ones.
      fresh: whether it has been neither idle nor leased since its dial.
      exchanges: how many leases it has served.
      retired: whether it is to be closed when it is returned.
    """

    __slots__ = (
        "connection",
        "exchanges",
        "expires_at",
        "fresh",
        "idle_until",
        "retired",
        "share",
        "state",
        "used",
    )

    def __init__(self, share: Share) -> None:
        self.share: Share = share
        self.state: State = State.DIALLING
        self.connection: Pooled | None = None
        self.expires_at: float = math.inf
        self.idle_until: float = math.inf
        self.exchanges: int = 0
        self.used: int = 0
        self.fresh: bool = True
        self.retired: bool = False

    def move(self, state: State) -> None:
        """Become *state*."""
        if state not in self.state.leads_to:
            raise AssertionError(f"a slot can't go from {self.state.name} to {state.name}")
        self.state = state

    def has_expired(self, now: float) -> bool:
        """Whether an idle connection was idle for too long, or is too old."""
        return now >= self.idle_until or now >= self.expires_at

    def glance(self) -> Condition:
        """See whether an idle connection is fit. If the look itself fails, it is not."""
        assert self.connection is not None
        try:
            return self.connection.condition()
        except Exception:
            logger.exception("looking at an idle connection failed; it is closed")
            return Condition.STALE

    async def settle(self) -> bool:
        """Whether a connection is fit of which a glance could not tell.

        The slot has to be BUSY: it belongs to the task that looks. The pool may be shut meanwhile,
        and close it.
        """
        assert self.connection is not None
        try:
            fit = await self.connection.settle()
        except Exception:
            # A connection must not end the task that looks, which may be the sweeper's.
            logger.exception("looking at an idle connection failed; it is closed")
            return False
        return fit and self.state is State.BUSY

    def close(self) -> None:
        """Close the connection, if there is one. Its tokens are given back by the engine."""
        self.move(State.CLOSED)
        if self.connection is not None:
            try:
                self.connection.close()
            except Exception:
                logger.exception("closing a connection failed; its slot is free all the same")

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} for {self.share.key}>"
