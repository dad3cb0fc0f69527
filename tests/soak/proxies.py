"""Proxies of a cycle: they check every byte of a handshake, and answer it as their plan says.

Whom they lead to is on the same connection: once a tunnel is open, one of the cycle's servers goes
on with it. So a proxy costs no connection of its own, and a server knows its client as without one.
A request that is to be forwarded goes to the servers at once; they see that it is in absolute form,
and has the proxy's credentials, and that no other one has.

After a refusal, an answer that was cut, or bytes behind one, nothing may come on that connection.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import trio

from triopool.testing import NetworkSocket

from .servers import Servers
from .world import MOMENTS, World

ADDRESS = "192.0.2.9"
HTTP_PORT, SOCKS_PORT = 3128, 1080
NAME, PASSWORD = "ada", "s3:cret"
CREDENTIALS = f"Basic {base64.b64encode(f'{NAME}:{PASSWORD}'.encode()).decode()}"
URLS = (
    f"http://{NAME}:s3%3Acret@{ADDRESS}:{HTTP_PORT}",
    f"socks5h://{NAME}:s3%3Acret@{ADDRESS}:{SOCKS_PORT}",
)
"""For a client; with the first one it may ask for tunnels only, too."""

FAULTS = ("refuse", "cut", "reset", "silent", "garbage", "early", "deaf")
HOSTS = (b"192.0.2.1", b"192.0.2.2", b"both.test")

_CONNECT = re.compile(
    rb"CONNECT (?P<host>[a-z0-9.]+):80 HTTP/1\.1\r\n"
    rb"Host: (?P=host):80\r\n"
    rb"User-Agent: triopool/[0-9.a-z+]+\r\n"
    rb"Proxy-Authorization: (?P<credentials>[^\r\n]+)\r\n\r\n",
    re.IGNORECASE,
)
_GREETING = b"\x05\x02\x00\x02"
_WHO = bytes([1, len(NAME)]) + NAME.encode() + bytes([len(PASSWORD)]) + PASSWORD.encode()


class _NotAllowed(Exception):
    """A client sent what it should not."""


@dataclass(frozen=True)
class Plan:
    """What is done to one handshake.

    Attributes:
      delay: how long each answer takes.
      gap: how much later each piece of one comes.
      pieces: how many there are.
      informational: how many 1xx go before the answer to CONNECT.
      status: what opens the tunnel, for CONNECT.
      length: a Content-Length that it has, and that means nothing.
      fault: what is wrong, or None.
      at: where in the answer that is, as a fraction.
    """

    delay: float = 0.0
    gap: float = 0.0
    pieces: int = 1
    informational: int = 0
    status: int = 200
    length: int | None = None
    fault: str | None = None
    at: float = 0.0


def plan_for(world: World, number: int) -> Plan:
    """The plan for the cycle's handshake of this *number*."""
    if world.honest:
        return Plan()
    choose = random.Random(f"{world.seed}/proxy/{number}")
    return Plan(
        delay=choose.choice(MOMENTS),
        gap=choose.choice(MOMENTS[:4]),
        pieces=choose.choice((1, 1, 1, 2, 7)),
        informational=choose.choice((0, 0, 0, 1, 2)),
        status=choose.choice((200, 200, 200, 201, 299)),
        length=choose.choice((None, None, 0, 5)),
        fault=choose.choice(FAULTS) if choose.random() < 0.25 else None,
        at=choose.random(),
    )


class Proxies:
    """All proxies of a cycle: an HTTP one, and a SOCKS5 one.

    Attributes:
      tunnels: how many were opened.
    """

    def __init__(self, world: World, servers: Servers) -> None:
        self.tunnels = 0
        self._world = world
        self._servers = servers
        self._handshakes = 0

    def listen(self, connect_delay: float = 0.0) -> None:
        """Be there, at :data:`ADDRESS`."""
        for port, handler in ((HTTP_PORT, self.http), (SOCKS_PORT, self.socks)):
            self._world.network.listen(ADDRESS, port, handler, connect_delay=connect_delay)

    async def http(self, stream: trio.SocketStream) -> None:
        """Serve one connection to the HTTP proxy."""
        line = _Line(self._world, stream)
        head = await line.peek(lambda data: len(data) >= 8)
        if not head.startswith(b"CONNECT "):
            if head:
                await self._servers.serve(stream, line.rest(), forwards=CREDENTIALS)
            return
        await self._tunnel(line, self._connect)

    async def socks(self, stream: trio.SocketStream) -> None:
        """Serve one connection to the SOCKS proxy."""
        await self._tunnel(_Line(self._world, stream), self._socks)

    async def _tunnel(self, line: _Line, handshake: Callable[..., object]) -> None:
        self._handshakes += 1
        line.plan = plan_for(self._world, self._handshakes)
        self._world.tell(f"{line.name}: {handshake.__name__[1:]}: {line.plan}")
        self._world.counts["handshakes"] += 1
        try:
            if not await handshake(line):  # type: ignore[misc]
                return
            if line.plan.fault is not None:
                await line.nothing_may_come()
                return
        except _NotAllowed as exc:
            self._world.find("proxy", f"{line.name}: {exc}")
            return
        self.tunnels += 1
        self._world.counts["tunnels"] += 1
        await self._servers.serve(line.stream)

    async def _connect(self, line: _Line) -> bool:
        head = await line.peek(lambda data: b"\r\n\r\n" in data)
        if not head:
            return False
        match = _CONNECT.fullmatch(line.rest())
        if match is None or match["host"] not in HOSTS:
            raise _NotAllowed(f"no CONNECT as it should be: {head.partition(b'Proxy')[0]!r}")
        if match["credentials"].decode() != CREDENTIALS:
            raise _NotAllowed("a CONNECT with other credentials")
        plan = line.plan
        answer = b"HTTP/1.1 100 Continue\r\n\r\n" * plan.informational
        status = 502 if plan.fault == "refuse" else plan.status
        answer += f"HTTP/1.1 {status} Told\r\n".encode()
        if plan.length is not None:
            answer += f"Content-Length: {plan.length}\r\n".encode()
        await line.last_answer(answer + b"\r\n", b"HTTP/1.1 2x0 OK\r\n\r\n")
        return True

    async def _socks(self, line: _Line) -> bool:
        for expected, answer in ((_GREETING, b"\x05\x02"), (_WHO, b"\x01\x00")):
            if not await line.expect(expected):
                return False
            line.answer(answer)
        head = await line.peek(lambda data: len(data) > 4 and len(data) >= _length(data))
        if not head:
            return False
        data = line.rest()
        if not _is_request(data):
            raise _NotAllowed("no request of SOCKS as it should be")
        code = b"\x05" if line.plan.fault == "refuse" else b"\x00"
        await line.last_answer(b"\x05" + code + b"\x00\x01" + bytes(6), b"HTTP/1.1 400 No\r\n\r\n")
        return True


def _length(data: bytes) -> int:
    """How long a request of SOCKS is, by its beginning."""
    return {1: 10, 3: 7 + data[4], 4: 22}.get(data[3], 5)


def _is_request(data: bytes) -> bool:
    addresses = [b"\x01\xc0\x00\x02\x01", b"\x01\xc0\x00\x02\x02", b"\x03\x09both.test"]
    return data in [b"\x05\x01\x00" + address + b"\x00\x50" for address in addresses]


class _Line:
    """One connection of a proxy, until its handshake is through.

    Attributes:
      plan: what is done to it.
    """

    def __init__(self, world: World, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.plan = Plan()
        sock = stream.socket
        assert isinstance(sock, NetworkSocket)
        self.name = f"p{sock.getpeername()[1]}"
        self._socket = sock
        self._world = world
        self._watch = world.watches[sock.getpeername()[1]]
        self._unread = b""
        self._due = 0.0

    async def peek(self, enough: Callable[[bytes], bool]) -> bytes:
        """Read until there is *enough*, and leave it; ``b""`` if the client goes before."""
        while not enough(self._unread):
            data = await self.stream.receive_some()
            if not data:
                return b""
            self._unread += data
        return self._unread

    def rest(self) -> bytes:
        """All that has been read."""
        rest, self._unread = self._unread, b""
        return rest

    async def expect(self, message: bytes) -> bool:
        """Read *message*; False if the client goes before."""
        found = await self.peek(lambda data: len(data) >= len(message))
        if found and self.rest() != message:
            raise _NotAllowed(f"{len(found)} bytes that are not the {len(message)} that were due")
        return bool(found)

    def answer(self, data: bytes) -> None:
        """Let *data* be under way, in pieces."""
        self._due = max(self._due, trio.current_time()) + self.plan.delay
        size = max(1, -(-len(data) // self.plan.pieces))
        for at in range(0, len(data), size):
            self._post(data[at : at + size])
            self._due += self.plan.gap

    def _post(self, data: bytes) -> None:
        def deliver() -> None:
            if not self._socket.closed:
                try:
                    self._socket.send_nowait(data)
                except OSError:
                    self._socket.close()
                else:
                    self._watch.delivered()

        self._world.post(self._due, deliver)

    async def last_answer(self, data: bytes, garbage: bytes) -> None:
        """The answer that opens the tunnel, if nothing is wrong; and what is wrong with it."""
        fault = self.plan.fault
        if fault in ("silent", "deaf"):
            return
        if fault == "garbage":
            data = garbage
        elif fault == "early":
            data += b"HTTP/1.1 200 OK\r\nToken: nobody\r\nContent-Length: 0\r\n\r\n"
        elif fault in ("cut", "reset"):
            data = data[: int(self.plan.at * len(data))]
        self.answer(data)
        if fault in ("cut", "reset"):
            end = self._socket.reset if fault == "reset" else self._socket.close
            self._world.post(self._due, end)

    async def nothing_may_come(self) -> None:
        """Read on, and see that nothing comes but the end."""
        if self.plan.fault == "deaf":
            await trio.sleep(30.0)
            return
        try:
            if data := await self.stream.receive_some():
                raise _NotAllowed(f"{len(data)} bytes after a handshake that went wrong")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
