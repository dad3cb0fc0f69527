"""The command line."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from . import clients, report, rounds
from .clients import CLIENTS, UNIT
from .experiments import EXPERIMENTS
from .insights import INSIGHTS
from .results import Results
from .rounds import Plan
from .server import serve

ROUNDS = 3
QUICK_ROUNDS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parse(arguments)
    # Below what needs nothing that is not installed: the options, and what is wrong with them.
    from . import plots

    started = time.monotonic()

    def tell(line: str) -> None:
        minutes, seconds = divmod(round(time.monotonic() - started), 60)
        print(f"[{minutes:2}:{seconds:02}] {line}", file=sys.stderr, flush=True)

    directory: Path = options.output
    skipped = {name for name, it in INSIGHTS.items() if options.quick and it.takes_long}
    wanted = set(options.only or {*EXPERIMENTS, *INSIGHTS} - skipped)
    chosen = [EXPERIMENTS[name] for name in EXPERIMENTS if name in wanted]
    plan = Plan(
        rounds.stages(chosen, options.clients, quick=options.quick, all_clients=options.named),
        rounds=options.rounds,
        seconds=0.2 if options.quick else 0.3,
        limit=20.0,
    )
    with ExitStack() as stack:
        try:
            server = stack.enter_context(serve())
        except RuntimeError as error:
            sys.exit(str(error))
        tell(f"{server.name} serves; clients: {', '.join(options.clients)}")
        results = Results(rounds.run(plan, server, tell) if plan.stages else [])
        insights = {}
        for name in [name for name in INSIGHTS if name in wanted]:
            tell(name)
            insights[name] = INSIGHTS[name].measure(server, options.quick)
    settings = {"quick": options.quick, "rounds": options.rounds, "seconds": plan.seconds}
    about = report.circumstances(server.name, options.clients, settings)
    report.write(results, about, directory, insights)
    files = [directory / "results.md", directory / "results.json", *plots.draw(results, directory)]
    tell("wrote " + ", ".join(str(file) for file in files))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    known = {**EXPERIMENTS, **INSIGHTS}
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure triopool beside other clients; write a report and plots.",
        epilog=f"Experiments: {', '.join(known)}. Clients: {', '.join(CLIENTS)}.",
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer of everything: two or three minutes"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="EXPERIMENT",
        type=_one_of("experiment", known),
        help="these experiments only",
    )
    parser.add_argument(
        "--clients",
        nargs="+",
        metavar="CLIENT",
        type=_one_of("client", CLIENTS),
        help=f"these clients only; {UNIT}, which is the unit, is always among them",
    )
    parser.add_argument(
        "--rounds", type=_count, help=f"default: {ROUNDS}, or {QUICK_ROUNDS} with --quick"
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    if importlib.util.find_spec("matplotlib") is None:
        parser.error('the plots need matplotlib: pip install -e ".[benchmarks]"')
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"argument --output: {error}")
    there = clients.installed()
    options.named = options.clients is not None
    if missing := [name for name in options.clients or () if name not in there]:
        parser.error(f'not installed: {", ".join(missing)}; pip install -e ".[benchmarks]"')
    wanted = {UNIT, *(options.clients or there)}
    options.clients = [name for name in CLIENTS if name in wanted]
    return options


def _one_of(what: str, known: Mapping[str, object]) -> Callable[[str], str]:
    def check(name: str) -> str:
        if name not in known:
            raise argparse.ArgumentTypeError(
                f"there is no {what} {name!r}: known are {', '.join(known)}"
            )
        return name

    return check


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    return int(text)


if __name__ == "__main__":
    main()
