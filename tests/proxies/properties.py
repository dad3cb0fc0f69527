"""How the properties of this folder are tried."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The first text of all takes Hypothesis seconds, in which it learns all characters that there are.
fast = settings(
    max_examples=400,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
