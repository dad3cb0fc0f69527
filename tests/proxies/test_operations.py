"""Leases, warm-up, retiring, draining, figures and instruments, of a pool with proxies."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.lowlevel
from dial.helpers import pool_on
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool import (
    DIRECT,
    LocalProtocolError,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    Proxy,
    ProxyError,
    Timeouts,
    WriteError,
)
from triopool.abc import Instrument
from triopool.testing import KeepOpen, Network, Receive, Reply, Request, http_server, script

from .world import ADA, HTTP, SECURE, SOCKS5H, A, B, Contexts, contexts, lent, world

TUNNEL = Proxy(HTTP, tunnel=True)
WITH_ADA = Proxy(HTTP, auth=ADA)


@pytest.fixture(scope="module")
def made() -> Contexts:
    return contexts()


# ── Leases ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("proxy", [HTTP, TUNNEL, SOCKS5H, DIRECT])
async def test_a_leases_requests_take_its_route(autojump_clock: MockClock, proxy: Any) -> None:
    def never(origin: object) -> Any:
        raise AssertionError("the lease has named its proxy")

    async with world(proxy=never) as w:
        async with w.pool.lease(f"{A}/", proxy=proxy) as connection:
            for n in range(2):
                response = await connection.request("GET", f"/{n}")
                assert response.text == f"/{n}"
                assert (response.connection.proxy is None) == (proxy is DIRECT)
            assert (await connection.request("GET", f"{A}/x")).text == "/x"
            async with connection.stream("GET", "/y") as streamed:
                assert await streamed.read() == b"/y"
        statistics = w.pool.statistics()
        assert (statistics.open, statistics.dialled) == (1, 1)
        assert len(w.a.requests) == 4


async def test_a_lease_takes_the_pools_proxy_and_credentials(autojump_clock: MockClock) -> None:
    async with world(proxy=WITH_ADA, credentials=ADA) as w:
        async with w.pool.lease(f"{A}/") as connection:
            for n in range(2):
                await connection.request("GET", f"/{n}", headers={"X": "y"})
            assert connection.info.proxy is not None
            assert connection.info.proxy.url == HTTP
        assert all(one.headers[-1][0] == "proxy-authorization" for one in w.http.requests)


async def test_a_lease_of_a_choosing_pool_asks_once(autojump_clock: MockClock) -> None:
    asked: list[Any] = []

    def choose(origin: Any) -> Any:
        asked.append(origin)
        return HTTP if len(asked) == 1 else DIRECT

    async with world(proxy=choose) as w:
        async with w.pool.lease(f"{A}/") as connection:
            for n in range(3):
                assert (await connection.request("GET", f"/{n}")).connection.proxy is not None
        assert len(asked) == 1


@pytest.mark.parametrize("leased", [HTTP, DIRECT])
@pytest.mark.parametrize("given", [HTTP, DIRECT, None])
async def test_a_proxy_for_a_request_on_a_lease_is_a_type_error(
    autojump_clock: MockClock, leased: Any, given: Any
) -> None:
    async with world() as w, w.pool.lease(f"{A}/", proxy=leased) as connection:
        for call in (connection.request, connection.stream):
            with pytest.raises(TypeError, match=r"lease\(url, proxy="):
                await call("GET", "/", proxy=given)
        assert (await connection.request("GET", "/x")).text == "/x"


async def test_a_lease_is_for_one_origin_though_the_connection_would_do_for_others(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=HTTP) as w, w.pool.lease(f"{A}/") as connection:
        with pytest.raises(ValueError, match=r"leased for http://a\.test:80 through"):
            await connection.request("GET", f"{B}/")
        with pytest.raises(ValueError, match="takes a tunnel"):
            connection.stream("GET", "/", headers={"Upgrade": "x"})
        with pytest.raises(ValueError, match="takes a tunnel"):
            connection.stream("CONNECT", "/", target="b.test:80")
        assert not w.b.requests


async def test_a_redirect_to_another_origin_does_not_leave_a_lease(
    autojump_clock: MockClock,
) -> None:
    async def redirect(request: Request) -> Reply:
        return Reply(status=302, headers={"Location": f"{B}/x"})

    async with world(proxy=HTTP) as w:
        w.network.listen("192.0.2.1", 80, http_server(redirect))
        async with w.pool.lease(f"{A}/") as connection:
            with pytest.raises(LocalProtocolError, match="a redirect leads away"):
                await connection.request("GET", "/", follow_redirects=True)
        assert not w.b.requests


async def test_a_leased_tunnel_that_has_died_is_told_with_its_way(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=WITH_ADA, credentials=ADA) as w:
        async with w.pool.lease(f"{A}/") as connection:
            await connection.request("GET", "/")
            w.network.open_server_sockets[0].close()
            with pytest.raises(WriteError) as caught:
                await connection.request("GET", "/")
        assert str(caught.value) == (
            "the leased connection to http://a.test:80 through http://proxy.test:3128 has been "
            "closed: lease another one"
        )
        assert caught.value.origin == ("http", "a.test", 80)


async def test_a_lease_ends_with_its_proxys_connection_idle_for_all(
    autojump_clock: MockClock,
) -> None:
    async with world(proxy=HTTP) as w:
        async with w.pool.lease(f"{A}/") as connection:
            await connection.request("GET", "/1")
        assert (await w.get(f"{B}/2")).connection.id == connection.info.id


async def test_credentials_in_the_url_of_a_lease_are_refused(autojump_clock: MockClock) -> None:
    async with world(proxy=WITH_ADA) as w:
        with pytest.raises(ValueError, match="credentials are about requests"):
            w.pool.lease("http://eve:pw@a.test/")


# ── Warm-up ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("proxy", [HTTP, TUNNEL, SOCKS5H, DIRECT])
async def test_a_warm_up_dials_for_the_way(autojump_clock: MockClock, proxy: Any) -> None:
    async with world(max_connections=5) as w:
        await w.pool.warm_up(f"{A}/", 2, proxy=proxy)
        assert len(w.network.open_sockets) == w.pool.statistics().idle == 2
        response = await w.get(f"{A}/x", proxy=proxy)
        assert response.connection.reused
        # A connection that forwards is ready for all origins, a tunnel for its own.
        other = await w.get(f"{B}/x", proxy=proxy)
        assert other.connection.reused == (proxy is HTTP)


async def test_a_warm_up_says_why_the_proxy_refuses(autojump_clock: MockClock) -> None:
    async with world(max_connections=5, credentials=ADA) as w:
        with pytest.raises(ProxyError, match="407"):
            await w.pool.warm_up(f"{A}/", 3, proxy=TUNNEL)
        assert not w.network.open_sockets
        assert w.pool.statistics().open == 0


# ── Retiring and draining ──────────────────────────────────────────────────────────────────────


async def test_one_leaves_a_proxy_by_retiring_its_connections(autojump_clock: MockClock) -> None:
    async with world(max_connections=10) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            for origin in (A, B):
                for proxy in (HTTP, TUNNEL, SOCKS5H, DIRECT):
                    await w.get(f"{origin}/idle", proxy=proxy)
            nursery.start_soon(lambda: w.get(f"{A}/busy", proxy=TUNNEL))
            await trio.sleep(0.5)
            assert w.pool.statistics().open == 7
            retired = w.pool.retire(lambda info: bool(info.proxy and info.proxy.url == HTTP))
            assert retired == 3
            assert w.pool.statistics().open == 5
        left = {key.proxy and key.proxy.url for key in w.pool.statistics().origins}
        assert left == {None, f"{SOCKS5H}:1080"}
        assert len(w.network.open_sockets) == 4


async def test_a_drain_lets_the_tunnels_finish(autojump_clock: MockClock) -> None:
    async with world(max_connections=10) as w:
        w.delay = 1.0
        async with trio.open_nursery() as nursery:
            for proxy in (HTTP, TUNNEL, SOCKS5H):
                nursery.start_soon(lambda way=proxy: w.get(f"{A}/x", proxy=way))
            await trio.sleep(0.5)
            nursery.start_soon(w.pool.drain)
            await wait_all_tasks_blocked()
            with pytest.raises(PoolClosed):
                await w.pool.get(f"{A}/late", proxy=HTTP)
        assert not w.network.open_sockets
        assert len(w.a.requests) == 3


async def test_leaving_the_pool_in_the_middle_of_a_hop_leaves_nothing(
    autojump_clock: MockClock,
) -> None:
    async with Network() as network, trio.open_nursery() as nursery:
        network.host("proxy.test", "192.0.2.9")
        network.listen("192.0.2.9", 3128, script(Receive(), KeepOpen()))
        async with pool_on(network, proxy=TUNNEL) as pool:

            async def ask() -> None:
                with pytest.raises(PoolClosed):
                    await pool.get(f"{A}/")

            nursery.start_soon(ask)
            await trio.sleep(1)
            assert len(network.open_sockets) == pool.statistics().dialling == 1
        assert not network.open_sockets


# ── Waiting ────────────────────────────────────────────────────────────────────────────────────


async def test_a_tunnel_that_takes_long_keeps_the_others_waiting_fairly(
    autojump_clock: MockClock,
) -> None:
    async with world(max_connections=1) as w:
        w.pause = 2.0
        order: list[str] = []

        async def ask(origin: str, **options: Any) -> None:
            await w.get(f"{origin}/x", **options)
            order.append(origin)

        async with trio.open_nursery() as nursery:
            for origin, proxy in ((A, TUNNEL), (B, HTTP), (A, HTTP), (B, TUNNEL)):
                nursery.start_soon(lambda o=origin, p=proxy: ask(o, proxy=p))
                await trio.sleep(0.01)
            assert w.pool.statistics().waiting == 3
        assert order == [A, B, A, B]
        assert w.pool.statistics().evicted == 2


async def test_errors_of_waiting_name_the_proxy_and_no_credentials(
    autojump_clock: MockClock,
) -> None:
    async with world(max_connections=1, max_waiting=1, proxy=WITH_ADA, credentials=ADA) as w:
        w.delay = 5.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.get, f"{A}/x")
            await trio.sleep(0.5)
            nursery.start_soon(w.get, f"{B}/x")
            await trio.sleep(0.5)
            with pytest.raises(PoolFull) as full:
                await w.pool.get(f"{B}/y")
        assert str(full.value.origin) == f"{B}:80"
        w.delay = 5.0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.get, f"{A}/x")
            await trio.sleep(0.5)
            with pytest.raises(PoolTimeout) as caught:
                await w.pool.get(f"{B}/y", timeouts=Timeouts(pool=1.0))
        assert str(caught.value).startswith("no connection to the proxy http://proxy.test:3128 ")
        assert "secret" not in str(caught.value)
        assert str(caught.value.origin) == f"{B}:80"


# ── Figures ────────────────────────────────────────────────────────────────────────────────────


async def test_the_keys_of_the_figures_tell_the_ways_apart(
    autojump_clock: MockClock, made: Contexts
) -> None:
    async with world(made, max_connections=10) as w:
        for proxy in (HTTP, TUNNEL, SOCKS5H, lent(made), DIRECT):
            await w.get(f"{A}/x", proxy=proxy)
        await w.get(f"{SECURE}/x", proxy=lent(made))
        shown = {str(key) for key in w.pool.statistics().origins}
        assert shown == {
            "the proxy http://proxy.test:3128",
            "http://a.test:80 through http://proxy.test:3128",
            "http://a.test:80 through socks5h://socks.test:1080",
            "the proxy https://proxy.test:3129",
            "http://a.test:80",
            "https://a.test:443 through https://proxy.test:3129",
        }


# ── Instruments ────────────────────────────────────────────────────────────────────────────────


class Told(Instrument):
    """Which proxy each event names."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.dialled_by: list[Any] = []
        self.closed_by: list[Any] = []
        self.failed: list[Any] = []

    def request_started(self, request: Any) -> None:
        self.requests.append((str(request.origin), request.proxy))

    def dialled(self, connection: Any, seconds: float) -> None:
        self.dialled_by.append(connection)

    def closed(self, connection: Any, reason: Any) -> None:
        self.closed_by.append(connection)

    def dial_failed(self, origin: Any, error: Any) -> None:
        self.failed.append((str(origin), error))


async def test_instruments_are_told_of_the_proxy(autojump_clock: MockClock, made: Contexts) -> None:
    told = Told()
    proxies: list[Any] = [WITH_ADA, Proxy(HTTP, auth=ADA, tunnel=True), DIRECT]
    async with world(made, credentials=ADA, max_connections=10, instruments=[told]) as w:
        for proxy in [*proxies, lent(made, auth=ADA)]:
            await w.get(f"{A}/x", proxy=proxy)
        with pytest.raises(ProxyError):
            await w.pool.get(f"{A}/x", proxy=TUNNEL)
        with pytest.raises(ProxyError):
            await w.pool.get(f"{A}/x", proxy="http://gone.test")
    urls = [HTTP, HTTP, None, "https://proxy.test:3129", HTTP, "http://gone.test:80"]
    assert told.requests == [("http://a.test:80", url) for url in urls]
    infos = told.dialled_by
    assert [info.proxy and (info.proxy.url, info.proxy.forwards) for info in infos] == [
        (HTTP, True),
        (HTTP, False),
        None,
        ("https://proxy.test:3129", True),
    ]
    assert [info.proxy.tls is not None for info in infos if info.proxy] == [False, False, True]
    assert sorted(told.closed_by, key=lambda info: info.id) == infos
    assert [origin for origin, _ in told.failed] == ["http://a.test:80", "http://gone.test:80"]
