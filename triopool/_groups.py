"""Groups of exceptions, out of which one goes on: no group leaves a request."""

from __future__ import annotations

import trio


def most_urgent(group: BaseException) -> BaseException:
    """The one exception of a nursery's group that goes on.

    All that can be in there are Cancelled ones, control-C, and what the caller's own code mixed
    with a Cancelled of its own.
    """
    error = group
    if isinstance(group, BaseExceptionGroup):
        error = group.split(trio.Cancelled)[1] or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
