"""A proxy is asked for a connection: what its protocols have in common, and how errors name it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trio

from .._errors import ProxyError
from .._origin import Origin
from .._transport.tls_errors import why_broken
from .line import Line

MOST_QUOTED = 100
"""How many characters of what a proxy says stand in a message."""


@dataclass(frozen=True, slots=True)
class Errand:
    """Which proxy is asked for what. Nothing secret is in it.

    Attributes:
      proxy: its URL, without credentials.
      to: what it is to connect to: an origin, or the URL of the next proxy.
      origin: whom the dial is for.
    """

    proxy: str
    to: str
    origin: Origin

    def error(
        self,
        what: str,
        *,
        status_code: int | None = None,
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> ProxyError:
        """*what*: the end of a sentence that begins with the proxy."""
        return ProxyError(
            f"the proxy {self.proxy} {what}",
            proxy=self.proxy,
            status_code=status_code,
            headers=headers,
            origin=self.origin,
            phase="connect",
        )


class Asking:
    """One dialogue with a proxy, over a line; what goes wrong with the line is its error.

    Args:
      answer: what we wait for, in words: an "answer", an "answer to CONNECT".
    """

    def __init__(self, line: Line, errand: Errand, answer: str) -> None:
        self._line = line
        self._errand = errand
        self._answer = answer
        self._received = 0

    async def send(self, data: bytes) -> None:
        """Ask something, unless the proxy has spoken already.

        Raises:
          ProxyError: it has, or the connection has ended.
        """
        try:
            came = await self._line.what_has_come()
            if came == b"":
                raise self._errand.error(self._how_it_ended())
            if came:
                raise self._unasked()
            await self._line.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._broken(exc) from exc

    async def receive(self, max_bytes: int | None = None) -> bytes:
        """What has come of the answer; at least a byte.

        Raises:
          ProxyError: the connection has ended, or broke.
        """
        try:
            data = await self._line.stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._broken(exc) from exc
        if not data:
            raise self._errand.error(self._how_it_ended())
        self._received += len(data)
        self._line.answered = True
        return data

    async def receive_exactly(self, number: int) -> bytes:
        """So many bytes, and not one more of what is behind them."""
        data = await self.receive(number)
        while len(data) < number:
            data += await self.receive(number - len(data))
        return data

    async def end(self, *, read_too_much: bool = False) -> None:
        """The answer is whole. See that nothing has come behind it: we have not asked for anything.

        In the protocols that we speak through a tunnel it is us who speak first. Whatever stands
        there would be taken for an answer to that; in front of TLS, for what TLS protects.

        Args:
          read_too_much: whether something came with the answer.
        """
        if read_too_much:
            raise self._unasked()
        try:
            came = await self._line.what_has_come()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise self._errand.error(f"closed the tunnel at once: {why_broken(exc)}") from exc
        if came:
            raise self._unasked()
        if came is not None:
            raise self._errand.error("closed the tunnel at once")
        self._line.peer = self._errand.to

    def _unasked(self) -> ProxyError:
        self._line.answered = True
        return self._errand.error("sent something before it was asked for anything")

    def _broken(self, exc: Exception) -> ProxyError:
        return self._errand.error(f"{self._how_it_ended()}: {why_broken(exc)}")

    def _how_it_ended(self) -> str:
        if not self._received:
            return f"closed the connection without an {self._answer}"
        where = f"in the middle of its {self._answer}, after {self._received} bytes"
        return f"closed the connection {where}"


def quote(text: bytes) -> str:
    """What a proxy says, for a message: escaped, and cut."""
    cut = text[: MOST_QUOTED + 1].decode("latin-1")
    shown = "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in cut)
    return shown if len(shown) <= MOST_QUOTED else f"{shown[: MOST_QUOTED - 1]}…"
