"""What one GET of 2,000 bytes costs, and how many are answered in a second, by concurrency."""

from __future__ import annotations

from .experiment import Bench, Experiment, Point, Values
from .loads import callers, repeat


async def _measure(bench: Bench, point: Point) -> Values:
    at_once = int(point["at_once"])
    over_tls = point.get("over") == "TLS"
    origin = bench.server.https if over_tls else bench.server.http
    url = f"{origin}/2000"
    async with bench.open(at_once) as client:
        them = await callers(client, origin, at_once)
        # A pool with late binding answers the first requests over fewer connections than it dials.
        # The handshakes that go on meanwhile are as dear as twenty requests each.
        return await repeat(bench, [(caller, url) for caller in them], warm_up=5 if over_tls else 1)


COST = Experiment(
    name="cost",
    title="Cost of a GET of 2,000 bytes, by the number of requests under way",
    measure=_measure,
    grows="at_once",
    points=[{"at_once": n} for n in (1, 3, 10, 20, 50, 100, 300, 1000)],
    quick=[{"at_once": n} for n in (1, 20, 100)],
)

SECURE = Experiment(
    name="secure",
    title="The same over TLS",
    measure=_measure,
    grows="at_once",
    points=[{"over": "TLS", "at_once": n} for n in (1, 20, 100)],
    quick=[{"over": "TLS", "at_once": n} for n in (1, 20)],
)
