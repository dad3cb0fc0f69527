"""What an experiment is, and what one is given to work with."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from .clients import Client, Kind, Options
from .runtimes import Runtime
from .server import Server

Point: TypeAlias = Mapping[str, str | int]
"""Where to measure: {"at_once": 20}, say."""

Values: TypeAlias = dict[str, float | list[float]]
"""What was measured there. A list has one number for each request, or for each of several goes."""


class Bench(NamedTuple):
    """What an experiment has, in the process of the client.

    Attributes:
      kind: the client.
      runtime: what runs it.
      server: the server to ask.
      seconds: about how long to measure, where the number of requests is not given.
    """

    kind: Kind
    runtime: Runtime
    server: Server
    seconds: float

    def open(self, connections: int, *, proxy: str | None = None) -> Client:
        return self.kind.open(Options(connections, self.server.certificate, proxy))


class Experiment(NamedTuple):
    """One question, put to each client.

    Attributes:
      name: for the command line and the files.
      title: for the report.
      measure: the answer for one client at one point.
      grows: the word of a point that makes it larger. A client for which one takes too long is not
        asked for larger ones.
      points: where to measure, smaller before larger.
      quick: the same for a quick run.
      pools_only: whether clients without a pool are left out.
      quick_clients: which clients a quick run has, of those that are not slow; None for all.
    """

    name: str
    title: str
    measure: Callable[[Bench, Point], Awaitable[Values]]
    grows: str
    points: Sequence[Point]
    quick: Sequence[Point]
    pools_only: bool = False
    quick_clients: Collection[str] | None = None


QUICK_CLIENTS = ("bare-h11", "triopool", "aiohttp")
"""Where all of them would take too long for a quick run."""


class Clock:
    """What has passed since it was made: time on the wall, and time of the CPU in this process."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def seconds(self) -> float:
        return time.perf_counter() - self._wall

    def each(self, n: int) -> Values:
        """For each of *n* requests, in seconds."""
        cpu = time.process_time() - self._cpu
        return {"n": n, "cpu": cpu / n, "wall": self.seconds() / n}
