"""How long a task may go on with what needs no waiting, before it lets others run.

A checkpoint for each piece of an upload costs more than the piece, if that is small. No checkpoint
at all would be worse: as long as the kernel takes what a generator yields, nothing else would run,
and nobody could cancel it. So there are turns. One is over after so many bytes, where each piece
counts for some more than it has, so that there can't be many small ones; or after a while, for the
generator may take its time.
"""

from __future__ import annotations

import trio

TURN_BYTES = 256 * 1024
"""How much goes out in one turn: no piece is larger."""

PIECE_COST_BYTES = 2 * 1024
"""What a piece counts for besides its bytes: at most 128 go out in one turn. Without a word to the
scheduler a small one costs some 5 µs."""

TURN_SECONDS = 0.001
"""How long a turn lasts, by the clock of Trio."""


class Turn:
    """Counts what was done in it. The first one begins when this is made."""

    __slots__ = ("_ends_at", "_left", "_now")

    def __init__(self) -> None:
        self._now = trio.lowlevel.current_clock().current_time
        self.begin()

    def begin(self) -> None:
        """Others have just run."""
        self._left = TURN_BYTES
        self._ends_at = self._now() + TURN_SECONDS

    def is_over(self, size: int) -> bool:
        """Whether others shall run before the next piece goes out, which has *size* bytes.

        If so, a new turn begins with that piece: the caller lets them run at once.
        """
        over = self._left < size or self._now() >= self._ends_at
        if over:
            self.begin()
        self._left -= size + PIECE_COST_BYTES
        return over
