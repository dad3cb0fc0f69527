"""Entering and leaving the pool: who gets what, and what is left behind."""

from __future__ import annotations

import gc

import pytest
import trio

import triopool
from triopool import ConnectionPool, PoolClosed
from triopool.testing import Network, Reply, Request, http_server

from .world import A, world


async def test_an_exception_raised_in_the_block_arrives_as_itself(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def block() -> None:
        async with world() as w:
            await w.get(f"{A}/1")
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        await block()
    assert caught.value.__context__ is None


async def test_a_pool_says_what_it_is() -> None:
    pool = ConnectionPool()
    assert "new" in repr(pool)
    async with pool:
        assert "open" in repr(pool)
    assert "left" in repr(pool)


async def test_a_cancelled_block_leaves_no_socket(autojump_clock: trio.abc.Clock) -> None:
    with trio.move_on_after(0.5) as scope:
        async with world() as w:
            await w.get(f"{A}/1")
            await trio.sleep_forever()
    assert scope.cancelled_caught
    # The world asserts that no socket is open when its pool has been left.


async def test_leaving_takes_no_time_though_a_dial_hangs(autojump_clock: trio.abc.Clock) -> None:
    async with Network() as network:
        network.hang("192.0.2.1", 80)
        async with ConnectionPool(socket_factory=network.socket) as pool:
            with trio.move_on_after(1):
                await pool.get(A)
            left_at = trio.current_time()
        assert trio.current_time() == left_at
        assert not network.open_sockets


async def test_requests_in_flight_and_waiting_get_pool_closed(
    autojump_clock: trio.abc.Clock,
) -> None:
    errors: dict[str, PoolClosed] = {}

    async def request(pool: ConnectionPool, name: str) -> None:
        with pytest.raises(PoolClosed) as caught:
            await pool.get(f"{A}/{name}")
        errors[name] = caught.value

    async with Network() as network, trio.open_nursery() as nursery:

        async def respond(request: Request) -> Reply:
            return Reply(delay=60)

        network.listen("192.0.2.1", 80, http_server(respond))
        async with ConnectionPool(max_connections=1, socket_factory=network.socket) as pool:
            nursery.start_soon(request, pool, "in-flight")
            await trio.sleep(1)
            nursery.start_soon(request, pool, "waiting")
            await trio.sleep(1)
    assert errors["in-flight"].phase == "read"
    assert errors["waiting"].phase == "pool"


async def test_a_request_that_dials_gets_pool_closed(autojump_clock: trio.abc.Clock) -> None:
    async with Network() as network, trio.open_nursery() as nursery:
        network.hang("192.0.2.1", 80)

        async def request() -> None:
            with pytest.raises(PoolClosed):
                await pool.get(A)

        async with ConnectionPool(socket_factory=network.socket) as pool:
            nursery.start_soon(request)
            await trio.sleep(1)


async def test_a_stream_that_is_read_while_its_pool_is_left_gets_pool_closed(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(body=[b"piece"] * 100, gap=1.0, chunked=True)

    async def read(pool: ConnectionPool) -> None:
        async with pool.stream("GET", A) as response:
            with pytest.raises(PoolClosed):
                async for _ in response:
                    pass
            # And again, for a body that was cut must not look complete.
            with pytest.raises(PoolClosed):
                await response.receive_some()

    async with Network() as network, trio.open_nursery() as nursery:
        network.listen("192.0.2.1", 80, http_server(respond))
        async with ConnectionPool(socket_factory=network.socket) as pool:
            nursery.start_soon(read, pool)
            await trio.sleep(2.5)


async def test_a_pool_closed_between_two_steps_of_a_request_says_so(
    autojump_clock: trio.abc.Clock,
) -> None:
    # Found by the sweep: the request's task was about to read from a descriptor that was closed
    # since its last step, and got the operating system's EBADF.
    async def request(pool: ConnectionPool) -> None:
        with pytest.raises(PoolClosed):
            await pool.get(f"{A}/1")

    async with Network() as network, trio.open_nursery() as nursery:

        async def respond(request: Request) -> Reply:
            return Reply(delay=60)

        network.listen("192.0.2.1", 80, http_server(respond))
        async with ConnectionPool(socket_factory=network.socket) as pool:
            await pool.warm_up(A)
            nursery.start_soon(request, pool)
            # One step: it has sent, and not read yet.
            await trio.lowlevel.checkpoint()


async def test_a_pool_whose_block_is_cancelled_tells_requests_of_other_tasks(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def request(pool: ConnectionPool) -> None:
        with pytest.raises(PoolClosed):
            await pool.get(A)

    async with Network() as network, trio.open_nursery() as nursery:
        network.hang("192.0.2.1", 80)
        with trio.move_on_after(1):
            async with ConnectionPool(socket_factory=network.socket) as pool:
                nursery.start_soon(request, pool)
                with trio.CancelScope(shield=True):
                    await trio.sleep(2)


async def test_a_pool_used_outside_its_block_says_what_to_write() -> None:
    pool = ConnectionPool()
    for use in (pool.statistics, pool.close_idle, pool.retire, lambda: pool.stream("GET", A)):
        with pytest.raises(RuntimeError, match="async with ConnectionPool"):
            use()
    for action in (lambda: pool.get(A), lambda: pool.warm_up(A), pool.drain):
        with pytest.raises(RuntimeError, match="async with ConnectionPool"):
            await action()


async def test_a_pool_used_after_its_end_says_so() -> None:
    async with ConnectionPool() as pool:
        stream = pool.stream("GET", A)
    for action in (lambda: pool.get(A), lambda: pool.warm_up(A), pool.drain, stream.__aenter__):
        with pytest.raises(PoolClosed, match="closed"):
            await action()
    # The last figures can still be looked at.
    assert pool.statistics().open == 0


async def test_a_pool_can_be_entered_only_once() -> None:
    async with ConnectionPool() as pool:
        with pytest.raises(RuntimeError, match="only once"):
            await pool.__aenter__()
    with pytest.raises(RuntimeError, match="only once"):
        await pool.__aenter__()


async def test_a_pool_of_another_trio_run_says_so() -> None:
    async def elsewhere(pool: ConnectionPool) -> None:
        await pool.get(A)

    async with ConnectionPool() as pool:
        with pytest.raises(RuntimeError, match="another Trio run"):
            await trio.to_thread.run_sync(trio.run, elsewhere, pool)


def test_a_pool_used_without_trio_says_so() -> None:
    with pytest.raises(RuntimeError):
        ConnectionPool().get(A).send(None)


def test_a_pool_never_opened_needs_no_cleaning_up(recwarn: pytest.WarningsRecorder) -> None:
    ConnectionPool()
    gc.collect()
    assert not list(recwarn)


@pytest.mark.parametrize(
    ("option", "value", "error", "words"),
    [
        ("max_connections", 0, ValueError, "at least 1"),
        ("max_connections", 2.5, TypeError, "whole number"),
        ("max_connections", True, TypeError, "whole number"),
        ("max_connections_per_origin", -1, ValueError, "at least 1"),
        ("max_waiting", -1, ValueError, "at least 0"),
        ("max_idle", -1, ValueError, "at least 0"),
        ("max_idle", 1.5, TypeError, "whole number"),
        ("idle_timeout", 0, ValueError, "positive"),
        ("idle_timeout", "15", TypeError, "number of seconds"),
        ("max_lifetime", float("nan"), ValueError, "positive"),
        ("max_requests_per_connection", 0, ValueError, "at least 1"),
        ("timeouts", 5, TypeError, "Timeouts"),
        ("ssl_context", False, TypeError, "SSLContext"),
        ("tls_resumption", "no", TypeError, "True or False"),
        ("socket_factory", "tcp", TypeError, "callable"),
        ("resolver", {}, TypeError, "callable"),
        ("local_address", "localhost", ValueError, "IP address"),
        ("dns_ttl", -1, ValueError, "positive"),
        ("happy_eyeballs_delay", 0, ValueError, "positive"),
        ("happy_eyeballs_delay", None, TypeError, "number of seconds"),
        ("proxy", "proxy:3128", triopool.InvalidURL, "a proxy's URL begins with"),
        ("proxy", {"http": "http://proxy:3128"}, TypeError, "one for each scheme is ProxyRules"),
        ("instruments", [triopool.LoggingInstrument], TypeError, "instances"),
    ],
)
def test_a_wrong_option_fails_at_once_and_says_why(
    option: str, value: object, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        ConnectionPool(**{option: value})  # type: ignore[arg-type]


def test_a_misspelt_option_fails_at_once() -> None:
    with pytest.raises(TypeError, match="max_conections"):
        ConnectionPool(max_conections=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("phase", "value", "error"),
    [("pool", 0, ValueError), ("read", "5", TypeError), ("connect", -1.0, ValueError)],
)
def test_wrong_timeouts_fail_at_once(phase: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"Timeouts.{phase}"):
        triopool.Timeouts(**{phase: value})  # type: ignore[arg-type]
