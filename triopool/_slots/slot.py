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
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from .pooled import Pooled

if TYPE_CHECKING:
    from .waiting import OriginQueue, Waiter


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
