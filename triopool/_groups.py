"""Exception groups, where one exception is to go on: no group leaves a request."""

from __future__ import annotations

import trio


def most_urgent(group: BaseException) -> BaseException:
    """The one exception out of a nursery's group that is to be raised; any other is itself.

    What our nurseries can have in a group are Cancelled, control-C, and what the caller's own code
    raised, perhaps mixed with a Cancelled of its own. Anything goes before Cancelled: that ends a
    scope and is forgotten, and what happened beside it would be forgotten with it.
    """
    error = group
    if isinstance(group, BaseExceptionGroup):
        error = group.split(trio.Cancelled)[1] or group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
