"""The cancel sweep, with a tally that is printed at the end of the test run."""

from __future__ import annotations

import inspect

from triopool.testing import Scenario, cancel_sweep

tally: dict[str, int] = {}


def sweep(scenario: Scenario, *, with_signal: bool = False, name: str | None = None) -> int:
    """Run :func:`cancel_sweep`, and remember how many points there were under the test's name."""
    points = cancel_sweep(scenario, with_signal=with_signal)
    assert points, "a scenario whose victim can't be cancelled shows nothing"
    caller = inspect.stack()[1].function if name is None else name
    tally[caller] = tally.get(caller, 0) + points
    return points
