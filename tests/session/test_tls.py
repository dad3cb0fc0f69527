"""``ssl_context=`` of a session: for the origin of its base, as its credentials are."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trustme
from dial.helpers import pool_on, server_context
from servers import server_certificate
from trio.testing import MockClock

from triopool import TLSError
from triopool.testing import Network, Reply, Request, http_server

ADDRESS = "192.0.2.1"
ONE, TWO = "https://one.test/", "https://two.test/"


async def respond(request: Request) -> Reply:
    if request.target == "/away":
        return Reply(302, headers={"Location": TWO})
    return Reply(body=request.target.encode())


def serve(network: Network, ca: trustme.CA) -> None:
    for name in ("one.test", "two.test"):
        network.host(name, ADDRESS)
    context = server_context(server_certificate(ca))
    network.listen(ADDRESS, 443, http_server(respond), ssl_context=context)
    network.listen(ADDRESS, 80, http_server(respond))


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


async def test_the_context_of_a_session_is_for_the_origin_of_its_base(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, ca)
        async with pool_on(network, ssl_context=trusting(trustme.CA())) as pool:
            api = pool.session(base_url=ONE, ssl_context=client_ssl_context)
            assert (await api.get("x")).text == "/x"
            assert (await api.get(f"{ONE}y")).text == "/y"
            async with api.lease() as connection:
                assert (await connection.request("GET", "/z")).text == "/z"
            await api.warm_up(n=1)
            async with api.connect() as stream:
                assert stream is not None
            assert {key.ssl_context for key in pool.statistics().origins} == {client_ssl_context}
            for away in (api.get(TWO), api.get("away", follow_redirects=True), api.warm_up(TWO)):
                with pytest.raises(TLSError, match=r"two\.test"):
                    await away
            with pytest.raises(TLSError, match=r"two\.test"):
                await api.session(base_url=TWO).get("")
            assert (await api.get(TWO, ssl_context=client_ssl_context)).text == "/"


async def test_a_request_of_a_session_may_have_another_one(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    stranger = trusting(trustme.CA())
    async with Network() as network:
        serve(network, ca)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            api = pool.session(base_url=ONE, ssl_context=stranger)
            with pytest.raises(TLSError):
                await api.get("")
            await api.get("", ssl_context=client_ssl_context)
            await api.get("", ssl_context=None)
            await api.session(ssl_context=None).get("")
            await api.warm_up(n=3, ssl_context=client_ssl_context)


async def test_http_has_no_use_for_it(
    autojump_clock: MockClock, ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        serve(network, ca)
        async with pool_on(network) as pool:
            api = pool.session(ssl_context=client_ssl_context)
            assert (await api.get("http://one.test/x")).text == "/x"
            assert (await api.get(f"{ONE}x")).text == "/x"
            await api.warm_up("http://one.test/")
            with pytest.raises(ValueError, match="for https URLs only"):
                await api.get("http://one.test/", ssl_context=client_ssl_context)


@pytest.mark.parametrize("wrong", [True, "ca.pem"])
async def test_what_is_no_context_is_told_when_the_session_is_made(wrong: Any) -> None:
    async with Network() as network, pool_on(network) as pool:
        with pytest.raises(TypeError, match=r"must be an ssl\.SSLContext or None"):
            pool.session(ssl_context=wrong)
