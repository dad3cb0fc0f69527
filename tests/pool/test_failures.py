"""However a request fails, its slot comes back and the next request is its own."""

from __future__ import annotations

import errno
import ssl
from typing import Any

import pytest
import trio

import triopool
from triopool import ConnectError, ReadError, Timeouts, TLSError
from triopool.abc import Instrument
from triopool.testing import Handler, Receive, Reset, Send, script

from .world import A, B, connections, world


async def test_a_request_cancelled_before_its_response_does_not_leave_it_to_the_next(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with world(max_connections=1) as w:
        w.delay = 1.0
        with trio.move_on_after(0.5) as scope:
            await w.get(f"{A}/cancelled")
        assert scope.cancelled_caught
        assert w.pool.statistics().open == 0
        # The world's get sees to it that the answer is the one to this very request.
        await w.get(f"{A}/next")
        assert connections(w.a) == [1, 2]


reset_at_once = script(Receive(), Reset())
reset_in_the_head = script(Receive(), Send(b"HTTP/1.1 200 OK\r\n"), Reset())
no_http = script(Receive(), Send(b"220 mail.example.org ESMTP\r\n\r\n"))


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (reset_at_once, ReadError),
        (reset_in_the_head, ReadError),
        (no_http, triopool.RemoteProtocolError),
    ],
    ids=["reset", "reset in the head", "no HTTP"],
)
async def test_a_broken_exchange_gives_its_slot_back(
    handler: Handler, error: type[Exception], autojump_clock: trio.abc.Clock
) -> None:
    async with world(max_connections=1) as w:
        w.network.listen("192.0.2.2", 80, handler)
        with pytest.raises(error):
            await w.pool.get(B)
        assert w.pool.statistics().open == 0
        await w.works_at_full_size()


@pytest.mark.parametrize("code", [errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ETIMEDOUT])
async def test_a_failed_dial_gives_its_slot_back(code: int, autojump_clock: trio.abc.Clock) -> None:
    async with world(max_connections=1) as w:
        w.network.refuse("192.0.2.2", 80, after=0.3, error=code)
        with pytest.raises(ConnectError):
            await w.pool.get(B)
        assert w.pool.statistics().open == 0
        await w.works_at_full_size()


async def test_a_failed_handshake_gives_its_slot_back(
    autojump_clock: trio.abc.Clock, client_ssl_context: ssl.SSLContext
) -> None:
    async with world(max_connections=1, ssl_context=client_ssl_context) as w:
        w.network.listen("192.0.2.2", 443, script(Send(b"220 mail.example.org ESMTP\r\n")))
        with pytest.raises(TLSError):
            await w.pool.get("https://192.0.2.2/")
        assert w.pool.statistics().open == 0
        await w.works_at_full_size()


@pytest.mark.parametrize("phase", ["connect", "write", "read"])
async def test_a_timeout_of_any_phase_gives_its_slot_back(
    phase: str, autojump_clock: trio.abc.Clock
) -> None:
    async def deaf(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with world(max_connections=1) as w:
        w.network.listen("192.0.2.2", 80, deaf)
        if phase == "connect":
            w.network.hang("192.0.2.2", 80)
        limits: dict[str, Any] = {phase: 2.0}
        content = bytes(1_000_000) if phase == "write" else None
        error = getattr(triopool, f"{phase.capitalize()}Timeout")
        with pytest.raises(error) as caught:
            await w.pool.post(B, content=content, timeouts=Timeouts(**limits))
        assert (caught.value.phase, caught.value.seconds) == (phase, 2.0)
        assert isinstance(caught.value, trio.TooSlowError)
        assert w.pool.statistics().open == 0
        await w.works_at_full_size()


async def test_a_request_that_was_cancelled_while_it_waited_is_not_sent(
    autojump_clock: trio.abc.Clock,
) -> None:
    """Its connection was handed over to it, and is as good as new: the next one gets it."""
    scope = trio.CancelScope()

    class CancelWhenHandedOver(Instrument):
        def handed_over(self, connection: object, seconds: float) -> None:
            scope.cancel()

    async with world(max_connections=1, instruments=[CancelWhenHandedOver()]) as w:
        with scope:
            await w.pool.post(f"{A}/not-sent")
        assert scope.cancelled_caught
        assert w.a.requests == []
        await w.get(f"{A}/next")
        statistics = w.pool.statistics()
        assert (statistics.dialled, statistics.discarded, statistics.reused) == (1, 0, 1)
        await w.works_at_full_size()


async def test_a_request_in_a_cancelled_scope_takes_nothing(autojump_clock: trio.abc.Clock) -> None:
    async with world(max_connections=1) as w:
        await w.get(f"{A}/first")
        with trio.CancelScope() as scope:
            scope.cancel()
            await w.pool.post(f"{A}/not-sent")
        assert scope.cancelled_caught
        assert len(w.a.requests) == 1
        statistics = w.pool.statistics()
        assert (statistics.idle, statistics.discarded) == (1, 0)
