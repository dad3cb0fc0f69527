"""Control-C at every line of the package, not only at checkpoints."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
from sweeping import tally

import triopool
from triopool import ConnectError
from triopool._request.url import parse

from .world import A, World, world

PACKAGE = str(Path(triopool.__file__).parent)


class Presser:
    """Presses control-C when the package is about to run its n-th line."""

    def __init__(self, line: int) -> None:
        self._left = line
        self.pressed = False

    def trace(self, frame: FrameType, event: str, arg: object) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE) or "/testing/" in name:
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                self.pressed = True
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self.trace


async def requests(w: World) -> None:
    await w.get(f"{A}/dialled")
    await w.get(f"{A}/reused")
    async with w.pool.stream("GET", f"{A}/streamed") as response:
        async for _ in response:
            pass


async def a_look_up_and_a_race(w: World) -> None:
    """The second of two addresses is being tried when the first one answers."""
    w.network.host("two.test", "192.0.2.3", "192.0.2.4", lookup_delay=0.05)
    w.network.listen("192.0.2.3", 80, w.a, connect_delay=0.35)
    w.network.listen("192.0.2.4", 80, w.a, connect_delay=0.15)
    await w.get("http://two.test/raced")


async def a_race_that_fails(w: World) -> None:
    """Of three addresses the first refuses last, and the third, that nobody knows, at once."""
    w.network.host("none.test", "192.0.2.3", "192.0.2.4", "192.0.2.5")
    w.network.refuse("192.0.2.3", 80, after=0.35)
    w.network.refuse("192.0.2.4", 80, after=0.05)
    with pytest.raises(ConnectError):
        await w.pool.get("http://none.test/")


async def a_retry_with_cookies(w: World) -> None:
    cookies = triopool.Cookies(is_public_suffix=lambda domain: False)
    cookies.take(parse(A), [(b"Set-Cookie", b"a=b")])
    retry = triopool.Retry(attempts=2, on=(200,), backoff=0.1)
    session = w.pool.session(base_url=A, cookies=cookies, retry=retry, confined=True)
    async with session.stream("GET", "again") as response:
        async for _ in response:
            pass


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "victim", [requests, a_look_up_and_a_race, a_race_that_fails, a_retry_with_cookies]
)
def test_control_c_at_any_line_leaves_no_slot_behind(
    victim: Callable[[World], Awaitable[None]],
) -> None:
    async def main(press: Callable[..., Any]) -> bool:
        interrupted = False
        async with world(max_connections=1) as w:
            try:
                sys.settrace(press)
                # A new frame, so that tracing begins.
                await victim(w)
                sys.settrace(None)
                await trio.lowlevel.checkpoint()
            except KeyboardInterrupt:
                interrupted = True
            finally:
                sys.settrace(None)
            # A race goes on without its request, and has more sockets than one until it is over.
            await trio.sleep(1.0)
            await w.works_at_full_size()
        return interrupted

    previous = sys.gettrace()
    lines = 0
    try:
        for line in range(1, 20_000):
            presser = Presser(line)
            interrupted = trio.run(
                main, presser.trace, clock=trio.testing.MockClock(autojump_threshold=0)
            )
            if not presser.pressed:
                break
            assert interrupted
            lines += 1
    finally:
        sys.settrace(previous)
    assert lines > 300
    tally[f"control-C at any line of {victim.__name__}"] = lines


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that can ignore a signal")
def test_control_c_is_tested_where_it_is_ignored_as_by_nohup() -> None:
    """Python then starts without a handler of its own, and so does Trio."""
    tests = Path(__file__).parent.parent
    some = tests / "testing/test_sweep.py::test_control_c_that_is_still_due_takes_nobodys_place"
    pytest_there = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(some)]
    done = subprocess.run(
        ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *pytest_there],
        cwd=tests.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "1 passed" in done.stdout, done.stdout
