"""A short soak, of the same cycles each time. For a longer one: ``python tests/soak/run.py``."""

from __future__ import annotations

import pytest

from . import cycle

SEEDS = range(8)
CYCLES = 15


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_found_that_must_not_happen(seed: int) -> None:
    answers = tunnels = 0
    for number in range(CYCLES):
        report = cycle.run(f"{seed}/{number}")
        again = f"python tests/soak/run.py --cycle {report.seed}"
        assert not report.findings, f"{report.findings}\nTo repeat, and to be told all: {again}"
        answers += report.counts["answers"]
        tunnels += report.counts["tunnels"]
    assert answers > 2 * CYCLES, "a soak in which hardly anything works shows nothing"
    assert tunnels > CYCLES, "as does one in which hardly anything goes through a proxy"


def test_a_seed_reproduces_its_cycle() -> None:
    first, second = cycle.run("reproduced"), cycle.run("reproduced")
    assert first.told == second.told
    assert first.fingerprint == second.fingerprint != cycle.run("another").fingerprint
