"""The budget of retries: a backend that is down gets little more requests than one that is well.

Without it, three attempts each are three times the load, and just then when a backend comes back
and has the least to spare. So each retry takes a token. A token comes back with every few requests,
and slowly by itself, so that a program which asks once a minute is not without retries for ever.

There is one account for each origin, because one backend that is down is no reason to give up on
another, and it is the pool's: all sessions of a pool with equal budgets have it in common.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import trio

from .._config import check_at_least_zero, described
from .._origin import Origin

MAX_ACCOUNTS = 512
"""How many origins a pool remembers; the one that was not asked for longest is forgotten."""


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """How many retries there may be, over all requests of a pool to one origin.

    Sessions of one pool whose budgets are equal share it.

    Attributes:
      ratio: retries for each request, in the long run: 0.2 is one for five requests.
      burst: how many may come at once, after a quiet time; and how many there are to begin with.
      per_second: retries for each second, beside those for requests.

    Raises:
      TypeError, ValueError: one of them is no number, or negative; or *burst* is less than 1.
    """

    ratio: float = 0.2
    burst: float = 10.0
    per_second: float = 0.1

    def __post_init__(self) -> None:
        for name in ("ratio", "burst", "per_second"):
            check_at_least_zero(f"RetryBudget.{name}", getattr(self, name))
        if self.burst < 1:
            raise ValueError(
                f"RetryBudget.burst must be at least 1, not {described(self.burst)} "
                "(Retry(attempts=1) retries nothing)"
            )


class _Account:
    """The tokens for one origin."""

    __slots__ = ("_as_of", "_budget", "_tokens")

    def __init__(self, budget: RetryBudget) -> None:
        self._budget = budget
        self._tokens = budget.burst
        self._as_of = trio.current_time()

    def add(self, tokens: float) -> None:
        now = trio.current_time()
        tokens += (now - self._as_of) * self._budget.per_second
        self._as_of = now
        self._tokens = min(self._tokens + tokens, self._budget.burst)

    def take(self) -> bool:
        self.add(0.0)
        # Not "< 1": ten times 0.1 is a little less than that.
        if self._tokens < 1 - 1e-9:
            return False
        self._tokens -= 1
        return True


class Budgets:
    """The accounts of one pool."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[tuple[RetryBudget, Origin], _Account] = OrderedDict()

    def __len__(self) -> int:
        return len(self._accounts)

    def count_request(self, budget: RetryBudget, origin: Origin) -> None:
        """A request begins: it earns a part of a retry."""
        self._account(budget, origin).add(budget.ratio)

    def take(self, budget: RetryBudget, origin: Origin) -> bool:
        """Take what one retry costs; whether it was there."""
        return self._account(budget, origin).take()

    def _account(self, budget: RetryBudget, origin: Origin) -> _Account:
        key = budget, origin
        account = self._accounts.get(key)
        if account is None:
            if len(self._accounts) >= MAX_ACCOUNTS:
                self._accounts.popitem(last=False)
            account = self._accounts[key] = _Account(budget)
        self._accounts.move_to_end(key)
        return account
