"""The keeper of deadlines: closes exactly when it should, and costs nothing while it need not."""

from __future__ import annotations

import itertools
import math
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from inside import connections, deadlines_kept, let_write_clock_run_out
from trio.testing import MockClock

from triopool import ConnectionPool, ReadTimeout, Timeouts, WriteTimeout
from triopool._deadlines import DEAD_AT_MOST, ENDED_AT_ONCE, Deadline, Deadlines
from triopool._dial.sockets import nowait
from triopool._transport.wire import Wire
from triopool.testing import KeepOpen, Network, Receive, ReceiveRequest, Send, Wait, script

from .world import URL, Answering, serving


@asynccontextmanager
async def keeping() -> AsyncIterator[Deadlines]:
    keeper = Deadlines()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        try:
            yield keeper
        finally:
            keeper.stop()


class Peer:
    """A connection as far as the keeper knows it."""

    def __init__(self, keeper: Deadlines) -> None:
        self.closed_at: list[float] = []
        self.clock = Deadline(keeper, self.close)

    async def read(self, seconds: float, answer: Callable[[], Awaitable[object]]) -> None:
        self.clock.begin(seconds)
        await answer()
        self.clock.end()

    def close(self) -> None:
        self.closed_at.append(trio.current_time())


async def test_it_closes_when_the_time_has_come_and_once(autojump_clock: object) -> None:
    async with keeping() as keeper:
        peer, other = Peer(keeper), Peer(keeper)
        peer.clock.begin(3)
        other.clock.begin(None)
        await trio.sleep(2.999)
        assert not peer.clock.is_over
        await trio.sleep(100)
        assert peer.closed_at == [3.0]
        assert peer.clock.is_over
        assert other.closed_at == []


async def test_to_begin_again_is_to_have_all_of_it_again(autojump_clock: object) -> None:
    async with keeping() as keeper:
        peer = Peer(keeper)
        for _ in range(4):
            peer.clock.begin(3)
            await trio.sleep(2)
        await trio.sleep(100)
        assert peer.closed_at == [9.0]


async def test_who_waits_no_more_is_not_closed(autojump_clock: object) -> None:
    async with keeping() as keeper:
        peer = Peer(keeper)
        peer.clock.begin(3)
        await trio.sleep(1)
        peer.clock.end()
        await trio.sleep(100)
        assert peer.closed_at == []
        peer.clock.begin(2)
        await trio.sleep(100)
        assert peer.closed_at == [103.0]


@pytest.mark.parametrize("first", [30.0, None])
async def test_an_earlier_deadline_than_before_is_kept_too(
    autojump_clock: object, first: float | None
) -> None:
    async with keeping() as keeper:
        peer = Peer(keeper)
        peer.clock.begin(first)
        await trio.sleep(1)
        peer.clock.begin(1)
        await trio.sleep(100)
        assert peer.closed_at == [2.0]


async def test_a_wait_that_begins_before_the_keeper_does_is_kept(autojump_clock: object) -> None:
    keeper = Deadlines()
    peer = Peer(keeper)
    peer.clock.begin(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeper.run)
        await trio.sleep(10)
        keeper.stop()
    assert peer.closed_at == [1.0]


async def test_who_got_his_answer_in_the_last_moment_has_it(mock_clock: MockClock) -> None:
    """As when the program has blocked until after the deadline, and the answer came meanwhile."""
    async with keeping() as keeper, trio.open_nursery() as nursery:
        for _ in range(30):
            peer, answer = Peer(keeper), trio.Event()

            async def wait(clock: Deadline = peer.clock, answer: trio.Event = answer) -> None:
                clock.begin(3)
                await answer.wait()
                clock.end()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            answer.set()
            mock_clock.jump(5)
            await trio.testing.wait_all_tasks_blocked()
            assert not peer.closed_at


@pytest.mark.parametrize("round_", range(20))
async def test_a_timeout_and_a_busy_program_do_not_end_what_was_answered_in_time(
    round_: int, mock_clock: MockClock
) -> None:
    """Found by a soak: the keeper woke for another deadline, looked at a later clock, and ended
    what had its answer by then; its task was just about to run."""
    async with keeping() as keeper, trio.open_nursery() as nursery:
        answer, other, peer = trio.Event(), Peer(keeper), Peer(keeper)
        nursery.start_soon(peer.read, 0.15, answer.wait)
        other.clock.begin(0.1)

        async def compute() -> None:
            await trio.sleep(0.1)
            mock_clock.jump(0.02)
            answer.set()
            mock_clock.jump(0.06)

        nursery.start_soon(compute)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert other.closed_at
        assert not peer.closed_at


@pytest.mark.parametrize("busy", ["before", "after"])
@pytest.mark.parametrize("round_", range(10))
async def test_an_answer_that_the_kernel_has_in_time_is_not_lost(
    round_: int, busy: str, mock_clock: MockClock
) -> None:
    """Real sockets, and a clock that moves when it is told to."""
    ours, theirs = trio.socket.socketpair()
    with ours, theirs:
        wire = Wire(ours, nowait(ours._sock))  # type: ignore[attr-defined]
        async with keeping() as keeper, trio.open_nursery() as nursery:
            other, peer = Peer(keeper), Peer(keeper)
            nursery.start_soon(peer.read, 0.15, wire.receive_some)
            other.clock.begin(0.1)

            async def compute() -> None:
                await trio.sleep(0.1)
                if busy == "after":
                    await trio.lowlevel.checkpoint()
                mock_clock.jump(0.02)
                theirs._sock.send(b"x")  # type: ignore[attr-defined]
                mock_clock.jump(0.06)

            nursery.start_soon(compute)
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.1)
            await trio.testing.wait_all_tasks_blocked()
            assert other.closed_at
            assert not peer.closed_at


@pytest.mark.parametrize("round_", range(20))
async def test_a_request_that_was_answered_in_time_has_its_answer_however_busy_the_program(
    round_: int, mock_clock: MockClock
) -> None:
    servers: list[Any] = []

    async def handler(stream: trio.abc.Stream) -> None:
        servers.append(stream)
        await trio.sleep_forever()

    async def get(seconds: float) -> None:
        try:
            await pool.get(URL, timeouts=Timeouts(read=seconds))
            ends.append("answered")
        except ReadTimeout:
            ends.append(seconds)

    async def compute() -> None:
        await trio.sleep(0.1)
        mock_clock.jump(0.02)
        servers[1].socket.send_nowait(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        mock_clock.jump(0.06)

    ends: list[object] = []
    async with serving(handler) as (pool, _), trio.open_nursery() as nursery:
        for seconds in (0.1, 0.15):
            nursery.start_soon(get, seconds)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(compute)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert set(ends) == {0.1, "answered"}


async def test_it_ends_all_whose_time_has_come_at_once_whatever_their_deadlines(
    mock_clock: MockClock,
) -> None:
    """A program that was busy for long does not let each of them wait for those before."""
    async with keeping() as keeper:
        peers = [Peer(keeper) for _ in range(1000)]
        for i, peer in enumerate(peers):
            peer.clock.begin(1 + i / 1000)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(2)
        steps = 0
        while any(not peer.closed_at for peer in peers):
            await trio.lowlevel.checkpoint()
            steps += 1
        assert steps < 20


class ClosedAfterEachStep(trio.abc.Instrument):
    def __init__(self, peers: list[Peer]) -> None:
        self.peers = peers
        self.counts = [0]

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.counts.append(sum(bool(peer.closed_at) for peer in self.peers))


async def test_it_closes_so_many_in_one_step_and_no_more(mock_clock: MockClock) -> None:
    async with keeping() as keeper:
        peers = [Peer(keeper) for _ in range(3 * ENDED_AT_ONCE)]
        for peer in peers:
            peer.clock.begin(1)
        await trio.testing.wait_all_tasks_blocked()
        closed = ClosedAfterEachStep(peers)
        trio.lowlevel.add_instrument(closed)
        mock_clock.jump(2)
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.remove_instrument(closed)
        assert closed.counts[-1] == len(peers)
        at_once = [after - before for before, after in itertools.pairwise(closed.counts)]
        assert max(at_once) == ENDED_AT_ONCE


async def test_what_can_not_be_closed_does_not_end_the_keeper(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    def close() -> None:
        raise OSError("planted")

    async with keeping() as keeper:
        clock, peer = Deadline(keeper, close), Peer(keeper)
        clock.begin(1)
        peer.clock.begin(2)
        await trio.sleep(10)
        assert peer.closed_at == [2.0]
        assert "planted" in caplog.text


@pytest.mark.parametrize("limits", [(30,), (1, 30), (30, 1), (30, None, 0.1), (3000, 0.02)])
async def test_nothing_piles_up_however_often_it_begins(
    autojump_clock: object, limits: tuple[float | None, ...]
) -> None:
    async with keeping() as keeper:
        peers = [Peer(keeper) for _ in range(3)]
        for turn in range(3000):
            for peer in peers:
                peer.clock.begin(limits[turn % len(limits)])
                peer.clock.end()
            await trio.sleep(0.01)
            assert len(keeper) <= 2 * (len(peers) + DEAD_AT_MOST)
        assert not any(peer.closed_at for peer in peers)
        await trio.sleep(100)
        assert len(keeper) <= DEAD_AT_MOST + len(peers)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),  # which peer
            st.one_of(st.none(), st.integers(1, 20)),  # its limit; None: it ends
            st.integers(0, 8),  # how long until the next one
        ),
        max_size=40,
    )
)
def test_it_does_what_a_scope_for_each_wait_would_do(
    steps: list[tuple[int, int | None, int]],
) -> None:
    async def main() -> None:
        due = [math.inf] * 4
        closed: list[list[float]] = [[] for _ in range(4)]
        async with keeping() as keeper:
            peers = [Peer(keeper) for _ in range(4)]
            for who, seconds, pause in steps:
                if not closed[who]:
                    if seconds is None:
                        peers[who].clock.end()
                        due[who] = math.inf
                    else:
                        # Never two events at one instant.
                        peers[who].clock.begin(seconds + 0.5)
                        due[who] = trio.current_time() + seconds + 0.5
                await trio.sleep(pause)
                for i, at in enumerate(due):
                    if at < trio.current_time() and not closed[i]:
                        closed[i].append(at)
                assert [peer.closed_at for peer in peers] == closed

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_a_pool_leaves_nothing_of_finished_requests_with_its_keeper(
    autojump_clock: object,
) -> None:
    async with serving(Answering()) as (pool, _):
        for _ in range(500):
            await pool.get(URL)
        assert deadlines_kept(pool) == 1


async def test_a_shielded_request_has_its_timeout_though_the_pools_block_is_cancelled(
    autojump_clock: object,
) -> None:
    """Found by reading: the keeper's task was cancelled with the block, and nobody kept it."""

    async def get() -> None:
        with pytest.raises(ReadTimeout):
            await pool.get(URL)
        assert trio.current_time() == 3.0

    async with Network() as network:
        network.listen("192.0.2.1", 80, script(ReceiveRequest(), KeepOpen()))
        with trio.CancelScope() as scope:
            options: Any = {"socket_factory": network.socket, "timeouts": Timeouts(read=3)}
            async with ConnectionPool(**options) as pool:
                with trio.CancelScope(shield=True), trio.fail_after(10):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(get)
                        await trio.sleep(1)
                        scope.cancel()


async def test_a_closed_connection_is_not_kept_until_its_deadline(autojump_clock: object) -> None:
    """A server that closes each connection would else fill the memory, for the half minute, or the
    hour, of the read timeout."""
    timeouts = Timeouts(read=3600, write=3600)
    async with serving(Answering(), max_requests_per_connection=1, timeouts=timeouts) as (pool, _):
        for _ in range(3 * DEAD_AT_MOST):
            await pool.get(URL)
        assert pool.statistics().dialled == 3 * DEAD_AT_MOST
        assert deadlines_kept(pool) <= DEAD_AT_MOST + 1


async def test_a_read_timeout_has_nothing_to_tell_of_a_pool(autojump_clock: object) -> None:
    """It is kept by closing the connection, which is nobody's business."""
    server: Any = script(ReceiveRequest(), Send(b"HTTP/1.1 200 OK\r\n"), KeepOpen())
    async with serving(server) as (pool, network):
        with pytest.raises(ReadTimeout) as caught:
            await pool.get(URL, timeouts=Timeouts(read=3))
        assert trio.current_time() == 3.0
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert not network.open_sockets
        assert pool.statistics().discarded == 1


@pytest.mark.parametrize("kind", ["head", "body", "write"])
async def test_timeouts_are_the_same_over_tls(
    autojump_clock: object,
    client_ssl_context: ssl.SSLContext,
    server_ssl_context: ssl.SSLContext,
    kind: str,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"
    steps: dict[str, list[Any]] = {
        "head": [ReceiveRequest(), KeepOpen()],
        "body": [ReceiveRequest(), Send(head), KeepOpen()],
        "write": [Wait(1000)],
    }
    async with Network(buffer_size=4096) as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 443, script(*steps[kind]), ssl_context=server_ssl_context)
        async with ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket, ssl_context=client_ssl_context
        ) as pool:
            expected = WriteTimeout if kind == "write" else ReadTimeout
            with pytest.raises(expected) as caught:
                await pool.post(
                    "https://one.test/",
                    content=bytes(60_000 if kind == "write" else 10),
                    timeouts=Timeouts(read=3, write=3),
                )
            assert (trio.current_time(), caught.value.seconds) == (3.0, 3)
            assert not network.open_sockets
            assert pool.statistics().busy == 0


async def test_an_upload_that_is_too_slow_between_two_pieces_is_not_told_of_a_closed_pool(
    autojump_clock: object,
) -> None:
    """The clock closes the connection; the upload hears of it when it writes its next piece."""

    async def body() -> AsyncIterator[bytes]:
        yield b"one"
        await trio.sleep(1.0)
        (connection,) = connections(pool)
        let_write_clock_run_out(connection)
        yield b"two"

    async with serving(script(Receive(), KeepOpen())) as (pool, network):
        with pytest.raises(WriteTimeout, match=r"took nothing of the request for 30\.0 s"):
            await pool.post(URL, content=body())
        assert pool.is_open
        assert not network.open_sockets


async def test_a_switch_that_was_just_read_is_handed_out_open(autojump_clock: object) -> None:
    """The answer comes in the last moment, in a program that is busy in that tick."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"

    async def be_busy(clock: MockClock) -> None:
        await trio.sleep(1.0)
        clock.jump(5.0)

    for _ in range(20):
        server = script(Receive(), Wait(1.0), Send(switch), Wait(1.0), Send(b"hello"), KeepOpen())
        async with serving(server) as (pool, _):
            clock = trio.lowlevel.current_clock()
            assert isinstance(clock, MockClock)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(be_busy, clock)
                async with pool.stream(
                    "GET", URL, headers={"Upgrade": "x"}, timeouts=Timeouts(read=1.5)
                ) as response:
                    assert response.upgraded is not None
                    assert await response.upgraded.receive_some() == b"hello"
