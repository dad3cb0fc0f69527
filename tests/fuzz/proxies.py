"""One dial by way of a proxy that says what it likes, and what has to be true of it.

:func:`play` is called as that of ``target.py`` is. A case is a kind of proxy, and what it says on
the first connection (or on each) when it is asked for a tunnel: bytes, cut into pieces, which come
by themselves or each when the client has spoken. To everything else it gives the proper answer, and
behind it is an origin that repeats the token of each request.

As soon as a request has come for the origin there is a tunnel, as far as the client can know, and
the proxy is as quiet as one. So there is a tunnel that works, or a :class:`ProxyError`, or the time
for the dial is over; and nothing else.
"""

from __future__ import annotations

import itertools
import math
import traceback
import warnings
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import h11
import trio
from exchange.world import nothing_held
from trio.testing import MockClock

from triopool import ConnectionPool, ConnectTimeout, Proxy, ProxyError, Response, Timeouts
from triopool.testing import Network

from .target import ENDS, GAPS, Guard

CONNECT_SECONDS = 10.0
MOST_SAID = 64 * 1024
"""What a proxy may say before there is a tunnel."""

MAX_RAW_BYTES = 128 * 1024
"""What the network holds in a direction, so that no piece is split in two: the rest of one could
come in the moment in which the client acts."""

PIECE = 4000
"""How much a proxy without end says at once."""

NAME, PASSWORD = "zqjada", "zqjsecret"
SECRETS = ("zqj", b64encode(f"{NAME}:{PASSWORD}".encode()).decode())
"""No case has a reason to say these, so that they are ours wherever they are seen."""

HOWS = ("request", "lease", "warm up")

_ORIGIN = "http://a.example"
_CONNECT = b"HTTP/1.1 200 OK\r\n\r\n"
_CONNECTED_4 = b"\0\x5a" + bytes(6)
_CONNECTED_5 = b"\x05\0\0\x01" + bytes(6)


class Kind(NamedTuple):
    """A kind of proxy: its URL, if it wants credentials, and what it properly answers, in turn."""

    url: str
    has_credentials: bool
    answers: tuple[bytes, ...]
    via: str | None = None

    @property
    def proxy(self) -> Proxy:
        name_and_password = (NAME, "" if self.url.startswith("socks4") else PASSWORD)
        return Proxy(
            self.url,
            auth=name_and_password if self.has_credentials else None,
            tunnel=self.url.startswith("http"),
            via=self.via,
        )


_HELLO = (b"\x05\0", _CONNECTED_5)
_LOGIN = (b"\x05\x02", b"\x01\0", _CONNECTED_5)
KINDS = {
    "connect": Kind("http://p.example:3128", False, (_CONNECT,)),
    "connect, credentials": Kind("http://p.example:3128", True, (_CONNECT,)),
    "socks5": Kind("socks5://p.example", False, _HELLO),
    "socks5, credentials": Kind("socks5://p.example", True, _LOGIN),
    "socks5h": Kind("socks5h://p.example", False, _HELLO),
    "socks5h, credentials": Kind("socks5h://p.example", True, _LOGIN),
    "socks4": Kind("socks4://p.example", False, (_CONNECTED_4,)),
    "socks4, credentials": Kind("socks4://p.example", True, (_CONNECTED_4,)),
    "socks4a": Kind("socks4a://p.example", True, (_CONNECTED_4,)),
    "connect by socks5h": Kind(
        "http://q.example:3128", True, (*_HELLO, _CONNECT), "socks5h://p.example"
    ),
    "socks5 by connect": Kind(
        "socks5://q.example", True, (_CONNECT, *_LOGIN), "http://p.example:1080"
    ),
    "socks4a by socks4a by connect": Kind(
        "socks4a://q.example", False, (_CONNECT, _CONNECTED_4), "http://p.example:1080"
    ),
}


@dataclass(frozen=True)
class ProxyCase:
    """A proxy, what it says, and what asks for it.

    Attributes:
      raw: what it says on the first connection.
      kind: one of KINDS.
      cuts: where *raw* is cut.
      waits: which of the pieces wait until the client has said something more.
      gap: which of GAPS lies between two pieces.
      end: what comes after the last piece; "keep" is the proper behaviour of a tunnel.
      repeat: whether it says the same on each connection, as long as the case lasts.
      endless: whether it goes on with the end of *raw*, again and again.
      early: whether it begins before it is asked anything.
      how: what asks: ``request()``, a lease, ``warm_up()``.
      addresses: how many the proxy has, and the origin.
      cancel: after how many milliseconds the dial is called off; None for never.
    """

    raw: bytes
    kind: str = "connect"
    cuts: tuple[int, ...] = ()
    waits: tuple[int, ...] = ()
    gap: int = 0
    end: str = "keep"
    repeat: bool = False
    endless: bool = False
    early: bool = False
    how: str = "request"
    addresses: int = 1
    cancel: int | None = None

    @property
    def pieces(self) -> list[bytes]:
        raw = self.raw[:MAX_RAW_BYTES]
        at = [0, *sorted({cut for cut in self.cuts if 0 < cut < len(raw)}), len(raw)]
        return [raw[start:end] for start, end in itertools.pairwise(at)]

    # ── For fuzzers that know bytes only ───────────────────────────────────────────────────────

    @classmethod
    def from_bytes(cls, data: bytes) -> ProxyCase:
        """Make a case of any bytes: some for the options, the rest is what the proxy says."""
        options = data[:_OPTION_BYTES].ljust(_OPTION_BYTES, b"\0")
        flags, waits = options[4], options[7]
        return cls(
            data[_OPTION_BYTES:],
            kind=list(KINDS)[options[0] % len(KINDS)],
            how=HOWS[options[1] % len(HOWS)],
            end=ENDS[options[2] % len(ENDS)],
            gap=options[3] % len(GAPS),
            repeat=bool(flags & 1),
            endless=bool(flags & 2),
            early=bool(flags & 4),
            addresses=1 + options[5] % 3,
            cancel=options[6] or None,
            waits=tuple(number for number in range(8) if waits >> number & 1),
            cuts=tuple(sorted({cut for cut in options[8:] if cut})),
        )

    def to_bytes(self) -> bytes:
        """What :meth:`from_bytes` makes this case of; numbers that are too large are left out."""
        cuts = [cut for cut in self.cuts if 0 < cut < 256][:8]
        options = [
            list(KINDS).index(self.kind),
            HOWS.index(self.how),
            ENDS.index(self.end),
            self.gap,
            self.repeat | self.endless << 1 | self.early << 2,
            self.addresses - 1,
            min(self.cancel or 0, 255),
            sum(1 << number for number in set(self.waits) if number < 8),
            *cuts,
            *[0] * (8 - len(cuts)),
        ]
        return bytes(options) + self.raw


_OPTION_BYTES = 16


def properly(kind: str) -> ProxyCase:
    """What a proxy of a *kind* should do, all of it."""
    answers = KINDS[kind].answers
    cuts = tuple(itertools.accumulate(map(len, answers[:-1])))
    return ProxyCase(b"".join(answers), kind, cuts, waits=tuple(range(1, len(answers))))


# ── The proxy, and the origin behind it ────────────────────────────────────────────────────────


class _Server:
    """Says once what the case says, or each time, and else what it should.

    Attributes:
      accepted: how many bytes of the case the network has taken, at most, on one connection.
      quiet: whether to say nothing of the case any more.
    """

    def __init__(self, case: ProxyCase) -> None:
        self.case = case
        self.accepted = 0
        self.quiet = False
        self._connections = 0

    async def __call__(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        case = self.case
        misbehaves = not self.quiet and (case.repeat or self._connections == 1)
        async with trio.open_nursery() as nursery:
            client = _Client(stream)
            nursery.start_soon(client.read)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                if misbehaves:
                    await self._say(client, case)
                else:
                    await self._say(client, properly(case.kind))
            await client.gone.wait()
            nursery.cancel_scope.cancel()

    async def _say(self, client: _Client, case: ProxyCase) -> None:
        if not case.early:
            await client.has_said_more()
        accepted = 0
        for number, piece in enumerate(self._pieces(case)):
            if number in case.waits:
                await client.has_said_more()
            # Never in the moment in which the client acts.
            await trio.sleep(GAPS[case.gap] if number else GAPS[0])
            if client.is_at_the_origin:
                return
            await client.stream.send_all(piece)
            accepted += len(piece)
            self.accepted = max(accepted, self.accepted)
        await trio.sleep(GAPS[0])
        if not client.is_at_the_origin:
            await client.end(case.end)

    def _pieces(self, case: ProxyCase) -> Iterator[bytes]:
        yield from case.pieces
        while case.endless and not self.quiet:
            yield ((case.raw[-1000:] or b"x") * PIECE)[:PIECE]


class _Client:
    """What comes from the client: its dialogue with the proxy, and then requests, each answered."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.is_at_the_origin = False
        self.gone = trio.Event()
        self._news = trio.Event()

    async def has_said_more(self) -> None:
        """Wait until there is more from the client than when this was asked before."""
        await self._news.wait()
        self._news = trio.Event()

    async def end(self, end: str) -> None:
        if end == "eof":
            await self.stream.send_eof()
        elif end == "close":
            self.stream.socket.close()
        elif end == "reset":
            self.stream.socket.reset()  # type: ignore[attr-defined]

    async def read(self) -> None:
        said = b""
        try:
            while b"GET /" not in said:
                said = said[-10:] + await self._receive()
                self._news.set()
            self.is_at_the_origin = True
            await self._serve(said[said.index(b"GET /") :])
        except EOFError:
            self.gone.set()

    async def _receive(self) -> bytes:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if data := await self.stream.receive_some():
                return bytes(data)
        raise EOFError

    async def _serve(self, received: bytes) -> None:
        protocol = h11.Connection(h11.SERVER)
        protocol.receive_data(received)
        token = b""
        while True:
            event = protocol.next_event()
            if isinstance(event, h11.Request):
                fields = dict(event.headers)
                assert b"proxy-authorization" not in fields
                token = fields[b"token"]
            elif isinstance(event, h11.EndOfMessage):
                answer = [
                    h11.Response(status_code=200, headers=[("Content-Length", str(len(token)))]),
                    h11.Data(data=token),
                    h11.EndOfMessage(),
                ]
                await self.stream.send_all(b"".join(map(protocol.send, answer)))  # type: ignore[arg-type]
                protocol.start_next_cycle()
            else:
                assert event is h11.NEED_DATA
                protocol.receive_data(await self._receive())


# ── The client ─────────────────────────────────────────────────────────────────────────────────


def play(case: ProxyCase) -> str:
    """Run a case; return how the dial ended: "a tunnel", "cancelled", or an error with its text.

    Raises:
      Exception: a promise was broken; AssertionError, most of the time.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return trio.run(_main, case, clock=MockClock(autojump_threshold=0))


async def _main(case: ProxyCase) -> str:
    guard = Guard()
    trio.lowlevel.add_instrument(guard)
    with guard.scope:
        outcome = await _play(case)
    assert not guard.scope.cancelled_caught, "it hangs" if guard.steps > 0 else "it spins"
    return outcome


async def _play(case: ProxyCase) -> str:
    server, kind = _Server(case), KINDS[case.kind]
    addresses = [f"192.0.2.{9 + number}" for number in range(case.addresses)]
    async with Network(buffer_size=MAX_RAW_BYTES) as network:
        network.host("p.example", *addresses)
        network.host("q.example", "192.0.2.20")
        network.host("a.example", *[f"192.0.2.{1 + number}" for number in range(case.addresses)])
        for address, port in itertools.product(addresses, (3128, 1080)):
            network.listen(address, port, server)
        async with ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            max_connections=1,
            timeouts=Timeouts(pool=30, connect=CONNECT_SECONDS, read=5),
            proxy=kind.proxy,
        ) as pool:
            outcome = await _ask_and_look(case, pool)
            server.quiet = True
            await trio.sleep(30)  # for what was called off
            nothing_held(pool, network)
            # What comes first after the end of a connection is still taken, and makes it a reset.
            assert server.accepted <= len(case.raw) + MOST_SAID + 2 * PIECE
            assert pool.statistics().retried == 0
            for number in range(2):
                await _ask(pool, f"next-{number}")
            assert pool.statistics().retried == 0
            nothing_held(pool, network)
        assert not network.open_sockets
    return outcome


async def _ask_and_look(case: ProxyCase, pool: ConnectionPool) -> str:
    outcome, started_at = "cancelled", trio.current_time()
    after = math.inf if case.cancel is None else case.cancel / 1000 + 0.00071
    with trio.move_on_after(after):
        try:
            if case.how == "warm up":
                await pool.warm_up(_ORIGIN)
            elif case.how == "lease":
                async with pool.lease(_ORIGIN) as lease:
                    await _ask(lease, "first")
            else:
                await _ask(pool, "first")
            outcome = "a tunnel"
        except (ProxyError, ConnectTimeout) as exc:
            outcome = f"{type(exc).__name__}: {exc}"
            _look_at(exc)
    took = trio.current_time() - started_at
    assert took <= CONNECT_SECONDS + GAPS[0]
    return outcome


async def _ask(asker: ConnectionPool | object, token: str) -> None:
    """See that the origin answers, and that it is this request that it answers."""
    response: Response = await asker.request(  # type: ignore[attr-defined]
        "GET", f"{_ORIGIN}/{token}", headers={"Token": token}
    )
    assert (response.status_code, response.content) == (200, token.encode())
    assert response.connection.proxy is not None


def _look_at(error: ProxyError | ConnectTimeout) -> None:
    """It says what there is to say, in a line, and nothing that is a secret."""
    assert error.phase == "connect"
    assert str(error.origin) == f"{_ORIGIN}:80"
    assert str(error).isprintable()
    assert len(str(error)) < 700
    shown = "".join(traceback.format_exception(error))
    assert not any(secret in shown or secret in repr(error) for secret in SECRETS)
    if isinstance(error, ProxyError):
        assert error.proxy
        assert error.status_code is None or 300 <= error.status_code <= 999
        assert len(error.headers) <= 256
        assert sum(len(name) + len(value) for name, value in error.headers) <= MOST_SAID
