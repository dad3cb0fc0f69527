"""A lease: one request's right to use a connection, until it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol

from trio.lowlevel import enable_ki_protection

from .slot import C, Slot

if TYPE_CHECKING:
    from .._facts import CloseReason


class Engine(Protocol[C]):
    """Where a lease goes back to."""

    def give_back(self, slot: Slot[C]) -> None: ...
    def close(self, slot: Slot[C], reason: CloseReason) -> None: ...


class Lease(Generic[C]):
    """A connection held by one request. Ends once, by whichever comes first; then it is inert.

    The engine never looks at a lease again after it has ended, so a holder that ends it late or
    twice can't touch the connection's next user.

    Attributes:
      connection: the connection.
      reused: whether it was idle, or has served another request, so that it may be stale.
      just_seen: whether it was looked at, and found fit, in the step in which it was leased.
      age: how old its request is; smaller is older.
      waited: how much of its pool timeout the request has used up, in seconds.
    """

    __slots__ = ("_engine", "_slot", "age", "connection", "just_seen", "reused", "waited")

    def __init__(
        self, engine: Engine[C], slot: Slot[C], reused: bool, age: int, waited: float
    ) -> None:
        assert slot.connection is not None
        self._engine: Engine[C] | None = engine
        self._slot = slot
        self.connection = slot.connection
        self.reused = reused
        self.just_seen = False
        self.age = age
        self.waited = waited

    @property
    def ended(self) -> bool:
        return self._engine is None

    @enable_ki_protection
    def release(self) -> None:
        """Give the connection back for reuse: the exchange is finished on both sides."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.give_back(self._slot)

    @enable_ki_protection
    def close(self, reason: CloseReason) -> None:
        """Close the connection: its exchange was not finished, or it can't be reused."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close(self._slot, reason)

    def take_slot(self) -> Slot[C] | None:
        """For the engine: end the lease, and leave its slot as it is; None if it had ended."""
        engine, self._engine = self._engine, None
        return None if engine is None else self._slot
