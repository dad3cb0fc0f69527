"""What runs a client: Trio, asyncio, or asyncio on uvloop. As much of it as an experiment needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

import trio

T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, None]]


class Event(Protocol):
    def set(self) -> None: ...
    def wait(self) -> Awaitable[object]: ...


class Runtime(Protocol):
    """What the experiments ask of it."""

    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T: ...

    async def start(self, jobs: Iterable[Job]) -> None:
        """Start all of them at once, each as a task of its own, and wait for them."""
        ...

    def event(self) -> Event: ...

    def semaphore(self, n: int) -> AbstractAsyncContextManager[object]:
        """Lets *n* in at a time, first come, first served."""
        ...


class OnTrio:
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return trio.run(main)

    async def start(self, jobs: Iterable[Job]) -> None:
        async with trio.open_nursery() as nursery:
            for job in jobs:
                nursery.start_soon(job)

    def event(self) -> Event:
        return trio.Event()

    def semaphore(self, n: int) -> AbstractAsyncContextManager[object]:
        return trio.Semaphore(n)


class OnAsyncio:
    def run(self, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with asyncio.Runner(loop_factory=self._loop_factory()) as runner:
            return runner.run(main())

    def _loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop] | None:
        return None

    async def start(self, jobs: Iterable[Job]) -> None:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(job())

    def event(self) -> Event:
        return asyncio.Event()

    def semaphore(self, n: int) -> AbstractAsyncContextManager[object]:
        return asyncio.Semaphore(n)


class OnUvloop(OnAsyncio):
    def _loop_factory(self) -> Callable[[], asyncio.AbstractEventLoop]:
        import uvloop

        return uvloop.new_event_loop


RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "trio": OnTrio,
    "asyncio": OnAsyncio,
    "uvloop": OnUvloop,
}
