"""Proxies of a cycle: they check every byte of a handshake, and answer it as their plan says.

Whom they lead to is on the same connection: once a tunnel is open, one of the cycle's servers goes
on with it. So a proxy costs no connection of its own, and a server knows its client as without one.
A request that is to be forwarded goes to the servers at once; they see that it is in absolute form,
and has the proxy's credentials, and that no other one has.

After a refusal, an answer that was cut, or bytes behind one, nothing may come on that connection.

Which way a request has to take is known to :class:`Ways`, and each server sees on which way it has
come: so nothing goes past a proxy, or through another one.
"""

from __future__ import annotations

import base64
import random
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import trio

from triopool import DIRECT, Origin, Proxy
from triopool.testing import NetworkSocket

from .servers import Servers
from .world import MOMENTS, Way, World

ADDRESS = "192.0.2.9"
HTTP_PORT, SOCKS_PORT = 3128, 1080
NAME, PASSWORD = "ada", "s3:cret"
CREDENTIALS = f"Basic {base64.b64encode(f'{NAME}:{PASSWORD}'.encode()).decode()}"
URLS = (
    f"http://{NAME}:s3%3Acret@{ADDRESS}:{HTTP_PORT}",
    f"socks5h://{NAME}:s3%3Acret@{ADDRESS}:{SOCKS_PORT}",
)
"""For a client; with the first one it may ask for tunnels only, too."""
HTTP, SOCKS = map(Proxy, URLS)
KINDS = (
    *(HTTP, HTTP, Proxy(URLS[0], tunnel=True), Proxy(URLS[0], share_connections=False)),
    *(SOCKS, Proxy(URLS[1].replace("socks5h", "socks5"))),
    *(Proxy(URLS[0], via=SOCKS), Proxy(URLS[0], via=HTTP, tunnel=True), Proxy(URLS[1], via=HTTP)),
)

Target: TypeAlias = tuple[bytes, int]
"""A name or an address, and a port."""
TARGETS: tuple[Target, ...] = (
    *((b"192.0.2.1", 80), (b"192.0.2.2", 80), (b"both.test", 80)),
    *((ADDRESS.encode(), HTTP_PORT), (ADDRESS.encode(), SOCKS_PORT)),
)

FAULTS = ("refuse", "cut", "reset", "silent", "garbage", "early", "deaf")

_CONNECT = re.compile(
    rb"CONNECT (?P<host>[a-z0-9.]+):(?P<port>[0-9]+) HTTP/1\.1\r\n"
    rb"Host: (?P=host):(?P=port)\r\n"
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


class Ways:
    """Which proxies the requests of a cycle go through. In half of the cycles there is none.

    Its chances are its own, so that a cycle without proxies is what it was before there were any.

    Attributes:
      of_pool: the pool's ``proxy=``.
      all_direct: whether there is none in this cycle.
    """

    def __init__(self, seed: str) -> None:
        self._random = random.Random(f"{seed}/ways")
        choose = self._random.choice
        how = choose(("none",) * 4 + ("pool", "pool", "chooser", "requests"))
        self._named = (*KINDS, DIRECT) if how == "requests" else ()
        self._of_hosts: dict[str, Proxy | None] = dict.fromkeys(HOSTS)
        if how == "pool":
            self._of_hosts = dict.fromkeys(HOSTS, choose(KINDS))
        elif how == "chooser":
            self._of_hosts = {host: choose((*KINDS, None)) for host in HOSTS}
        self.of_pool = None if how in ("none", "requests") else self._choose
        self.all_direct = how == "none"

    def _choose(self, origin: Origin) -> Any:
        return self._of_hosts[origin.host] or DIRECT

    def take(self, host: str) -> tuple[dict[str, Any], Way]:
        """What to give with a request to *host*; and how it has to come."""
        if self._named and self._random.random() < 0.7:
            proxy = self._random.choice(self._named)
            return {"proxy": proxy}, way_of(proxy)
        return {}, way_of(self._of_hosts[host] or DIRECT)


HOSTS = ("192.0.2.1", "192.0.2.2", "both.test")


def way_of(proxy: Any) -> Way:
    """The ports of the proxies that lead to the origin, the first one first."""
    if proxy is DIRECT:
        return ()
    before = () if proxy.via is None else way_of(proxy.via)
    return (*before, int(proxy.url.rpartition(":")[2]))


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

    async def http(self, stream: trio.SocketStream, way: Way = ()) -> None:
        """Serve one connection to the HTTP proxy, on which it has come on that *way*."""
        line = _Line(self._world, stream)
        way = (*way, HTTP_PORT)
        head = await line.peek(lambda data: len(data) >= 8)
        if head.startswith(b"CONNECT "):
            await self._tunnel(line, self._connect, way)
        elif head:
            await self._servers.serve(stream, line.rest(), forwards=CREDENTIALS, way=way)

    async def socks(self, stream: trio.SocketStream, way: Way = ()) -> None:
        """Serve one connection to the SOCKS proxy, on which it has come on that *way*."""
        await self._tunnel(_Line(self._world, stream), self._socks, (*way, SOCKS_PORT))

    async def _tunnel(
        self, line: _Line, handshake: Callable[[_Line], Awaitable[Target | None]], way: Way
    ) -> None:
        self._handshakes += 1
        line.plan = plan_for(self._world, self._handshakes)
        self._world.tell(f"{line.name}: handshake with {way[-1]}: {line.plan}")
        self._world.counts["handshakes"] += 1
        try:
            target = await handshake(line)
            if target is None:
                return
            if line.plan.fault is not None:
                await line.nothing_may_come()
                return
        except _NotAllowed as exc:
            self._world.find("proxy", f"{line.name}: {exc}")
            return
        self.tunnels += 1
        self._world.counts["tunnels"] += 1
        host, port = target
        if host == ADDRESS.encode():
            following = self.http if port == HTTP_PORT else self.socks
            await following(line.stream, way)
        else:
            await self._servers.serve(line.stream, way=way, leads_to=host.decode())

    async def _connect(self, line: _Line) -> Target | None:
        """Answer a CONNECT as planned; return where it leads, or None if the client has gone."""
        head = await line.peek(lambda data: b"\r\n\r\n" in data)
        if not head:
            return None
        match = _CONNECT.fullmatch(line.rest())
        target = match and (match["host"], int(match["port"]))
        if match is None or target not in TARGETS:
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
        return target

    async def _socks(self, line: _Line) -> Target | None:
        """The same for SOCKS 5."""
        for expected, answer in ((_GREETING, b"\x05\x02"), (_WHO, b"\x01\x00")):
            if not await line.expect(expected):
                return None
            line.answer(answer)
        head = await line.peek(lambda data: len(data) > 4 and len(data) >= _length(data))
        if not head:
            return None
        target = _target(line.rest())
        if target is None:
            raise _NotAllowed("no request of SOCKS as it should be")
        code = b"\x05" if line.plan.fault == "refuse" else b"\x00"
        await line.last_answer(b"\x05" + code + b"\x00\x01" + bytes(6), b"HTTP/1.1 400 No\r\n\r\n")
        return target


def _length(data: bytes) -> int:
    """How long a request of SOCKS is, by its beginning."""
    return {1: 10, 3: 7 + data[4], 4: 22}.get(data[3], 5)


def _target(data: bytes) -> Target | None:
    """Where a request of SOCKS wants to go; None if it is not as it should be."""
    for host, port in TARGETS:
        if host == b"both.test":
            address = b"\x03" + bytes([len(host)]) + host
        else:
            address = b"\x01" + socket.inet_aton(host.decode())
        if data == b"\x05\x01\x00" + address + port.to_bytes(2, "big"):
            return host, port
    return None


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

    def answer(self, data: bytes, behind: bytes = b"") -> None:
        """Let *data* be under way, in pieces; together with the last one what is *behind* it."""
        self._due = max(self._due, trio.current_time()) + self.plan.delay
        size = max(1, -(-len(data) // self.plan.pieces))
        for at in range(0, len(data), size):
            is_last = at + size >= len(data)
            self._post(data[at : at + size] + (behind if is_last else b""))
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
        behind = b""
        if fault == "garbage":
            data = garbage
        elif fault == "early":
            # Later it would be an answer to a request that may be here by then.
            behind = b"HTTP/1.1 200 OK\r\nToken: nobody\r\nContent-Length: 0\r\n\r\n"
        elif fault in ("cut", "reset"):
            data = data[: int(self.plan.at * len(data))]
        self.answer(data, behind)
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
