"""What is true of the slot engine between any two of its steps. Called by tests."""

from __future__ import annotations

from typing import Any

from .engine import Slots
from .slot import Slot, State
from .waiting import OriginQueue, Waiter


def check(slots: Slots[Any]) -> None:
    """Raise AssertionError if the engine's books don't agree.

    - Tokens borrowed are the connections open or dialling, in both limiters, and within bounds.
    - Every idle connection is in exactly one stack and in the global order, and no busy one is.
    - Nobody waits while a connection of its origin is idle, or a slot is free that it could have.
    - Every dial has the owner that has it, or is among the orphans.
    - An origin with nothing in it is forgotten.
    """
    open_slots = slots._open_slots()
    _check_idle(slots, open_slots)
    for queue in slots._origins.values():
        own = [slot for slot in open_slots if slot.queue is queue]
        assert set(queue.limiter.statistics().borrowers) == set(own)
        assert queue.limiter.available_tokens >= 0
        assert not queue.empty, "an empty origin is remembered"
        _check_waiters(queue)
        _check_dials(queue, own)
    assert all(slots._origins.get(slot.queue.key) is slot.queue for slot in open_slots)
    assert slots._waiting == sum(len(queue.waiting) for queue in slots._origins.values())
    _check_nobody_waits_in_vain(slots)


def _check_idle(slots: Slots[Any], open_slots: list[Slot[Any]]) -> None:
    idle = {slot for slot in open_slots if slot.state is State.IDLE}
    assert set(slots._idle) == idle
    stacked = [slot for queue in slots._origins.values() for slot in queue.idle]
    assert len(stacked) == len(set(stacked))
    assert set(stacked) == idle
    assert all(slot in slot.queue.idle for slot in idle)
    assert all(slot.state is not State.CLOSED for slot in open_slots)


def _check_waiters(queue: OriginQueue[Any]) -> None:
    for order in (queue.dialling, queue.waiting):
        ages = [waiter.age for waiter in order]
        assert ages == sorted(ages), "a younger waiter stands before an older one"
        assert not (queue.idle and ages), "a request waits while a connection of its origin is idle"
    assert all(waiter.dial is None for waiter in queue.waiting)


def _check_dials(queue: OriginQueue[Any], own: list[Slot[Any]]) -> None:
    dials = [slot for slot in own if slot.state is State.DIALLING]
    for waiter in queue.dialling:
        assert waiter.dial in dials
        assert waiter.dial.owner is waiter
    for slot in dials:
        assert (slot.owner is None) == (slot in queue.orphans)
        if isinstance(slot.owner, Waiter):
            assert slot.owner in queue.dialling
    assert all(slot in dials for slot in queue.orphans)


def _check_nobody_waits_in_vain(slots: Slots[Any]) -> None:
    could_dial = [q for q in slots._origins.values() if q.waiting and not q.full]
    if could_dial:
        assert slots._total.available_tokens <= 0, "somebody waits while a slot is free"
        assert not slots._idle, "somebody waits while an idle connection could be evicted"
    for queue in could_dial:
        first = queue.oldest_waiting
        assert first is not None
        assert queue.place <= first.age, "an origin that wants a slot stands too far behind"
    assert slots._orphans == sum(len(queue.orphans) for queue in slots._origins.values())
    orphaned = {queue for queue in slots._origins.values() if queue.orphans}
    assert set(slots._orphaned) == orphaned
    if slots._giving_way is not None:
        assert slots._giving_way in slots._giving_way.queue.orphans
