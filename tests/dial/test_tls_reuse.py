"""TLS connections that are idle: what may have arrived on them, and what must not have.

Against OpenSSL's own servers, in reality or in its manner (see ``Records``): a Trio server delays
the session tickets of TLS 1.3, and so hides that a healthy idle connection is readable.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trustme
from inside import connections, wire_of
from servers import Nginx, server_certificate
from trio.testing import MockClock

from triopool import ConnectionPool, TLSError
from triopool.testing import Network, in_turn

from .helpers import (
    EVIL,
    GOOD,
    Records,
    answer_requests,
    openssl_server,
    pool_on,
    server_context,
)

ADDRESS, URL = "192.0.2.1", "https://192.0.2.1/"


@pytest.fixture
def context(ca: trustme.CA) -> ssl.SSLContext:
    return server_context(ca.issue_cert(ADDRESS, "localhost"))


# ── Scenario 24: readable, and yet fit ─────────────────────────────────────────────────────────


async def warmed_up_connections_are_reused(pool: ConnectionPool, url: str) -> None:
    await pool.warm_up(url, 3)
    with trio.fail_after(5):
        for connection in connections(pool):
            while not wire_of(connection).is_readable():  # the tickets are under way
                await trio.sleep(0.01)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(pool.get, url)
    statistics = pool.statistics()
    assert (statistics.dialled, statistics.reused, statistics.stale) == (3, 3, 0)


async def test_tls_1_3_connections_that_never_carried_a_request_are_reused_with_openssl(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext, no_leaked_sockets: None
) -> None:
    context = server_context(server_certificate(ca))
    with openssl_server(context, answer_requests) as port:
        async with ConnectionPool(ssl_context=client_ssl_context) as pool:
            await warmed_up_connections_are_reused(pool, f"https://127.0.0.1:{port}/")


async def test_tls_1_3_connections_that_never_carried_a_request_are_reused_with_nginx(
    nginx: Nginx, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        await warmed_up_connections_are_reused(pool, nginx.url("/nothing", server="tls"))


async def test_a_surplus_tls_1_3_connection_is_reused(
    autojump_clock: MockClock, context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        records = Records(stream, context)
        await records.handshake()
        while await records.request():
            await trio.sleep(1.0)
            records.write(GOOD)
            await records.flush()

    async with Network() as network:
        network.listen(ADDRESS, 443, serve, connect_delay=0.7)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.get, URL)
                await trio.sleep(1.5)
                # Takes the first connection when it comes back at 1.7; its own dial is surplus.
                nursery.start_soon(pool.get, URL)
            assert pool.statistics().idle == 2
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pool.get, URL)
                nursery.start_soon(pool.get, URL)
            statistics = pool.statistics()
            assert (statistics.dialled, statistics.reused, statistics.stale) == (2, 2, 0)


# ── Scenario 23: never a stranger's bytes ──────────────────────────────────────────────────────


def serve_first(
    context: ssl.SSLContext, first: Callable[[Records], Any]
) -> Callable[[trio.abc.Stream], Any]:
    """The first connection is served by *first*; the others answer each request with GOOD."""

    async def serve(stream: trio.abc.Stream) -> None:
        records = Records(stream, context)
        await records.handshake()
        assert await records.request()
        await first(records)
        while await records.request():
            records.write(EVIL)
            await records.flush()

    async def serve_well(stream: trio.abc.Stream) -> None:
        records = Records(stream, context)
        await records.handshake()
        while await records.request():
            records.write(GOOD)
            await records.flush()

    return in_turn(serve, serve_well)


async def in_the_same_record(records: Records) -> None:
    records.write(GOOD + EVIL)
    await records.flush()


async def in_another_record_of_the_same_segment(records: Records) -> None:
    records.write(GOOD, EVIL)
    await records.flush()


async def behind_a_close_notify(records: Records) -> None:
    records.write(GOOD)
    with pytest.raises(ssl.SSLWantReadError):
        records.tls.unwrap()
    await records.flush()


async def later(records: Records) -> None:
    records.write(GOOD)
    await records.flush()
    await trio.sleep(0.5)
    records.write(EVIL)
    await records.flush()


@pytest.mark.parametrize(
    "first",
    [in_the_same_record, in_another_record_of_the_same_segment, behind_a_close_notify, later],
)
async def test_stray_bytes_behind_a_response_never_reach_the_next_request(
    autojump_clock: MockClock,
    context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    first: Any,
) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 443, serve_first(context, first))
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            for _ in range(3):
                assert (await pool.get(URL)).content == b"good"
                await trio.sleep(0.6)
            statistics = pool.statistics()
            assert (statistics.dialled, statistics.stale + statistics.discarded) == (2, 1)


async def test_unsolicited_bytes_close_an_idle_tls_connection_though_nobody_asks(
    autojump_clock: MockClock, context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 443, serve_first(context, later))
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            await pool.get(URL)
            await trio.sleep(7.0)  # a sweep comes at least every five seconds
            statistics = pool.statistics()
            assert (statistics.open, statistics.stale) == (0, 1)
            assert not network.open_sockets


# ── Handshakes with OpenSSL that fail ──────────────────────────────────────────────────────────


async def test_an_alert_of_the_server_is_told(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext, no_leaked_sockets: None
) -> None:
    context = server_context(server_certificate(ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    client_ssl_context.minimum_version = ssl.TLSVersion.TLSv1_3
    with openssl_server(context, answer_requests) as port:
        async with ConnectionPool(ssl_context=client_ssl_context) as pool:
            with pytest.raises(
                TLSError,
                match=r"the TLS handshake with 127.0.0.1 failed: tlsv1 alert protocol version",
            ):
                await pool.get(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "name", ["expired.test", "not-yet-valid.test", "wrong-host.test", "untrusted.test"]
)
async def test_nginx_with_a_bad_certificate_is_refused_and_gets_no_request(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, name: str
) -> None:
    says = {
        "expired.test": "it has expired",
        "not-yet-valid.test": "it is not valid yet",
        "wrong-host.test": "it is for another name",
        "untrusted.test": "its issuer is not trusted here",
    }
    path = f"/from-{name}"
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with pytest.raises(TLSError, match=says[name]):
            await pool.get(nginx.url(path, server="tls"), server_hostname=name)
        await pool.get(nginx.url("/nothing", server="tls"), server_hostname="one.test")
    assert nginx.requests(path) == []
