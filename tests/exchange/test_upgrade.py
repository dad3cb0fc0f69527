"""Connections that become something else: 101 Switching Protocols, and CONNECT."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from sweeping import sweep as sweep_and_count

from triopool import (
    ConnectionPool,
    LocalProtocolError,
    RemoteProtocolError,
    Response,
    Timeouts,
    UpgradedStream,
)
from triopool.testing import Conversation, Network, Sweep

from .world import URL, Answer, Answering, nothing_held, ok, serving, split_everywhere

ASK = {"Upgrade": "echo"}
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def echo(stream: trio.abc.Stream) -> None:
    async for data in stream:
        await stream.send_all(data)


def switching(
    *lead: bytes, head: bytes = SWITCHING, then: Callable[[Any], Any] = echo
) -> Callable[[trio.abc.Stream], Any]:
    """Answers the first request of a connection with *head* and *lead*, then speaks otherwise."""

    async def serve(stream: trio.abc.Stream) -> None:
        conversation = Conversation(stream, number=1)
        received = b""
        while not received.endswith(b"\r\n\r\n"):
            received += await conversation.receive_some()
        for number, piece in enumerate([head + b"".join(lead[:1]), *lead[1:]]):
            if number:
                await trio.sleep(0.01)
            await stream.send_all(piece)
        await then(stream)

    return serve


async def receive_exactly(stream: trio.abc.ReceiveStream, size: int) -> bytes:
    received = b""
    while len(received) < size:
        data = await stream.receive_some(size - len(received))
        assert data
        received += data
    return received


def upgraded(response: Response) -> UpgradedStream:
    assert response.upgraded is not None
    return response.upgraded


# ── The stream ─────────────────────────────────────────────────────────────────────────────────


async def test_an_upgraded_connection_is_a_stream(autojump_clock: object) -> None:
    async with serving(switching()) as (pool, network):
        async with pool.stream("GET", f"{URL}/chat", headers=ASK) as response:
            assert (response.status_code, response.headers["upgrade"]) == (101, "echo")
            assert response.reason == "Switching Protocols"
            stream = upgraded(response)
            assert isinstance(stream, trio.abc.Stream)
            assert response.upgraded is stream
            await stream.wait_send_all_might_not_block()
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            await stream.send_all(b"12345")
            assert await stream.receive_some(2) == b"12"
            assert await stream.receive_some() == b"345"
            assert pool.statistics().busy == 1
        assert pool.statistics().open == 0
        assert not network.open_sockets
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"late")
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()


async def test_connection_upgrade_is_said_unless_the_caller_says_it(autojump_clock: object) -> None:
    for given, expected in (
        ({}, "Upgrade"),
        ({"connection": "keep-alive, Upgrade"}, "keep-alive, Upgrade"),
    ):
        server = Answering(ok())
        async with (
            serving(server) as (pool, _),
            pool.stream("GET", URL, headers=ASK | given) as response,
        ):
            assert response.upgraded is None
        assert server.requests[0].header("connection") == expected


@pytest.mark.parametrize("early", [b"e", b"early", b"x" * 200_000], ids=len)
async def test_bytes_behind_the_response_come_first(autojump_clock: object, early: bytes) -> None:
    """Scenario 56."""
    async with (
        serving(switching(early)) as (pool, _),
        pool.stream("GET", URL, headers=ASK) as response,
    ):
        stream = upgraded(response)
        with pytest.raises(ValueError, match="max_bytes must be at least 1, not 0"):
            await stream.receive_some(0)
        assert await stream.receive_some(1) == early[:1]
        await stream.send_all(b"late")
        assert await receive_exactly(stream, len(early) + 3) == early[1:] + b"late"


async def test_wherever_the_response_is_split_the_stream_is_the_same(
    autojump_clock: object,
) -> None:
    """Scenario 60."""
    raw = SWITCHING + b"early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    for parts in split_everywhere(raw):
        async with (
            serving(switching(*parts, head=b"")) as (pool, _),
            pool.stream("GET", URL, headers=ASK) as response,
        ):
            received = await receive_exactly(upgraded(response), len(raw) - len(SWITCHING))
            assert received == raw[len(SWITCHING) :]


async def test_informational_responses_may_come_before_the_101(autojump_clock: object) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    told: list[int] = []
    async with (
        serving(switching(head=hints + SWITCHING)) as (pool, _),
        pool.stream(
            "GET", URL, headers=ASK, on_informational=lambda status, fields: told.append(status)
        ) as response,
    ):
        assert (response.status_code, told) == (101, [103])


async def test_it_has_no_body(autojump_clock: object) -> None:
    async with (
        serving(switching(b"early")) as (pool, _),
        pool.stream("GET", URL, headers=ASK) as response,
    ):
        assert await response.receive_some() == b""
        assert await response.read() == b""
        assert await upgraded(response).receive_some() == b"early"


async def test_the_end_of_the_stream_is_told(autojump_clock: object) -> None:
    async def leave(stream: trio.abc.Stream) -> None:
        await stream.aclose()

    async with (
        serving(switching(b"bye", then=leave)) as (pool, _),
        pool.stream("GET", URL, headers=ASK) as response,
    ):
        stream = upgraded(response)
        assert await stream.receive_some() == b"bye"
        assert await stream.receive_some() == b""
        await stream.send_all(b"is anybody there?")
        await trio.sleep(0.01)
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"no")


async def test_no_timeout_of_the_pool_applies(autojump_clock: object) -> None:
    async def slowly(stream: trio.abc.Stream) -> None:
        await trio.sleep(10_000)
        await stream.send_all(b"at last")

    async with (
        serving(switching(then=slowly), timeouts=Timeouts(read=1, write=1)) as (pool, _),
        pool.stream("GET", URL, headers=ASK) as response,
    ):
        assert await upgraded(response).receive_some() == b"at last"


async def test_two_tasks_may_not_send_at_once(autojump_clock: object) -> None:
    async def deaf(stream: trio.abc.Stream) -> None:
        await trio.sleep(1)

    async with (
        serving(switching(then=deaf), buffer_size=1000) as (pool, _),
        pool.stream("GET", URL, headers=ASK) as response,
    ):
        stream = upgraded(response)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(10_000))
            await trio.sleep(0.1)
            with pytest.raises(trio.BusyResourceError):
                await stream.send_all(b"x")
            with pytest.raises(trio.BusyResourceError):
                await stream.wait_send_all_might_not_block()
            nursery.cancel_scope.cancel()
        with pytest.raises(trio.BrokenResourceError, match="cut short"):
            await stream.send_all(b"x")


# ── Its slot ───────────────────────────────────────────────────────────────────────────────────


async def test_closing_it_frees_the_slot_in_the_same_tick(autojump_clock: object) -> None:
    async with serving(switching(b"unread"), max_connections=1) as (pool, network):
        for how in ("aclose", "close", "response", "cancelled"):
            async with pool.stream("GET", URL, headers=ASK) as response:
                stream = upgraded(response)
                assert pool.statistics().busy == 1
                if how == "aclose":
                    await stream.aclose()
                elif how == "close":
                    stream.close()
                elif how == "response":
                    await response.aclose()
                else:
                    with trio.CancelScope() as scope:
                        scope.cancel()
                        await stream.aclose()
                assert pool.statistics().open == 0
                with pytest.raises(trio.ClosedResourceError):
                    await stream.receive_some()
                stream.close()
            assert not network.open_sockets


async def test_leaving_the_pool_closes_it(autojump_clock: object) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, switching())
        async with (
            trio.open_nursery() as nursery,
            ConnectionPool(resolver=network.resolve, socket_factory=network.socket) as pool,
        ):

            async def chat() -> None:
                async with pool.stream("GET", URL, headers=ASK) as response:
                    with pytest.raises(trio.ClosedResourceError):
                        await upgraded(response).receive_some()

            nursery.start_soon(chat)
            await trio.sleep(1)


async def test_draining_the_pool_waits_for_it(autojump_clock: object) -> None:
    async with (
        serving(switching()) as (pool, _),
        trio.open_nursery() as nursery,
        pool.stream("GET", URL, headers=ASK),
    ):
        nursery.start_soon(pool.drain)
        await trio.sleep(1)
        assert pool.statistics().busy == 1


async def test_a_leased_connection_can_be_upgraded(autojump_clock: object) -> None:
    async with serving(switching(b"early")) as (pool, _), pool.lease(URL) as connection:
        async with connection.stream("GET", "/", headers=ASK) as response:
            assert await upgraded(response).receive_some() == b"early"
        assert not connection.is_usable


# ── Refusals ───────────────────────────────────────────────────────────────────────────────────


async def test_a_refused_upgrade_is_an_ordinary_response(autojump_clock: object) -> None:
    async with serving(Answering(ok(b"no echo here"))) as (pool, _):
        async with pool.stream("GET", URL, headers=ASK) as response:
            assert response.upgraded is None
            assert await response.read() == b"no echo here"
        assert (await pool.get(URL)).connection.reused


async def test_an_upgrade_that_was_not_asked_for_is_an_error(autojump_clock: object) -> None:
    async with serving(switching(b"stray")) as (pool, network):
        with pytest.raises(RemoteProtocolError, match="101 Switching Protocols, which was not"):
            await pool.get(URL)
        assert not network.open_sockets


@pytest.mark.parametrize(
    "options",
    [
        {"method": "GET", "headers": ASK},
        {"method": "GET", "headers": {"UPGRADE": "echo", "Connection": "Upgrade"}},
        {"method": "CONNECT", "target": "a.example:443"},
    ],
)
async def test_it_takes_a_block_to_hold_what_comes_of_it(
    autojump_clock: object, options: dict[str, Any]
) -> None:
    async with serving(Answering()) as (pool, network):
        with pytest.raises(LocalProtocolError, match=r"needs stream\(\)"):
            await pool.request(url=URL, **options)
        async with pool.lease(URL) as connection:
            with pytest.raises(LocalProtocolError, match=r"needs stream\(\)"):
                await connection.request(url="/", **options)
        assert network.connections_accepted("192.0.2.1", 80) == 1


# ── CONNECT ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target", ["a.example:443", "[::1]:22", "192.0.2.7:1"])
async def test_connect_opens_a_tunnel(autojump_clock: object, target: str) -> None:
    asked: list[bytes] = []

    async def proxy(stream: trio.abc.Stream) -> None:
        asked.append(bytes(await stream.receive_some()))
        # RFC 9110 section 9.3.6: a length has no meaning here.
        await stream.send_all(CONNECTED[:-2] + b"Content-Length: 5\r\n\r\n" + b"early")
        await echo(stream)

    secret = {"Proxy-Authorization": "Basic YTpi"}
    async with (
        serving(proxy) as (pool, _),
        pool.stream("CONNECT", URL, target=target, headers=secret) as response,
    ):
        stream = upgraded(response)
        assert response.status_code == 200
        await stream.send_all(b"late")
        assert await receive_exactly(stream, 9) == b"earlylate"
    lines = asked[0].split(b"\r\n")
    assert lines[:2] == [b"CONNECT %s HTTP/1.1" % target.encode(), b"Host: %s" % target.encode()]
    assert lines[2].startswith(b"User-Agent: ")
    assert lines[3:] == [b"Proxy-Authorization: Basic YTpi", b"", b""]


async def test_a_refused_tunnel_is_an_ordinary_response(autojump_clock: object) -> None:
    refusal = b"HTTP/1.1 407 Who are you?\r\nContent-Length: 2\r\n\r\nno"
    async with serving(Answering(refusal)) as (pool, _):
        async with pool.stream("CONNECT", URL, target="a.example:443") as response:
            assert (response.status_code, response.upgraded) == (407, None)
            assert await response.read() == b"no"
        assert (await pool.get(URL)).connection.reused


async def test_any_target_can_be_asked_for(autojump_clock: object) -> None:
    server = Answering()
    async with serving(server) as (pool, _):
        await pool.options(URL, target="*")
        await pool.get(f"{URL}/x", target="http://a.example/?y")
        assert [request.target for request in server.requests] == ["*", "http://a.example/?y"]


# ── With TLS, and cancelled ────────────────────────────────────────────────────────────────────


async def test_with_tls_it_is_alike(
    autojump_clock: object, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443, switching(b"early"), ssl_context=server_ssl_context)
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client_ssl_context
        ) as pool:
            async with pool.stream("GET", "https://one.test/", headers=ASK) as response:
                stream = upgraded(response)
                await stream.wait_send_all_might_not_block()
                await stream.send_all(b"x" * 100_000)
                received = await receive_exactly(stream, 100_005)
                assert received == b"early" + b"x" * 100_000
            assert not network.open_sockets


@asynccontextmanager
async def sound(pool: ConnectionPool, network: Network) -> AsyncIterator[None]:
    yield
    await trio.sleep(10)
    nothing_held(pool, network)
    assert (await pool.get(f"{URL}/fresh")).content == b"/fresh"


def handler(answers: Answering) -> Callable[[trio.abc.Stream], Any]:
    """Switches if asked to, and else answers."""
    switch = switching(b"early")

    class Unread(trio.abc.Stream):
        """The stream, from its beginning again."""

        def __init__(self, stream: trio.abc.Stream, lead: bytes) -> None:
            self._stream = stream
            self._lead = lead

        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            if self._lead:
                lead, self._lead = self._lead, b""
                return lead
            return bytes(await self._stream.receive_some(max_bytes))

        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await self._stream.send_all(data)

        async def wait_send_all_might_not_block(self) -> None:
            await self._stream.wait_send_all_might_not_block()

        async def aclose(self) -> None:
            await self._stream.aclose()

    async def serve(stream: trio.abc.Stream) -> None:
        first = bytes(await stream.receive_some())
        chosen = switch if b"Upgrade: echo" in first else answers
        await chosen(Unread(stream, first))

    return serve


def test_an_upgrade_may_be_cancelled_anywhere() -> None:
    async def victim(pool: ConnectionPool) -> None:
        async with pool.stream("GET", URL, headers=ASK) as response:
            stream = upgraded(response)
            assert await stream.receive_some(2) == b"ea"
            await stream.send_all(b"late")
            assert await receive_exactly(stream, 7) == b"rlylate"
            await stream.aclose()

    async def scenario(one: Sweep) -> None:
        async with (
            serving(handler(Answering()), max_connections=1) as (pool, network),
            sound(pool, network),
        ):
            await one.victim(victim, pool)
            assert pool.statistics().busy == 0

    sweep_and_count(scenario)
    sweep_and_count(scenario, with_signal=True, name="upgrade, control-C")


async def test_an_upgrade_on_a_stale_connection_is_tried_again(autojump_clock: object) -> None:
    stale = Answering(ok(b"1"), Answer([b"", b""], "close"))

    async with serving(stale) as (pool, network):
        await pool.get(URL)
        network.listen("192.0.2.1", 80, switching(b"early"))
        async with pool.stream("GET", URL, headers=ASK) as response:
            assert await upgraded(response).receive_some() == b"early"
        assert pool.statistics().retried == 1
