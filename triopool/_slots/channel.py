"""A memory channel without a buffer, from whoever has something to the one task that waits for it.

It does what ``trio.open_memory_channel(0)`` does, and the tests hold the two side by side: what is
sent either is received by a live task, or ``send_nowait`` raises ``WouldBlock``; nothing ever lies
in it. But Trio's has room for any number of tasks on both sides, which takes ten objects, and with
ten thousand requests waiting the garbage collector looks at each of them again and again. That was
a fifth of what such a request cost (``docs/performance.md``). This one is an object with a name in
it: that of the task.

One thing goes beyond Trio's: an error can be sent, and is raised where it is received.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import outcome
import trio
from trio.lowlevel import Abort

T = TypeVar("T")


class Channel(Generic[T]):
    """For one receiver, once.

    Attributes:
      receiver: the task that waits; None before it does, when it has been cancelled, and as soon as
        something was sent.
    """

    __slots__ = ("receiver",)

    def __init__(self) -> None:
        self.receiver: trio.lowlevel.Task | None = None

    async def receive(self) -> T:
        """Wait for what is sent. If cancelled, nothing was received.

        As with Trio's: sent and then cancelled, it has been received, and ``Cancelled`` comes out
        of the next checkpoint; cancelled and then sent, the sender is told.
        """
        self.receiver = trio.lowlevel.current_task()
        received: T = await trio.lowlevel.wait_task_rescheduled(self._abort)
        return received

    def _abort(self, raise_cancel: object) -> Abort:
        self.receiver = None
        return Abort.SUCCEEDED

    def send_nowait(self, what: outcome.Outcome[T]) -> None:
        """Send a value, or an error.

        Raises:
          trio.WouldBlock: nobody waits for it.
        """
        receiver, self.receiver = self.receiver, None
        if receiver is None:
            raise trio.WouldBlock
        trio.lowlevel.reschedule(receiver, what)
