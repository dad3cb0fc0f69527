"""Blocking calls, each kind in threads of its own: the disk, the name service, the trust store.

The obvious way is ``trio.to_thread.run_sync``, whose forty threads are there for everything that a
program does without a limiter. But a network disk may hang, and so may a name service, and an
abandoned thread keeps its place for as long as its call lasts. Forty dead names would then stop
every upload, and all else that the program does in threads. So each kind of call has a limiter of
its own, which its callers bring.

While a call is under way in a thread, nothing happens in Trio. A clock that jumps when nothing
happens (:class:`trio.testing.MockClock` with an *autojump_threshold*) would jump past every
deadline. We keep it from jumping, so that to read a file takes no virtual time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


async def run_in_thread(
    function: Callable[[*Ts], T],
    *args: *Ts,
    limiter: trio.CapacityLimiter,
    abandon_on_cancel: bool = False,
) -> T:
    """Call *function* in a thread, as ``trio.to_thread.run_sync`` does; a mock clock waits for it.

    Args:
      limiter: bounds the threads for this kind of call.
      abandon_on_cancel: what a cancellation does while the function runs. False: it waits for the
        function to return, whose result then counts. True: it leaves the thread to end by itself.

    Raises:
      Exception: what *function* raised, as itself.
    """
    with _no_jump():
        return await trio.to_thread.run_sync(
            function, *args, limiter=limiter, abandon_on_cancel=abandon_on_cancel
        )


class _Held:
    """How many of our calls are under way, and the clock's threshold before the first of them."""

    def __init__(self) -> None:
        self.calls = 0
        self.threshold = math.inf


_held: trio.lowlevel.RunVar[_Held] = trio.lowlevel.RunVar("triopool: calls that hold the clock")


@contextmanager
def _no_jump() -> Iterator[None]:
    # Any, since only a mock clock has a threshold, and we don't import trio.testing here.
    clock: Any = trio.lowlevel.current_clock()
    if not hasattr(clock, "autojump_threshold"):
        yield
        return
    try:
        held = _held.get()
    except LookupError:
        held = _Held()
        _held.set(held)
    # Calls may overlap. The first one takes the threshold away, the last one puts it back.
    if not held.calls:
        held.threshold, clock.autojump_threshold = clock.autojump_threshold, math.inf
    held.calls += 1
    try:
        yield
    finally:
        held.calls -= 1
        if not held.calls:
            clock.autojump_threshold = held.threshold
