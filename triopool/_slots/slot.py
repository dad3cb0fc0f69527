"""A slot: the right to have one connection open, and what became of it.

A slot is the borrower of two ``CapacityLimiter`` tokens, the origin's and the pool's, from before
the socket is made until its descriptor is closed. It lives through these states, and no others:

    DIALLING ──► BUSY ◄──► IDLE
        │          │         │
        └──────────┴─────────┴──► CLOSED

A connection that is handed over goes from BUSY to BUSY: it is never idle in between, so nobody
can barge in.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import trio
from trio.lowlevel import enable_ki_protection

if TYPE_CHECKING:
    from .._connection_info import CloseReason, ConnectionInfo
    from .waiting import OriginQueue, Waiter


class Condition(enum.Enum):
    """What a glance at an idle connection shows, without I/O."""

    FRESH = "nothing has arrived: ready to be used"
    STALE = "the peer closed it or sent bytes that nobody asked for"
    UNSURE = "something arrived that may be TLS's own business: settle() finds out"


class Pooled(Protocol):
    """What the slot engine asks of a connection. It knows nothing else about it."""

    @property
    def info(self) -> ConnectionInfo: ...

    @property
    def idle_limit(self) -> float | None:
        """How long the peer said it keeps the connection, less a margin; None if it did not."""
        ...

    def condition(self) -> Condition: ...

    async def settle(self) -> bool:
        """Find out whether an UNSURE connection is fit for use, without waiting for the peer."""
        ...

    def close(self) -> None:
        """Close the descriptor, now. Must be synchronous, must not raise, may be repeated."""


C = TypeVar("C", bound=Pooled)


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


class WarmUp(Generic[C]):
    """Owns the dials of one ``warm_up()``: wants to know how they end, not their connections.

    Attributes:
      dials: those under way, oldest first.
      error: the first failure.
      done: set when no dial is left.
    """

    __slots__ = ("dials", "done", "error")

    def __init__(self) -> None:
        self.dials: dict[Slot[C], None] = {}
        self.error: Exception | None = None
        self.done = trio.Event()

    def dial_ended(self, slot: Slot[C], error: Exception | None) -> None:
        self.dials.pop(slot, None)
        self.error = self.error or error
        if not self.dials:
            self.done.set()


class Slot(Generic[C]):
    """One slot, and the connection in it.

    Attributes:
      queue: the origin it belongs to.
      state: see the module's essay.
      connection: None while dialling.
      owner: while dialling, who will be told of a failure: the waiter whose dial it is, a
        warm-up, or None for an orphan, whose waiter was served otherwise or has gone.
      scope: cancelled to call the dial off.
      dial_started_at: on Trio's clock.
      connect_timeout: the limit of the dial, in seconds.
      notes: what the dial is doing and what failed so far; quoted if it runs out of time.
      expires_at: the end of its lifetime, on Trio's clock.
      idle_until: while idle, when it will have been idle for too long.
      used: counts up with each use of any connection; orders the idle ones.
      fresh: whether it has been neither idle nor leased since its dial.
      exchanges: how many leases it has served.
      retired: to be closed when it is returned.
    """

    __slots__ = (
        "connect_timeout",
        "connection",
        "dial_started_at",
        "exchanges",
        "expires_at",
        "fresh",
        "idle_until",
        "notes",
        "owner",
        "queue",
        "retired",
        "scope",
        "state",
        "used",
    )

    def __init__(
        self,
        queue: OriginQueue[C],
        owner: Waiter[C] | WarmUp[C],
        now: float,
        connect_timeout: float | None,
    ) -> None:
        self.queue = queue
        self.owner: Waiter[C] | WarmUp[C] | None = owner
        self.state = State.DIALLING
        self.connection: C | None = None
        self.scope = trio.CancelScope()
        self.dial_started_at = now
        self.connect_timeout = connect_timeout
        self.notes: list[str] = []
        self.expires_at = self.idle_until = math.inf
        self.exchanges = self.used = 0
        self.fresh = True
        self.retired = False

    def move(self, state: State) -> None:
        if state not in self.state.leads_to:
            raise AssertionError(f"a slot can't go from {self.state.name} to {state.name}")
        self.state = state

    def __repr__(self) -> str:
        return f"<Slot {self.state.value} for {self.queue.key}>"


class Engine(Protocol[C]):
    """Where a lease goes back to."""

    def give_back(self, slot: Slot[C]) -> None: ...
    def close(self, slot: Slot[C], reason: CloseReason) -> None: ...


class Lease(Generic[C]):
    """A connection held by one request. Ends once, by whichever comes first; then it is inert.

    The engine never looks at a lease again after it has ended, so a holder that ends it late or
    twice can't touch the connection's next user.

    Attributes:
      connection: the connection.
      reused: whether it was idle, or has served another request, so that it may be stale.
      just_seen: whether it was looked at, and found fit, in the step in which it was leased.
      age: how old its request is; smaller is older.
      waited: how much of its pool timeout the request has used up, in seconds.
    """

    __slots__ = ("_engine", "_slot", "age", "connection", "just_seen", "reused", "waited")

    def __init__(
        self, engine: Engine[C], slot: Slot[C], reused: bool, age: int, waited: float
    ) -> None:
        assert slot.connection is not None
        self._engine: Engine[C] | None = engine
        self._slot = slot
        self.connection = slot.connection
        self.reused = reused
        self.just_seen = False
        self.age = age
        self.waited = waited

    @property
    def ended(self) -> bool:
        return self._engine is None

    @enable_ki_protection
    def release(self) -> None:
        """Give the connection back for reuse: the exchange is finished on both sides."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.give_back(self._slot)

    @enable_ki_protection
    def close(self, reason: CloseReason) -> None:
        """Close the connection: its exchange was not finished, or it can't be reused."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close(self._slot, reason)

    def take_slot(self) -> Slot[C] | None:
        """For the engine: end the lease, and leave its slot as it is; None if it had ended."""
        engine, self._engine = self._engine, None
        return None if engine is None else self._slot
