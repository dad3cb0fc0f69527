"""The attempts of one request: how many there were, and whether there is to be another one.

Decided synchronously, while the response or the error is still in hand: if there is none, that is
what the caller gets. What costs the next attempt is taken in the same step.
"""

from __future__ import annotations

from dataclasses import replace

import trio

from .._client.delivery import Delivery
from .._errors import TriopoolError
from .._exchange.sending import Sending
from .._facts import RequestInfo
from .._request.request import Request
from .budget import Budgets
from .retry import NOTHING_SENT, Retry
from .retry_after import retry_after


class Counted(Sending):
    """A request on its way, by a session that has sent something again before.

    Attributes:
      retries: how often.
      retried_from: the number of the request in whose place it is sent, for instruments; else None.
    """

    __slots__ = ("retried_from", "retries")

    def __init__(self, request: Request, before: Sending, retries: int) -> None:
        """*before* has been led to by the same redirects."""
        super().__init__(
            request,
            followed=before.followed,
            redirected_from=before.redirected_from,
        )
        self.retries = retries
        self.retried_from: int | None = None

    def info(self) -> RequestInfo:
        return replace(super().info(), retries=self.retries, retried_from=self.retried_from)


class Resending(Counted):
    """One that was sent before, and did not get what it was sent for."""

    __slots__ = ()

    def __init__(self, request: Request, before: Sending, retries: int) -> None:
        super().__init__(request, before, retries)
        self.retried_from = before.id or None  # 0 is no number of a request.


class Attempts:
    """Counts the attempts of one request, over its redirects.

    Args:
      retry: when there is to be another one; None for never.
      budgets: those of the pool.
    """

    def __init__(self, retry: Retry | None, budgets: Budgets) -> None:
        self._retry = retry
        self._budgets = budgets
        self._made = 1
        self._why_not = ""

    def begin(self, request: Request) -> None:
        """The request begins, or one that a redirect has led to."""
        if self._retry is not None and self._retry.budget is not None:
            self._budgets.count_request(self._retry.budget, request.url.origin)

    def pause_after_response(self, delivery: Delivery) -> float | None:
        """How long to wait until the next attempt, in seconds; None if this is the last word."""
        retry, sending = self._retry, delivery.exchange.sending
        status_code = delivery.exchange.response.status_code
        if retry is None or not retry.is_for_status(status_code):
            return None
        if not (sending.request.may_be_repeated and _can_be_sent(sending)):
            return None
        return self._next_one(retry, sending, retry_after(delivery.raw_headers))

    def pause_after_error(self, sending: Sending, error: TriopoolError) -> float | None:
        """The same, for a request that failed. Where it is the last word, a note says why."""
        retry, request = self._retry, sending.request
        if retry is None or not retry.is_for_error(error):
            return None
        if not (request.may_be_repeated or isinstance(error, NOTHING_SENT)):
            return None
        if not _can_be_sent(sending):
            return None
        pause = self._next_one(retry, sending, None)
        if pause is None:
            times = "once" if self._made == 1 else f"{self._made} times"
            error.add_note(f"triopool has tried this {times}, and gave up: {self._why_not}")
        return pause

    def _next_one(self, retry: Retry, sending: Sending, asked_for: float | None) -> float | None:
        """The pause before the next attempt, in seconds; None if there is none."""
        if self._made >= retry.attempts:
            self._why_not = f"Retry.attempts={retry.attempts}"
            return None
        pause = retry.pause(self._made, asked_for)
        if pause is None:
            return None
        if trio.current_time() + pause >= trio.current_effective_deadline():
            self._why_not = f"the deadline would pass in the {pause:.3g} s until the next attempt"
            return None
        budget, origin = retry.budget, sending.request.url.origin
        if budget is not None and not self._budgets.take(budget, origin):
            self._why_not = "the budget for retries is used up"
            return None
        self._made += 1
        return pause

    def again(self, request: Request, before: Sending) -> Resending:
        """The next attempt: *request*, which was sent as *before*."""
        return Resending(request, before, self._made - 1)

    def behind_redirect(self, following: Sending) -> Sending:
        """What a redirect has led to, with the attempts before it counted."""
        if self._made == 1:
            return following
        return Counted(following.request, following, self._made - 1)


def _can_be_sent(sending: Sending) -> bool:
    """Whether the body can be sent again, or for the first time."""
    return sending.request.replayable or not sending.body_started
