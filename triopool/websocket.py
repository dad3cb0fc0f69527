"""A WebSocket client on the pool: messages both ways, over one of its connections (RFC 6455).

::

    import triopool.websocket

    async with triopool.websocket.connect(pool, "wss://www.example.org/chat") as ws:
        await ws.send("hello")
        async for message in ws:
            print(message)

``pip install 'triopool[websocket]'``: wsproto frames the bytes. The pool does the handshake as it
does any request, with its proxies, TLS and instruments, and the connection holds a slot of it for
as long as the block.

Left out: compression (wsproto undoes it without a bound), and reconnecting, which is for those to
do who know what has been lost.
"""

from __future__ import annotations

try:
    import wsproto  # noqa: F401 - so that its absence is told here, and in these words
except ImportError as _exc:
    raise ImportError(
        "triopool.websocket needs wsproto: pip install 'triopool[websocket]'"
    ) from _exc

from ._naming import name_classes as _name_classes
from ._websocket.closed import Closed, WebSocketBroken
from ._websocket.handshake import Connecting, HandshakeError, HandshakeOptions, connect
from ._websocket.websocket import WebSocket

__all__ = [
    "Closed",
    "Connecting",
    "HandshakeError",
    "HandshakeOptions",
    "WebSocket",
    "WebSocketBroken",
    "connect",
]

_name_classes(globals(), __name__, "triopool._websocket")
