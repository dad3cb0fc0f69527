"""``pool.lease()``: one connection for several exchanges."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

import ssl
from typing import Any

import pytest
import trio

from triopool import (
    ConnectionInfo,
    ConnectionPool,
    LeasedConnection,
    PoolTimeout,
    ReadError,
    RequestInfo,
    ResponseInfo,
    Timeouts,
    WriteError,
)
from triopool.abc import Instrument
from triopool.testing import Network

from .world import URL, Answer, Answering, ok, pieces, serving, whole

LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


async def test_several_exchanges_use_the_one_connection(autojump_clock: object) -> None:
    server = Answering()
    async with serving(server, max_connections=1) as (pool, network):
        async with pool.lease(URL) as connection:
            assert connection.info.remote_address == ("192.0.2.1", 80)
            first = await connection.request("GET", "/1")
            second = await connection.request("POST", URL + "/2?x", content=pieces(b"a", b"b"))
            async with connection.stream("GET", "//3", params={"a": "b"}) as third:
                assert await third.read() == b"//3?a=b"
            assert (first.content, second.content) == (b"/1", b"/2?x")
            assert [r.connection.reused for r in (first, second, third)] == [False, True, True]
            assert first.connection.id == third.connection.id == connection.info.id
            with pytest.raises(PoolTimeout):
                await pool.get(URL, timeouts=Timeouts(pool=1))
            assert connection.is_usable
        assert pool.statistics().idle == 1
        assert (await pool.get(URL)).connection.reused
        assert len(network.events("connected")) == 1
    assert {request.connection_number for request in server.requests} == {1}


async def test_instruments_are_told_of_the_exchanges_on_a_lease(autojump_clock: object) -> None:
    told: list[str] = []

    class Told(Instrument):
        def request_sent(self, request: RequestInfo, connection: ConnectionInfo) -> None:
            told.append(f"sent {request.target} on {connection.id}")

        def response_started(
            self, request: RequestInfo, response: ResponseInfo, connection: ConnectionInfo
        ) -> None:
            told.append(f"{request.target}: {response.status_code}")

        def request_failed(self, request: RequestInfo, error: BaseException) -> None:
            told.append(f"{request.target}: {type(error).__name__}")

    server = Answering(once={"/2": Answer([], "close")})
    async with serving(server, instruments=[Told()]) as (pool, _):
        async with pool.lease(URL) as connection:
            await connection.request("GET", "/1")
            with pytest.raises(ReadError):
                await connection.request("GET", "/2")
    assert told == ["sent /1 on 1", "/1: 200", "sent /2 on 1", "/2: ReadError"]


async def test_a_leased_connection_is_for_its_origin(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        async with pool.lease(URL) as connection:
            for url in ("http://192.0.2.1:81/", "http://192.0.2.2/"):
                with pytest.raises(
                    ValueError, match=r"leased for http://192\.0\.2\.1:80, it can't"
                ):
                    await connection.request("GET", url)
            with pytest.raises(TypeError, match="url must be a str"):
                await connection.request("GET", None)  # type: ignore[arg-type]
            assert (await connection.request("GET", "/")).content == b"/"


async def test_a_path_is_asked_under_the_name_of_the_lease(
    autojump_clock: object, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 443, Answering(), ssl_context=server_ssl_context)
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client_ssl_context
        ) as pool:
            url = "https://192.0.2.1"
            async with pool.lease(url, server_hostname="one.test") as connection:
                for path in ("/a", "/b"):
                    assert (await connection.request("GET", path)).content == path.encode()
                assert (await connection.request("GET", url + "/c")).content == b"/c"
                with pytest.raises(ValueError, match=r"as two\.test"):
                    await connection.request("GET", "/", server_hostname="two.test")
            assert pool.statistics().idle == 1


async def test_one_exchange_at_a_time(autojump_clock: object) -> None:
    server = Answering(Answer([LENGTH % 200_000, b"x"]))
    async with serving(server) as (pool, network):
        async with pool.lease(URL) as connection:
            async with connection.stream("GET", "/") as response:
                with pytest.raises(trio.BusyResourceError, match="not finished"):
                    await connection.request("GET", "/")
                assert await response.receive_some() == b"x"
            assert not connection.is_usable
            with pytest.raises(WriteError, match="lease another one"):
                await connection.request("GET", "/")
        assert not network.open_sockets


async def test_the_next_exchange_waits_for_the_drain_of_the_last(autojump_clock: object) -> None:
    server = Answering(Answer([LENGTH % 2, *[b""] * 20, b"ok"]))
    async with serving(server) as (pool, _):
        async with pool.lease(URL) as connection:
            async with connection.stream("GET", "/"):
                pass
            assert trio.current_time() == 0.0
            assert (await connection.request("GET", "/next")).content == b"/next"
            assert trio.current_time() == pytest.approx(0.021)
        assert pool.statistics().idle == 1


async def test_two_that_wait_for_the_drain_don_t_get_in_each_others_way(
    autojump_clock: object,
) -> None:
    server = Answering(Answer([LENGTH % 2, *[b""] * 20, b"ok"]))
    async with serving(server) as (pool, _):
        async with pool.lease(URL) as connection:
            async with connection.stream("GET", "/"):
                pass
            results: list[object] = []

            async def one() -> None:
                try:
                    results.append((await connection.request("GET", "/next")).content)
                except trio.BusyResourceError:
                    results.append("busy")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(one)
                nursery.start_soon(one)
            assert sorted(map(str, results)) == ["b'/next'", "busy"]


async def test_a_drain_in_vain_ends_the_lease(autojump_clock: object) -> None:
    async with serving(Answering(Answer([LENGTH % 2]))) as (pool, network):
        async with pool.lease(URL) as connection:
            async with connection.stream("GET", "/"):
                pass
            with pytest.raises(WriteError, match="lease another one"):
                await connection.request("GET", "/")
            assert trio.current_time() == pytest.approx(0.05)
            assert not network.open_sockets


async def test_an_exchange_that_is_unfinished_at_the_end_closes(autojump_clock: object) -> None:
    for answer in (LENGTH % 2, LENGTH % 200_000):
        async with serving(Answering(Answer([answer]))) as (pool, network):
            async with pool.lease(URL) as connection:
                stream = connection.stream("GET", "/")
                await stream.__aenter__()
            assert not network.open_sockets
            await stream.__aexit__(None, None, None)
            assert pool.statistics().open == 0
            await trio.sleep(0.1)


async def test_a_lease_that_ends_while_its_exchange_is_drained_closes(
    autojump_clock: object,
) -> None:
    async with serving(Answering(Answer([LENGTH % 2]))) as (pool, network):
        async with pool.lease(URL) as connection:
            async with connection.stream("GET", "/"):
                pass
        assert not network.open_sockets
        assert pool.statistics().open == 0
        await trio.sleep(0.1)


@pytest.mark.parametrize("stray", [b"x", ok(b"not yours"), None])
async def test_what_comes_between_two_exchanges_closes_it(
    autojump_clock: object, stray: bytes | None
) -> None:
    server = Answering()
    async with serving(server) as (pool, network):
        async with pool.lease(URL) as connection:
            await connection.request("GET", "/1")
            end = network.open_server_sockets[0]
            if stray is None:
                end.close()
            else:
                await end.send(stray)
            assert connection.is_usable  # Nobody has looked.
            for _ in range(2):
                with pytest.raises(WriteError, match="lease another one") as caught:
                    await connection.request("POST", "/2")
                assert not connection.is_usable
            assert caught.value.phase == "write"
            assert not network.open_sockets
        assert pool.statistics().stale == 1
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "headers"),
    [
        (ok(b"x", b"Connection: close"), {}),
        (ok(b"x"), {"Connection": "close"}),
        (ok(b"x") + b"stray", {}),
    ],
)
async def test_the_last_response_ends_it(
    autojump_clock: object, answer: bytes, headers: Any
) -> None:
    async with serving(Answering(answer)) as (pool, network):
        async with pool.lease(URL) as connection:
            assert (await connection.request("GET", "/", headers=headers)).content == b"x"
            assert not connection.is_usable
            assert not network.open_sockets
            with pytest.raises(WriteError, match="lease another one"):
                await connection.request("GET", "/")


async def test_there_is_no_retry_on_another_connection(autojump_clock: object) -> None:
    server = Answering(ok(), Answer([], "close"))
    async with serving(server) as (pool, _):
        async with pool.lease(URL) as connection:
            await connection.request("GET", "/")
            with pytest.raises(ReadError):
                await connection.request("GET", "/")
            assert not connection.is_usable
        assert pool.statistics().retried == 0


async def test_a_cancelled_exchange_closes_it(autojump_clock: object) -> None:
    async with serving(Answering(Answer([]))) as (pool, network):
        async with pool.lease(URL) as connection:
            with trio.move_on_after(1) as scope:
                await connection.request("GET", "/")
            assert scope.cancelled_caught
            assert not connection.is_usable
            assert not network.open_sockets


@pytest.mark.parametrize("how", ["exception", "cancelled"])
async def test_a_block_that_is_not_left_in_peace_closes(autojump_clock: object, how: str) -> None:
    async with serving(Answering()) as (pool, network):
        if how == "exception":
            with pytest.raises(KeyError):  # noqa: PT012 - it is about the block
                async with pool.lease(URL) as connection:
                    await connection.request("GET", "/")
                    raise KeyError
        else:
            with trio.move_on_after(1):
                async with pool.lease(URL):
                    await trio.sleep_forever()
        assert not network.open_sockets


async def test_a_body_that_is_not_sent_is_closed(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, network):
        async with pool.lease(URL) as connection:
            network.open_server_sockets[0].close()
            send, receive = trio.testing.memory_stream_one_way_pair()
            with pytest.raises(WriteError):
                await connection.request("POST", "/", content=receive)
            with pytest.raises(trio.ClosedResourceError):
                await receive.receive_some()
            await send.aclose()


async def test_a_lease_can_be_entered_once(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        lease = pool.lease(URL)
        async with lease:
            with pytest.raises(RuntimeError, match="call lease"):
                await lease.__aenter__()
        with pytest.raises(RuntimeError, match="call lease"):
            await lease.__aenter__()


async def test_a_lease_outlived_by_its_pool_is_no_more(autojump_clock: object) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, Answering())
        left = trio.Event()

        async def user(pool: ConnectionPool, task_status: Any) -> None:
            async with pool.lease(URL) as connection:
                await connection.request("GET", "/")
                task_status.started()
                await left.wait()
                assert isinstance(connection, LeasedConnection)
                assert not connection.is_usable
                with pytest.raises(WriteError, match="lease another one"):
                    await connection.request("GET", "/")

        async with trio.open_nursery() as nursery:
            async with ConnectionPool(
                resolver=network.resolve, socket_factory=network.socket
            ) as pool:
                await nursery.start(user, pool)
            left.set()
        assert not network.open_sockets


async def serve_tickets_at_once(stream: trio.abc.Stream, context: ssl.SSLContext) -> None:
    """TLS as OpenSSL's servers speak it: the session tickets go out behind the handshake. (Trio's
    wait for the first answer.)"""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)

    async def retry(act: Any, *args: Any) -> Any:
        while True:
            try:
                return act(*args)
            except ssl.SSLWantReadError:
                await stream.send_all(outgoing.read())
                incoming.write(await stream.receive_some())

    await retry(tls.do_handshake)
    await stream.send_all(outgoing.read())
    while request := await retry(tls.read, 65536):
        tls.write(ok(request.split()[1]))
        await stream.send_all(outgoing.read())


async def test_session_tickets_are_no_stray_bytes(
    autojump_clock: object, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443, lambda s: serve_tickets_at_once(s, server_ssl_context))
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client_ssl_context
        ) as pool:
            async with pool.lease("https://one.test") as connection:
                await trio.sleep(1)
                (socket,) = network.open_sockets
                assert socket.is_readable()
                assert (await connection.request("GET", "/1")).content == b"/1"
                assert (await connection.request("GET", "/2")).content == b"/2"
            assert pool.statistics().idle == 1


@pytest.mark.parametrize("stray", ["data", "what is no TLS", "the end"])
async def test_with_tls_it_is_looked_at_more_closely(
    autojump_clock: object,
    client_ssl_context: ssl.SSLContext,
    server_ssl_context: ssl.SSLContext,
    stray: str,
) -> None:
    answers = {
        "data": Answer([ok(b"1"), ok(b"not yours")]),
        "what is no TLS": whole(ok(b"1")),
        "the end": Answer([ok(b"1"), b""], "close"),
    }
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443, Answering(answers[stray]), ssl_context=server_ssl_context)
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client_ssl_context
        ) as pool:
            async with pool.lease("https://one.test") as connection:
                assert (await connection.request("GET", "/")).content == b"1"
                await trio.sleep(0.01)
                if stray == "what is no TLS":
                    await network.open_server_sockets[0].send(b"\x17\x03\x03\x00\x01x")
                with pytest.raises(WriteError):
                    await connection.request("GET", "/")
                assert not connection.is_usable
                assert not network.open_sockets


async def test_credentials_are_not_a_connections_affair(autojump_clock: object) -> None:
    """They were dropped in silence."""
    async with serving(Answering()) as (pool, network):
        url = URL.replace("//", "//name:SECRET@")
        with pytest.raises(ValueError, match=r"lease\(\) is about a connection") as caught:
            pool.lease(url)
        with pytest.raises(ValueError, match=r"warm_up\(\) is about a connection"):
            await pool.warm_up(url)
        assert "SECRET" not in str(caught.value)
        assert not network.log


async def test_a_block_can_be_entered_once_and_says_what_it_is(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        async with pool.lease(URL) as connection:
            blocks: dict[str, Any] = {
                "stream()": pool.stream("GET", URL),
                "lease()": pool.lease(URL),
            }
            for name, block in blocks.items():
                assert repr(block) == f"<the block of {name}: use it with 'async with'>"
                async with block:
                    pass
                with pytest.raises(RuntimeError, match="has been entered already") as caught:
                    async with block:
                        pass
                assert f"call {name} again" in str(caught.value)
            assert connection.is_usable
