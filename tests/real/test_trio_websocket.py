"""trio-websocket on ``pool.connect()``: it wraps any stream, and the pool dials it."""

from __future__ import annotations

import ssl

import pytest
import trio
from servers import WebSocketServer

from triopool import ConnectionPool

from .helpers import PATIENCE

trio_websocket = pytest.importorskip("trio_websocket")

pytestmark = pytest.mark.usefixtures("no_leaked_sockets")


@pytest.mark.parametrize("tls", ["plain", "tls"])
async def test_trio_websocket_talks_over_a_stream_of_the_pool(
    websockets: WebSocketServer, tls: str, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        url = websockets.url("/", server=tls)  # type: ignore[arg-type]
        for _ in range(2):
            with trio.fail_after(PATIENCE):
                async with pool.connect(url) as stream, trio.open_nursery() as nursery:
                    host = url.split("/")[2]
                    websocket = await trio_websocket.wrap_client_stream(nursery, stream, host, "/")
                    for message in ("hello", b"\x00" * 100_000):
                        await websocket.send_message(message)
                        assert await websocket.get_message() == message
                    assert pool.statistics().busy == 1
                    await websocket.aclose()
            assert pool.statistics().open == 0
