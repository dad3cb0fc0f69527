"""Our memory channel and Trio's own, held to the same expectations."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import outcome
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from triopool._slots.channel import Channel


class Trios:
    """Trio's channel without a buffer, with the methods that ours has."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[outcome.Outcome[str]](0)

    async def receive(self) -> str:
        return (await self._receive.receive()).unwrap()

    def send_nowait(self, what: outcome.Outcome[str]) -> None:
        self._send.send_nowait(what)


Made = Callable[[], "Channel[str] | Trios"]


@pytest.fixture(params=[Channel, Trios])
def make(request: pytest.FixtureRequest) -> Made:
    made: Made = request.param
    return made


class Receiver:
    """A task that waits at a channel, and has a checkpoint after it."""

    def __init__(self, channel: Channel[str] | Trios) -> None:
        self.scope = trio.CancelScope()
        self.received: list[str] = []
        self.errors: list[Exception] = []
        self._receive: Callable[[], Awaitable[str]] = channel.receive

    async def run(self) -> None:
        with self.scope:
            try:
                self.received.append(await self._receive())
            except ValueError as exc:
                self.errors.append(exc)
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def waiting(make: Made) -> AsyncIterator[tuple[Channel[str] | Trios, Receiver]]:
    """A channel, and a task that waits at it; when the block has been left, it has ended."""
    channel = make()
    receiver = Receiver(channel)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receiver.run)
        await wait_all_tasks_blocked()
        yield channel, receiver


async def test_nobody_waits_yet(make: Made) -> None:
    with pytest.raises(trio.WouldBlock):
        make().send_nowait(outcome.Value("a"))


async def test_what_is_sent_is_received_once(make: Made) -> None:
    async with waiting(make) as (channel, receiver):
        channel.send_nowait(outcome.Value("a"))
        with pytest.raises(trio.WouldBlock):
            channel.send_nowait(outcome.Value("b"))
    assert receiver.received == ["a"]


async def test_an_error_is_raised_where_it_is_received(make: Made) -> None:
    error = ValueError("no")
    async with waiting(make) as (channel, receiver):
        channel.send_nowait(outcome.Error(error))
    assert receiver.errors == [error]
    assert error.__context__ is None


async def test_sent_and_then_cancelled_it_has_been_received(make: Made) -> None:
    async with waiting(make) as (channel, receiver):
        channel.send_nowait(outcome.Value("a"))
        receiver.scope.cancel()
    assert receiver.received == ["a"]
    assert receiver.scope.cancelled_caught


async def test_cancelled_and_then_sent_the_sender_is_told(make: Made) -> None:
    async with waiting(make) as (channel, receiver):
        receiver.scope.cancel()
        with pytest.raises(trio.WouldBlock):
            channel.send_nowait(outcome.Value("a"))
    assert receiver.received == []
    assert receiver.scope.cancelled_caught


async def test_a_task_that_was_cancelled_before_receives_nothing(make: Made) -> None:
    channel = make()
    receiver = Receiver(channel)
    receiver.scope.cancel()
    await receiver.run()
    assert receiver.scope.cancelled_caught
    with pytest.raises(trio.WouldBlock):
        channel.send_nowait(outcome.Value("a"))
