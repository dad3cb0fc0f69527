"""A lease: one request's right to use a connection, until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import enable_ki_protection

from .._facts import CloseReason, Spent

if TYPE_CHECKING:
    from .dispatcher import Dispatcher
    from .slot import Slot


class Lease:
    """A connection held by one request. Ends once, by whichever comes first; then it is inert.

    The engine never looks at a lease again after it has ended, so a holder that ends it late or
    twice can't touch the connection's next user.

    Attributes:
      connection: what the dial has made. The engine knows it as a :class:`.pooled.Pooled` and no
        more. The holder knows what the pool's dials make, and annotates it: this is the one place
        at which its type is not known.
      reused: whether it was idle, or has served another request, so that it may be stale.
      just_seen: whether it was looked at, and found fit, in the step in which it was leased.
      age: how old its request is; smaller is older.
      waited: how much of its pool timeout the request has used up, in seconds.
    """

    __slots__ = ("_dispatcher", "_slot", "age", "connection", "just_seen", "reused", "waited")

    def __init__(
        self, dispatcher: Dispatcher, slot: Slot, reused: bool, age: int, waited: float
    ) -> None:
        assert slot.connection is not None
        self._dispatcher: Dispatcher | None = dispatcher
        self._slot = slot
        self.connection: Any = slot.connection
        self.reused: bool = reused
        self.just_seen: bool = False
        self.age: int = age
        self.waited: float = waited

    @property
    def ended(self) -> bool:
        return self._dispatcher is None

    @property
    def is_last(self) -> bool:
        """Whether its connection is closed when this has ended, for it will have served enough."""
        return self._dispatcher is not None and self._dispatcher.is_used_up(self._slot)

    @enable_ki_protection
    def end(self, reason: CloseReason = CloseReason.DISCARDED) -> None:
        """End the lease; does nothing if it has ended.

        The connection is given back for reuse. If it is spent, it is closed, for *reason*.
        """
        dispatcher, self._dispatcher = self._dispatcher, None
        if dispatcher is None:
            return
        if self.connection.spent is None:
            dispatcher.give_back(self._slot)
        else:
            if self.connection.spent is Spent.ASKED_TO_CLOSE and dispatcher.is_used_up(self._slot):
                reason = CloseReason.EXPIRED  # It was we who asked.
            dispatcher.close(self._slot, reason)

    def take_slot(self) -> Slot | None:
        """For the engine: end the lease, and leave its slot as it is; None if it had ended."""
        dispatcher, self._dispatcher = self._dispatcher, None
        return None if dispatcher is None else self._slot
