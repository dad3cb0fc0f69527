"""A proxy, and a relay beside it, in a process of their own.

The proxy forwards plain requests and opens tunnels. The relay passes on to the server whatever
comes. A client that asks the relay asks directly, but its answers come from as far away as those of
the proxy: so the two differ only by what a proxy costs the client.

Both are as simple as it gets, and no example: a connection to us has one connection to the server,
and a client sends nothing before it has its answer. They listen on all addresses of this machine,
so that http://127.x.y.z is another proxy each time. So they lead nowhere but to the server of the
benchmarks, whatever host they are asked for.

    python -m benchmarks.detour PORT PORT           (the server's, without and with TLS)

tells its own ports: the proxy's, and those of the relay, without and with TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, cast

from . import descriptors

_BACKLOG = 4096


class Detour(NamedTuple):
    """The ports of a process.

    Attributes:
      proxy: of the proxy.
      plain: of the relay to the server.
      tls: of the relay to the server with TLS, which passes TLS on.
    """

    proxy: int
    plain: int
    tls: int


@contextlib.contextmanager
def run(plain: int, tls: int) -> Iterator[Detour]:
    """Run it until the block ends, in front of a server with these ports."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.detour", str(plain), str(tls)],
        cwd=Path(__file__).resolve().parent.parent,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the proxy did not start")
        yield Detour(*json.loads(line))
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


# ── In that process ────────────────────────────────────────────────────────────────────────────


class _Side(asyncio.Protocol):
    """One of two connections: what comes on it goes out on the other."""

    transport: asyncio.Transport

    def __init__(self, other: _Side | None = None) -> None:
        self.other = other

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are of no class that asyncio knows.
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()


class _Relay(_Side):
    """The client's side of a connection that is passed on as it is."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port
        self._early = b""  # What has come before we are connected.
        self._connecting: asyncio.Task[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.connect(self._port)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        else:
            super().data_received(data)

    def connect(self, port: int, to_client: bytes = b"") -> None:
        """Begin to connect to the server; once that is done the client is told something."""
        connecting = self._connect(port, to_client)
        self._connecting = asyncio.get_running_loop().create_task(connecting)

    async def _connect(self, port: int, to_client: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, side = await loop.create_connection(lambda: _Side(self), "127.0.0.1", port)
        if self.transport.is_closing():  # The client has not waited for us.
            side.transport.close()
            return
        self.other = side
        side.transport.write(self._early)
        self.transport.write(to_client)


class _Proxy(_Relay):
    """The client's side of the proxy."""

    def __init__(self, ports: tuple[int, int]) -> None:
        super().__init__(ports[0])
        self._ports = ports
        self._head = b""
        self._is_tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        _Side.connection_made(self, transport)  # Where to connect is in the request.

    def data_received(self, data: bytes) -> None:
        if self._is_tunnel:
            super().data_received(data)
            return
        self._head += data
        if self._head.endswith(b"\r\n\r\n"):
            head, self._head = self._head, b""
            self._asked(*head.split(b" ", 2))

    def _asked(self, method: bytes, target: bytes, rest: bytes) -> None:
        authority, _, path = target.removeprefix(b"http://").partition(b"/")
        port = int(authority.rpartition(b":")[2])
        if port not in self._ports:
            self.transport.write(b"HTTP/1.1 403 Not to there\r\nContent-Length: 0\r\n\r\n")
            self.transport.close()
        elif method == b"CONNECT":
            self._is_tunnel = True
            self.connect(port, to_client=b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            if self.other is None:
                self.connect(port)
            super().data_received(b"%b /%b %b" % (method, path, rest))


async def _serve(ports: tuple[int, int]) -> None:
    loop = asyncio.get_running_loop()
    plain, tls = ports
    kinds: list[Callable[[], _Relay]]
    kinds = [partial(_Proxy, ports), partial(_Relay, plain), partial(_Relay, tls)]
    ours = []
    for kind in kinds:
        server = await loop.create_server(kind, "0.0.0.0", 0, backlog=_BACKLOG)
        ours.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ours), flush=True)
    await loop.create_future()


def main() -> None:
    descriptors.raise_limit()
    plain, tls = map(int, sys.argv[1:])
    loop_factory = None
    with contextlib.suppress(ImportError):
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_serve((plain, tls)))


if __name__ == "__main__":
    main()
