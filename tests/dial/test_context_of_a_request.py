"""``ssl_context=`` of a request: another trust, or another certificate of ours, on one pool."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trustme
from servers import server_certificate
from trio.testing import MockClock

from triopool import TLSError
from triopool.testing import Network, Reply, Request, http_proxy, http_server

from .helpers import pool_on, server_context

ADDRESS = "192.0.2.1"
ONE, TWO = "https://one.test/", "https://two.test/"


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


async def respond(request: Request) -> Reply:
    leads_to = {"/to-two": TWO, "/to-one": ONE}.get(request.target)
    if leads_to is not None:
        return Reply(302, headers={"Location": leads_to})
    return Reply(body=request.target.encode())


def serve(network: Network, certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = server_context(certificate)
    network.host("one.test", ADDRESS)
    network.host("two.test", ADDRESS)
    network.listen(ADDRESS, 443, http_server(respond), ssl_context=context)
    network.listen(ADDRESS, 80, http_server(respond))
    return context


async def test_a_request_is_verified_by_its_own_context_and_by_no_other(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    stranger = trusting(trustme.CA())
    async with Network() as network:
        serve(network, server_certificate(ca))
        async with pool_on(network, ssl_context=stranger) as pool:
            with pytest.raises(TLSError):
                await pool.get(ONE)
            assert (await pool.get(ONE, ssl_context=client_ssl_context)).status_code == 200
            with pytest.raises(TLSError):
                await pool.get(ONE, ssl_context=None)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            await pool.get(ONE)
            with pytest.raises(TLSError):
                await pool.get(ONE, ssl_context=stranger)


async def test_connections_are_shared_only_by_requests_with_the_same_context(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    mine, other = trusting(ca), trusting(ca)
    async with Network() as network:
        serve(network, server_certificate(ca))
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            ids = [
                (await pool.get(ONE, ssl_context=context)).connection.id
                for context in (None, mine, other, mine, None, other)
            ]
            assert ids == [1, 2, 3, 2, 1, 3]
            keys = list(pool.statistics().origins)
            assert {key.ssl_context for key in keys} == {None, mine, other}
            assert {str(key) for key in keys} == {"https://one.test:443"}


async def test_a_certificate_of_ours_is_shown_with_that_request_only(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    with_certificate = trusting(ca)
    ca.issue_cert("me@example.org").configure_cert(with_certificate)
    async with Network() as network:
        context = serve(network, server_certificate(ca))
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # So the handshake itself fails.
        ca.configure_trust(context)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            await pool.get(ONE, ssl_context=with_certificate)
            with pytest.raises(TLSError):
                await pool.get(ONE)
            with pytest.raises(TLSError):
                await pool.get(ONE + "to-two", ssl_context=None, follow_redirects=True)


@pytest.mark.parametrize("url", [ONE + "to-two", ONE + "to-one"])
async def test_a_context_stays_with_its_origin_where_a_redirect_leads_away(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext, url: str
) -> None:
    """Verification that is switched off, or a private authority, was meant for one server."""
    lax = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lax.check_hostname = False
    lax.verify_mode = ssl.CERT_NONE
    async with Network() as network:
        serve(network, trustme.CA().issue_cert("one.test", "two.test"))
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            if url.endswith("one"):
                response = await pool.get(url, ssl_context=lax, follow_redirects=True)
                assert (response.url, response.content) == (ONE, b"/")
                assert response.connection.reused
            else:
                with pytest.raises(TLSError, match=r"two\.test"):
                    await pool.get(url, ssl_context=lax, follow_redirects=True)


async def test_a_lease_and_a_warm_up_have_one_too(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    other = trusting(ca)
    async with Network() as network:
        serve(network, server_certificate(ca))
        async with pool_on(network, ssl_context=trusting(trustme.CA())) as pool:
            await pool.warm_up(ONE, 1, ssl_context=client_ssl_context)
            async with pool.lease(ONE, ssl_context=client_ssl_context) as connection:
                assert connection.info.id == 1
                await connection.request("GET", "/")
                await connection.request("GET", ONE, ssl_context=client_ssl_context)
                with pytest.raises(ValueError, match="this connection is leased for"):
                    await connection.request("GET", "/", ssl_context=other)


async def test_so_it_is_through_a_tunnel(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, server_certificate(ca))
        network.listen("192.0.2.9", 3128, http_proxy(network))
        proxy = "http://192.0.2.9:3128"
        async with pool_on(network, ssl_context=trusting(trustme.CA()), proxy=proxy) as pool:
            for _ in range(2):
                await pool.get(ONE, ssl_context=client_ssl_context)
            assert pool.statistics().dialled == 1
            with pytest.raises(TLSError):
                await pool.get(ONE)


async def test_a_stream_has_one_too_also_through_a_tunnel(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, server_certificate(ca))
        network.listen("192.0.2.9", 3128, http_proxy(network))
        async with pool_on(network, ssl_context=trusting(trustme.CA())) as pool:
            for proxy in (None, "http://192.0.2.9:3128"):
                async with pool.connect(ONE, ssl_context=client_ssl_context, proxy=proxy) as stream:
                    await stream.send_all(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n")
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
                with pytest.raises(TLSError):
                    async with pool.connect(ONE, proxy=proxy):
                        pass


async def test_no_session_is_kept_that_would_keep_the_context(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    other = trusting(ca)
    async with Network() as network:
        context = serve(network, server_certificate(ca))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            for _ in range(3):
                await pool.get(ONE, ssl_context=other)
                pool.close_idle()
            assert context.session_stats()["hits"] == 0
            for _ in range(3):
                await pool.get(ONE)
                pool.close_idle()
            assert context.session_stats()["hits"] == 2


@pytest.mark.parametrize(
    ("url", "given", "error", "says"),
    [
        (ONE, True, TypeError, "ssl_context must be an ssl.SSLContext or None, not True"),
        (
            ONE,
            "ca.pem",
            TypeError,
            "ssl_context must be an ssl.SSLContext or None, not str: "
            "ssl.create_default_context(cafile=...) makes one",
        ),
        ("http://one.test/", None, None, ""),
        ("http://one.test/", "a context", ValueError, "ssl_context is for https URLs only"),
    ],
)
async def test_what_makes_no_sense_is_told_before_anything_is_taken(
    autojump_clock: MockClock,
    client_ssl_context: ssl.SSLContext,
    ca: trustme.CA,
    url: str,
    given: Any,
    error: type[Exception] | None,
    says: str,
) -> None:
    context = client_ssl_context if given == "a context" else given
    async with Network() as network:
        serve(network, server_certificate(ca))
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            if error is None:
                await pool.get(url, ssl_context=context)
                return
            for ask in (pool.get, pool.warm_up, pool.lease):
                with pytest.raises(error) as caught:
                    await ask(url, ssl_context=context)  # type: ignore[operator]
                assert str(caught.value) == says
            assert pool.statistics().dialled == 0
