"""Compare what one request costs: triopool, other clients, and a bare h11 loop without a pool.

    pip install -e ".[benchmarks]" && python benchmarks/compare.py

A server of its own answers with 2,000 bytes, from a process of its own. The clients take turns,
each in a fresh process, round after round, so that whatever else the machine does meets them all.
What is told is the median of the rounds' *ratios* to the bare loop: absolute times on a shared
machine mean little. Every answer is checked. A client that is not installed is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import trio

BODY = b"x" * 2000
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2000\r\n\r\n"

Get = Callable[[], Awaitable[bytes]]


# ── The server ─────────────────────────────────────────────────────────────────────────────────


class _Answer(asyncio.Protocol):
    """Answers each head with the same bytes. Fast because it looks at nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(b"\r\n\r\n")
        self._transport.write((HEAD + BODY) * len(heads))


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# ── The clients ────────────────────────────────────────────────────────────────────────────────


async def _measure_trio(get_for_worker: Callable[[], Awaitable[Get]], n: int, at_once: int) -> None:
    async def worker(times: int) -> None:
        get = await get_for_worker()
        for _ in range(times):
            assert await get() == BODY

    async def batch(total: int) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(worker, total // at_once)

    await batch(at_once * 10)
    started = time.process_time()
    await batch(n)
    print((time.process_time() - started) / n)


async def _triopool(url: str, n: int, at_once: int) -> None:
    import triopool

    async with triopool.ConnectionPool(max_connections=at_once) as pool:

        async def get() -> bytes:
            return (await pool.request("GET", url)).content

        async def same() -> Get:
            return get

        await _measure_trio(same, n, at_once)


async def _httpx(url: str, n: int, at_once: int, module: str) -> None:
    httpx = importlib.import_module(module)
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(limits=limits, trust_env=False) as client:

        async def get() -> bytes:
            return bytes((await client.get(url)).content)

        async def same() -> Get:
            return get

        await _measure_trio(same, n, at_once)


async def _bare(url: str, n: int, at_once: int) -> None:
    """The parsing, and the bytes; no pool, no timeouts, no response object."""
    import h11

    host, port = url.split("/")[2].split(":")
    fields = [("Host", f"{host}:{port}"), ("Accept", "*/*"), ("User-Agent", "bare/1")]

    async def connect() -> Get:
        stream = await trio.open_tcp_stream(host, int(port))
        protocol = h11.Connection(h11.CLIENT)

        async def get() -> bytes:
            request = protocol.send(h11.Request(method="GET", target="/", headers=fields))
            await stream.send_all((request or b"") + (protocol.send(h11.EndOfMessage()) or b""))
            pieces = []
            while True:
                event = protocol.next_event()
                if event is h11.NEED_DATA:
                    protocol.receive_data(bytes(await stream.receive_some(65536)))
                elif isinstance(event, h11.Data):
                    pieces.append(event.data)
                elif isinstance(event, h11.EndOfMessage):
                    protocol.start_next_cycle()
                    return b"".join(pieces)

        return get

    await _measure_trio(connect, n, at_once)


async def _aiohttp(url: str, n: int, at_once: int) -> None:
    import aiohttp

    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def worker(times: int) -> None:
            for _ in range(times):
                async with session.get(url) as response:
                    assert await response.read() == BODY

        async def batch(total: int) -> None:
            await asyncio.gather(*(worker(total // at_once) for _ in range(at_once)))

        await batch(at_once * 10)
        started = time.process_time()
        await batch(n)
        print((time.process_time() - started) / n)


def _run_client(client: str, url: str, n: int, at_once: int) -> None:
    match client:
        case "bare h11":
            trio.run(_bare, url, n, at_once)
        case "triopool":
            trio.run(_triopool, url, n, at_once)
        case "aiohttp":
            asyncio.run(_aiohttp(url, n, at_once))
        case _:
            trio.run(_httpx, url, n, at_once, client)


# ── The comparison ─────────────────────────────────────────────────────────────────────────────


def _compare(clients: list[str], n: int, at_once: int, rounds: int) -> None:
    command = [sys.executable, __file__]
    server = subprocess.Popen([*command, "--serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    url = f"http://127.0.0.1:{server.stdout.readline().strip()}/"
    seconds: dict[str, list[float]] = {client: [] for client in clients}
    try:
        for _ in range(rounds):
            for client in clients:
                options = ["--client", client, "--url", url, "-n", str(n), "-c", str(at_once)]
                done = subprocess.run(command + options, capture_output=True, text=True, check=True)
                seconds[client].append(float(done.stdout))
    finally:
        server.terminate()
        server.wait()
    print(f"CPU time of one GET, {at_once} at a time, {rounds} rounds of {n}; bare h11 = 1.00")
    for client in clients:
        pairs = zip(seconds[client], seconds["bare h11"], strict=True)
        ratio = statistics.median(mine / bare for mine, bare in pairs)
        print(f"{client:10} {ratio:6.2f}   ({min(seconds[client]) * 1e6:.0f} µs at the best)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("-n", type=int, default=4000, help="requests in a round")
    parser.add_argument("-c", type=int, default=20, help="how many at a time")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve())
    elif options.client:
        _run_client(options.client, options.url, options.n, options.c)
    else:
        others = [m for m in ("aiohttp", "httpx2", "httpx") if importlib.util.find_spec(m)]
        _compare(["bare h11", "triopool", *others], options.n, options.c, options.rounds)


if __name__ == "__main__":
    main()
