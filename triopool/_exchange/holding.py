"""What an exchange asks of its lease. It knows nothing else of the pool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .._facts import CloseReason
    from .._protocol.seam import Connection


class Holding(Protocol):
    """The right to use a connection: the pool's lease, or a turn of a lease that the user holds."""

    @property
    def connection(self) -> Connection: ...
    @property
    def reused(self) -> bool: ...
    @property
    def just_seen(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    def end(self, reason: CloseReason = ...) -> None: ...
