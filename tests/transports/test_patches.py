"""What others patch in httpx holds behind ours: a mocked request never leaves the program."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
import trio
from inside import core_pool_of

import triopool
from triopool import ConnectionPool
from triopool._httpx.patches import Patches
from triopool.testing import Network, Reply, Request, http_server

from .patching import PATCHES, Patch, like_opentelemetry, like_respx
from .world import ADDRESS, TLS_URL, URL, Contexts, Library, echo, nothing_held, serving


@pytest.fixture(params=PATCHES, ids=lambda patch: patch.__name__)
def patch(request: pytest.FixtureRequest) -> Patch:
    chosen: Patch = request.param
    return chosen


def nowhere(address: triopool.AddressInfo) -> socket.socket:
    raise AssertionError(f"a request that is mocked goes to {address}")


def passes(request: Any) -> None:
    """Lets every request pass."""


# ── Mocked ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["lent", "block", "run", "client", "never opened"])
async def test_a_mocked_request_does_not_reach_the_network(
    lib: Library, patch: Patch, way: str
) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def answer(request: Any) -> Any:
        asked.append((request.method, str(request.url), b"".join(request.stream)))
        return lib.client.Response(418, text="mocked")

    async with ConnectionPool(socket_factory=nowhere) as pool:
        if way == "lent":
            transport = lib.ours.TriopoolTransport(pool)
        else:
            lifetime = "run" if way == "run" else "block"
            transport = lib.ours.TriopoolTransport(lifetime=lifetime, socket_factory=nowhere)
        client = lib.client.AsyncClient(transport=transport)
        if way == "client":
            client = lib.ours.AsyncClient(pool=pool)
        with ExitStack() as patched:
            patched.enter_context(patch(lib, answer))
            if way == "block":
                await client.__aenter__()
            response = await client.post("https://api.test:8443/x?y=%20z", content=b"a body")
            await client.aclose()
        if way == "block":
            await client.__aexit__()
    assert (response.status_code, response.text) == (418, "mocked")
    assert asked == [("POST", "https://api.test:8443/x?y=%20z", b"a body")]


async def test_a_mocked_request_does_not_go_past_the_proxies_either(
    lib: Library, patch: Patch, no_proxies: None
) -> None:
    def answer(request: Any) -> Any:
        return lib.client.Response(418)

    with patch(lib, answer):
        client = lib.ours.AsyncClient(mounts={"all://direct.test": None}, proxy="http://p.test")
        assert (await client.get("http://direct.test/")).status_code == 418
        assert (await client.get("http://other.test/")).status_code == 418


async def test_a_patch_that_is_gone_leaves_nothing(
    lib: Library, patch: Patch, autojump_clock: object
) -> None:
    def answer(request: Any) -> Any:
        return lib.client.Response(418)

    async with serving(lib, http_server(echo)) as w:
        for _ in range(2):
            with patch(lib, answer):
                assert (await w.client.get(URL)).status_code == 418
            direct = await w.client.get(URL)
            assert direct.text == "GET / "
        assert (w.pool.statistics().dialled, w.pool.statistics().reused) == (1, 1)


@pytest.mark.parametrize("before", PATCHES, ids=lambda patch: patch.__name__)
def test_a_patch_that_was_there_before_us_is_seen(lib: Library, before: Patch) -> None:
    with before(lib, passes):
        seen = Patches(lib.client, lib.core)
        assert seen.is_there
    # It can't be known any more what was there: so all goes the library's way, which is right, too.
    assert seen.is_there
    assert not Patches(lib.client, lib.core).is_there


def test_a_transport_of_ours_is_one_of_the_librarys(lib: Library) -> None:
    assert isinstance(lib.ours.TriopoolTransport(), lib.client.AsyncHTTPTransport)


async def test_httpcore_keeps_no_connection_of_what_passes(
    lib: Library, autojump_clock: object
) -> None:
    """It sees each request go over one that is closed from the first, and free for nobody else."""
    async with serving(lib, http_server(echo)) as w:
        core_pool = core_pool_of(w.client)
        with like_respx(lib, passes):
            async with w.client.stream("GET", URL):
                assert len(core_pool.connections) <= 1
            assert (await w.client.get(URL)).text == "GET / "
    one = core_pool.create_connection(None)
    assert one.is_closed()
    assert not any((one.is_available(), one.is_idle(), one.can_handle_request(None)))


# ── What passes ────────────────────────────────────────────────────────────────────────────────


async def test_what_passes_is_sent_by_our_pool(
    lib: Library, patch: Patch, autojump_clock: object
) -> None:
    server = http_server(echo)
    async with serving(lib, server) as w:
        with patch(lib, passes):
            for number in range(3):
                response = await w.client.post(
                    f"{URL}/a%20b?c=d", content=b"%d" % number, headers={"X-Odd-CASE": "1"}
                )
                assert response.text == f"POST /a%20b?c=d {number}"
                assert response.http_version == "HTTP/1.1"
                assert response.reason_phrase == "OK"
            nothing_held(w.pool, w.network)
        assert (w.pool.statistics().dialled, w.pool.statistics().reused) == (1, 2)
    assert [request.header("x-odd-case") for request in server.requests] == ["1"] * 3


async def test_what_a_patch_changes_is_what_is_sent(lib: Library, autojump_clock: object) -> None:
    server = http_server(echo)
    async with serving(lib, server) as w:
        with like_opentelemetry(lib, passes):
            await w.client.get(URL)
    assert server.requests[0].header("traceparent") == "00-1-2-01"


async def test_patches_on_both_floors_hold_together(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(echo)) as w:
        with like_opentelemetry(lib, passes), like_respx(lib, passes):
            assert (await w.client.get(URL)).text == "GET / "
        assert w.pool.statistics().idle == 1


async def test_bodies_are_streamed_both_ways(
    lib: Library, patch: Patch, autojump_clock: object
) -> None:
    async def rows() -> AsyncIterator[bytes]:
        for number in range(3):
            await trio.sleep(1)
            yield b"%d" % number

    async def answer(request: Request) -> Reply:
        return Reply(body=[b"<", request.body, b">"], gap=1)

    async with serving(lib, http_server(answer)) as w:
        with patch(lib, passes):
            async with w.client.stream("POST", URL, content=rows()) as response:
                seen = b"".join([piece async for piece in response.aiter_raw()])
            assert seen == b"<012>"
            async with w.client.stream("POST", URL, content=rows()):
                pass  # Left before its end: what is left of it is drained, or never comes.


async def test_requests_at_once_are_as_many_as_the_pool_lets_through(
    lib: Library, patch: Patch, autojump_clock: object
) -> None:
    async def slowly(request: Request) -> Reply:
        return Reply(body=request.target.encode(), delay=1)

    async with serving(lib, http_server(slowly), max_connections=3) as w:

        async def ask(number: int) -> None:
            assert (await w.client.get(f"{URL}/{number}")).text == f"/{number}"

        with patch(lib, passes):
            async with trio.open_nursery() as nursery:
                for number in range(9):
                    nursery.start_soon(ask, number)
        assert w.pool.statistics().dialled == 3


async def test_errors_are_what_they_are_without_a_patch(
    lib: Library, patch: Patch, autojump_clock: object
) -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async def broken(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await stream.aclose()

    with patch(lib, passes):
        async with serving(lib, silent) as w:
            with pytest.raises(lib.client.ReadTimeout) as caught:
                await w.client.get(URL, timeout=1)
            assert caught.value.request.url == URL
            with pytest.raises(lib.client.UnsupportedProtocol):
                await w.client.get("gopher://one.test")
            with trio.move_on_after(1) as scope:
                await w.client.get(URL)
            assert scope.cancelled_caught
        async with serving(lib, broken) as w:
            with pytest.raises(lib.client.RemoteProtocolError, match="after 3 of the 9 bytes"):
                await w.client.get(URL)


async def test_a_transport_that_is_not_open_is_told_so_where_the_request_passes(
    lib: Library, patch: Patch
) -> None:
    client = lib.client.AsyncClient(transport=lib.ours.TriopoolTransport())
    with patch(lib, passes), pytest.raises(RuntimeError, match="this transport is not open"):
        await client.get(URL)


@pytest.mark.parametrize("url", ["http://lo%63alhost/", "http://127.1/"])
async def test_where_a_request_goes_is_checked_as_strictly(
    lib: Library, patch: Patch, url: str
) -> None:
    async with ConnectionPool(socket_factory=nowhere) as pool:
        client = lib.client.AsyncClient(transport=lib.ours.TriopoolTransport(pool))
        with pytest.raises((lib.client.LocalProtocolError, lib.client.InvalidURL)):
            await client.get(url)
        with (
            patch(lib, passes),
            pytest.raises((lib.client.LocalProtocolError, lib.client.InvalidURL)),
        ):
            await client.get(url)


@pytest.mark.parametrize("host", ["[2001:db8::1]", "[2001:db8::1]:8080", "192.0.2.1:8080"])
async def test_addresses_and_ports_arrive(
    lib: Library, patch: Patch, autojump_clock: object, host: str
) -> None:
    async with Network() as network:
        for address in (ADDRESS, "2001:db8::1"):
            for port in (80, 8080):
                network.listen(address, port, http_server(echo))
        async with ConnectionPool(socket_factory=network.socket) as pool:
            client = lib.client.AsyncClient(transport=lib.ours.TriopoolTransport(pool))
            with patch(lib, passes):
                assert (await client.get(f"http://{host}/")).text == "GET / "


async def test_extensions_go_along(
    lib: Library, patch: Patch, contexts: Contexts, autojump_clock: object
) -> None:
    told: list[str] = []

    async def trace(name: str, info: dict[str, Any]) -> None:
        told.append(name)

    async with serving(lib, http_server(echo), contexts) as w:
        with patch(lib, passes):
            response = await w.client.get(
                TLS_URL, extensions={"trace": trace, "sni_hostname": "two.test"}
            )
            assert response.text == "GET / "
    assert "connection.start_tls.complete" in told
    assert told[-1] == "http11.response_closed.complete"
