"""The sending side of an exchange, in a task of its own, while the other side is read.

It ends in one of three ways, and raises none of them, for the reading side decides what they mean:
everything was sent; the connection broke, and the response may still be there to be read; or
something ends the whole exchange, such as an exception of the caller's own iterator.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable
from typing import TYPE_CHECKING

import trio

from ._content import close_body
from ._errors import PoolClosed, WriteError, WriteTimeout
from ._patience import deadline

if TYPE_CHECKING:
    from ._http11 import Bytes, Connection
    from ._request import Request

ONE_WRITE_BYTES = 64 * 1024
"""A body of at most this many bytes is sent together with the head, without a task."""

PIECE_BYTES = 256 * 1024
"""A larger one goes out in pieces of at most this size, and after each its progress is told. A
piece costs about 25 µs, so that 50 MB of them cost half of what they cost at 64 KiB each."""

CONTINUE_WAIT = 1.0
"""Seconds that a body waits for 100 Continue (RFC 9110 section 10.1.1: not indefinitely)."""


class Upload:
    """Sends a request whose body does not go out in one write.

    Attributes:
      read_scope: bounds the reading side; its deadline is set when the upload has ended.
      go_ahead: to be set when the server has said 100 Continue.
      failed: how the connection broke.
      crash: what ends the whole exchange: the caller's own exception, or a write timeout.
    """

    def __init__(
        self,
        request: Request,
        connection: Connection,
        first: bytes,
        count_sent: Callable[[int], None],
        note_written: Callable[[], None],
    ) -> None:
        self._request = request
        self._connection = connection
        self._first = first
        self._count_sent = count_sent
        self._note_written = note_written
        self.read_scope = trio.CancelScope()
        self._scope = trio.CancelScope()
        self._ended = trio.Event()
        self.go_ahead = trio.Event()
        self.failed: WriteError | None = None
        self.crash: Exception | None = None

    async def run(self, exchange_scope: trio.CancelScope) -> None:
        try:
            with self._scope:
                await self._send_everything()
                self._note_written()
        except WriteError as exc:
            self.failed = exc
        except Exception as exc:
            # Unless the exchange has been decided: then nobody asks how the upload ended.
            if not (self._scope.cancel_called or exchange_scope.cancel_called):
                self.crash = exc
                exchange_scope.cancel()
        finally:
            self._ended.set()
        self.begin_to_read_again()

    def begin_to_read_again(self) -> None:
        """The server has sent something; the clock runs only once the upload has ended."""
        if self._ended.is_set():
            self.read_scope.deadline = deadline(self._request.timeouts.read)

    async def stop(self) -> None:
        """End it, for the final response is here; wait for its iterator, which may take its time.

        If the upload was complete, there is nothing to end, and this is no checkpoint.
        """
        self._scope.cancel()
        if not self._ended.is_set():
            await self._ended.wait()

    async def _send_everything(self) -> None:
        request = self._request
        await self._send(self._first)
        if request.expect_continue:
            with trio.move_on_after(CONTINUE_WAIT):
                await self.go_ahead.wait()
        body: object = request.body() if callable(request.body) else request.body
        if isinstance(body, bytes):
            await self._send_bytes(body)
        elif isinstance(body, AsyncIterable):
            request.body_started = True
            await self._send_pieces(body)
        else:
            if inspect.iscoroutine(body):
                body.close()
            raise TypeError(
                "content= was called for the body, and must return an async iterable of bytes, "
                f"not {type(body).__name__}"
            )

    async def _send_bytes(self, body: bytes) -> None:
        *pieces, last = _cut(body) or [b""]
        for piece in pieces:
            await self._send_piece(piece)
        # The end goes with the last piece: an answer to that must not seem to come too early.
        await self._send(self._connection.end_of_body(last))
        self._count_sent(len(last))

    async def _send_piece(self, piece: Bytes) -> None:
        await self._send(self._connection.body(piece))
        self._count_sent(len(piece))

    async def _send_pieces(self, body: AsyncIterable[object]) -> None:
        iterator = aiter(body)
        try:
            async for piece in iterator:
                if not isinstance(piece, bytes | bytearray | memoryview):
                    raise TypeError(
                        f"the body's iterator must yield bytes, not {type(piece).__name__}"
                    )
                for part in _cut(bytes(piece)):
                    await self._send_piece(part)
        finally:
            # A generator that is left half-way must not wait for the garbage collector.
            await close_body(iterator)
        await self._send(self._connection.end_of_body())

    async def _send(self, data: Bytes) -> None:
        if not data:
            return
        # In the order of Trio's own send; but no clock runs for what the kernel takes at once.
        await trio.lowlevel.checkpoint_if_cancelled()
        if rest := self._connection.send_now(data):
            await self._send_rest(rest)
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send_rest(self, rest: Bytes) -> None:
        limit, patience = self._request.timeouts.write, self._connection.patience
        patience.begin(limit)
        try:
            await self._connection.send(rest, lambda: patience.begin(limit))
        except PoolClosed:
            if not patience.is_over:
                raise
            # Not "from": that it was closed is how it was done, not why.
            raise write_timeout(self._request, self._connection) from None
        finally:
            patience.end()


def _cut(data: bytes) -> list[Bytes]:
    """In pieces of at most PIECE_BYTES, without a copy."""
    if len(data) <= PIECE_BYTES:
        return [data] if data else []
    view = memoryview(data)
    return [view[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]


def write_timeout(request: Request, connection: Connection) -> WriteTimeout:
    seconds = request.timeouts.write
    return WriteTimeout(
        f"{request.key} took nothing of the request for {seconds} s "
        f"({connection.bytes_sent} bytes sent so far)",
        origin=request.key.origin,
        phase="write",
        seconds=seconds,
    )
