"""``triopool.websocket`` with two servers that others have written, directly and behind haproxy."""

from __future__ import annotations

import random
import ssl

import pytest
import trio

import triopool
from triopool import ConnectionPool
from triopool.websocket import Closed, connect

from .helpers import PATIENCE
from .test_websocket import Url, at_haproxy, at_hypercorn, at_websockets, tls, url

__all__ = ["at_haproxy", "at_hypercorn", "at_websockets", "tls", "url"]

pytestmark = pytest.mark.usefixtures("no_leaked_sockets")


@pytest.mark.parametrize(
    "message",
    ["hello", b"hello", "", "ü" * 1000, random.Random(0).randbytes(1_000_000)],
    ids=["text", "bytes", "empty", "1000 letters", "a million bytes"],
)
async def test_messages_come_back_and_the_farewell_is_answered(
    url: Url, client_ssl_context: ssl.SSLContext, message: str | bytes
) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        for _ in range(2):
            with trio.fail_after(PATIENCE):
                async with connect(pool, url("/")) as ws:
                    for _ in range(3):
                        await ws.send(message)
                        assert await ws.receive() == message
                    assert await ws.ping() < PATIENCE
            assert ws.closed == Closed(1000, "")
            assert pool.statistics().open == 0


async def test_fragments_are_put_together_and_many_messages_go_both_ways(
    url: Url, client_ssl_context: ssl.SSLContext
) -> None:
    rng = random.Random(0)
    messages = [rng.randbytes(rng.choice([1, 100, 10_000])) for _ in range(300)]

    async def pieces():  # type: ignore[no-untyped-def]
        for number in range(10):
            yield f"{number}ü"

    async def send_all() -> None:
        for message in messages:
            await ws.send(message)
        await ws.send(pieces())

    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with connect(pool, url("/")) as ws, trio.open_nursery() as nursery:
                nursery.start_soon(send_all)
                for message in messages:
                    assert await ws.receive() == message
                assert await ws.receive() == "".join(f"{number}ü" for number in range(10))


async def test_early_messages_and_refusals(url: Url, client_ssl_context: ssl.SSLContext) -> None:
    async with ConnectionPool(max_connections=1, ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            with pytest.raises(triopool.StatusError, match="403"):
                async with connect(pool, url("/refuse")):
                    raise AssertionError
            async with connect(pool, url("/early")) as ws:
                assert await ws.receive() == "early"


@pytest.mark.parametrize("url", ["websockets", "haproxy"], indirect=True)  # Hypercorn's app stays.
async def test_a_server_that_says_farewell(url: Url, client_ssl_context: ssl.SSLContext) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with trio.fail_after(PATIENCE):
            async with connect(pool, url("/bye")) as ws:
                await ws.send("is anybody there?")
                heard = [message async for message in ws]
            assert heard in ([], ["is anybody there?"])
            assert ws.closed is not None
            assert ws.closed.code == 1000
