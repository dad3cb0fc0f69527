"""The body of a response as its reader gets it: decoded, and in pieces no larger than asked for.

The exchange below takes from the network what is there, as it travels. Here it is decoded, when a
task asks for it and not before. So 100 KB that stand for 64 MiB become one piece of at most 64 KiB
after the other, and a body that is not read is never decoded.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import trio

from .._decoding import Decoder, DecodingError, make_decoder
from .._errors import RemoteProtocolError

if TYPE_CHECKING:
    from .exchange import Exchange

PIECES_IN_A_ROW = 16
"""How many decoded pieces are made, at 64 KiB each, before other tasks get their turn."""


class BodyReader:
    """Reads the body of an exchange's response. One task at a time."""

    _decoder: Decoder | None = None
    _is_set_up = False
    _broken: Exception | None = None
    _size = 0
    _busy = False
    # The piece in hand, and how much of it has been given out.
    _piece = b""
    _taken = 0

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._listener = exchange.sending.listener

    @property
    def is_busy(self) -> bool:
        """Whether a task is reading."""
        return self._busy

    @property
    def is_ready(self) -> bool:
        """Whether :meth:`read` may return without a checkpoint."""
        return bool(self._piece) or self._decoder is not None or self._exchange.is_ready

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The next bytes of the body; ``b""`` at its end. A checkpoint only if it has to wait.

        If cancelled no byte is lost, and it may be called again.

        Raises:
          RemoteProtocolError: what came can't be decoded, or exceeds ``max_body_bytes`` decoded.
          TriopoolError: what :meth:`Exchange.read` raises.
          trio.BusyResourceError: another task is reading.
          Exception: what ``on_progress`` raised, as itself.
        """
        self._be_alone()
        try:
            return await self._read(max_bytes)
        finally:
            self._busy = False

    def _be_alone(self) -> None:
        """As in Trio's own streams, two readers would each get half of what was sent."""
        if self._busy:
            raise trio.BusyResourceError("another task is reading this response")
        self._busy = True

    async def _read(self, max_bytes: int | None = None) -> bytes:
        if not self._piece:
            self._piece, self._taken = await self._next_piece(), 0
            if not self._piece:
                self._listener.delivered()
        piece, start = self._piece, self._taken
        if max_bytes is None or len(piece) - start <= max_bytes:
            self._piece = b""
            return piece[start:]
        self._taken = start + max_bytes
        return piece[start : self._taken]

    def take_all(self) -> bytes | None:
        """The rest of the body, if all of it is there as it is and need not be told; else None."""
        self._set_up()
        if self._decoder is None and not self._piece and self._exchange.request.on_progress is None:
            content = self._exchange.take_all()
            if content is not None:
                self._listener.delivered()
            return content
        return None

    async def read_all(self) -> bytes:
        """The rest of the body. If cancelled, what was read is lost."""
        self._be_alone()
        try:
            content = self.take_all()
            return await self._read_pieces() if content is None else content
        finally:
            self._busy = False

    async def _read_pieces(self) -> bytes:
        # Not a list of pieces: to join them would need as much memory again, which the system
        # would have to find page by page: 50 MB take 65 ms like this, and 110 ms so.
        whole = io.BytesIO()
        pieces = 0
        while piece := await self._read():
            whole.write(piece)
            pieces += 1
            if pieces % PIECES_IN_A_ROW == 0:
                await trio.lowlevel.checkpoint()
        return whole.getvalue()

    async def _next_piece(self) -> bytes:
        self._set_up()
        if self._decoder is None:
            return await self._next_raw()
        try:
            piece = await self._next_decoded(self._decoder)
        except DecodingError as exc:
            raise self._break_off(str(exc)) from exc
        self._size += len(piece)
        limit = self._exchange.request.max_body_bytes
        if limit is not None and self._size > limit:
            raise self._break_off(f"a body that decodes to more than max_body_bytes={limit}")
        return piece

    async def _next_decoded(self, decoder: Decoder) -> bytes:
        while not (piece := decoder.next_piece()):
            raw = await self._next_raw()
            if not raw:
                decoder.end()
                break
            decoder.feed(raw)
        return piece

    async def _next_raw(self) -> bytes:
        try:
            raw = await self._exchange.read()
        except BaseException:
            # A cancelled read can be repeated; what has failed can't.
            if (failure := self._exchange.failure) is not None:
                self._listener.broke(failure)
            raise
        if raw and self._exchange.request.on_progress is not None:
            try:
                self._exchange.tell_progress()
            except Exception as exc:
                # The bytes in hand are lost with it, so nothing may follow them.
                self._broken = exc
                self._exchange.abandon()
                self._listener.broke(exc)
                raise
        return raw

    def _set_up(self) -> None:
        """Find out how to decode; not before the first read, for it may be an error."""
        if self._broken is not None:
            raise self._broken
        if self._is_set_up:
            return
        self._is_set_up = True
        if encoding := self._exchange.content_encoding():
            try:
                self._decoder = make_decoder(encoding)
            except DecodingError as exc:
                raise self._break_off(str(exc)) from exc

    def _break_off(self, what: str) -> RemoteProtocolError:
        """A body that was cut must not look complete to a task that reads on."""
        self._broken = error = self._exchange.not_accepted(what)
        self._exchange.abandon()
        self._listener.broke(error)
        return error
