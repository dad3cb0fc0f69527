"""The ``network_stream`` of a response: facts of any connection, the bytes of an upgraded one."""

from __future__ import annotations

import math
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from triopool.testing import (
    Conversation,
    KeepOpen,
    Receive,
    ReceiveRequest,
    Reset,
    Send,
    Wait,
    http_server,
    script,
)

from .world import ADDRESS, TLS_URL, URL, Contexts, Library, World, echo, serving

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"
UPGRADE = {"Connection": "Upgrade", "Upgrade": "raw"}


async def answer(conversation: Conversation) -> None:
    """Say everything twice."""
    while True:
        await conversation.stream.send_all(await conversation.receive_some() * 2)


@asynccontextmanager
async def upgraded(
    lib: Library, *steps: Any, contexts: Contexts | None = None, early: bytes = b"", **options: Any
) -> AsyncIterator[tuple[World, Any]]:
    server = script(Receive(), Send(SWITCH + early), *steps)
    async with serving(lib, server, contexts, **options) as w:
        url = TLS_URL if contexts else URL
        async with w.client.stream("GET", url, headers=UPGRADE) as response:
            assert response.status_code == 101
            assert w.pool.statistics().busy == 1
            yield w, response.extensions["network_stream"]
        assert w.pool.statistics().open == 0


# ── Facts ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_stream_tells_facts_of_its_connection(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(echo)) as w, w.client.stream("GET", URL) as response:
        stream = response.extensions["network_stream"]
        [socket] = w.network.open_sockets
        assert stream.get_extra_info("server_addr") == (ADDRESS, 80)
        assert stream.get_extra_info("client_addr") == socket.getsockname()
        assert stream.get_extra_info("socket") is socket
        assert stream.get_extra_info("is_readable") is False
        assert stream.get_extra_info("ssl_object") is None
        assert stream.get_extra_info("anything else") is None


async def test_a_stream_over_tls_tells_what_was_agreed_on(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    async with serving(lib, http_server(echo), contexts) as w:
        response = await w.client.get(TLS_URL)
        ssl_object = response.extensions["network_stream"].get_extra_info("ssl_object")
        assert ssl_object.version() == "TLSv1.3"
        assert ssl_object.cipher()[0].startswith("TLS_")
        names = [name for _, name in ssl_object.getpeercert()["subjectAltName"]]
        assert "one.test" in names
        assert ssl_object.selected_alpn_protocol() is None


async def test_a_connection_that_speaks_http_can_not_be_read_or_written(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    async with serving(lib, http_server(echo)) as w:
        response = await w.client.get(URL)
        stream = response.extensions["network_stream"]
        for call in (stream.read(1), stream.write(b"x"), stream.start_tls(contexts[0])):
            with pytest.raises(RuntimeError, match="this connection speaks HTTP"):
                await call
        # It is idle by now, and the next request's: nobody may close it from here.
        await stream.aclose()
        assert w.pool.statistics().idle == 1


async def test_closing_the_stream_of_a_response_under_way_closes_its_connection(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(echo)) as w:
        request = w.client.build_request("GET", URL)
        response = await w.client.send(request, stream=True)
        await response.extensions["network_stream"].aclose()
        assert w.pool.statistics().busy == 0


async def test_a_stream_that_a_trace_is_told_of_closes_the_connection(
    lib: Library, autojump_clock: object
) -> None:
    async def trace(name: str, info: dict[str, Any]) -> None:
        if name == "connection.connect_tcp.complete":
            await info["return_value"].aclose()

    async with serving(lib, script(Receive(), Wait(math.inf))) as w:
        with pytest.raises(lib.client.TransportError):
            await w.client.get(URL, extensions={"trace": trace})
        assert w.pool.statistics().open == 0


# ── Reading and writing ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tls", [False, True])
async def test_an_upgraded_connection_is_read_and_written(
    lib: Library, autojump_clock: object, contexts: Contexts, tls: bool
) -> None:
    async with upgraded(lib, answer, contexts=contexts if tls else None, early=b"early") as (
        _,
        stream,
    ):
        assert await stream.read(2) == b"ea"
        assert await stream.read(100, timeout=1) == b"rly"
        await stream.write(b"")
        await stream.write(b"abc", timeout=1)
        assert await stream.read(100) == b"abcabc"
        assert (stream.get_extra_info("ssl_object") is not None) == tls


async def test_a_read_timeout_loses_nothing(lib: Library, autojump_clock: object) -> None:
    async with upgraded(lib, Wait(3), Send(b"late"), KeepOpen()) as (_, stream):
        for _ in range(2):
            with pytest.raises(lib.client.ReadTimeout, match="nothing arrived for 1 s") as caught:
                await stream.read(100, timeout=1)
            assert isinstance(caught.value, lib.core.ReadTimeout)
        assert trio.current_time() == 2
        assert await stream.read(100, timeout=None) == b"late"


async def test_a_write_timeout(lib: Library, autojump_clock: object) -> None:
    async with upgraded(lib, Wait(math.inf), buffer_size=4096) as (_, stream):
        with pytest.raises(lib.client.WriteTimeout, match="within 2 s") as caught:
            await stream.write(bytes(100_000), timeout=2)
        assert isinstance(caught.value, lib.core.WriteTimeout)
        assert trio.current_time() == 2


async def test_the_end_is_told_again_and_again(lib: Library, autojump_clock: object) -> None:
    async with upgraded(lib) as (_, stream):
        for _ in range(3):
            assert await stream.read(100) == b""


async def test_a_stream_that_breaks_is_an_error_of_the_client_and_of_its_core(
    lib: Library, autojump_clock: object
) -> None:
    async with upgraded(lib, Wait(1), Reset()) as (_, stream):
        with pytest.raises(lib.client.ReadError) as caught:
            await stream.read(100)
        assert isinstance(caught.value, lib.core.ReadError)
        assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
        assert str(caught.value)
        with pytest.raises(lib.client.WriteError) as caught:
            await stream.write(b"x")
        assert isinstance(caught.value, lib.core.WriteError)


async def test_a_closed_stream_is_an_error_too_and_frees_its_slot(
    lib: Library, autojump_clock: object
) -> None:
    async with upgraded(lib, answer) as (w, stream):
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await stream.aclose()
            finally:
                assert w.pool.statistics().open == 0
        with pytest.raises(lib.core.ReadError):
            await stream.read(100)
        with pytest.raises(lib.core.WriteError):
            await stream.write(b"x")
        await stream.aclose()


async def test_the_slot_is_held_until_the_block_is_left(
    lib: Library, autojump_clock: object
) -> None:
    async with upgraded(lib, answer, max_connections=1) as (w, _):
        with pytest.raises(lib.client.PoolTimeout):
            await w.client.get(URL, timeout=1)


async def test_the_body_of_an_upgrade_is_empty(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, script(Receive(), Send(SWITCH), answer)) as w:
        response = await w.client.get(URL, headers=UPGRADE)
        assert (response.status_code, response.content) == (101, b"")
        assert w.pool.statistics().open == 0


# ── Tunnels ────────────────────────────────────────────────────────────────────────────────────


class Secure:
    """The far end of a tunnel: TLS, then everything twice."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context

    async def __call__(self, conversation: Conversation) -> None:
        stream = trio.SSLStream(
            conversation.stream, self._context, server_side=True, https_compatible=True
        )
        while data := await stream.receive_some():
            await stream.send_all(data * 2)


@asynccontextmanager
async def tunnel(lib: Library, *steps: Any) -> AsyncIterator[tuple[World, Any]]:
    server = script(ReceiveRequest(), Send(b"HTTP/1.1 200 OK\r\n\r\n"), *steps)
    async with serving(lib, server) as w:
        target = {"target": b"two.test:443"}
        headers = {"Host": "two.test:443"}
        async with w.client.stream("CONNECT", URL, extensions=target, headers=headers) as response:
            assert response.status_code == 200
            yield w, response.extensions["network_stream"]
            received = server.conversations[0].received
            assert received.startswith(b"CONNECT two.test:443 HTTP/1.1\r\nHost: two.test:443\r\n")
        assert w.pool.statistics().open == 0


async def test_a_tunnel_may_speak_tls(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    async with tunnel(lib, Secure(contexts[1])) as (_, stream):
        secure = await stream.start_tls(contexts[0], server_hostname="two.test", timeout=5)
        await secure.write(b"abc")
        assert await secure.read(100) == b"abcabc"
        assert secure.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert secure.get_extra_info("server_addr") == (ADDRESS, 80)
        await secure.aclose()


async def test_a_tunnel_to_the_wrong_one_is_closed(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    async with tunnel(lib, Secure(contexts[1])) as (w, stream):
        with pytest.raises(lib.client.ConnectError) as caught:
            await stream.start_tls(contexts[0], server_hostname="three.test")
        assert isinstance(caught.value, lib.core.ConnectError)
        assert "three.test" in str(caught.value)
        assert w.pool.statistics().open == 0


async def test_a_tunnel_to_nowhere_times_out(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    async with tunnel(lib, Wait(math.inf)) as (w, stream):
        with pytest.raises(lib.client.ConnectTimeout, match="within 3 s") as caught:
            await stream.start_tls(contexts[0], server_hostname="two.test", timeout=3)
        assert isinstance(caught.value, lib.core.ConnectTimeout)
        assert (trio.current_time(), w.pool.statistics().open) == (3, 0)
