"""The proxies of the soak, asked by hand: they lead to its servers, and find what is wrong."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from triopool import DIRECT, Origin
from triopool.abc import AddressInfo
from triopool.testing import Network

from . import proxies
from .proxies import (
    ADDRESS,
    CREDENTIALS,
    HTTP_PORT,
    SOCKS_PORT,
    Proxies,
    Ways,
    plan_for,
    way_of,
)
from .servers import Servers
from .world import Watch, World

EMPTY = hashlib.sha256(b"").hexdigest()[:16]
AGENT = "User-Agent: triopool/1\r\n"
GIVEN = f"Proxy-Authorization: {CREDENTIALS}\r\n"
CONNECT = f"CONNECT both.test:80 HTTP/1.1\r\nHost: both.test:80\r\n{AGENT}{GIVEN}\r\n".encode()
GREETING, WHO = b"\x05\x02\x00\x02", b"\x01\x03ada\x07s3:cret"
TO_A_NAME = b"\x05\x01\x00\x03\x09both.test\x00\x50"


def get(target: str, *fields: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: both.test", f"Digest: {EMPTY}", *fields, "", ""]
    return "\r\n".join(lines).encode()


@asynccontextmanager
async def to_a_proxy(
    port: int, *, seed: str = "a", honest: bool = True
) -> AsyncIterator[tuple[World, trio.SocketStream]]:
    async with Network() as network:
        world = World(seed, network)
        world.honest = honest
        Proxies(world, Servers(world)).listen()
        address = AddressInfo(
            socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (ADDRESS, port)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.deliver)
            with network.socket(address) as sock:
                Watch(world, sock)
                await sock.connect(address.sockaddr)
                yield world, trio.SocketStream(sock)
            await trio.sleep(100)
            assert not network.open_server_sockets
            nursery.cancel_scope.cancel()


async def ask(stream: trio.SocketStream, message: bytes) -> bytes:
    await stream.send_all(message)
    return bytes(await stream.receive_some())


async def test_a_request_is_forwarded(autojump_clock: MockClock) -> None:
    async with to_a_proxy(HTTP_PORT) as (world, stream):
        for number in range(2):
            answer = await ask(stream, get(f"http://both.test/{number}", GIVEN.strip()))
            assert f"Token: {number}\r\n".encode() in answer
    assert not world.findings


async def test_tunnels_lead_to_the_servers(autojump_clock: MockClock) -> None:
    async with to_a_proxy(HTTP_PORT) as (world, stream):
        assert await ask(stream, CONNECT) == b"HTTP/1.1 200 Told\r\n\r\n"
        assert b"Token: one\r\n" in await ask(stream, get("/one"))
    assert not world.findings
    async with to_a_proxy(SOCKS_PORT) as (world, stream):
        assert await ask(stream, GREETING) == b"\x05\x02"
        assert await ask(stream, WHO) == b"\x01\x00"
        assert await ask(stream, TO_A_NAME) == b"\x05\x00\x00\x01" + bytes(6)
        assert b"Token: one\r\n" in await ask(stream, get("/one"))
    assert not world.findings


async def test_a_proxy_leads_to_another(autojump_clock: MockClock) -> None:
    to_socks = CONNECT.replace(b"both.test:80", f"{ADDRESS}:{SOCKS_PORT}".encode())
    async with to_a_proxy(HTTP_PORT) as (world, stream):
        world.ways["one"] = (HTTP_PORT, SOCKS_PORT)
        assert await ask(stream, to_socks) == b"HTTP/1.1 200 Told\r\n\r\n"
        assert await ask(stream, GREETING) == b"\x05\x02"
        assert await ask(stream, WHO) == b"\x01\x00"
        assert await ask(stream, TO_A_NAME) == b"\x05\x00\x00\x01" + bytes(6)
        assert b"Token: one\r\n" in await ask(stream, get("/one"))
    assert not world.findings


@pytest.mark.parametrize("way", [(), (SOCKS_PORT,), (HTTP_PORT, HTTP_PORT)])
async def test_another_way_than_was_due_is_found(
    autojump_clock: MockClock, way: tuple[int, ...]
) -> None:
    async with to_a_proxy(HTTP_PORT) as (world, stream):
        world.ways["one"] = way
        await ask(stream, get("http://both.test/one", GIVEN.strip()))
    assert [found for found, _ in world.findings] == ["way"]


def test_ways_are_as_they_are_told() -> None:
    """In many cycles there is no proxy; and a proxy that the pool or a request has is the way."""
    none = 0
    for number in range(200):
        ways = Ways(str(number))
        none += ways.all_direct
        for host in ("192.0.2.1", "192.0.2.2", "both.test"):
            options, way = ways.take(host)
            proxy = options.get("proxy")
            if proxy is None and ways.of_pool is not None:
                proxy = ways.of_pool(Origin("http", host, 80))
            assert way == (() if proxy in (None, DIRECT) else way_of(proxy))
            assert not (ways.all_direct and way)
    assert 70 < none < 130


@pytest.mark.parametrize(
    ("port", "messages", "kind"),
    [
        (HTTP_PORT, [get("http://both.test/one")], "secret"),
        (HTTP_PORT, [get("/one", GIVEN.strip())], "bytes"),
        (HTTP_PORT, [CONNECT, get("/one", GIVEN.strip())], "secret"),
        (HTTP_PORT, [CONNECT, get("http://both.test/one")], "bytes"),
        (HTTP_PORT, [CONNECT, get("/one").replace(b"both.test", b"192.0.2.1")], "way"),
        (HTTP_PORT, [CONNECT.replace(b"Basic YW", b"Basic YV")], "proxy"),
        (HTTP_PORT, [CONNECT.replace(b"User-Agent", b"X: y\r\nUser-Agent")], "proxy"),
        (HTTP_PORT, [CONNECT + b"G"], "proxy"),
        (SOCKS_PORT, [b"\x05\x01\x00\x00"], "proxy"),
        (SOCKS_PORT, [GREETING + WHO], "proxy"),
        (SOCKS_PORT, [GREETING, WHO.replace(b"s3", b"s4")], "proxy"),
        (SOCKS_PORT, [GREETING, WHO, TO_A_NAME.replace(b"both", b"BOTH")], "proxy"),
        (SOCKS_PORT, [GREETING, WHO, TO_A_NAME + b"G"], "proxy"),
    ],
)
async def test_what_a_client_does_wrong_is_found(
    autojump_clock: MockClock, port: int, messages: list[bytes], kind: str
) -> None:
    async with to_a_proxy(port) as (world, stream):
        for message in messages:
            await stream.send_all(message)
            await trio.sleep(1)
    assert [found for found, _ in world.findings] == [kind]


@pytest.mark.parametrize("port", [HTTP_PORT, SOCKS_PORT])
async def test_all_plans_end(autojump_clock: MockClock, port: int) -> None:
    """And none is to blame for anything, if the client stops when something is wrong."""
    faults = set()
    for number in range(150):
        async with to_a_proxy(port, seed=str(number), honest=False) as (world, stream):
            fault = plan_for(world, 1).fault
            faults.add(fault)
            messages = [CONNECT] if port == HTTP_PORT else [GREETING, WHO, TO_A_NAME]
            for message in messages:
                await stream.send_all(message)
                await trio.sleep(2)
            with trio.move_on_after(5):
                try:
                    answer = await stream.receive_some()
                except trio.BrokenResourceError:
                    answer = b""
                if fault is None:
                    assert b" 2" in answer or answer.startswith(b"\x05\x02")
        assert not world.findings
    assert faults == {None, *proxies.FAULTS}


async def test_what_comes_after_a_refusal_is_found(autojump_clock: MockClock) -> None:
    for number in range(100):
        async with to_a_proxy(HTTP_PORT, seed=str(number), honest=False) as (world, stream):
            fault = plan_for(world, 1).fault
            await stream.send_all(CONNECT)
            await trio.sleep(2)
            if fault in ("refuse", "early", "garbage"):
                await stream.send_all(get("/one"))
        expected = ["proxy"] if fault in ("refuse", "early", "garbage") else []
        assert [found for found, _ in world.findings] == expected
