"""The wire: a socket as a stream, whose closing is synchronous and whose bytes are counted."""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import (
    MockClock,
    assert_checkpoints,
    assert_no_checkpoints,
    wait_all_tasks_blocked,
)

from triopool._dial.sockets import nowait
from triopool._transport.wire import IMPATIENT_BYTES, RECEIVE_SIZE, Wire
from triopool.testing import Network, NetworkSocket

from .helpers import ipv4


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    async with Network(buffer_size=100) as network:
        network.listen("192.0.2.1", 80, stay)
        yield network


async def stay(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


@pytest.fixture(params=[True, False], ids=["nowait", "as Trio does"], autouse=True)
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the wire may act without a checkpoint. Nothing but send_now() shows it."""
    at_once: bool = request.param
    monkeypatch.setattr(sys.modules[__name__], "nowait", nowait if at_once else lambda _: None)
    return at_once


async def connected(network: Network) -> tuple[Wire, NetworkSocket]:
    """A wire, and the server's end of it."""
    sock = network.socket(ipv4(1))
    await sock.connect(("192.0.2.1", 80))
    return Wire(sock, nowait(sock)), network.open_server_sockets[-1]


def real_pair() -> tuple[Wire, socket.socket]:
    ours, theirs = socket.socketpair()
    return Wire(trio.socket.from_stdlib_socket(ours), nowait(ours)), theirs


# ── Sending ────────────────────────────────────────────────────────────────────────────────────


async def test_partial_sends_are_completed_and_counted_as_they_go(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, server = await connected(network)
    data = bytes(range(250))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wire.send_all, data)
        await wait_all_tasks_blocked()
        assert wire.bytes_sent == 100
        received = await server.recv(30)
        await wait_all_tasks_blocked()
        assert wire.bytes_sent == 130
        while len(received) < 250:
            received += await server.recv(100)
            await wait_all_tasks_blocked()
    assert received == data
    assert wire.bytes_sent == 250


async def test_bytes_are_counted_over_the_wires_life_and_of_any_kind(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, server = await connected(network)
    for data in (b"abc", bytearray(b"de"), memoryview(b"f"), b""):
        await wire.send_all(data)
    assert wire.bytes_sent == 6
    assert await server.recv(100) == b"abcdef"


async def test_what_was_sent_before_a_cancellation_is_counted(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, _ = await connected(network)
    with trio.move_on_after(1.0):
        await wire.send_all(bytes(150))
    assert wire.bytes_sent == 100


async def test_what_goes_out_at_once_is_counted_and_the_rest_is_told(
    autojump_clock: MockClock, network: Network, at_once: bool
) -> None:
    wire, server = await connected(network)
    with assert_no_checkpoints():
        taken = [wire.send_now(bytes(size)) for size in (60, 60, 60)]
    assert taken == ([60, 40, 0] if at_once else [0, 0, 0])
    assert wire.bytes_sent == sum(taken)
    assert not wire.torn
    if at_once:
        server.reset()
        with pytest.raises(trio.BrokenResourceError, match="Connection reset"):
            wire.send_now(b"x")
        assert wire.torn
        assert wire.send_now(b"x") == 0
        with pytest.raises(trio.BrokenResourceError, match="an earlier write was cut short"):
            await wire.send_all(b"x")
        wire, _ = await connected(network)
        wire.close()
        with pytest.raises(trio.ClosedResourceError):
            wire.send_now(b"x")


async def test_to_read_is_a_checkpoint_whether_anything_is_there_or_not(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, server = await connected(network)
    await server.send(b"abc")
    with trio.CancelScope() as scope:
        scope.cancel()
        await wire.receive_some()
    assert scope.cancelled_caught
    with assert_checkpoints():
        assert await wire.receive_some() == b"abc"


async def test_a_reset_is_a_broken_resource_in_both_directions(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, server = await connected(network)
    server.reset()
    with pytest.raises(trio.BrokenResourceError, match="Connection reset") as caught:
        await wire.receive_some()
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    with pytest.raises(trio.BrokenResourceError, match="Broken pipe"):
        await wire.send_all(b"x")
    assert wire.bytes_sent == 0


async def test_waiting_until_sending_might_not_block(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, server = await connected(network)
    await wire.wait_send_all_might_not_block()
    await wire.send_all(bytes(100))
    with trio.move_on_after(1.0) as scope:
        await wire.wait_send_all_might_not_block()
    assert scope.cancelled_caught
    await server.recv(1)
    await wire.wait_send_all_might_not_block()


# ── Receiving ──────────────────────────────────────────────────────────────────────────────────


async def test_reading_takes_as_much_as_asked_for_or_64_kib(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, server = await connected(network)
    await server.send(b"abcdef")
    assert await wire.receive_some(2) == b"ab"
    assert await wire.receive_some() == b"cdef"
    assert RECEIVE_SIZE == 65536
    server.close()
    assert await wire.receive_some() == b""


async def test_an_impatient_wire_reads_what_is_there_and_never_waits(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, server = await connected(network)
    with wire.impatient():
        with pytest.raises(trio.WouldBlock):
            await wire.receive_some()
        await server.send(b"abc")
        assert await wire.receive_some(1) == b"a"
        assert await wire.receive_some(10) == b"bc"
        with pytest.raises(trio.WouldBlock):
            await wire.receive_some()
        server.close()
        assert await wire.receive_some() == b""


async def test_an_impatient_wire_answers_at_once_or_not_at_all(
    autojump_clock: MockClock, network: Network, at_once: bool
) -> None:
    """TLS may have to answer while an idle connection is looked at: a key update, say. A peer that
    asks and does not read would hold its request, and the slot, beyond every timeout."""
    wire, server = await connected(network)
    with wire.impatient():
        if at_once:
            await wire.send_all(b"answer")
            assert not wire.torn
            assert await server.recv(6) == b"answer"
        for _ in range(2):  # It stays so.
            with pytest.raises(trio.BrokenResourceError):
                await wire.send_all(bytes(1000))
            assert wire.torn
    assert trio.current_time() == 0.0


async def test_an_impatient_wire_does_not_read_without_end(autojump_clock: MockClock) -> None:
    """A peer may send what means nothing for as long as it is read."""
    async with Network() as network:
        network.listen("192.0.2.1", 80, stay)
        wire, server = await connected(network)
        read = 0
        with wire.impatient():
            while read < IMPATIENT_BYTES:
                server.send_nowait(bytes(50_000))
                read += len(await wire.receive_some())
            server.send_nowait(b"x")
            with pytest.raises(trio.BrokenResourceError):
                await wire.receive_some()
        with wire.impatient():  # Each look has its own allowance.
            assert await wire.receive_some() == b"x"


@pytest.mark.parametrize("how", ["send_all", "send_now"])
async def test_a_wire_that_has_to_be_quiet_is_written_to_only_if_it_is(
    autojump_clock: MockClock, network: Network, how: str, at_once: bool
) -> None:
    if how == "send_now" and not at_once:
        return  # It writes nothing.

    async def write(wire: Wire) -> None:
        wire.look_before_write = True
        if how == "send_all":
            await wire.send_all(b"request")
        else:
            wire.send_now(b"request")

    wire, server = await connected(network)
    await write(wire)
    server.send_nowait(b"answer")
    await wire.send_all(b", more")  # What comes behind the first byte may be the answer.
    assert await server.recv(100) == b"request, more"

    wire, server = await connected(network)
    server.send_nowait(b"noise")
    with pytest.raises(trio.BrokenResourceError):
        await write(wire)
    assert wire.torn
    assert wire.bytes_sent == 0


async def test_a_glance_shows_bytes_an_end_and_a_reset(
    autojump_clock: MockClock, network: Network
) -> None:
    for act in ("send", "close", "reset"):
        wire, server = await connected(network)
        assert not wire.is_readable()
        if act == "send":
            await server.send(b"x")
        else:
            getattr(server, act)()
        assert wire.is_readable()


# ── Closing ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("method", ["receive_some", "send_all", "wait_send_all_might_not_block"])
@pytest.mark.parametrize("real", [False, True], ids=["in memory", "real"])
async def test_closing_wakes_a_task_that_waits(method: str, real: bool) -> None:
    async with Network(buffer_size=100) as network:
        network.listen("192.0.2.1", 80, stay)
        if real:
            wire, peer = real_pair()
        else:
            wire, peer = await connected(network)  # type: ignore[assignment]
        data = bytes(10_000_000)

        async def wait() -> None:
            if method == "wait_send_all_might_not_block":
                with trio.move_on_after(0.05):
                    await wire.send_all(data)
            arguments = [data] if method == "send_all" else []
            with pytest.raises(trio.ClosedResourceError):
                await getattr(wire, method)(*arguments)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wait)
                await trio.sleep(0.2)
                wire.close()
        peer.close()


@pytest.mark.parametrize("real", [False, True], ids=["in memory", "real"])
async def test_a_wire_that_was_closed_is_closed_and_not_broken(real: bool) -> None:
    async with Network() as network:
        network.listen("192.0.2.1", 80, stay)
        if real:
            wire, peer = real_pair()
        else:
            wire, peer = await connected(network)  # type: ignore[assignment]
        wire.close()
        wire.close()
        assert wire.is_readable()
        with pytest.raises(trio.ClosedResourceError):
            await wire.receive_some()
        with wire.impatient(), pytest.raises(trio.ClosedResourceError):
            await wire.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await wire.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await wire.wait_send_all_might_not_block()
        peer.close()


async def test_aclose_closes_at_once_and_is_a_checkpoint(
    autojump_clock: MockClock, network: Network
) -> None:
    wire, _ = await connected(network)
    with trio.CancelScope() as scope:
        scope.cancel()
        await wire.aclose()
    assert scope.cancelled_caught
    assert not network.open_sockets


# ── Options ────────────────────────────────────────────────────────────────────────────────────


async def test_nagles_algorithm_is_off_for_tcp() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        sock = trio.socket.socket()
        await sock.connect(listener.getsockname())
        wire = Wire(sock)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        wire.close()


async def test_a_socket_that_knows_no_nagle_is_taken_as_it_is() -> None:
    wire, peer = real_pair()
    await wire.send_all(b"abc")
    assert peer.recv(3) == b"abc"
    wire.close()
    peer.close()
