"""Blocking calls in threads: whom they stop, and what a clock that jumps does meanwhile."""

from __future__ import annotations

import math
import ssl
import sys
from pathlib import Path

import pytest
import trio
import trustme
from servers import server_certificate
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool import Part
from triopool._dial import trust
from triopool._threads import run_in_thread
from triopool.testing import Network

from .helpers import hello_server, pool_on, server_context


def idle_many_times() -> None:
    """For a thread: let Trio have nothing to do, which is when a clock jumps."""
    for _ in range(200):
        trio.from_thread.run(wait_all_tasks_blocked)


async def call(limiter: trio.CapacityLimiter) -> None:
    await run_in_thread(idle_many_times, limiter=limiter)


async def test_a_clock_that_jumps_does_not_while_a_call_is_out(autojump_clock: MockClock) -> None:
    limiter = trio.CapacityLimiter(2)
    with trio.fail_after(1.0):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(call, limiter)
    assert trio.current_time() == 0.0
    assert autojump_clock.autojump_threshold == 0.0
    await trio.sleep(1.0)  # It jumps again.


async def test_a_clock_that_does_not_jump_goes_on_not_to(mock_clock: MockClock) -> None:
    await call(trio.CapacityLimiter(1))
    assert mock_clock.autojump_threshold == math.inf


async def test_trios_own_clock_has_nothing_to_hold() -> None:
    await call(trio.CapacityLimiter(1))


async def test_a_call_that_is_cancelled_lets_the_clock_jump_again(
    autojump_clock: MockClock,
) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await call(trio.CapacityLimiter(1))
    assert autojump_clock.autojump_threshold == 0.0


async def test_files_are_uploaded_in_no_time_of_a_clock_that_jumps(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    file = tmp_path / "file.bin"
    file.write_bytes(bytes(3_000_000))
    async with Network() as network:
        network.listen("192.0.2.1", 80, hello_server())
        async with pool_on(network) as pool:
            with trio.fail_after(0.1):
                for _ in range(5):
                    await pool.put("http://192.0.2.1/", content=file)
                    await pool.post("http://192.0.2.1/", multipart={"file": Part(file)})
    assert trio.current_time() == 0.0


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="there the store is no file")
async def test_the_trust_store_is_read_in_no_time_of_a_clock_that_jumps(
    autojump_clock: MockClock, ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca.cert_pem.write_to_path(tmp_path / "store.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "store.pem"))

    def default_context() -> ssl.SSLContext:
        idle_many_times()
        return read()

    read = trust.default_context
    monkeypatch.setattr(trust, "default_context", default_context)
    async with Network() as network:
        network.host("one.test", "192.0.2.1")
        context = server_context(server_certificate(ca))
        network.listen("192.0.2.1", 443, hello_server(), ssl_context=context)
        async with pool_on(network) as pool:
            assert (await pool.get("https://one.test/")).content == b"hello"
    assert trio.current_time() == 0.0
