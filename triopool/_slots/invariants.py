"""What is true of the slot engine between any two of its steps. Called by tests."""

from __future__ import annotations

from .books import Books
from .engine import Slots
from .slot import Slot, State
from .waiter import Waiter
from .waiting import OriginQueue


def check(slots: Slots) -> None:
    """Raise AssertionError if the engine's books don't agree.

    - Tokens borrowed are the connections open or dialling, in both limiters, and within bounds.
    - Every idle connection is in exactly one stack and in the global order, and no busy one is.
    - No request waits while a connection of its origin is idle, or a slot is free for it.
    - The tasks parked in the channels are those of the waiters in the books that live.
    - Every dial has the owner that has it, or is among the orphans.
    - An origin with nothing in it is forgotten.
    """
    books = slots.books
    open_slots = books.bounds.slots
    origins = books.origins.by_key
    _check_idle(books, open_slots)
    for queue in origins.values():
        own = [slot for slot in open_slots if slot.queue is queue]
        assert set(queue.limiter.statistics().borrowers) == set(own)
        assert queue.limiter.available_tokens >= 0
        assert not queue.empty, "an empty origin is remembered"
        _check_waiters(queue)
        _check_dials(books, queue, own)
    assert all(origins.get(slot.queue.key) is slot.queue for slot in open_slots)
    assert books.origins.waiting == sum(len(queue.waiting) for queue in origins.values())
    _check_nobody_waits_in_vain(books)
    _check_orphans(books)


def _check_idle(books: Books, open_slots: list[Slot]) -> None:
    idle = {slot for slot in open_slots if slot.state is State.IDLE}
    assert set(books.idle) == idle
    stacked = [slot for queue in books.origins.by_key.values() for slot in queue.idle]
    assert len(stacked) == len(set(stacked))
    assert set(stacked) == idle
    assert all(slot in slot.queue.idle for slot in idle)
    assert all(slot.state is not State.CLOSED for slot in open_slots)


def _check_waiters(queue: OriginQueue) -> None:
    for order in (queue.dialling, queue.waiting):
        ages = [waiter.age for waiter in order]
        assert ages == sorted(ages), "a younger waiter stands before an older one"
        assert not (queue.idle and ages), "a request waits while a connection of its origin is idle"
    assert all(waiter.dial is None for waiter in queue.waiting)
    waiters = [*queue.dialling, *queue.waiting]
    parked = [waiter for waiter in waiters if waiter.is_parked]
    assert queue.parked == len(parked), "the channel and the books disagree on who waits"
    # The rest are dead, but for the one that was enqueued in this very step, if this is its task's.
    rest = [waiter for waiter in waiters if not (waiter.is_parked or waiter.dead)]
    assert len(rest) <= 1, "a waiter is in the books, and its task is not parked"


def _check_dials(books: Books, queue: OriginQueue, own: list[Slot]) -> None:
    dials = [dial for dial in books.dials.under_way if dial.slot.queue is queue]
    assert {dial.slot for dial in dials} == {slot for slot in own if slot.state is State.DIALLING}
    for waiter in queue.dialling:
        assert waiter.dial in dials
        assert waiter.dial.owner is waiter
    for dial in dials:
        assert (dial.owner is None) == (dial in queue.orphans)
        if isinstance(dial.owner, Waiter):
            assert dial.owner in queue.dialling
    assert all(dial in dials for dial in queue.orphans)


def _check_nobody_waits_in_vain(books: Books) -> None:
    could_dial = [q for q in books.origins.by_key.values() if q.waiting and not q.full]
    if could_dial:
        assert not books.bounds.has_token, "somebody waits while a slot is free"
        assert not books.idle, "somebody waits while an idle connection could be evicted"
    for queue in could_dial:
        first = queue.oldest_waiting
        assert first is not None
        assert queue.place <= first.age, "an origin that wants a slot stands too far behind"


def _check_orphans(books: Books) -> None:
    queues, dials = books.origins.by_key.values(), books.dials
    assert dials.orphans == sum(len(queue.orphans) for queue in queues)
    assert set(dials.orphaned) == {queue for queue in queues if queue.orphans}
    if dials.giving_way is not None:
        assert dials.giving_way in dials.giving_way.slot.queue.orphans
