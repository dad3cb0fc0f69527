"""How much of the two bodies has gone over the wire, for a caller who asked to be told."""

from __future__ import annotations

from .._facts import OnProgress, Progress


class Meter:
    """Tells the caller of each change. Made only where ``on_progress=`` was given.

    Attributes:
      sent, received: bytes, as they travel.
      to_receive: how many there will be, once the server has told.
    """

    def __init__(self, on_progress: OnProgress, to_send: int | None) -> None:
        self._on_progress = on_progress
        self._to_send = to_send
        self.sent = self.received = 0
        self.to_receive: int | None = None

    def add_sent(self, size: int) -> None:
        self.sent += size
        self.tell()

    def tell(self) -> None:
        """Call the caller's function, which may raise."""
        self._on_progress(Progress(self.sent, self._to_send, self.received, self.to_receive))
