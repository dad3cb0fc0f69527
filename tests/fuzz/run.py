"""Look for longer, with Hypothesis and other cases each time: ``python tests/fuzz/run.py``.

``python tests/fuzz/run.py --proxies`` has a proxy say what it likes, and not a server.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent))

from fuzz import proxies, target
from fuzz.proxy_answers import proxy_cases
from fuzz.responses import cases

C = TypeVar("C")

STUCK_SECONDS = 120
"""Real ones: a case takes a few milliseconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--proxies", action="store_true")
    arguments = parser.parse_args()
    ends_at = time.monotonic() + 60 * arguments.minutes
    outcomes: Counter[str] = Counter()
    seed = arguments.seed
    while time.monotonic() < ends_at:
        if arguments.proxies:
            search(seed, proxy_cases(), lambda case: _kind(proxies.play(case)), outcomes)
        else:
            search(seed, cases, target.play, outcomes)
        seed += 1
    print(f"{outcomes.total()} cases, seeds {arguments.seed} to {seed - 1}; how they ended:")
    for outcome, count in outcomes.most_common():
        print(f"{count:10}  {outcome}")


def _kind(outcome: str) -> str:
    """How a dial ended, without the text of its error."""
    return outcome.partition(":")[0]


def search(
    seed: int, cases: st.SearchStrategy[C], play: Callable[[C], str], outcomes: Counter[str]
) -> None:
    @seeded(seed)
    @settings(
        max_examples=500,
        database=None,
        deadline=None,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def one(case: C) -> None:
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        outcomes[play(case)] += 1

    try:
        one()
    finally:
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
