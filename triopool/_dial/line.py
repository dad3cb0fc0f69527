"""What a dial has got so far: a connected wire, and the layers of TLS on it."""

from __future__ import annotations

import ssl

import trio

from .._pool_key import PoolKey
from .._transport.layer import Layer
from .._transport.tls import TLSStream, handshake
from .._transport.wire import Wire


class Line:
    """A wire, on which one layer is put upon the other.

    There is one thing to own, whatever is on it: to close the wire's descriptor ends every layer.

    Attributes:
      wire: at the bottom.
      tls: the topmost layer of TLS; None if there is none.
      proxy_tls: the topmost of those that end at a proxy; None if there is none.
      peer: what is at the other end, in words: an address, a proxy, an origin.
      answered: whether a proxy has said something. Before that the address at which we are may be
        the wrong one; an answer is an answer.
    """

    def __init__(self, wire: Wire, peer: str) -> None:
        self.wire = wire
        self.tls: TLSStream | None = None
        self.proxy_tls: TLSStream | None = None
        self.peer = peer
        self.answered = False

    @property
    def stream(self) -> Layer:
        """The topmost layer: what one speaks with the peer on."""
        return self.wire if self.tls is None else self.tls

    async def shake_hands(
        self, context: ssl.SSLContext, key: PoolKey, session: ssl.SSLSession | None = None
    ) -> TLSStream:
        """Put a layer of TLS upon what there is, and return it.

        Raises:
          TLSError: there was no handshake with the name of *key*.
        """
        self.tls = await handshake(self.stream, context, key, session)
        return self.tls

    async def what_has_come(self) -> bytes | None:
        """A byte that has come and was not read, ``b""`` for the end; None if nothing has.

        Never waits for the peer. What TLS has to say for itself (session tickets) is nothing.

        Raises:
          trio.BrokenResourceError: the connection broke.
        """
        try:
            with self.wire.impatient():
                return await self.stream.receive_some(1)
        except trio.WouldBlock:
            return None

    def close(self) -> None:
        self.wire.close()
