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
from typing import TYPE_CHECKING

from .channel import Channel
from .slot import Share

if TYPE_CHECKING:
    from .._pool_key import PoolKey
    from .waiter import Waiter


class OriginQueue:
    """One origin: what it has of the pool, and who waits for it.

    Forgotten when it has neither a slot nor a waiter.

    Attributes:
      share: its slots and its idle connections.
      dialling: its waiters that own a dial, oldest first.
      waiting: its waiters that don't, oldest first.
      channel: in which all of them are parked.
      place: the age under which it stands in :class:`Line`; infinity if it does not.
    """

    __slots__ = ("channel", "dialling", "place", "share", "waiting")

    def __init__(self, share: Share) -> None:
        self.share: Share = share
        self.dialling: OrderedDict[Waiter, None] = OrderedDict()
        self.waiting: OrderedDict[Waiter, None] = OrderedDict()
        self.channel: Channel = Channel()
        self.place: float = math.inf

    @property
    def oldest(self) -> Waiter | None:
        """The waiter whose turn it is to be handed a connection."""
        dialling, waiting = next(iter(self.dialling), None), next(iter(self.waiting), None)
        if dialling is None or (waiting is not None and waiting.age < dialling.age):
            return waiting
        return dialling

    @property
    def oldest_waiting(self) -> Waiter | None:
        """The waiter whose turn it is to get a dial."""
        return next(iter(self.waiting), None)

    @property
    def empty(self) -> bool:
        return not (self.dialling or self.waiting or self.share.limiter.borrowed_tokens)


def _insert(order: OrderedDict[Waiter, None], waiter: Waiter) -> None:
    """Put a waiter where it belongs by its age: nearly always at the end, else near the front."""
    youngest = next(reversed(order), None)
    order[waiter] = None
    if youngest is not None and youngest.age > waiter.age:
        older = list(itertools.takewhile(lambda other: other.age < waiter.age, order))
        for one in (waiter, *reversed(older)):
            order.move_to_end(one, last=False)


class Line:
    """The origins that want a slot of the pool, by the age of their oldest waiting request.

    A heap. An origin stands in it under one age, and has at most one entry that counts. Entries are
    not taken out when a waiter leaves; they are put right when they come to the top. That is soon
    enough: a stale entry can only sort too early, never too late. Where an older request comes
    again, there is a second entry, and the one before does not count any more.
    """

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, OriginQueue]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def join(self, queue: OriginQueue) -> bool:
        """Put an origin where it belongs in line, if it has a use for a slot; whether it moved."""
        first = queue.oldest_waiting
        if first is None or first.age >= queue.place or queue.share.full:
            return False
        heapq.heappush(self._heap, (first.age, id(queue), queue))
        queue.place = first.age
        return True

    def first(self) -> OriginQueue | None:
        """The origin whose turn it is to get a slot; None if nobody wants one."""
        heap = self._heap
        while heap:
            age, _, queue = heap[0]
            waiter = queue.oldest_waiting
            if age != queue.place:
                heapq.heappop(heap)
            elif waiter is None or queue.share.full:
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


class Origins:
    """The origins that have a slot or want one, and the line in which they wait for it.

    Attributes:
      by_key: each origin's queue. Only this class adds and removes.
      line: those that want a slot of the pool.
      waiting: how many requests, of all origins, have neither a connection nor a dial.
    """

    def __init__(self, max_per_origin: int | None) -> None:
        self.by_key: dict[PoolKey, OriginQueue] = {}
        self.line: Line = Line()
        self.waiting: int = 0
        self._max_per_origin = math.inf if max_per_origin is None else max_per_origin

    def queue(self, key: PoolKey) -> OriginQueue:
        """The queue of an origin; made if need be."""
        queue = self.by_key.get(key)
        if queue is None:
            queue = self.by_key[key] = OriginQueue(Share(key, self._max_per_origin))
        return queue

    def share(self, key: PoolKey) -> Share | None:
        """What an origin has of the pool; None if it neither has nor wants anything."""
        queue = self.by_key.get(key)
        return None if queue is None else queue.share

    def of(self, share: Share) -> OriginQueue:
        """The queue of an origin that has a slot or a waiter, and so is not forgotten."""
        return self.by_key[share.key]

    def forget_if_empty(self, queue: OriginQueue) -> None:
        """So that a program that asks a million origins does not grow."""
        if queue.empty and self.by_key.get(queue.share.key) is queue:
            del self.by_key[queue.share.key]
            self._keep_line_short()

    def stand_in_line(self, waiter: Waiter) -> None:
        """Let it wait for a slot from now on, behind all who are older."""
        queue = self.of(waiter.share)
        _insert(queue.waiting, waiter)
        self.waiting += 1
        if self.line.join(queue):
            self._keep_line_short()

    def take_first(self, queue: OriginQueue) -> Waiter:
        """Take the oldest waiting request of *queue* out of the line: it gets a dial."""
        waiter, _ = queue.waiting.popitem(last=False)
        self.waiting -= 1
        waiter.stop_waiting()
        _insert(queue.dialling, waiter)
        return waiter

    def remove(self, waiter: Waiter) -> bool:
        """Take a waiter out of its queue; False if it was out already."""
        queue = self.by_key.get(waiter.share.key)
        if queue is None:  # And its origin is forgotten.
            return False
        if waiter in queue.waiting:
            del queue.waiting[waiter]
            self.waiting -= 1
            waiter.stop_waiting()
        elif waiter in queue.dialling:
            del queue.dialling[waiter]
        else:
            return False
        return True

    def next_in_line(self) -> OriginQueue | None:
        """Take the dead out of the front of the line; the origin whose turn it is then, or None.

        Whether a waiter is dead matters only where something would be closed, dialled or called off
        for it: so we look at the first in line, and at that moment, and at nobody else.
        """
        while (queue := self.line.first()) is not None:
            waiter = queue.oldest_waiting
            assert waiter is not None
            if not waiter.dead:
                break
            self.remove(waiter)
            self.forget_if_empty(queue)
        return queue

    def _keep_line_short(self) -> None:
        # While nobody waits nobody looks at the line, and an old entry would keep an origin that is
        # forgotten in memory: its key, and with that a proxy's credentials.
        if not self.waiting or len(self.line) > 2 * len(self.by_key) + 16:
            self.line.sweep()
