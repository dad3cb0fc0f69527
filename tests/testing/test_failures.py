"""What fails in a server of a test is told to the test, whatever the client makes of it."""

from __future__ import annotations

import collections
import contextlib
import ssl
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from triopool import ConnectionPool, TriopoolError
from triopool.testing import (
    Conversation,
    Handler,
    Network,
    ReceiveRequest,
    Reply,
    Request,
    http_server,
    script,
)

RUNS = 100
"""Trio runs a batch in random order; a failure was lost in one run of four."""


class WrongError(Exception):
    """What a handler's assertion raises here."""


async def respond(request: Request) -> Reply:
    raise WrongError(request.target)


async def step(conversation: Conversation) -> None:
    raise WrongError(conversation.requests[0].target)


async def handler_that_closes(stream: trio.abc.Stream) -> None:
    async with stream:
        await stream.receive_some()
        raise WrongError("in a block")


async def handler_that_takes_long_to_end(stream: trio.abc.Stream) -> None:
    try:
        await stream.receive_some()
        raise WrongError("in a block")
    finally:
        await stream.aclose()
        for _ in range(5):
            await trio.lowlevel.checkpoint()


SERVERS: dict[str, Callable[[], Handler]] = {
    "http_server": lambda: http_server(respond),
    "script": lambda: script(ReceiveRequest(), step),
    "closes": lambda: handler_that_closes,
    "slow": lambda: handler_that_takes_long_to_end,
}


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("server", SERVERS)
def test_a_failure_in_a_server_is_never_lost_where_the_client_takes_it_for_bad_luck(
    server: str,
    tls: bool,
    client_ssl_context: ssl.SSLContext,
    server_ssl_context: ssl.SSLContext,
) -> None:
    async def test_of_a_user() -> None:
        async with (
            Network() as network,
            ConnectionPool(
                resolver=network.resolve,
                socket_factory=network.socket,
                ssl_context=client_ssl_context,
            ) as pool,
        ):
            network.host("one.test", "192.0.2.1")
            network.listen(
                "192.0.2.1", 99, SERVERS[server](), ssl_context=server_ssl_context if tls else None
            )
            with contextlib.suppress(TriopoolError):
                await pool.get(f"{'https' if tls else 'http'}://one.test:99/wrong")

    ends: collections.Counter[type[BaseException] | None] = collections.Counter()
    for _ in range(RUNS):
        try:
            trio.run(test_of_a_user, clock=MockClock(autojump_threshold=0))
        except BaseException as exc:
            ends[type(exc)] += 1
        else:
            ends[None] += 1
    assert ends == {WrongError: RUNS}


@pytest.mark.parametrize("server", ["http_server", "script"])
def test_a_failure_in_a_server_arrives_as_itself_and_without_the_clients(server: str) -> None:
    async def test_of_a_user() -> None:
        async with Network() as network:
            network.listen("192.0.2.1", 80, SERVERS[server]())
            async with ConnectionPool(socket_factory=network.socket) as pool:
                await pool.get("http://192.0.2.1/wrong")

    for _ in range(RUNS):
        with pytest.raises(WrongError, match="/wrong"):
            trio.run(test_of_a_user, clock=MockClock(autojump_threshold=0))


async def get_from(handler: Handler) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, handler)
        async with ConnectionPool(socket_factory=network.socket) as pool:
            await pool.get("http://192.0.2.1/")


async def test_what_pytest_fail_raises_is_a_failure_too(autojump_clock: MockClock) -> None:
    async def handler(stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            pytest.fail("not what we expected")

    with pytest.raises(BaseExceptionGroup) as caught:
        await get_from(handler)
    assert [str(error) for error in caught.value.exceptions] == ["not what we expected"]


async def test_a_handler_that_goes_on_without_a_connection_is_cancelled_in_the_end(
    autojump_clock: MockClock,
) -> None:
    async def handler(stream: trio.abc.Stream) -> None:
        await stream.aclose()
        await trio.sleep_forever()

    async with Network() as network:
        network.listen("192.0.2.1", 80, handler)
        async with ConnectionPool(socket_factory=network.socket) as pool:
            with pytest.raises(TriopoolError):
                await pool.get("http://192.0.2.1/")
    assert trio.current_time() == 0
