"""The rules of the slot engine, told a second time, with lists that are searched from the front.

Written from the essay in ``triopool/_slots/engine.py`` and not from its code. It has no tasks, no
limiters, no heap, and no care for speed. :meth:`Model.come_to_rest` does what happens by itself
once tasks can run: the dead leave, and dials that are called off or out of time end.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from dataclasses import dataclass, field

from triopool._facts import Condition
from triopool._origin import PoolKey

GRACE = 5.0
IDLE_TIMEOUT = 15.0


@dataclass(eq=False)
class ModelSlot:
    """A dial or a connection; *number* counts the dials from 1."""

    number: int
    key: PoolKey
    owner: ModelRequest | ModelWarmUp | None
    started: float
    deadline: float
    state: str = "dialling"
    called_off: bool = False
    idle_until: float = math.inf
    exchanges: int = 0
    retired: bool = False
    looks: Condition = Condition.FRESH
    fit: bool = True


@dataclass(eq=False)
class ModelRequest:
    """*dial* is its own dial while it is queued; *slot* what it settles or holds; *unfit* what it
    gives up, and why, once it stands in line."""

    key: PoolKey
    pool: float
    connect: float
    state: str = "new"
    age: int = -1
    deadline: float = math.inf
    dial: ModelSlot | None = None
    slot: ModelSlot | None = None
    dead: bool = False
    waited: float = 0.0
    waits_since: float | None = None
    unfit: tuple[ModelSlot, str] | None = None


@dataclass(eq=False)
class ModelWarmUp:
    state: str = "waiting"
    dials: list[ModelSlot] = field(default_factory=list)
    error: str | None = None


class Model:
    def __init__(
        self,
        limit: float,
        per_origin: float,
        max_waiting: float,
        max_idle: float,
        max_exchanges: float,
    ) -> None:
        self.limit = limit
        self.per_origin = per_origin
        self.max_waiting = max_waiting
        self.max_idle = max_idle
        self.max_exchanges = max_exchanges
        self.now = 0.0
        self.slots: list[ModelSlot] = []
        self.idle: list[ModelSlot] = []
        self.queue: list[ModelRequest] = []
        # Dials without an owner by origin, both in the order in which they lost it.
        self.orphans: dict[PoolKey, list[ModelSlot]] = {}
        self.counts: Counter[str] = Counter()
        self.refused = False
        self._numbers = itertools.count(1)
        self._ages = itertools.count()

    # What is there

    def of(self, key: PoolKey) -> list[ModelSlot]:
        return [slot for slot in self.slots if slot.key == key]

    @property
    def dials(self) -> list[ModelSlot]:
        return [slot for slot in self.slots if slot.state == "dialling"]

    @property
    def waiting(self) -> list[ModelRequest]:
        return [request for request in self.queue if request.dial is None]

    def next_in_line(self) -> ModelRequest | None:
        """Who is to have the next free slot: the oldest without a dial whose origin has room.

        The dead that are found on the way are removed.
        """
        while able := [r for r in self.waiting if len(self.of(r.key)) < self.per_origin]:
            if not self._is_gone(able[0]):
                return able[0]
            self._leave(able[0])
        return None

    def _is_gone(self, request: ModelRequest) -> bool:
        return request.dead or self._is_past(request.deadline)

    # Requests

    def request(self, request: ModelRequest) -> None:
        request.age = next(self._ages)
        self._look(request, is_new=True)

    def comes_again(self, request: ModelRequest, *, closed: bool) -> None:
        """What it got was stale. It has closed it, or leaves that to the engine."""
        slot = request.slot
        assert slot is not None
        if closed:
            self.close(slot, "discarded")
        elif slot.state != "closed":
            request.unfit = (slot, "stale")
        self._look(request, is_new=False)

    def _look(self, request: ModelRequest, *, is_new: bool) -> None:
        if self.refused and request.unfit is None:
            request.state = "PoolClosed"
            return
        for slot in reversed([slot for slot in self.idle if slot.key == request.key]):
            self._give_up(request)
            self.idle.remove(slot)
            slot.state = "busy"
            if self.now >= slot.idle_until:
                request.unfit = (slot, "expired")
            elif slot.looks is Condition.STALE:
                request.unfit = (slot, "stale")
            else:
                request.slot = slot
                request.state = "settling"
                if slot.looks is Condition.FRESH:
                    self._reuse(request, slot)
                return
        if is_new and request.unfit is None and self._too_many_wait(request.key):
            request.state = "PoolFull"
        else:
            self._enqueue(request)

    def _give_up(self, request: ModelRequest) -> None:
        if request.unfit is not None:
            self._close(*request.unfit)
            request.unfit = None

    def settled(self, request: ModelRequest) -> None:
        slot = request.slot
        assert slot is not None
        if slot.fit and slot.state == "busy":
            slot.looks = Condition.FRESH
            self._reuse(request, slot)
        else:
            request.unfit = (slot, "stale")
            self._look(request, is_new=False)

    def _reuse(self, request: ModelRequest, slot: ModelSlot) -> None:
        self._give_up(request)
        slot.exchanges += 1
        request.state = "served"
        self.counts["reused"] += 1

    def _too_many_wait(self, key: PoolKey) -> bool:
        room = len(self.of(key)) < self.per_origin
        to_be_had = room and (self.idle or len(self.slots) < self.limit)
        return len(self.waiting) >= self.max_waiting and not to_be_had

    def _enqueue(self, request: ModelRequest) -> None:
        request.slot = None
        request.state = "queued"
        self._wait(request)
        self.queue.append(request)
        self.queue.sort(key=lambda one: one.age)
        self._give_up(request)
        self.dispatch()

    def _wait(self, request: ModelRequest) -> None:
        request.waits_since = self.now
        request.deadline = self.now + request.pool - request.waited

    def _wait_no_more(self, request: ModelRequest) -> None:
        if request.waits_since is not None:
            request.waited += self.now - request.waits_since
            request.waits_since = None
            request.deadline = math.inf

    def _leave(self, request: ModelRequest) -> None:
        request.state = "cancelled" if request.dead else "PoolTimeout"
        self.queue.remove(request)
        if request.dial is not None:
            self._orphan(request.dial)
            request.dial = None

    def cancel(self, request: ModelRequest) -> None:
        """It notices when it comes to run: it is dead until then."""
        request.dead = True

    def release(self, request: ModelRequest) -> None:
        slot = request.slot
        request.state = "done"
        assert slot is not None
        if slot.state == "closed":
            return
        if slot.retired:
            self.close(slot, "retired")
        elif slot.exchanges >= self.max_exchanges:
            self.close(slot, "expired")
        elif len(self.slots) > self.limit:
            self.close(slot, "evicted")
        else:
            slot.idle_until = self.now + IDLE_TIMEOUT
            self._offer(slot, None)
            self.dispatch()

    def discard(self, request: ModelRequest) -> None:
        assert request.slot is not None
        request.state = "done"
        self.close(request.slot, "discarded")

    # Who gets it

    def _offer(self, slot: ModelSlot, owner: ModelRequest | None) -> None:
        while own := [request for request in self.queue if request.key == slot.key]:
            request = own[0]
            rival = self.next_in_line()
            older_rival = rival and rival.key != slot.key and rival.age < request.age
            if owner is None and older_rival:
                break
            if request not in self.queue:
                continue
            if not request.dead:
                self._hand_over(slot, request, owner)
                return
            self._leave(request)
            owner = None if request is owner else owner
        if self.next_in_line() is not None or len(self.slots) > self.limit:
            self._close(slot, "evicted")
        elif self.refused:
            self._close(slot, "pool closed")
        else:
            slot.state = "idle"
            self.idle.append(slot)
            if len(self.idle) > self.max_idle:
                self._close(self.idle[0], "evicted")

    def _hand_over(
        self, slot: ModelSlot, request: ModelRequest, owner: ModelRequest | None
    ) -> None:
        self.queue.remove(request)
        self._wait_no_more(request)
        dial, request.dial = request.dial, None
        if dial is None and owner is not None and owner is not request:
            # There is no dial to swap for.
            self._wait(owner)
        elif dial is not None and owner is not None:
            # They swap; but the owner keeps its own deadline.
            dial.owner, owner.dial = owner, dial
            dial.deadline = slot.deadline
        elif dial is not None:
            self._orphan(dial)
        slot.state = "busy"
        slot.exchanges += 1
        request.slot = slot
        request.state = "served"
        self.counts["handed_over"] += 1

    def dispatch(self) -> None:
        while (request := self.next_in_line()) is not None:
            if len(self.slots) < self.limit:
                request.dial = self._dial(request.key, request, request.connect)
                self._wait_no_more(request)
            elif self.idle:
                self._close(self.idle[0], "evicted")
            else:
                self._make_way(request.key)
                break

    def _make_way(self, key: PoolKey) -> None:
        others = [slot for other in self.orphans if other != key for slot in self.orphans[other]]
        if others and not any(slot.called_off for slot in self.dials):
            others[0].called_off = True

    def close(self, slot: ModelSlot, reason: str) -> None:
        if slot.state != "closed":
            self._close(slot, reason)
            self.dispatch()

    def _close(self, slot: ModelSlot, reason: str) -> None:
        if slot in self.idle:
            self.idle.remove(slot)
        slot.state = "closed"
        self.slots.remove(slot)
        self.counts[reason] += 1

    # Dials

    def _dial(self, key: PoolKey, owner: ModelRequest | ModelWarmUp, connect: float) -> ModelSlot:
        slot = ModelSlot(next(self._numbers), key, owner, self.now, self.now + connect)
        self.slots.append(slot)
        return slot

    def _orphan(self, slot: ModelSlot) -> None:
        slot.owner = None
        slot.deadline = min(slot.deadline, self.now + GRACE)
        self.orphans.setdefault(slot.key, []).append(slot)

    def _end_dial(self, slot: ModelSlot) -> ModelRequest | ModelWarmUp | None:
        owner, slot.owner = slot.owner, None
        if owner is None:
            self.orphans[slot.key].remove(slot)
            if not self.orphans[slot.key]:
                del self.orphans[slot.key]
        return owner

    def dial_succeeds(self, slot: ModelSlot) -> None:
        owner = self._end_dial(slot)
        slot.state = "busy"
        slot.idle_until = self.now + IDLE_TIMEOUT
        self.counts["dialled"] += 1
        if isinstance(owner, ModelWarmUp):
            self._dial_of_warm_up_ended(owner, slot, None)
            owner = None
        if owner is not None:
            owner.dial = None
        self._offer(slot, owner)
        self.dispatch()

    def dial_fails(self, slot: ModelSlot, error: str) -> None:
        owner = self._end_dial(slot)
        slot.state = "closed"
        self.slots.remove(slot)
        self.counts["dial_failures"] += 1
        if isinstance(owner, ModelWarmUp):
            self._dial_of_warm_up_ended(owner, slot, error)
        elif owner is not None:
            self.queue.remove(owner)
            owner.dial = None
            owner.state = error
        self.dispatch()

    def _dial_of_warm_up_ended(
        self, warm_up: ModelWarmUp, slot: ModelSlot, error: str | None
    ) -> None:
        warm_up.dials.remove(slot)
        warm_up.error = warm_up.error or error
        if not warm_up.dials:
            warm_up.state = warm_up.error or "done"

    # What happens by itself

    def come_to_rest(self) -> None:
        while self._something_happens():
            pass

    def _something_happens(self) -> bool:
        for request in self.queue:
            if self._is_gone(request):
                self._leave(request)
                self.dispatch()
                return True
        for slot in self.dials:
            if slot.called_off or self._is_past(slot.deadline):
                self.dial_fails(slot, "ConnectTimeout")
                return True
        return False

    def _is_past(self, deadline: float) -> bool:
        return deadline <= self.now

    def sweep(self) -> None:
        for slot in tuple(self.idle):
            unfit = slot.looks is Condition.UNSURE and not slot.fit
            if self.now >= slot.idle_until:
                self._close(slot, "expired")
            elif slot.looks is Condition.STALE or unfit:
                self._close(slot, "stale")
            else:
                slot.looks = Condition.FRESH
        self.dispatch()

    # Operations

    def set_limit(self, limit: float) -> None:
        self.limit = limit
        while len(self.slots) > limit and self.idle:
            self._close(self.idle[0], "evicted")
        self.dispatch()

    def close_idle(self, key: PoolKey | None) -> None:
        for slot in tuple(self.idle):
            if key is None or slot.key == key:
                self._close(slot, "retired")
        self.dispatch()

    def retire(self, key: PoolKey) -> None:
        for slot in self.of(key):
            if slot.state == "idle":
                self._close(slot, "retired")
            elif slot.state == "busy":
                slot.retired = True
        self.dispatch()

    def refuse(self) -> None:
        self.refused = True
        for slot in tuple(self.idle):
            self._close(slot, "pool closed")

    def warm_up(self, warm_up: ModelWarmUp, key: PoolKey, n: int, connect: float) -> None:
        missing = n - len(self.of(key))
        room = min(self.limit - len(self.slots), self.per_origin - len(self.of(key)))
        for _ in range(int(max(0, min(missing, room)))):
            warm_up.dials.append(self._dial(key, warm_up, connect))
        if not warm_up.dials:
            warm_up.state = "done"

    def cancel_warm_up(self, warm_up: ModelWarmUp) -> None:
        warm_up.state = "cancelled"
        for slot in warm_up.dials:
            self._orphan(slot)
        self.dispatch()
