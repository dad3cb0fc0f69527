"""A waiter: a request that is queued for a connection, and how one is handed to it.

Trio's memory channels do it: one ``trio.open_memory_channel(0)`` for each origin that somebody
waits for, and for each waiter a *clone* of its receiving end, in which its task is parked for as
long as it is queued. What we need of a hand-over follows from what Trio documents:

- *There is no third case.* The channel has no buffer, so ``send_nowait`` either is received by a
  live task, or raises ``WouldBlock``. A cancelled receiver has left the channel before ``cancel()``
  returns. Sent and then cancelled: the waiter has the connection. Cancelled and then sent: the next
  waiter gets it. If the channel could hold anything there would be a third case, a connection that
  lies in it while nobody knows whether it was taken, and the pool would be stuck within seconds.
- *First come, first served.* What is sent goes to the task that waits longest. That is the oldest
  waiter of our books, because a waiter parks in the step in which it is enqueued.
- *One waiter alone can be woken.* To close a clone wakes the task that is parked at that clone, and
  no other. So an error is put down in the waiter, and its clone closed.

The order of the channel and that of the books must agree, and there are two exceptions. A request
that comes again, because its connection was stale, is older than requests that have parked before
it. And a fresh connection may pass by an older waiter (rule 4 of the essay in :mod:`.engine`). Then
the connection goes the way of an error: it is put down, and the clone closed. That each hand-over
reached the waiter that it was meant for is asserted, and :mod:`.invariants` compares the channel
with the books.

A clone that has served is used again by the next waiter of its origin; a closed one is not.

A waiter knows the channel, and not the queue in which it stands: what happens to it there, and to
those who wait beside it, is for :mod:`.waiting` and :mod:`.dispatcher` to know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

import trio

from .._deadlines import Deadline, Deadlines
from .slot import Share, Slot

if TYPE_CHECKING:
    from .._config import Timeouts
    from .channel import Channel
    from .dials import Dial


class WaitListener(Protocol):
    """Is told what one request waits for. Synchronous, and must not raise."""

    def queued(self, waiting: int) -> None:
        """It has no dial, so it waits for a slot; *waiting* requests of the pool do, with it."""
        ...

    def dial_started(self) -> None:
        """A dial has begun for it."""
        ...


class Waiter(Deadline):
    """A request queued for a connection. See the module's essay.

    It is its own deadline, that of waiting for a slot: with thousands of waiters, each object
    counts. The clock runs only while it has no dial.

    Attributes:
      age: smaller is older; unique in the pool.
      share: that of its origin.
      queued_at: on Trio's clock.
      waits_since: when it began to wait for a slot, this time.
      waited: for how many seconds it had waited for one before.
      timeouts: of its request: how long it waits for a slot, and how long a dial of its own takes.
      dial: the dial it owns; None while it waits for a slot.
      listener: is told what it waits for.
    """

    __slots__ = (
        "_channel",
        "_end",
        "_in_turn",
        "_put_down",
        "_task",
        "_time_out",
        "age",
        "dial",
        "listener",
        "queued_at",
        "share",
        "timeouts",
        "waited",
        "waits_since",
    )

    def __init__(
        self,
        share: Share,
        channel: Channel,
        age: int,
        timeouts: Timeouts,
        waited: float,
        listener: WaitListener | None,
        deadlines: Deadlines,
        time_out: Callable[[Waiter], object],
    ) -> None:
        """*time_out* is called with the waiter when it has waited for a slot for too long."""
        super().__init__(deadlines)
        self.share: Share = share
        self.age: int = age
        self.queued_at: float = trio.current_time()
        self.waits_since: float = self.queued_at
        self.waited: float = waited
        self.timeouts: Timeouts = timeouts
        self.listener: WaitListener | None = listener
        self.dial: Dial | None = None
        self._time_out = time_out
        self._channel = channel
        # Its clone; and whether the order of the channel is the order of age, as far as it goes.
        self._end, self._in_turn = channel.enter(age)
        # The task, while it is parked in the channel.
        self._task: trio.lowlevel.Task | None = None
        self._put_down: Slot | Exception | None = None

    # ── For its own task ───────────────────────────────────────────────────────────────────────

    def wait(self) -> Awaitable[Slot]:
        """Wait until a connection is handed over, and return it.

        To be awaited in the step in which the waiter was enqueued.

        Raises:
          trio.ClosedResourceError: :meth:`take_what_was_put_down` has the result.
        """
        self._task = trio.lowlevel.current_task()
        # Trio sets it to None when it wakes this task, for whatever reason: that is documented, and
        # it is how `dead` knows. We set it to something here, so that we need not know what Trio's
        # channel puts there.
        self._task.custom_sleep_data = self
        return self._end.receive()

    def take_what_was_put_down(self) -> Slot:
        """The connection, or the error, with which the clone was closed."""
        result, self._put_down = self._put_down, None
        assert result is not None
        if isinstance(result, Slot):
            return result
        try:
            raise result
        finally:
            del result  # Else the error would hold this frame, and the frame the error.

    # ── For the engine ─────────────────────────────────────────────────────────────────────────

    @property
    def is_parked(self) -> bool:
        """Whether its task waits in the channel, and can be given something."""
        return self._task is not None and self._task.custom_sleep_data is not None

    @property
    def dead(self) -> bool:
        """Whether it was cancelled a moment ago, and its task has not run yet to leave."""
        return self._task is not None and self._task.custom_sleep_data is None

    @property
    def is_about_to_fail(self) -> bool:
        """Whether its dial is over, and has only not been seen to end."""
        return self.dial is not None and self.dial.is_over

    def give(self, slot: Slot, *, in_turn: bool) -> bool:
        """Hand a connection over; False if it was cancelled a moment ago and can't take it.

        *in_turn*: whether it is the oldest waiter of its origin.
        """
        task = self._task
        assert task is not None, "a waiter is queued, and its task is not parked"
        if task.custom_sleep_data is None:
            return False
        self._task = None  # Nothing is kept by an old entry of the deadlines.
        if in_turn and self._in_turn:
            self._channel.send(slot, self._end)
            # From here on the connection is that task's, whatever becomes of it.
            assert task.custom_sleep_data is None, "it went to another waiter: the orders disagree"
        else:
            self._put_down = slot
            self._end.close()
        return True

    def fail(self, error: Exception) -> None:
        """Give it an error instead; nothing happens if it was cancelled a moment ago."""
        if not self.dead:
            self._task = None
            self._put_down = error
            self._end.close()

    def dial_ended(self, dial: Dial, error: Exception | None) -> None:
        """Its dial is over; an error ends its wait. See :class:`.dials.DialOwner`."""
        self.dial = None
        if error is not None:
            self.fail(error)

    def begin_pool_timeout(self) -> None:
        """Start the clock: it has no dial. It may have used up a part of its time before."""
        if self.timeouts.pool is not None:
            self.begin_until(self.waits_since + self.timeouts.pool - self.waited)

    def stop_waiting(self) -> None:
        """It is served, gets a dial, or leaves: its pool timeout does not run any more."""
        self.waited += trio.current_time() - self.waits_since
        self.forget()

    def run_out(self) -> None:
        self._time_out(self)
