"""Control-C at every line of the package, not only at checkpoints."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
from sweeping import tally

import triopool

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


async def _requests(w: World) -> None:
    await w.get(f"{A}/dialled")
    await w.get(f"{A}/reused")
    async with w.pool.stream("GET", f"{A}/streamed") as response:
        async for _ in response:
            pass


@pytest.mark.skipif(
    signal.getsignal(signal.SIGINT) is not signal.default_int_handler, reason="SIGINT is taken"
)
def test_control_c_at_any_line_leaves_no_slot_behind() -> None:
    async def main(press: Callable[..., Any]) -> bool:
        interrupted = False
        async with world(max_connections=1) as w:
            try:
                sys.settrace(press)
                # A new frame, so that tracing begins.
                await _requests(w)
                sys.settrace(None)
                await trio.lowlevel.checkpoint()
            except KeyboardInterrupt:
                interrupted = True
            finally:
                sys.settrace(None)
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
    tally["control-C at any line"] = lines
