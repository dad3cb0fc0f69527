"""What a proxy costs the client: the same GET through it, and directly.

Over TCP the proxy forwards the request. Over TLS it has opened a tunnel, in which client and server
speak with each other. All connections are open before anything is measured.

Directly means two things: *directly* is to the server itself, and *relayed* is to what passes every
byte on, in the process of the proxy (see :mod:`benchmarks.detour`). An answer from farther away
comes later and with fewer others, so a client has more steps to take for it; the relay has that,
too. All three are measured in one process, in turn, several times.
"""

from __future__ import annotations

from .experiment import Bench, Experiment, Point, Values
from .loads import repeat

GOES = 3
"""How often each way has its turn in one measurement."""


async def _measure(bench: Bench, point: Point) -> Values:
    at_once = int(point["at_once"])
    server = bench.server
    if point["over"] == "TLS":
        here, relay = server.https, server.relay_https
    else:
        here, relay = server.http, server.relay_http
    shorter = bench._replace(seconds=bench.seconds / GOES)
    found: dict[str, list[float]] = {}
    async with (
        bench.open(at_once, proxy=server.proxy) as through,
        bench.open(at_once) as relayed,
        bench.open(at_once) as direct,
    ):
        ways = {"": (through, here), "relayed_": (relayed, relay), "direct_": (direct, here)}
        callers = {way: await client.caller(origin) for way, (client, origin) in ways.items()}
        for _ in range(GOES):
            for way, (_, origin) in ways.items():
                load = [(callers[way], f"{origin}/2000")] * at_once
                for what, value in (await repeat(shorter, load)).items():
                    assert isinstance(value, float | int)
                    found.setdefault(way + what, []).append(value)
    return {**found}


def _points(*at_once: int) -> list[Point]:
    return [{"over": over, "at_once": n} for over in ("TCP", "TLS") for n in at_once]


PROXIES = Experiment(
    name="proxies",
    title="Cost of a GET of 2,000 bytes through a proxy",
    measure=_measure,
    grows="at_once",
    points=_points(1, 20),
    quick=_points(1, 20),
    pools_only=True,
    quick_clients=("triopool", "httpx2", "aiohttp"),
)
