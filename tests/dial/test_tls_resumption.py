"""Sessions of TLS 1.2 are resumed, per origin; those of TLS 1.3 would save no round trip."""

from __future__ import annotations

import ssl
import sys
from typing import Any

import pytest
import trio
import trustme
import truststore
from servers import server_certificate
from trio.testing import MockClock

from triopool import TLSError
from triopool._dial import sessions as _sessions
from triopool._dial.sessions import Sessions
from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool.testing import Network, http_proxy

from .helpers import hello_server, pool_on, server_context

ADDRESS = "192.0.2.1"


@pytest.fixture
def server_tls(ca: trustme.CA) -> ssl.SSLContext:
    context = server_context(server_certificate(ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


async def resumed(
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    asked: list[dict[str, Any]],
    **options: Any,
) -> int:
    """How many of the connections went on from a session, if each request has one of its own."""
    async with Network() as network:
        network.host("one.test", ADDRESS)
        network.host("two.test", ADDRESS)
        network.listen(ADDRESS, 443, hello_server(), ssl_context=server_tls)
        before = server_tls.session_stats()["hits"]
        async with pool_on(network, ssl_context=client_tls, **options) as pool:
            for request in asked:
                request = {"url": "https://one.test/", **request}
                response = await pool.request("GET", **request)
                tls = response.connection.tls
                # What is told of the certificate is what was verified.
                assert tls is not None
                assert tls.peer_certificate
                pool.close_idle()
        return server_tls.session_stats()["hits"] - before


async def test_a_session_of_tls_1_2_is_resumed_again_and_again(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    assert await resumed(server_tls, client_ssl_context, [{}] * 4) == 3


async def test_one_of_tls_1_3_is_not(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    server_tls.maximum_version = ssl.TLSVersion.TLSv1_3
    assert await resumed(server_tls, client_ssl_context, [{}] * 4) == 0


async def test_who_does_not_want_it_has_full_handshakes(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    count = await resumed(server_tls, client_ssl_context, [{}] * 4, tls_resumption=False)
    assert count == 0


async def test_a_session_is_never_used_for_another_name(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    """The name would not be verified."""
    others: list[dict[str, Any]] = [
        {},
        {"url": "https://two.test/"},
        {"server_hostname": "two.test"},
        {"url": "https://two.test/", "server_hostname": "one.test"},
    ]
    assert await resumed(server_tls, client_ssl_context, others) == 0
    assert await resumed(server_tls, client_ssl_context, [{}, others[1], {}]) == 1


async def test_a_session_that_was_not_verified_is_not_kept(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    client_ssl_context.check_hostname = False
    assert await resumed(server_tls, client_ssl_context, [{}] * 3) == 0
    client_ssl_context.verify_mode = ssl.CERT_NONE
    assert await resumed(server_tls, client_ssl_context, [{}] * 3) == 0


async def test_a_way_through_a_proxy_leaves_no_session_behind(
    autojump_clock: MockClock, server_tls: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    """It would be kept with the credentials of the proxy, long after the connection."""
    async with Network() as network:
        network.host("one.test", ADDRESS)
        network.listen(ADDRESS, 443, hello_server(), ssl_context=server_tls)
        network.listen("192.0.2.9", 3128, http_proxy(network, credentials=("ada", "secret")))
        before = server_tls.session_stats()["hits"]
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            for _ in range(3):
                proxy = "http://ada:secret@192.0.2.9:3128"
                assert (await pool.get("https://one.test/", proxy=proxy)).status_code == 200
                pool.close_idle()
        assert server_tls.session_stats()["hits"] == before


async def test_another_kind_of_context_sees_each_certificate(
    autojump_clock: MockClock, ca: trustme.CA, server_tls: ssl.SSLContext
) -> None:
    class Own(ssl.SSLContext):
        """As truststore's, which has the system look at the certificate."""

    context = Own(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    assert await resumed(server_tls, context, [{}] * 3) == 0


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there the system verifies")
async def test_truststore_sees_each_certificate(
    autojump_clock: MockClock, ca: trustme.CA, server_tls: ssl.SSLContext
) -> None:
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    assert await resumed(server_tls, context, [{}] * 3) == 0


@pytest.mark.parametrize("resumes", [True, False])
async def test_behind_a_handshake_that_failed_comes_a_full_one(
    autojump_clock: MockClock,
    server_tls: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
    resumes: bool,
) -> None:
    served: list[None] = []

    async def fail_once(stream: trio.abc.Stream) -> None:
        served.append(None)
        await stream.receive_some(1)

    async with Network() as network:
        network.host("one.test", ADDRESS)
        network.listen(ADDRESS, 443, hello_server(), ssl_context=server_tls)
        async with pool_on(network, ssl_context=client_ssl_context, tls_resumption=resumes) as pool:
            await pool.get("https://one.test/")
            pool.close_idle()
            network.listen(ADDRESS, 443, fail_once)
            with pytest.raises(TLSError):
                await pool.get("https://one.test/")
            network.listen(ADDRESS, 443, hello_server(), ssl_context=server_tls)
            hits = server_tls.session_stats()["hits"]
            await pool.get("https://one.test/")
            assert server_tls.session_stats()["hits"] == hits
    assert served


async def test_the_session_that_was_used_least_recently_goes_first(
    monkeypatch: pytest.MonkeyPatch, client_ssl_context: ssl.SSLContext
) -> None:
    class Agreed:
        session = object()

        def version(self) -> str:
            return "TLSv1.2"

    monkeypatch.setattr(_sessions, "MOST_SESSIONS", 2)
    keys = [PoolKey(Origin("https", f"{number}.test", 443)) for number in range(3)]
    sessions, agreed = Sessions(), Agreed()
    for key in keys[:2]:
        sessions.keep(key, client_ssl_context, agreed)  # type: ignore[arg-type]
    assert sessions.find(keys[0]) is agreed.session
    sessions.keep(keys[2], client_ssl_context, agreed)  # type: ignore[arg-type]
    assert [sessions.find(key) is not None for key in keys] == [True, False, True]
    sessions.forget(keys[0])
    sessions.forget(keys[0])
    assert len(sessions) == 1
