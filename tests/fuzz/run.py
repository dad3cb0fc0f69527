"""Look for longer, with Hypothesis and other cases each time: ``python tests/fuzz/run.py``."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded

sys.path.insert(0, str(Path(__file__).parent.parent))

from fuzz.responses import cases
from fuzz.target import Case, play

STUCK_SECONDS = 120
"""Real ones: a case takes a few milliseconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments = parser.parse_args()
    ends_at = time.monotonic() + 60 * arguments.minutes
    outcomes: Counter[str] = Counter()
    seed = arguments.seed
    while time.monotonic() < ends_at:
        search(seed, outcomes)
        seed += 1
    print(f"{outcomes.total()} cases, seeds {arguments.seed} to {seed - 1}; how they ended:")
    for outcome, count in outcomes.most_common():
        print(f"{count:10}  {outcome}")


def search(seed: int, outcomes: Counter[str]) -> None:
    @seeded(seed)
    @settings(
        max_examples=2000,
        database=None,
        deadline=None,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def one(case: Case) -> None:
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        outcomes[play(case)] += 1

    try:
        one()
    finally:
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
