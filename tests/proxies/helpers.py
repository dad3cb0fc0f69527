"""Proxies that say what a test wants, on the in-memory network, and lines that lead to them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import trio
from trio.testing import MockClock

from triopool import Proxy, ProxyError
from triopool._deadlines import Deadlines
from triopool._dial.asking import Errand
from triopool._dial.dialler import Dialler
from triopool._dial.hops import Step, travel
from triopool._dial.line import Line
from triopool._dial.names import Names
from triopool._dial.report import DialReport
from triopool._origin import Origin
from triopool._pool_key import PoolKey
from triopool._transport.wire import Wire
from triopool.abc import AddressInfo
from triopool.testing import Network

PROXY, PORT = "192.0.2.1", 3128
TARGET = Origin("http", "a.example", 80)
SECURE = Origin("https", "a.example", 443)
ADDRESS = AddressInfo(2, 1, 6, "", (PROXY, PORT))
PING, PONG = b"ping", b"pong"

Server = Callable[[trio.abc.Stream], Awaitable[object]]


class Turn(NamedTuple):
    """What a client has to say, to the byte, and what it is answered."""

    asked: bytes
    answer: bytes


def errand(url: str, to: str = "http://a.example:80") -> Errand:
    return Errand(url, to, TARGET)


async def read(stream: trio.abc.Stream, number: int) -> bytes:
    """So many bytes; fewer if the client has gone."""
    data = b""
    while len(data) < number and (more := await stream.receive_some(number - len(data))):
        data += more
    return data


async def read_head(stream: trio.abc.Stream) -> bytes:
    """A head, to its blank line; less if the client has gone."""
    data = b""
    while not data.endswith(b"\r\n\r\n") and (more := await stream.receive_some(4096)):
        data += more
    return data


async def answer_pings(stream: trio.abc.Stream) -> None:
    """What is behind a tunnel: nothing of the dialogue with the proxy may get here."""
    while ping := await read(stream, 4):
        assert ping == PING
        await stream.send_all(PONG)


def in_pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    return [data[a:b] for a, b in pairwise([0, *sorted(set(cuts)), len(data)]) if a < b]


def proxy(
    turns: Sequence[Turn], cuts: Iterable[int] = (), *, stop_after: int | None = None
) -> Server:
    """A proxy that holds one dialogue, and is a tunnel to :func:`answer_pings` then.

    Args:
      cuts: where its answers, taken together, are cut into pieces that come one by one.
      stop_after: how many bytes of them it sends before it closes the connection.
    """

    async def serve(stream: trio.abc.Stream) -> None:
        sent = 0
        for turn in turns:
            assert await read(stream, len(turn.asked)) in (turn.asked, b"")
            here = [cut - sent for cut in cuts if 0 < cut - sent < len(turn.answer)]
            most = len(turn.answer) if stop_after is None else stop_after - sent
            for number, piece in enumerate(in_pieces(turn.answer[:most], here)):
                if number:
                    await trio.sleep(0.1)
                await stream.send_all(piece)
            if most < len(turn.answer):
                return
            sent += len(turn.answer)
        await answer_pings(stream)

    return serve


class Outcome(NamedTuple):
    """What became of a line: a tunnel that works, or an error."""

    error: ProxyError | None

    def __str__(self) -> str:
        return "a tunnel" if self.error is None else str(self.error)


async def outcome(server: Server, *steps: Step) -> Outcome:
    """Take *steps* on a line to *server*; nothing is open afterwards."""
    async with Network() as network:
        network.listen(PROXY, PORT, server)
        line = await line_to(network)
        error = None
        try:
            with trio.fail_after(60):
                await travel(line, steps, report())
                await line.stream.send_all(PING)
                assert await line.stream.receive_some() == PONG
        except ProxyError as exc:
            error = exc
        else:
            line.close()
        assert not network.open_sockets
        assert error is None or (error.origin, error.phase) == (TARGET, "connect")
        return Outcome(error)


async def line_to(network: Network, address: AddressInfo = ADDRESS) -> Line:
    socket = network.socket(address)
    await socket.connect(address.sockaddr)
    return Line(Wire(socket), "192.0.2.1:3128")


def report(notes: list[str] | None = None) -> DialReport:
    return DialReport(PoolKey(TARGET), [] if notes is None else notes)


def run(function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Where Hypothesis calls: on a clock of its own."""
    return trio.run(function, *args, clock=MockClock(autojump_threshold=0))


# ── Dials ──────────────────────────────────────────────────────────────────────────────────────


class Way(NamedTuple):
    """How to get somewhere: through a proxy, which may forward."""

    proxy: Proxy | None
    forwards: bool = False

    def key(self, origin: Origin) -> PoolKey:
        return PoolKey(origin, None, self.proxy, self.forwards)


def via(*proxies: str | Proxy, forwards: bool = False) -> Way:
    """Through all of these, one after the other."""
    last: Proxy | None = None
    for one in proxies:
        given = Proxy(one) if isinstance(one, str) else one
        make, (url,) = given.__reduce__()
        last = given if last is None else partial(make, via=last)(url)
    assert last is not None
    return Way(last, forwards)


@asynccontextmanager
async def dialler_on(
    network: Network, ssl_context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Dialler]:
    async with trio.open_nursery() as nursery:
        names = Names(network.resolve, 10.0)
        names.start(nursery)
        options = {"socket_factory": network.socket, **options}
        yield Dialler(names, Deadlines(), ssl_context=ssl_context, **options)
        nursery.cancel_scope.cancel()


# ── Proxies that do their work ─────────────────────────────────────────────────────────────────


def tls(context: ssl.SSLContext, inside: Server) -> Server:
    """Speaks TLS, and then *inside*."""

    async def serve(stream: trio.abc.Stream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await secure.do_handshake()
        await inside(secure)

    return serve


def connect(inside: Server) -> Server:
    """An HTTP proxy: whatever it is asked to connect to is *inside*."""

    async def serve(stream: trio.abc.Stream) -> None:
        if await read_head(stream):
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            await inside(stream)

    return serve


def socks5_with_login(inside: Server) -> Server:
    async def serve(stream: trio.abc.Stream) -> None:
        turns = [(b"\x05\x02\0\x02", b"\x05\x02"), (b"\x01\x03ada\x06secret", b"\x01\0")]
        turns.append((b"\x05\x01\0\x03\x09a.example", b""))
        for asked, answer in turns:
            if await read(stream, len(asked)) != asked:
                return
            await stream.send_all(answer)
        await read(stream, 2)
        await stream.send_all(b"\x05\0\0\x01\x7f\0\0\x01\x12\x34")
        await inside(stream)

    return serve


def socks4a(inside: Server) -> Server:
    async def serve(stream: trio.abc.Stream) -> None:
        await read(stream, 4 + 4)
        if await read(stream, 1 + 10):
            await stream.send_all(b"\0\x5a" + bytes(6))
            await inside(stream)

    return serve
