"""What the slot engine asks of a connection. It knows nothing else about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .._facts import Condition, ConnectionInfo, Spent


class Pooled(Protocol):
    """What the slot engine asks of a connection. It knows nothing else about it."""

    @property
    def info(self) -> ConnectionInfo: ...

    @property
    def spent(self) -> Spent | None:
        """Why no other request can use it; None while one can."""
        ...

    @property
    def idle_limit(self) -> float | None:
        """How long the peer said it keeps the connection, less a margin; None if it did not."""
        ...

    def condition(self) -> Condition: ...

    async def settle(self) -> bool:
        """Find out whether an UNSURE connection is fit for use, without waiting for the peer."""
        ...

    def close(self) -> None:
        """Close the descriptor, now. Must be synchronous, must not raise, may be repeated."""
