"""Dials: connections that are being opened, and who is told how that ended.

Dials belong to the pool. They run in the pool's nursery and outlive their request: a caller who
gives up after 200 ms of a handshake of 300 ms has paid for the next caller's connection. A dial
that has lost its owner is an *orphan*. So that a black-holed host can't hold slots for nothing, an
orphan ends after a short grace, and at once where another origin needs its slot.

A dial ends in one of four ways, and its owner is told of it:

    OPEN        there is a connection
    FAILED      the dial raised an error
    TOO_SLOW    its connect timeout passed while its owner waited for it
    CALLED_OFF  it was cancelled: as an orphan, or because the pool was left
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import trio
from trio.lowlevel import enable_ki_protection

from .._errors import ConnectTimeout
from .slot import Share, Slot

if TYPE_CHECKING:
    from .._pool_key import PoolKey
    from .bounds import Bounds
    from .pooled import Pooled


ORPHAN_GRACE = 5.0
"""How long a dial may go on without an owner, in seconds.

Long enough for any handshake worth waiting for, short enough that a black-holed host gives its
slots back within a few requests' patience. Picked, not derived.
"""

Connect: TypeAlias = "Callable[[PoolKey, list[str]], Awaitable[Pooled]]"
"""Opens a connection. Keeps the list up to date: it says what is being done and what failed so far,
for the message of a timeout."""


class DialEnd(enum.Enum):
    """How a dial ended; see the module's essay."""

    OPEN = "open"
    FAILED = "failed"
    TOO_SLOW = "too slow"
    CALLED_OFF = "called off"


class DialOwner(Protocol):
    """Who a dial was started for: a request that waits, or a :class:`WarmUp`."""

    def dial_ended(self, dial: Dial, error: Exception | None) -> None:
        """The dial is over; *error* is why there is no connection, None if there is one."""
        ...


class Dial:
    """One attempt to open a connection, for a slot that has been borrowed already.

    Attributes:
      slot: will have the connection.
      owner: is told how it ends; None for an orphan, whose owner was served otherwise or has gone.
      scope: cancelled to call the dial off. Its deadline is the dial's.
      started_at: on Trio's clock.
      connect_timeout: the limit of the dial, in seconds.
      notes: what it is doing and what failed so far; quoted if it runs out of time.
    """

    __slots__ = ("connect_timeout", "notes", "owner", "scope", "slot", "started_at")

    def __init__(self, slot: Slot, owner: DialOwner, connect_timeout: float | None) -> None:
        self.slot: Slot = slot
        self.owner: DialOwner | None = owner
        self.started_at: float = trio.current_time()
        self.connect_timeout = connect_timeout
        limit = math.inf if connect_timeout is None else connect_timeout
        self.scope: trio.CancelScope = trio.CancelScope(deadline=self.started_at + limit)
        self.notes: list[str] = []

    @property
    def is_over(self) -> bool:
        """Whether it has been cancelled, or its time has passed."""
        # A scope that has been left does not look at the clock any more.
        return self.scope.cancel_called or self.scope.deadline <= trio.current_time()

    @property
    def tried(self) -> str:
        """What it has done so far, in words."""
        return "; ".join(self.notes) or "nothing had been tried yet"

    def pass_on(self, owner: DialOwner, lost: Dial) -> None:
        """Let *owner*, whose dial *lost* has served another request, inherit this one.

        The owner keeps its own limit, and what is left of it.
        """
        self.owner = owner
        self.connect_timeout = lost.connect_timeout
        self.scope.deadline = lost.scope.deadline

    def too_slow(self) -> ConnectTimeout:
        """The error that says so."""
        key, seconds = self.slot.share.key, self.connect_timeout
        return ConnectTimeout(
            f"no connection to {key} within {seconds} s: {self.tried}",
            origin=key.origin,
            phase="connect",
            seconds=seconds,
        )


class WarmUp:
    """Owns the dials of one ``warm_up()``: wants to know how they end, not their connections.

    Attributes:
      dials: those under way, oldest first.
      error: the first failure.
      done: set when no dial is left.
    """

    __slots__ = ("dials", "done", "error")

    def __init__(self) -> None:
        self.dials: dict[Dial, None] = {}
        self.error: Exception | None = None
        self.done: trio.Event = trio.Event()

    def dial_ended(self, dial: Dial, error: Exception | None) -> None:
        del self.dials[dial]
        self.error = self.error or error
        if not self.dials:
            self.done.set()


class Dials:
    """The dials under way, each a task of the pool.

    Attributes:
      under_way: all of them, in the order in which they began.
      orphans: how many of them have no owner.
      orphaned: those, by origin, oldest first. Only origins that have any are in here, so that an
        orphan of another origin is found at once.
      giving_way: an orphan that was called off for another origin: its slot is about to be free.
      ended: called in the step in which a dial ends, with its error if it FAILED. To be set.
    """

    ended: Callable[[Dial, DialEnd, Exception | None], object]

    def __init__(self, connect: Connect, bounds: Bounds) -> None:
        self.under_way: dict[Dial, None] = {}
        self.orphans: int = 0
        self.orphaned: OrderedDict[Share, OrderedDict[Dial, None]] = OrderedDict()
        self.giving_way: Dial | None = None
        self._connect = connect
        self._bounds = bounds
        self._nursery: trio.Nursery | None = None

    def start_in(self, nursery: trio.Nursery) -> None:
        """Dial in *nursery* from now on."""
        self._nursery = nursery

    def start(self, share: Share, owner: DialOwner, connect_timeout: float | None) -> Dial:
        """Start a dial. There has to be a token of the pool, and one of the origin."""
        assert self._nursery is not None
        slot = Slot(share)
        self._bounds.borrow(slot)
        dial = Dial(slot, owner, connect_timeout)
        self.under_way[dial] = None
        self._nursery.start_soon(self._run, dial, name=f"triopool dial to {share.key}")
        return dial

    @enable_ki_protection
    async def _run(self, dial: Dial) -> None:
        slot = dial.slot
        try:
            with dial.scope:
                slot.connection = await self._connect(slot.share.key, dial.notes)
        except Exception as error:
            self._end(dial, DialEnd.FAILED, error)
        except BaseException:
            self._end(dial, DialEnd.CALLED_OFF)
            raise
        else:
            if slot.connection is not None:
                self._end(dial, DialEnd.OPEN)
            else:
                # The scope was cancelled, by its deadline or by us. An orphan has lost its owner
                # before either.
                self._end(dial, DialEnd.CALLED_OFF if dial.owner is None else DialEnd.TOO_SLOW)

    def _end(self, dial: Dial, end: DialEnd, error: Exception | None = None) -> None:
        del self.under_way[dial]
        share = dial.slot.share
        orphans = self.orphaned.get(share)
        if orphans is not None and dial in orphans:
            del orphans[dial]
            self.orphans -= 1
            if not orphans:
                del self.orphaned[share]
        if self.giving_way is dial:
            self.giving_way = None
        self.ended(dial, end, error)

    def orphan(self, dial: Dial) -> None:
        """Let a dial go on for the next request that can use it, within the grace."""
        dial.owner = None
        self.orphaned.setdefault(dial.slot.share, OrderedDict())[dial] = None
        self.orphans += 1
        dial.scope.deadline = min(dial.scope.deadline, trio.current_time() + ORPHAN_GRACE)

    def make_way(self, share: Share) -> None:
        """Call off an orphan of another origin than *share*'s; its slot is free when it has ended.

        One at a time: when its slot is free, the next in line may call off another one.
        """
        if self.giving_way is not None:
            return
        for other, orphans in self.orphaned.items():
            if other is not share:
                self.giving_way = next(iter(orphans))
                self.giving_way.scope.cancel()
                return
