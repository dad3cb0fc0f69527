"""Bounds, farewells, signs of life; and that nothing is lost whenever it is cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from inside import tasks_of
from sweeping import sweep

import triopool
from triopool.testing import Sweep
from triopool.websocket import Closed, WebSocketBroken, connect

from .world import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    URL,
    Frame,
    Peer,
    close_frame,
    echo,
    frame,
    serving,
)

# ── Bounds ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "raw",
    [
        frame(BINARY, b"x" * 11),
        frame(TEXT, "ü".encode() * 6),
        frame(BINARY, b"x" * 6, fin=False) + frame(CONTINUATION, b"x" * 5, fin=False),
        frame(BINARY, b"x" * 2**20)[:30],  # It need not have come to its end.
    ],
    ids=["bytes", "text", "fragments", "announced"],
)
async def test_a_message_that_is_too_long_ends_it(
    raw: bytes, autojump_clock: trio.abc.Clock
) -> None:
    told: list[tuple[int | None, bytes]] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.send(frame(TEXT, "ü".encode() * 5) + raw)
        told.append(await peer.until_close())

    async with serving(serve) as pool, connect(pool, URL, max_message_bytes=10) as ws:
        assert await ws.receive() == "ü" * 5
        with pytest.raises(WebSocketBroken, match="1009: a message of more than 10") as caught:
            await ws.receive()
        assert caught.value.closed == ws.closed == Closed(1009, "a message of more than 10 bytes")
    assert told == [(1009, b"a message of more than 10 bytes")]


async def test_a_server_that_sends_more_than_is_received_is_held_up(
    autojump_clock: trio.abc.Clock,
) -> None:
    sent = 0

    async def serve(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        for _ in range(1000):
            await peer.send(frame(BINARY, bytes(10_000)))
            sent += 1
        await peer.echo()

    async with (
        serving(serve) as pool,
        connect(pool, URL, max_message_bytes=50_000, ping_interval=1) as ws,
    ):
        await trio.sleep(100)  # We don't read: the silence is not the server's fault.
        assert sent < 100
        for _ in range(1000):
            assert await ws.receive() == bytes(10_000)
        assert await ws.ping() < 1
        assert ws.closed is None


async def test_empty_messages_are_bounded_as_well(autojump_clock: trio.abc.Clock) -> None:
    sent = 0

    async def serve(peer: Peer) -> None:
        nonlocal sent
        await peer.accept()
        for _ in range(1000):
            await peer.send(frame(TEXT) * 1000)
            sent += 1

    async with serving(serve) as pool:
        with trio.CancelScope() as scope:
            async with connect(pool, URL, max_message_bytes=50_000):
                await trio.sleep(10)
                assert sent < 200
                scope.cancel()  # Else the end of the block reads all that are still to come.


# ── Farewells ──────────────────────────────────────────────────────────────────────────────────


async def test_the_end_of_the_block_says_farewell_and_waits_for_the_answer(
    autojump_clock: trio.abc.Clock,
) -> None:
    told: list[tuple[int | None, bytes]] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        told.append(await peer.until_close())
        await trio.sleep(2)
        # What was on its way is dropped.
        await peer.send(frame(TEXT, b"late") + close_frame(1000, b"bye"))

    async with serving(serve) as pool:
        async with connect(pool, URL) as ws:
            began_at = trio.current_time()
        assert trio.current_time() - began_at == pytest.approx(2.0)
        assert ws.closed == Closed(1000, "bye")
        assert pool.statistics().open == 0
    assert told == [(1000, b"")]


async def test_a_server_that_does_not_answer_the_farewell_is_left(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep_forever()

    async with serving(serve) as pool:
        async with connect(pool, URL, close_timeout=3) as ws:
            began_at = trio.current_time()
        assert trio.current_time() - began_at == pytest.approx(3.0)
        assert ws.closed is not None
        assert ws.closed.code == 1006
    async with (
        serving(serve) as pool,
        connect(pool, URL, close_timeout=3) as ws,
        trio.open_nursery() as nursery,
    ):
        # It takes nothing either, and a sender is stuck.
        nursery.start_soon(_expect_closed, ws.send, bytes(10_000_000))
        await trio.sleep(1)
        await ws.aclose()


async def _expect_closed(function: object, *args: object) -> None:
    with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
        await function(*args)  # type: ignore[operator]


async def test_a_code_and_a_reason_of_ones_own(autojump_clock: trio.abc.Clock) -> None:
    told: list[tuple[int | None, bytes]] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        told.append(await peer.until_close())
        await peer.send(close_frame(4001))

    async with serving(serve) as pool, connect(pool, URL) as ws:
        with pytest.raises(ValueError, match="code must be"):
            await ws.aclose(1006)
        await ws.aclose(4001, "genug")
        assert ws.closed == Closed(4001, "")
        for _ in range(2):
            await ws.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await ws.receive()
        with pytest.raises(WebSocketBroken):
            await ws.send("x")
        with pytest.raises(WebSocketBroken):
            await ws.ping()
        assert pool.statistics().open == 0
    assert told == [(4001, b"genug")]


async def test_while_the_farewell_is_awaited_nothing_is_sent_or_received(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.until_close()
        await peer.send(frame(PING, b"is answered by nobody any more"))
        await trio.sleep(2)
        await peer.send(b"\xff\xff")  # Not even legal.

    async with serving(serve) as pool:
        async with connect(pool, URL, ping_interval=1) as ws, trio.open_nursery() as nursery:
            nursery.start_soon(_expect_closed, ws.receive)
            await trio.sleep(0.5)
            nursery.start_soon(ws.aclose)
            await trio.sleep(0.5)
            for attempt in (lambda: ws.send("x"), ws.ping):
                with pytest.raises(trio.ClosedResourceError):
                    await attempt()
        assert ws.closed is not None
        assert ws.closed.code == 1002


async def test_messages_before_the_end_are_received_and_then_the_end_is_told_again_and_again(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.send(frame(TEXT, b"a") + frame(TEXT, b"b") + close_frame(1001))
        await peer.until_close()

    async with serving(serve) as pool, connect(pool, URL) as ws:
        await trio.sleep(1)
        assert ws.closed == Closed(1001, "")
        assert [await ws.receive(), await ws.receive()] == ["a", "b"]
        for _ in range(2):
            with pytest.raises(trio.EndOfChannel):
                await ws.receive()
        with pytest.raises(WebSocketBroken, match="1001"):
            await ws.send("x")


async def test_a_connection_that_breaks(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.send(frame(TEXT, b"a") + frame(TEXT, b"half")[:3])

    async with serving(serve) as pool, connect(pool, URL) as ws:
        assert await ws.receive() == "a"
        with pytest.raises(WebSocketBroken, match="1006") as caught:
            await ws.receive()
        assert caught.value.closed.code == 1006


async def test_leaving_the_pool_ends_it(autojump_clock: trio.abc.Clock) -> None:
    told: list[Closed | None] = []

    async def listen(pool: triopool.ConnectionPool) -> None:
        async with connect(pool, URL) as ws:
            with pytest.raises(WebSocketBroken):
                await ws.receive()
            told.append(ws.closed)

    async with trio.open_nursery() as nursery, serving(in_the_end=False) as pool:
        nursery.start_soon(listen, pool)
        await trio.sleep(1)
        assert pool.statistics().busy == 1
    assert [closed.code for closed in told if closed is not None] == [1006]


async def test_an_exception_in_the_block_arrives_as_itself_and_no_farewell_is_said(
    autojump_clock: trio.abc.Clock,
) -> None:
    said: list[object] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        try:
            said.append(await peer.receive())
        except EOFError:
            said.append("nothing")

    async with serving(serve) as pool:
        with pytest.raises(KeyError):
            async with connect(pool, URL):
                raise KeyError
        assert pool.statistics().open == 0
        await trio.sleep(1)
    assert said == ["nothing"]


# ── Signs of life ──────────────────────────────────────────────────────────────────────────────


async def test_a_ping_tells_how_long_the_pong_took(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        pings = [await peer.receive() for _ in range(3)]
        await trio.sleep(2)
        await peer.send(frame(PONG, pings[1].payload))  # It stands for the first one, too.
        await trio.sleep(1)
        await peer.send(frame(PONG, pings[2].payload) * 2)
        await peer.echo()

    took: list[float] = []

    async with serving(serve) as pool, connect(pool, URL) as ws:

        async def ping() -> None:
            took.append(await ws.ping())

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ping)
                await trio.sleep(0.01)
    assert [round(seconds, 1) for seconds in took] == [2.0, 2.0, 3.0]


async def test_a_ping_that_will_not_be_answered(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.receive()
        await peer.send(close_frame(1000))
        await peer.until_close()

    async with serving(serve) as pool, connect(pool, URL) as ws:
        with trio.move_on_after(0):
            await ws.ping()  # Cancelled: nobody waits for its pong.
        with pytest.raises(WebSocketBroken, match="1000"):
            await ws.ping()


async def test_a_server_without_a_sign_of_life_is_left(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep_forever()

    async with serving(serve) as pool, connect(pool, URL, ping_interval=10, ping_timeout=5) as ws:
        began_at = trio.current_time()
        with pytest.raises(WebSocketBroken, match="1011: no sign of life for 5 s"):
            await ws.receive()
        assert trio.current_time() - began_at == pytest.approx(15.0)
        assert pool.statistics().open == 0


async def test_what_came_before_the_silence_is_received(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await peer.send(frame(TEXT, b"before"))
        await trio.sleep_forever()

    async with serving(serve) as pool, connect(pool, URL, ping_interval=10, ping_timeout=5) as ws:
        await trio.sleep(20)
        assert pool.statistics().open == 0
        assert await ws.receive() == "before"
        with pytest.raises(WebSocketBroken, match="1011"):
            await ws.receive()


async def test_a_send_to_a_server_without_a_sign_of_life_is_told_why_it_ended(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep_forever()

    async with serving(serve) as pool, connect(pool, URL, ping_interval=10, ping_timeout=5) as ws:
        with pytest.raises(WebSocketBroken, match="1011: no sign of life for 5 s"):
            await ws.send(b"x" * 10_000_000)


async def test_a_server_that_takes_a_long_message_slowly_is_alive(
    autojump_clock: trio.abc.Clock,
) -> None:
    """No ping can go out in the middle of the message, so there can be no pong."""
    size = 2_000_000
    taken = 0

    async def serve(peer: Peer) -> None:
        nonlocal taken
        await peer.accept()
        while taken < size:
            taken += len(await peer.stream.receive_some(20_000))
            await trio.sleep(1)
        await peer.send(frame(TEXT, b"got it"))
        await trio.sleep_forever()

    async with serving(serve) as pool:
        ws_block = connect(pool, URL, ping_interval=10, ping_timeout=5, close_timeout=1)
        async with ws_block as ws:
            await ws.send(b"x" * size)
            assert await ws.receive() == "got it"
    assert trio.current_time() > 90


async def test_a_long_message_that_was_cut_is_followed_by_nothing(
    autojump_clock: trio.abc.Clock,
) -> None:
    """No farewell either: the server would take it for a part of the message."""
    received = b""

    async def serve(peer: Peer) -> None:
        nonlocal received
        await peer.accept()
        await trio.sleep(10)
        while data := await peer.stream.receive_some():
            received += data

    async with serving(serve) as pool, connect(pool, URL) as ws:
        with trio.move_on_after(5) as scope:
            await ws.send(b"x" * 10_000_000)
        assert scope.cancelled_caught
        with pytest.raises(trio.BrokenResourceError, match="nothing more can be sent"):
            await ws.send("more")
        await trio.sleep(10)
        await ws.aclose()
    # Behind the head, which has the mask at its end, all is of the message.
    mask, masked = received[10:14], received[14:]
    assert 0 < len(masked) < 10_000_000
    assert {byte ^ mask[at % 4] for at, byte in enumerate(masked)} == set(b"x")


async def test_a_message_that_can_not_be_sent_takes_no_pong_with_it(
    autojump_clock: trio.abc.Clock,
) -> None:
    seen: list[int] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep(1)
        await peer.send(frame(PING, b"?"))
        await trio.sleep(1)
        while not seen or seen[-1] != CLOSE:
            seen.append((await peer.receive()).opcode)
        await peer.send(close_frame(1000))

    async with serving(serve) as pool, connect(pool, URL) as ws:

        async def half_a_surrogate_pair() -> None:
            with pytest.raises(UnicodeEncodeError):
                await ws.send("\ud800")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ws.send, b"x" * 10_000_000)
            await trio.sleep(0.5)
            nursery.start_soon(half_a_surrogate_pair)
    assert seen == [BINARY, PONG, CLOSE]


async def test_whatever_comes_is_a_sign_of_life(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        for _ in range(20):  # A long message in small pieces, and no pong.
            await trio.sleep(3)
            await peer.send(
                frame(TEXT, b"x", fin=False) if not _ else frame(CONTINUATION, fin=False)
            )
        await peer.send(frame(CONTINUATION))
        await peer.until_close()

    async with (
        serving(serve) as pool,
        connect(pool, URL, ping_interval=10, ping_timeout=5, close_timeout=1) as ws,
    ):
        assert await ws.receive() == "x"


@pytest.mark.parametrize("timeouts", [{"ping_interval": None}, {"ping_timeout": None}], ids=str)
async def test_signs_of_life_are_not_asked_for_or_waited_for_without_end(
    timeouts: dict[str, None], autojump_clock: trio.abc.Clock
) -> None:
    seen: list[Frame] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        while True:
            seen.append(await peer.receive())
            if seen[-1].opcode == CLOSE:
                await peer.send(close_frame(1000))

    async with serving(serve) as pool, connect(pool, URL, **timeouts) as ws:
        await trio.sleep(1000)
        assert ws.closed is None
    asked = [one.opcode for one in seen]
    assert asked == ([CLOSE] if "ping_interval" in timeouts else [PING, CLOSE])


# ── Sending ────────────────────────────────────────────────────────────────────────────────────


async def test_many_tasks_send_and_receive_at_once(autojump_clock: trio.abc.Clock) -> None:
    got: list[str | bytes] = []

    async with serving() as pool, connect(pool, URL) as ws:

        async def send(number: int) -> None:
            await ws.send(f"{number}" * 1000)

        async def receive() -> None:
            got.append(await ws.receive())

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(send, number)
                nursery.start_soon(receive)
    assert sorted(got, key=str) == sorted(f"{number}" * 1000 for number in range(50))


async def test_what_is_no_message_is_refused(autojump_clock: trio.abc.Clock) -> None:
    async with serving() as pool, connect(pool, URL) as ws:
        for value in (5, None, ["a"]):
            with pytest.raises(TypeError, match="a message is str or bytes"):
                await ws.send(value)  # type: ignore[arg-type]
        await ws.send("still fine")
        assert await ws.receive() == "still fine"


async def test_after_a_message_that_was_cut_nothing_more_can_be_sent(
    autojump_clock: trio.abc.Clock,
) -> None:
    closed: list[str] = []

    async def pieces() -> AsyncIterator[str]:
        try:
            yield "one"
            yield "two"
            await trio.sleep_forever()
        finally:
            closed.append("closed")

    async with serving() as pool, connect(pool, URL) as ws:
        with trio.move_on_after(1):
            await ws.send(pieces())
        assert closed == ["closed"]
        with pytest.raises(trio.BrokenResourceError, match="not sent to its end"):
            await ws.send("three")
        assert await ws.ping() < 1  # These may come between, and so may the farewell.
    assert ws.closed == Closed(1000, "")


async def test_a_send_that_was_cancelled_may_have_cut_a_frame(
    autojump_clock: trio.abc.Clock,
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        await trio.sleep_forever()

    async with serving(serve) as pool:
        async with connect(pool, URL) as ws:
            with trio.move_on_after(1):
                await ws.send(bytes(10_000_000))
            with pytest.raises(trio.BrokenResourceError):
                await ws.send("x")
            began_at = trio.current_time()
        # No farewell can be said, so none is waited for.
        assert trio.current_time() == began_at


async def test_a_cancelled_receive_loses_nothing(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept()
        for number in range(50):
            await trio.sleep(0.1)
            for byte in frame(TEXT, b"%d" % number):
                await peer.send(bytes([byte]))
                await trio.sleep(0.01)
        await peer.echo()

    async with serving(serve) as pool, connect(pool, URL) as ws:
        for number in range(50):
            answer = None
            while answer is None:
                with trio.move_on_after(0.0333):
                    answer = await ws.receive()
            assert answer == f"{number}"


# ── Slots and cancellation ─────────────────────────────────────────────────────────────────────


async def test_it_holds_a_slot_for_as_long_as_its_block(autojump_clock: trio.abc.Clock) -> None:
    async with serving(max_connections=1) as pool:
        before = tasks_of(pool)
        async with connect(pool, URL):
            assert pool.statistics().busy == 1
            with trio.move_on_after(1) as scope:
                async with connect(pool, URL):
                    raise AssertionError
            assert scope.cancelled_caught
        assert pool.statistics().open == 0
        async with connect(pool, URL) as ws:
            await ws.send("mine")
            assert await ws.receive() == "mine"
        assert tasks_of(pool) == before


@pytest.mark.parametrize("with_signal", [False, True], ids=["cancelled", "control-C"])
def test_a_conversation_that_is_cancelled(with_signal: bool) -> None:
    async def scenario(sweep: Sweep) -> None:
        async with serving(echo, max_connections=1) as pool:

            async def converse() -> None:
                async with connect(pool, URL, close_timeout=2) as ws:
                    await ws.send("hello")
                    assert await ws.receive() == "hello"
                    await ws.ping()

            await sweep.victim(converse)
            assert pool.statistics().busy == 0
            with trio.fail_after(10):
                await converse()

    sweep(scenario, with_signal=with_signal)


def test_a_handshake_that_is_refused_and_cancelled() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")

    async def scenario(sweep: Sweep) -> None:
        async with serving(refuse, max_connections=1) as pool:

            async def victim() -> None:
                with pytest.raises(triopool.StatusError):
                    async with connect(pool, URL):
                        raise AssertionError

            await sweep.victim(victim)
            assert pool.statistics().busy == 0

    sweep(scenario)
