"""Soak the pool: ``python tests/soak/run.py --minutes 10``.

Prints what was found, and the seed of the cycle; ``--cycle SEED`` plays one cycle again, and tells
all that happens in it.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from soak import cycle

STUCK_SECONDS = 120
"""Real ones: a cycle takes some fifty milliseconds."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--cycles", type=int, help="how many; else as many as there is time for")
    parser.add_argument("--minutes", type=float, help="for how long; 1 without --cycles")
    parser.add_argument("--requests", type=int, help="until so many requests have been sent")
    parser.add_argument("--cycle", help="play this one only, and tell everything")
    parser.add_argument("--stop", action="store_true", help="at the first finding")
    arguments = parser.parse_args()
    if arguments.cycle is not None:
        return tell_all(arguments.cycle)
    if arguments.minutes is None and arguments.cycles is None and arguments.requests is None:
        arguments.minutes = 1.0
    return soak(arguments)


def tell_all(seed: str) -> int:
    report = cycle.run(seed)
    print("\n".join(report.told))
    for kind, what in report.findings:
        print(f"{kind}: {what}")
    print(f"fingerprint {report.fingerprint}")
    return 1 if report.findings else 0


def soak(arguments: argparse.Namespace) -> int:
    ends_at = time.monotonic() + 60 * (arguments.minutes or 1e9)
    counts: Counter[str] = Counter()
    found: Counter[str] = Counter()
    number = 0
    while time.monotonic() < ends_at and number != arguments.cycles:
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        report = cycle.run(f"{arguments.seed}/{number}")
        number += 1
        counts += report.counts
        found.update({kind for kind, _ in report.findings})
        for kind, what in report.findings[:3]:
            print(f"--cycle {report.seed}  {kind}: {what[:300]}", flush=True)
        if arguments.requests and counts["requests"] >= arguments.requests:
            break
        if report.findings and arguments.stop:
            break
    faulthandler.cancel_dump_traceback_later()
    print(f"seed {arguments.seed}: {number} cycles; what happened in them:")
    for what, count in counts.most_common():
        print(f"{count:10}  {what}")
    for kind, count in found.most_common():
        print(f"FOUND {kind}, in {count} cycles")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
