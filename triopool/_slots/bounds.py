"""How many connections may be open: the two ``CapacityLimiter``s that each slot borrows from."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from .slot import Slot


class Bounds:
    """The bound of the pool; each origin's is in its share.

    A token is borrowed on behalf of the slot, and not of a task: it goes with the connection from
    hand to hand. The limiters are only ever asked without waiting. Who waits, and in which order,
    is for :mod:`.waiting` to know: a limiter's own queue is ordered by when somebody came to *it*.

    Attributes:
      exceeded: whether the bound was lowered below what is open.
    """

    def __init__(self, max_connections: int | None) -> None:
        self._total = trio.CapacityLimiter(_or_infinity(max_connections))
        self.exceeded: bool = False

    def borrow(self, slot: Slot) -> None:
        """Take both tokens, of which there have to be some."""
        slot.share.limiter.acquire_on_behalf_of_nowait(slot)
        self._total.acquire_on_behalf_of_nowait(slot)

    def give_back(self, slot: Slot) -> None:
        """Give both tokens back. The descriptor is closed."""
        self._total.release_on_behalf_of(slot)
        slot.share.limiter.release_on_behalf_of(slot)
        if self.exceeded:
            self._compare()

    def _compare(self) -> None:
        self.exceeded = self._total.available_tokens < 0

    @property
    def has_token(self) -> bool:
        """Whether one more connection could be opened."""
        return self._total.available_tokens > 0

    @property
    def total(self) -> float:
        """How many slots there are."""
        return self._total.total_tokens

    @property
    def borrowed(self) -> int:
        """How many slots are taken."""
        return self._total.borrowed_tokens

    @property
    def slots(self) -> list[Slot]:
        """All slots that are taken. Costs time in proportion to their number."""
        slots: list[Slot] = self._total.statistics().borrowers  # type: ignore[assignment]
        return slots

    @property
    def max_connections(self) -> int | None:
        total = self._total.total_tokens
        return None if total == math.inf else int(total)

    @max_connections.setter
    def max_connections(self, value: int | None) -> None:
        self._total.total_tokens = _or_infinity(value)
        self._compare()


def _or_infinity(limit: int | None) -> float:
    return math.inf if limit is None else limit
