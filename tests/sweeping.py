"""The cancel sweep, with a tally that is printed at the end of the test run.

Each scenario is swept again with two events in one tick: the program is busy, so that deadlines
pass in the tick of the cancellation, or with nobody cancelled; and what the scenario has named with
``sweep.other()`` comes together with it. That is many runs, so that a sample of the points is tried
each time, the same one; ``pytest --sweep-all`` tries all of them.
"""

from __future__ import annotations

import inspect

from triopool.testing import Happening, Scenario, cancel_sweep

tally: dict[str, int] = {}

share = 0.05
"""Which share of the points is tried for each coincidence; set by ``--sweep-all``."""

BUSY_FOR = 0.08
"""How long the program is busy, in seconds: longer than most of what the scenarios wait for, and
shorter than what they call too long."""


def sweep(
    scenario: Scenario,
    *,
    with_signal: bool = False,
    with_other: bool = False,
    busy_for: float = BUSY_FOR,
    name: str | None = None,
) -> int:
    """Run :func:`cancel_sweep`, and remember how many points there were under the test's name.

    *with_other* says that the scenario has named another event.
    """
    points = cancel_sweep(scenario, with_signal=with_signal)
    assert points, "a scenario whose victim can't be cancelled shows nothing"
    coincidences: list[tuple[Happening, ...]]
    coincidences = [(busy_for, "cancel"), ("cancel", busy_for), (busy_for,)]
    if with_other:
        coincidences += [("other", "cancel"), ("cancel", "other"), (busy_for, "other")]
    for number, happens in enumerate(coincidences):
        points += cancel_sweep(
            scenario, with_signal=with_signal, happens=happens, share=share, seed=number
        )
    caller = inspect.stack()[1].function if name is None else name
    tally[caller] = tally.get(caller, 0) + points
    return points
