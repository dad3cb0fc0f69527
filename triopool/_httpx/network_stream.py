"""What httpx calls a network stream: the connection under a response, with timeouts of its own.

It may be asked for facts at any time. It can be read and written once the connection speaks
another protocol (httpx-ws, the WebSockets of httpx2, a tunnel). As long as it speaks HTTP, its
bytes are ours.
"""

from __future__ import annotations

import math
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trio

from .._client.delivery import Delivery
from .errors import StreamErrors


class NetworkStream:
    """See ``httpcore.AsyncNetworkStream``, whose shape this has.

    Args:
      connection: what the pool's dials make. Any, because this room doesn't know protocols; it asks
        for ``info``, ``socket`` and ``tls``, and closes it.
      errors: what to raise.
      delivery: the response, once it is here. It holds the connection.
      stream: what to read and write; None for what the response was upgraded to, if it was.
    """

    def __init__(
        self,
        connection: Any,
        errors: StreamErrors,
        delivery: Delivery | None = None,
        stream: trio.abc.Stream | None = None,
    ) -> None:
        self._connection = connection
        self._errors = errors
        self._delivery = delivery
        if stream is None and delivery is not None:
            stream = delivery.exchange.upgraded
        self._stream = stream

    def _upgraded(self) -> trio.abc.Stream:
        if self._stream is None:
            raise RuntimeError(
                "this connection speaks HTTP: its network_stream can be read and written only "
                "after 101 Switching Protocols, or a successful CONNECT"
            )
        return self._stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes; ``b""`` at the end. If cancelled or timed out, none is lost."""
        stream = self._upgraded()
        with self._translated(self._errors.read_error):
            with trio.CancelScope(relative_deadline=_seconds(timeout)):
                return bytes(await stream.receive_some(max_bytes))
            raise self._errors.read_timeout(f"nothing arrived for {timeout} s")

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of *buffer*."""
        stream = self._upgraded()
        with self._translated(self._errors.write_error):
            with trio.CancelScope(relative_deadline=_seconds(timeout)):
                await stream.send_all(buffer)
                return
            raise self._errors.write_timeout(f"not everything could be sent within {timeout} s")

    async def aclose(self) -> None:
        """Close the connection now; its slot is free in this tick, cancelled or not."""
        self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        if self._delivery is not None:
            self._delivery.close(drain=False)
        else:
            self._connection.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        """Speak TLS on an upgraded connection; returns the stream to use from then on."""
        tls = trio.SSLStream(
            self._upgraded(), ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        try:
            with self._translated(self._errors.connect_error):
                with trio.CancelScope(relative_deadline=_seconds(timeout)):
                    await tls.do_handshake()
                    return NetworkStream(self._connection, self._errors, self._delivery, tls)
                raise self._errors.connect_timeout(f"no TLS handshake within {timeout} s")
        except BaseException:
            self._close()
            raise

    def get_extra_info(self, info: str) -> Any:
        """A fact of the connection: see ``httpcore.AsyncNetworkStream``. None if it has none."""
        connection = self._connection
        match info:
            case "client_addr":
                return connection.info.local_address
            case "server_addr":
                return connection.info.remote_address
            case "socket":
                return connection.socket
            case "is_readable":
                return connection.socket.is_readable()
            case "ssl_object":
                # What start_tls() made answers what an SSLObject is asked: version(), cipher(), ...
                return self._stream if isinstance(self._stream, trio.SSLStream) else connection.tls
        return None

    @contextmanager
    def _translated(self, kind: type[Exception]) -> Iterator[None]:
        try:
            yield
        except (trio.BrokenResourceError, trio.ClosedResourceError) as exc:
            raise kind(str(exc) or str(exc.__cause__)) from exc


def _seconds(timeout: float | None) -> float:
    return math.inf if timeout is None else timeout
