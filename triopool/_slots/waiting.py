"""Who waits: the waiters of one origin, and the line in which origins wait for each other.

Two orders decide everything. Within an origin it is arrival. Across origins it is the age of each
origin's oldest waiter that has no dial yet; an origin that is at its own bound does not stand in
that line, for a free slot of the pool would be of no use to it.

The waiters of an origin are in two pieces, ``dialling`` (they own a dial) and ``waiting`` (they
don't), each by age. A newcomer is the youngest and goes to the end. A request that comes again,
because the connection that it got was stale, is as old as it was: it goes before all who came
since, and past those only that have come again too and are older, so that its place is soon found.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import OrderedDict
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Generic, Protocol

import outcome
import trio

from .._deadlines import Timed
from .._statistics import Counts
from .channel import Channel
from .slot import C, Slot

if TYPE_CHECKING:
    from .._config import Timeouts
    from .._pool_key import PoolKey


class WaiterWatch(Protocol):
    """Is told what one request waits for. Synchronous, and must not raise."""

    def queued(self, waiting: int) -> None:
        """It has no dial, so it waits for a slot; *waiting* requests of the pool do, with it."""
        ...

    def dial_started(self) -> None:
        """A dial has begun for it."""
        ...


class Waiter(Timed, Generic[C]):
    """A request queued for a connection.

    It owns a memory channel with a buffer of zero, and its task is parked in it for as long as it
    is queued. So ``send_nowait`` either is taken by a live task, or raises ``WouldBlock`` because
    the task was cancelled a moment ago. There is no third case, in which a connection lies in the
    channel and nobody knows whether it was taken.

    Its deadline is that of waiting for a slot; it has none any more when it has a dial.

    Attributes:
      age: smaller is older; unique in the pool.
      queued_at: on Trio's clock.
      waits_since: when it began to wait for a slot, this time.
      waited: for how many seconds it had waited for one before.
      timeouts: of its request: how long it waits for a slot, and how long a dial of its own takes.
      dial: the dial it owns; None while it waits for a slot.
      watch: is told what it waits for.
    """

    __slots__ = (
        "_channel",
        "_waits",
        "age",
        "dial",
        "queue",
        "queued_at",
        "timeouts",
        "waited",
        "waits_since",
        "watch",
    )

    def __init__(
        self,
        queue: OriginQueue[C],
        age: int,
        now: float,
        timeouts: Timeouts,
        waited: float,
        watch: WaiterWatch | None = None,
    ) -> None:
        super().__init__()
        self.queue = queue
        self.age = age
        self.queued_at = self.waits_since = now
        self.waited = waited
        self.timeouts = timeouts
        self.watch = watch
        self.dial: Slot[C] | None = None
        self._channel: Channel[Slot[C]] = Channel()
        self._waits = False

    def wait(self) -> Awaitable[Slot[C]]:
        """Wait until a connection is given, and return it; or raise the error that is."""
        self._waits = True
        return self._channel.receive()

    @property
    def dead(self) -> bool:
        """Whether it was cancelled a moment ago, and its task has not run yet to leave."""
        return self._waits and self._channel.receiver is None

    def give(self, what: outcome.Outcome[Slot[C]]) -> bool:
        """Give it a connection or an error; False if it was cancelled and can't take it."""
        try:
            self._channel.send_nowait(what)
        except trio.WouldBlock:
            return False
        return True


def insert(order: OrderedDict[Waiter[C], None], waiter: Waiter[C]) -> None:
    """Put a waiter where it belongs by its age: nearly always at the end, else near the front."""
    youngest = next(reversed(order), None)
    order[waiter] = None
    if youngest is not None and youngest.age > waiter.age:
        older = list(itertools.takewhile(lambda other: other.age < waiter.age, order))
        for one in (waiter, *reversed(older)):
            order.move_to_end(one, last=False)


class OriginQueue(Generic[C]):
    """One origin: its slots, its idle connections, its waiters. Forgotten when it has neither.

    Attributes:
      limiter: bounds the connections open to this origin, by slot.
      idle: a stack; the last one was used most recently.
      dialling: its waiters that own a dial, oldest first.
      waiting: its waiters that don't, oldest first.
      orphans: its dials whose owner was served otherwise or has gone, oldest first.
      place: the age under which it stands in :class:`Line`; infinity if it does not.
    """

    __slots__ = (
        "counts",
        "dialling",
        "idle",
        "key",
        "limiter",
        "orphans",
        "place",
        "waiting",
    )

    def __init__(self, key: PoolKey, max_connections: int | None) -> None:
        self.key = key
        self.limiter = trio.CapacityLimiter(
            math.inf if max_connections is None else max_connections
        )
        self.idle: OrderedDict[Slot[C], None] = OrderedDict()
        self.dialling: OrderedDict[Waiter[C], None] = OrderedDict()
        self.waiting: OrderedDict[Waiter[C], None] = OrderedDict()
        self.orphans: OrderedDict[Slot[C], None] = OrderedDict()
        self.place = math.inf
        self.counts = Counts()

    @property
    def oldest(self) -> Waiter[C] | None:
        """The waiter whose turn it is to be handed a connection."""
        dialling, waiting = next(iter(self.dialling), None), self.oldest_waiting
        if dialling is None or (waiting is not None and waiting.age < dialling.age):
            return waiting
        return dialling

    @property
    def oldest_waiting(self) -> Waiter[C] | None:
        """The waiter whose turn it is to get a dial."""
        return next(iter(self.waiting), None)

    @property
    def full(self) -> bool:
        return self.limiter.available_tokens <= 0

    @property
    def empty(self) -> bool:
        return not (self.limiter.borrowed_tokens or self.dialling or self.waiting)


class Line(Generic[C]):
    """The origins that want a slot of the pool, by the age of their oldest waiting request.

    A heap. An origin stands in it under one age, and has at most one entry that counts. Entries are
    not taken out when a waiter leaves; they are put right when they come to the top, which is soon
    enough, because such an entry stands too far in front, never too far behind. Where an older
    request comes again, there is a second entry, and the one before does not count any more.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, OriginQueue[C]]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def join(self, queue: OriginQueue[C]) -> None:
        """Put an origin where it belongs in line, if it has a use for a slot."""
        first = queue.oldest_waiting
        if first is not None and first.age < queue.place and not queue.full:
            heapq.heappush(self._heap, (first.age, id(queue), queue))
            queue.place = first.age

    def first(self) -> OriginQueue[C] | None:
        """The origin whose turn it is to get a slot; None if nobody wants one."""
        heap = self._heap
        while heap:
            age, _, queue = heap[0]
            waiter = queue.oldest_waiting
            if age != queue.place:
                heapq.heappop(heap)
            elif waiter is None or queue.full:
                heapq.heappop(heap)
                queue.place = math.inf
            elif waiter.age != age:
                heapq.heapreplace(heap, (waiter.age, id(queue), queue))
                queue.place = waiter.age
            else:
                return queue
        return None

    def sweep(self) -> None:
        """Drop the entries that are of no use any more.

        Only needed so that a long wait at the front does not let them pile up behind it.
        """
        queues = {queue for age, _, queue in self._heap if age == queue.place}
        self._heap = []
        for queue in queues:
            queue.place = math.inf
            self.join(queue)
