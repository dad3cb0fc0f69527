"""When a session sends a request again, and after how long: as the user says it."""

from __future__ import annotations

import math
import random
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from .._config import check_at_least_zero, check_whole_number, described
from .._errors import (
    ConnectError,
    InvalidURL,
    LocalProtocolError,
    PoolClosed,
    PoolFull,
    PoolTimeout,
    ProxyError,
    TLSError,
    TriopoolError,
)
from .budget import RetryBudget

Reason: TypeAlias = int | type[TriopoolError]

NOTHING_SENT: tuple[type[TriopoolError], ...] = (ConnectError, PoolTimeout, PoolFull)
"""Errors that say that the server has got nothing of the request."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Which requests of a session to send again: ``pool.session(retry=triopool.Retry())``.

    A request is sent again only if the server may get it twice: if its method is safe (GET, HEAD,
    OPTIONS, TRACE), if the caller says ``idempotent=True``, or if nothing of it was sent (a
    connection could not be opened). And only if its body can be produced again, as bytes, a path or
    a callable can; or was not asked for yet.

    It waits ``backoff`` seconds before the second attempt, twice as long before the third, and so
    on; or as long as the server says (``Retry-After``). No slot is held meanwhile: the response
    that is not wanted is given up first. It never waits past the caller's deadline (the cancel
    scopes around it): if there is no time for another attempt, the last response or error comes at
    once. So it does when all attempts are used up, the budget is, or the server asks for more
    patience than ``max_retry_after``: the last response is returned as any other is, whatever its
    status, and the last error is raised as itself, with a note that tells of the attempts.

    Redirects are part of a request: what is sent again is the request that failed, and not those
    whose redirects led to it; the attempts of all of them are counted together. The body of a
    response is read within an attempt by ``request()``, ``get()`` and so on; ``stream()`` gives the
    response when its head is here, so what breaks then is not sent again.

    This is not what happens by itself: a request that meets an idle connection which the server has
    just closed goes to another one, with any session or none.

    Attributes:
      attempts: how often to send a request at most, the first time counted.
      on: what to send it again for: status codes, and errors with those derived from them. A
        certificate that was refused is none of them, nor are credentials that a proxy has refused,
        and what can't change: ``PoolClosed``, ``LocalProtocolError``, ``InvalidURL``.
        ``RedirectError`` is not, either.
      backoff: seconds to wait before the second attempt. 0 for not at all.
      max_backoff: seconds that it does not grow beyond.
      jitter: which part of that is left to chance, from 0 to 1: 0.5 waits between half of it and
        all of it. So that clients that failed together don't come back together.
      max_retry_after: the longest wait that a server may ask for, in seconds. If it asks for more,
        the request is not sent again.
      budget: how many retries the pool allows for one origin over all requests; None for no bound.

    Raises:
      TypeError, ValueError: one of them is not what it says here.
    """

    attempts: int = 3
    on: tuple[Reason, ...] = (ConnectError, 429, 502, 503, 504)
    backoff: float = 0.5
    max_backoff: float = 10.0
    jitter: float = 0.5
    max_retry_after: float = 60.0
    budget: RetryBudget | None = RetryBudget()  # noqa: RUF009 - immutable

    def __post_init__(self) -> None:
        check_whole_number("Retry.attempts", self.attempts)
        object.__setattr__(self, "on", _check_reasons(self.on))  # It is frozen.
        for name in ("backoff", "max_backoff", "jitter", "max_retry_after"):
            check_at_least_zero(f"Retry.{name}", getattr(self, name))
        for name in ("backoff", "max_backoff"):
            if math.isinf(getattr(self, name)):
                raise ValueError(f"Retry.{name} must be finite")
        if self.jitter > 1:
            raise ValueError(f"Retry.jitter must be at most 1, not {described(self.jitter)}")
        if self.budget is not None and not isinstance(self.budget, RetryBudget):
            raise TypeError(
                f"Retry.budget must be a triopool.RetryBudget or None, not {described(self.budget)}"
            )

    def is_for_status(self, status_code: int) -> bool:
        """Whether a response with this status is not the last word."""
        return status_code in self.on

    def is_for_error(self, error: TriopoolError) -> bool:
        """Whether this error is not the last word."""
        kinds = tuple(reason for reason in self.on if not isinstance(reason, int))
        return isinstance(error, kinds) and not _is_in_vain(error)

    def pause(self, attempts: int, retry_after: float | None) -> float | None:
        """The seconds to wait after so many attempts; None if the server asks for too many.

        Args:
          retry_after: what the server asks for; None if it does not. What is left to chance comes
            on top of it.
        """
        usual = min(self.backoff * 2.0 ** min(attempts - 1, 60), self.max_backoff)
        by_chance = random.random() * self.jitter * usual
        if retry_after is None:
            return usual - by_chance
        return None if retry_after > self.max_retry_after else retry_after + by_chance


def _check_reasons(given: object) -> tuple[Reason, ...]:
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        one = f", as in on=({given.__name__},)" if isinstance(given, type) else ""
        raise TypeError(
            "Retry.on must have status codes and errors in it, such as (ConnectError, 503), "
            f"not {described(given)}{one}"
        )
    reasons = tuple(given)
    for reason in reasons:
        if isinstance(reason, int) and not isinstance(reason, bool):
            if not 200 <= reason <= 999:
                raise ValueError(f"Retry.on has {described(reason)}, which is no final status")
        elif not (isinstance(reason, type) and issubclass(reason, TriopoolError)):
            raise TypeError(
                "Retry.on may have status codes and classes of triopool's errors in it, "
                f"not {described(reason)}"
            )
    return reasons


def _is_in_vain(error: TriopoolError) -> bool:
    """Whether the next attempt would meet the same error."""
    match error:
        case PoolClosed() | LocalProtocolError() | InvalidURL():
            return True
        case ProxyError(status_code=407):
            return True
        case TLSError():
            return _is_distrust(error)
    return False


def _is_distrust(error: BaseException) -> bool:
    """Whether a certificate was refused; of several addresses that were tried, that of any."""
    return any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    if cause is None:
        return
    yield cause
    yield from _causes(cause)
    if isinstance(cause, BaseExceptionGroup):
        for one in cause.exceptions:
            yield one
            yield from _causes(one)
