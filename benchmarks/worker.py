"""The process of one client: reads tasks, one JSON object a line, and answers each with another.

    {"experiment": "cost", "point": {"at_once": 20}, "seconds": 0.5}
    {"values": {"n": 2000, "cpu": 0.000123, "wall": 0.000145}}

Each task has an event loop of its own, and a client that it opens. Between two of them the process
sleeps, while others have their turn. An experiment that fails says so, {"error": "..."}, and the
next one may do better.

    python -m benchmarks.worker CLIENT SERVER       (the latter as JSON: its strings)
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

from . import descriptors
from .clients import CLIENTS
from .experiment import Bench
from .experiments import EXPERIMENTS
from .runtimes import RUNTIMES
from .server import Server


def perform(client: str, server: Server, task: dict[str, Any]) -> dict[str, Any]:
    """Make one experiment at one point; give what was measured, or what went wrong."""
    kind = CLIENTS[client]
    bench = Bench(kind, RUNTIMES[kind.runtime](), server, task["seconds"])
    experiment = EXPERIMENTS[task["experiment"]]
    try:
        measure: Any = partial(experiment.measure, bench, task["point"])
        return {"values": bench.runtime.run(measure)}
    except Exception as error:
        return {"error": _first(error)}


def _first(error: BaseException) -> str:
    """The error itself, or the first one of a group: of a thousand workers all may have failed."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def main() -> None:
    client, server = sys.argv[1], Server(*json.loads(sys.argv[2]))
    descriptors.raise_limit()
    for line in sys.stdin:
        print(json.dumps(perform(client, server, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
