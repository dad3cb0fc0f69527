"""Control-C that falls into a task of the user's, inside a task of the pool.

The pool's tasks are protected, so Trio gives control-C to the program's main task. But a resolver,
or a socket factory, may start tasks of its own, and Trio does not protect what a nursery starts.
The ``KeyboardInterrupt`` would come out of that nursery, end the pool's, and with it every request
of the program.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def control_c_passed_on() -> Iterator[None]:
    """The block in which a protected task calls the user's code.

    Raises:
      InterruptedError: control-C came out of it. It has been pressed again, for the main task.
      BaseExceptionGroup: the same, if something else came out of it too: that without control-C.
    """
    try:
        yield
    except BaseException as exc:
        found, rest = _split(exc)
        if found is None:
            raise
        # We are protected here, so Trio remembers it, and raises it in the main task.
        signal.raise_signal(signal.SIGINT)
        raise rest or InterruptedError("interrupted by control-C") from None


def _split(exc: BaseException) -> tuple[BaseException | None, BaseException | None]:
    """What is control-C in an exception, and what is not."""
    if isinstance(exc, BaseExceptionGroup):
        return exc.split(KeyboardInterrupt)
    return (exc, None) if isinstance(exc, KeyboardInterrupt) else (None, exc)
