"""Turns: round after round, point after point, every client measures the same, one after the other.

Each client has a process of its own, a fresh one in each round, which sleeps while others have
their turn. In each round another client begins.

A client may need minutes for what another one does in a second: some grow with the square of the
number of requests. After so many seconds its process is ended, which is told as "more than N s",
and from then on it is not asked for anything larger of the same kind. One that fails is told as
failed, and nobody else notices.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

from .clients import CLIENTS
from .experiment import Experiment, Point
from .results import MORE, Record
from .server import Server


class Plan(NamedTuple):
    """What to measure.

    Attributes:
      stages: each experiment, with its points and its clients.
      seconds: about how long each measurement takes, where the number of requests is not given.
      limit: seconds after which a measurement is given up.
    """

    stages: Sequence[Stage]
    rounds: int
    seconds: float
    limit: float


class Stage(NamedTuple):
    experiment: Experiment
    points: Sequence[Point]
    clients: Sequence[str]


def run(plan: Plan, server: Server, tell: Callable[[str], object]) -> list[Record]:
    """Measure everything; *tell* hears how far we are."""
    records: list[Record] = []
    too_slow: list[Record] = []
    for round_ in range(plan.rounds):
        with ExitStack() as stack:
            workers = {
                client: stack.enter_context(Worker(client, server))
                for client in dict.fromkeys(c for stage in plan.stages for c in stage.clients)
            }
            for stage in plan.stages:
                tell(f"round {round_ + 1} of {plan.rounds}: {stage.experiment.name}")
                for point in stage.points:
                    for client in _turned(stage.clients, round_):
                        if not _is_hopeless(stage.experiment, client, point, too_slow):
                            record = _measure(plan, stage, workers[client], round_, point)
                            records.append(record)
                            if record.error is not None:
                                tell(f"  {client} {_words(point)}: {record.error}")
                                too_slow += [record] if record.took_too_long else []
    return records


def _measure(plan: Plan, stage: Stage, worker: Worker, round_: int, point: Point) -> Record:
    name = stage.experiment.name
    task = {"experiment": name, "point": point, "seconds": plan.seconds}
    answer = worker.ask(task, plan.limit)
    return Record(round_, name, worker.client, point, answer.get("values"), answer.get("error"))


def _turned(clients: Sequence[str], by: int) -> list[str]:
    by %= len(clients)
    return [*clients[by:], *clients[:by]]


def _is_hopeless(
    experiment: Experiment, client: str, point: Point, too_slow: Sequence[Record]
) -> bool:
    """Whether the client has already taken too long here, or at a smaller point of this kind."""

    def kind(of: Point) -> Point:
        return {word: value for word, value in of.items() if word != experiment.grows}

    return any(
        (record.experiment, record.client) == (experiment.name, client)
        and kind(record.point) == kind(point)
        and int(record.point[experiment.grows]) <= int(point[experiment.grows])
        for record in too_slow
    )


def _words(point: Point) -> str:
    return ", ".join(f"{word} {value}" for word, value in point.items())


# ── The process of a client ────────────────────────────────────────────────────────────────────


class Worker:
    """Starts ``benchmarks.worker`` when it is first asked something, and again if it has died."""

    def __init__(self, client: str, server: Server) -> None:
        self.client = client
        self._command = [sys.executable, "-m", f"{__package__}.worker", client, json.dumps(server)]
        self._process: subprocess.Popen[str] | None = None
        self._complaints: IO[str]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def ask(self, task: dict[str, Any], limit: float) -> dict[str, Any]:
        """Have it make one measurement; at the limit its process is killed."""
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(limit, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            was_in_time = timer.is_alive()
            timer.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        said = self._end()
        return {"error": f"its process died: {said}" if was_in_time else f"{MORE} {limit:g} s"}

    def _start(self) -> None:
        # Not a pipe: nobody reads it before the process has ended.
        self._complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by _end
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
            # Where it finds this package, whatever directory we were started in.
            cwd=Path(__file__).parent.parent,
        )

    def _end(self) -> str:
        """End the process, if there is one; give the last line that it said of trouble."""
        if self._process is None:
            return ""
        self._process.kill()
        # Waits, and closes the pipes.
        self._process.communicate()
        self._process = None
        with self._complaints:
            self._complaints.seek(0)
            return (self._complaints.read().splitlines() or ["no word"])[-1]


def stages(
    experiments: Sequence[Experiment],
    clients: Sequence[str],
    *,
    quick: bool = False,
    all_clients: bool = False,
) -> list[Stage]:
    """The experiments with their points, and with those of the clients that they are about.

    Args:
      quick: leave out points, and clients unless *all_clients* are wanted.
    """
    found = []
    for experiment in experiments:
        chosen = [c for c in clients if CLIENTS[c].has_pool or not experiment.pools_only]
        if quick and not all_clients and experiment.quick_clients is not None:
            chosen = [client for client in chosen if client in experiment.quick_clients]
        points = experiment.quick if quick else experiment.points
        found.append(Stage(experiment, points, chosen))
    return [stage for stage in found if stage.clients]
