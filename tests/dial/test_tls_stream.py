"""TLS between its two buffers: who sends what it has framed, and who reads for it.

With a TLS that encrypts nothing, so that a test can say when it answers, and when it wants to read
before it writes. OpenSSL does the first with new keys, and the second when a TLS 1.2 server
renegotiates; neither can be asked for in Python.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool._dial.sockets import nowait
from triopool._transport.layer import Layer
from triopool._transport.tls import TLSStream
from triopool._transport.wire import Wire
from triopool.testing import Network, NetworkSocket

from .helpers import ipv4


class Clear:
    """Speaks TLS's part, without TLS: what is written goes out, and what has come is read.

    Attributes:
      answers: what it has to say when the next bytes are read.
      wants_to_read: whether nothing can be written before something has come.
      breaks: whether it can't write at all.
    """

    def __init__(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self.answers: list[bytes] = []
        self.wants_to_read = False
        self.breaks = False

    def write(self, data: bytes) -> None:
        if self.breaks:
            raise ssl.SSLError("it is broken")
        if self.wants_to_read and not self._incoming.pending:
            raise ssl.SSLWantReadError
        self.wants_to_read = False
        self._outgoing.write(data)

    def read(self, size: int) -> bytes:
        if self._incoming.eof:
            raise ssl.SSLEOFError
        if not self._incoming.pending:
            raise ssl.SSLWantReadError
        for answer in self.answers:
            self._outgoing.write(answer)
        self.answers.clear()
        if data := self._incoming.read(size).replace(b"-", b""):
            return data
        raise ssl.SSLWantReadError  # It was TLS's own.

    def pending(self) -> int:
        return 0


class Context:
    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        *,
        server_hostname: str,
        session: None,
    ) -> Clear:
        return Clear(incoming, outgoing)


def clear(below: Layer) -> tuple[TLSStream, Clear]:
    context: Any = Context()
    stream = TLSStream(below, context, "one.test")
    tls: Any = stream.ssl
    return stream, tls


@pytest.fixture
async def ends(autojump_clock: MockClock) -> AsyncIterator[tuple[Wire, NetworkSocket]]:
    """A wire that takes a hundred bytes at once, and the server's end of it."""

    async def stay(stream: trio.abc.Stream) -> None:
        await trio.sleep_forever()

    async with Network(buffer_size=100) as network:
        network.listen("192.0.2.1", 443, stay)
        sock = network.socket(ipv4(1, 443))
        await sock.connect(("192.0.2.1", 443))
        wire = Wire(sock, nowait(sock))
        yield wire, network.open_server_sockets[-1]
        wire.close()


async def read(server: NetworkSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await server.recv(30)
        await wait_all_tasks_blocked()
    return data


# ── Sending at once ────────────────────────────────────────────────────────────────────────────


async def test_what_is_taken_over_goes_out_in_its_order(ends: tuple[Wire, NetworkSocket]) -> None:
    wire, server = ends
    stream, _ = clear(wire)
    assert stream.send_now(b"") == 0
    assert stream.send_now(b"a" * 60) == 60
    assert stream.push()
    assert stream.send_now(b"b" * 60) == 60
    assert not stream.push()
    # It has enough of ours by now.
    assert stream.send_now(b"c") == 0
    assert wire.bytes_sent == 100
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"c")
        assert await read(server, 121) == b"a" * 60 + b"b" * 60 + b"c"
    assert stream.push()


async def test_what_the_layer_below_holds_back_goes_out_first(
    ends: tuple[Wire, NetworkSocket],
) -> None:
    wire, server = ends
    inner, _ = clear(wire)
    outer, _ = clear(inner)
    assert outer.send_now(b"a" * 120) == 120
    assert not outer.push()
    assert outer.send_now(b"b") == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outer.send_all, b"")
        assert await read(server, 120) == b"a" * 120
    assert outer.push()
    # So it does once there is room, without anybody's waiting.
    assert outer.send_now(b"b" * 120) == 120
    assert await server.recv(100) == b"b" * 100
    assert outer.push()
    assert await server.recv(100) == b"b" * 20


async def test_nothing_is_framed_for_a_torn_wire(ends: tuple[Wire, NetworkSocket]) -> None:
    wire, _ = ends
    stream, _ = clear(wire)
    wire.torn = True
    assert stream.send_now(b"a") == 0
    assert stream.push()
    with pytest.raises(trio.BrokenResourceError, match="cut short"):
        await stream.send_all(b"a")


async def test_a_tls_that_breaks_as_it_writes_tears_the_wire(
    ends: tuple[Wire, NetworkSocket],
) -> None:
    wire, server = ends
    stream, tls = clear(wire)
    tls.breaks = True
    with pytest.raises(trio.BrokenResourceError) as caught:
        stream.send_now(b"a")
    assert isinstance(caught.value.__cause__, ssl.SSLError)
    assert wire.torn
    await server.send(b"answer")
    assert await stream.receive_some() == b"answer"


# ── One task reads, another one sends ──────────────────────────────────────────────────────────


async def test_a_second_reader_is_refused(ends: tuple[Wire, NetworkSocket]) -> None:
    wire, server = ends
    stream, _ = clear(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await stream.receive_some()
        await server.send(b"x")


async def test_an_answer_of_tls_goes_out_behind_what_another_task_sends(
    ends: tuple[Wire, NetworkSocket],
) -> None:
    wire, server = ends
    stream, tls = clear(wire)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all, b"a" * 250)
        await wait_all_tasks_blocked()
        tls.answers.append(b"new keys")
        await server.send(b"hello")
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        assert await read(server, 258) == b"a" * 250 + b"new keys"


async def test_what_is_sent_goes_out_behind_an_answer_of_tls(
    ends: tuple[Wire, NetworkSocket],
) -> None:
    wire, server = ends
    stream, tls = clear(wire)
    tls.answers.append(b"k" * 250)
    await server.send(b"hello")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        assert stream.send_now(b"x") == 0
        nursery.start_soon(stream.send_all, b"a" * 250)
        await wait_all_tasks_blocked()
        assert await read(server, 500) == b"k" * 250 + b"a" * 250


async def test_a_write_that_is_cancelled_while_another_task_sends_for_it_is_sent(
    ends: tuple[Wire, NetworkSocket],
) -> None:
    wire, server = ends
    stream, tls = clear(wire)
    tls.answers.append(b"k" * 250)
    await server.send(b"hello")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await wait_all_tasks_blocked()
        with trio.move_on_after(1.0) as scope:
            await stream.send_all(b"a" * 250)
        assert scope.cancelled_caught
        assert await read(server, 500) == b"k" * 250 + b"a" * 250
    assert not wire.torn


async def test_a_reader_that_is_cancelled_in_an_answer_has_lost_nothing_it_read(
    ends: tuple[Wire, NetworkSocket],
) -> None:
    wire, server = ends
    stream, tls = clear(wire)
    tls.answers.append(b"k" * 250)
    await server.send(b"hello")
    scope = trio.CancelScope()

    async def receive() -> None:
        with scope:
            await stream.receive_some()

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError, match="cut short"):
            await stream.send_all(b"a")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        scope.cancel()
    assert scope.cancelled_caught
    assert wire.torn
    assert stream.is_readable()
    assert await stream.receive_some(2) == b"he"
    assert await stream.receive_some() == b"llo"


async def test_a_reader_whose_answer_breaks_reads_on(ends: tuple[Wire, NetworkSocket]) -> None:
    wire, server = ends
    stream, tls = clear(wire)
    tls.answers.append(b"new keys")
    await server.send(b"hello")
    wire.torn = True
    assert await stream.receive_some() == b"hello"
    await server.send(b"more")
    assert await stream.receive_some() == b"more"


async def test_what_tls_reads_for_itself_is_answered_and_not_given_out(
    ends: tuple[Wire, NetworkSocket],
) -> None:
    wire, server = ends
    stream, tls = clear(wire)
    tls.answers.append(b"new keys")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.receive_some)
        await server.send(b"-")
        await wait_all_tasks_blocked()
        assert await server.recv(100) == b"new keys"
        await server.send(b"x")


@pytest.mark.parametrize("reader", ["none", "before", "behind"])
async def test_a_write_that_needs_something_from_the_server_first_gets_it(
    ends: tuple[Wire, NetworkSocket], reader: str
) -> None:
    wire, server = ends
    stream, tls = clear(wire)
    tls.wants_to_read = True
    assert stream.send_now(b"a") == 0
    received = []

    async def receive() -> None:
        received.append(await stream.receive_some())

    async with trio.open_nursery() as nursery:
        if reader == "before":
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
        nursery.start_soon(stream.send_all, b"a")
        await wait_all_tasks_blocked()
        if reader == "behind":
            nursery.start_soon(receive)
            await wait_all_tasks_blocked()
        await server.send(b"hello")
        # The reader may have left nothing to be seen of it.
        await wait_all_tasks_blocked()
        await server.send(b"hello")
        assert await server.recv(100) == b"a"
    assert b"".join(received) in ([b"hello", b"hellohello"] if reader != "none" else [b""])


async def test_an_end_is_told_again_and_again(ends: tuple[Wire, NetworkSocket]) -> None:
    wire, server = ends
    stream, _ = clear(wire)
    await server.send(b"x")
    server.close()
    assert await stream.receive_some() == b"x"
    assert not stream.was_cut
    for _ in range(2):
        assert await stream.receive_some() == b""
    assert stream.was_cut
    assert wire.torn
