"""What TLS needs of what is below it: of the wire, or of other TLS."""

from __future__ import annotations

from typing import Protocol


class Layer(Protocol):
    """A wire, or TLS over one; and TLS over that, as deep as one likes.

    Whatever else a connection needs is asked of the wire at the bottom: there stand its clocks, the
    count of bytes, and the glance that says whether something has arrived. For the layers above it
    hold nothing back between two exchanges: to settle the topmost one empties all of them.
    """

    @property
    def torn(self) -> bool:
        """Whether a write was cut short, here or further down: nothing more can be sent.

        TLS sets it where the layer below did not take what it was given: then a record is missing.
        """
        ...

    @torn.setter
    def torn(self, torn: bool) -> None: ...

    def send_now(self, data: bytes | bytearray | memoryview) -> int:
        """Take over what can be taken at once of *data*; return how much it was."""
        ...

    def push(self) -> bool:
        """Send what was taken over and has not been sent, as far as it is taken at once.

        Returns:
          Whether nothing is left. If something is, :meth:`send_all` sends it.
        """
        ...

    def is_readable(self) -> bool:
        """Whether something has come, or an end; or it is of no more use."""
        ...

    async def send_all(self, data: bytes | bytearray | memoryview) -> None: ...

    async def wait_send_all_might_not_block(self) -> None: ...

    async def receive_some(self, max_bytes: int | None = None) -> bytes: ...

    async def aclose(self) -> None:
        """Close the descriptor, without a word to the peer."""
