"""The ``timeout`` extension: each phase at its time, with its own exception."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

import triopool
from triopool.testing import KeepOpen, Receive, ReceiveRequest, Send, Wait, http_server, script

from .world import ADDRESS, URL, Library, World, echo, ok, read_into, serving

SLOW = script(ReceiveRequest(), Wait(1000), Send(ok(b"at last")), KeepOpen())


async def pool_phase(w: World, timeout: Any) -> None:
    """All slots are taken."""
    async with w.client.stream("GET", URL, timeout=None):
        await w.client.get(URL, timeout=timeout)


async def connect_phase(w: World, timeout: Any) -> None:
    w.network.hang(ADDRESS, 80)
    await w.client.get(URL, timeout=timeout)


async def write_phase(w: World, timeout: Any) -> None:
    w.network.listen(ADDRESS, 80, script(Receive(), Wait(math.inf)))
    await w.client.post(URL, content=bytes(100_000), timeout=timeout)


async def read_phase(w: World, timeout: Any) -> None:
    w.network.listen(ADDRESS, 80, SLOW)
    await w.client.get(URL, timeout=timeout)


PHASES = {
    "pool": (pool_phase, "PoolTimeout", triopool.PoolTimeout),
    "connect": (connect_phase, "ConnectTimeout", triopool.ConnectTimeout),
    "write": (write_phase, "WriteTimeout", triopool.WriteTimeout),
    "read": (read_phase, "ReadTimeout", triopool.ReadTimeout),
}


def holding(lib: Library, **client: Any) -> Any:
    """One slot, and a server that holds on to it: its body never ends."""
    server = script(
        ReceiveRequest(), Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), KeepOpen()
    )
    return serving(lib, server, buffer_size=4096, max_connections=1, client=client)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("others", [None, 100.0])
async def test_each_phase_has_its_own_limit_and_exception(
    lib: Library, autojump_clock: object, phase: str, others: float | None
) -> None:
    run, name, cause = PHASES[phase]
    timeout = lib.client.Timeout(others, **{phase: 7.5})
    async with holding(lib) as w:
        start = trio.current_time()
        with pytest.raises(getattr(lib.client, name)) as caught:
            await run(w, timeout)
        assert round(trio.current_time() - start, 6) == 7.5
        assert type(caught.value) is getattr(lib.client, name)
        assert isinstance(caught.value, lib.client.TimeoutException)
        assert type(caught.value.__cause__) is cause
        assert str(caught.value) == str(caught.value.__cause__)
        assert caught.value.request.url == lib.client.URL(URL)


@pytest.mark.parametrize("phase", PHASES)
async def test_one_number_is_the_limit_of_all_phases(
    lib: Library, autojump_clock: object, phase: str
) -> None:
    run, name, _ = PHASES[phase]
    async with holding(lib) as w:
        start = trio.current_time()
        with pytest.raises(getattr(lib.client, name)):
            await run(w, 5)
        assert round(trio.current_time() - start, 6) == 5


@pytest.mark.parametrize("phase", PHASES)
async def test_a_limit_of_zero_is_over_at_once(
    lib: Library, autojump_clock: object, phase: str
) -> None:
    run, name, _ = PHASES[phase]
    async with holding(lib) as w:
        start = trio.current_time()
        with pytest.raises(getattr(lib.client, name)):
            await run(w, lib.client.Timeout(None, **{phase: 0}))
        assert trio.current_time() - start < 0.001


@pytest.mark.parametrize("phase", PHASES)
async def test_without_a_limit_it_takes_as_long_as_it_takes(
    lib: Library, autojump_clock: object, phase: str
) -> None:
    run, _, _ = PHASES[phase]
    if phase == "read":
        async with holding(lib) as w:
            await run(w, None)
            assert trio.current_time() == 1000
        return
    async with holding(lib) as w:
        with trio.move_on_after(100_000) as scope:
            await run(w, None)
        assert scope.cancelled_caught


@pytest.mark.parametrize("extensions", [{}, {"timeout": {}}, {"timeout": {"connect": None}}])
async def test_an_extension_that_is_missing_is_no_limit(
    lib: Library, autojump_clock: object, extensions: dict[str, Any]
) -> None:
    async with serving(lib, SLOW) as w:
        transport = lib.ours.TriopoolTransport(w.pool)
        request = lib.client.Request("GET", URL, extensions=extensions)
        response = await transport.handle_async_request(request)
        assert await response.aread() == b"at last"


async def test_the_clients_own_limit_holds_where_none_is_said(
    lib: Library, autojump_clock: object
) -> None:
    """Five seconds, by default."""
    async with serving(lib, SLOW, client={"timeout": lib.client.Timeout(5.0)}) as w:
        start = trio.current_time()
        with pytest.raises(lib.client.ReadTimeout):
            await w.client.get(URL)
        assert round(trio.current_time() - start, 6) == 5
    made = lib.ours.AsyncClient(trust_env=False)
    assert made.timeout == lib.client.Timeout(5.0)


async def test_the_read_limit_is_for_each_gap_of_the_body(
    lib: Library, autojump_clock: object
) -> None:
    head = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\na")
    server = script(
        ReceiveRequest(), head, Wait(4), Send(b"b"), Wait(4), Send(b"c"), Wait(6), Send(b"d")
    )
    async with serving(lib, server, client={"timeout": 5}) as w:
        seen = bytearray()
        async with w.client.stream("GET", URL) as response:
            with pytest.raises(lib.client.ReadTimeout, match="after 3 of the 4 byt") as caught:
                await read_into(seen, response)
        assert seen == b"abc"
        assert trio.current_time() == 13
        assert isinstance(caught.value.__cause__, triopool.ReadTimeout)
        assert w.pool.statistics().open == 0


async def test_a_deadline_of_the_callers_is_no_timeout(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, SLOW, client={"timeout": 5}) as w:
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await w.client.get(URL)
        with trio.CancelScope() as scope:
            scope.cancel()
            with pytest.raises(trio.Cancelled):
                await w.client.get(URL)
        assert w.pool.statistics().busy == 0


async def test_the_default_limits_do_no_harm(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(echo), client={"timeout": 5}) as w:
        assert (await w.client.post(URL, content=bytes(200_000))).status_code == 200
