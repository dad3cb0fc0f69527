"""How long we wait for a peer.

A connection whose peer has been too slow is of no more use in any case. So when its time has come
the keeper *closes* it, and whoever waits on it hears that it was closed, and asks its patience why.
To start and to stop the clock is then to set a number; ``_deadlines.py`` has the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ._deadlines import Deadlines, Timed, deadline


class Patience(Timed):
    """What a connection has of it.

    Attributes:
      is_over: whether the peer has been too slow, so that the connection was closed.
    """

    __slots__ = ("_close", "_keeper", "is_over")

    def __init__(self, keeper: Keeper, close: Callable[[], object]) -> None:
        super().__init__()
        self.is_over = False
        self._keeper = keeper
        self._close = close

    def begin(self, seconds: float | None) -> None:
        """Wait for so long from now on; None for ever."""
        self.ends_at = deadline(seconds)
        if self.ends_at < self.looked_at:
            self._keeper.look_at(self, self.ends_at)

    def end(self) -> None:
        """Wait no more."""
        self.ends_at = math.inf

    def forget(self) -> None:
        """The connection is closed: nothing of it is to be kept until its deadline."""
        self._keeper.forget(self)

    def run_out(self) -> None:
        self.is_over = True
        self._close()


class Keeper(Deadlines[Patience]):
    """Closes connections whose peers are too slow."""

    def __init__(self) -> None:
        super().__init__(Patience.run_out)

    def patience(self, close: Callable[[], object]) -> Patience:
        """For a new connection; *close* has to be synchronous."""
        return Patience(self, close)
