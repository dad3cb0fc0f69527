"""What a pool has as ``proxy=``: which proxy each of its requests goes through.

It is asked while a request is prepared, before anything is taken, and again for each redirect.
"""

from __future__ import annotations

import inspect

from .._config import described
from .._origin import Origin
from ..abc import ProxyChooser
from .choice import WHAT_IT_IS, ProxyOption, check_proxy, for_each, proxy_or_none
from .proxy import DIRECT, Proxy
from .rules import ProxyRules


class Chooser:
    """Says which proxy a request goes through, after checking what the user's own says.

    Attributes:
      settled: whether the same origin always gets the same answer, and all answers are of the few
        proxies that the pool has. Then what was prepared for one request may be kept for others.
        (A function of the user's may take a thousand proxies in turn.)
    """

    def __init__(self, ask: ProxyChooser, *, settled: bool) -> None:
        self._ask = ask
        self.settled = settled

    def __call__(self, origin: Origin) -> Proxy | None:
        """The proxy for *origin*; None for the direct way.

        Raises:
          TypeError, InvalidURL: the answer is no proxy.
          Exception: what the user's function raises, as itself.
        """
        answer: object = self._ask(origin)
        if isinstance(answer, Proxy):
            return answer
        if inspect.iscoroutine(answer):
            answer.close()  # So that nobody is told that it was never awaited.
        return proxy_or_none(f"what the proxy chooser returns for {origin}", answer)


def chooser_of_pool(value: ProxyOption | ProxyChooser | None) -> Chooser | None:
    """What was given as ``proxy=`` for a pool; None if its requests go directly.

    Raises:
      InvalidURL: it is a URL that can't be used.
      TypeError: it is no proxy, and can't be asked for one.
    """
    if value is None or value is DIRECT:
        return None
    # A class can be called, too, but it is not meant: ProxyRules instead of ProxyRules().
    if callable(value) and not isinstance(value, type):
        if inspect.iscoroutinefunction(value):
            raise TypeError(
                "proxy can't be an async function: ask first, and give each request its proxy="
            )
        return Chooser(value, settled=type(value) is ProxyRules)
    if not isinstance(value, Proxy | str):
        raise TypeError(
            f"proxy must be {WHAT_IT_IS}, or a function of the origin, such as "
            f"triopool.ProxyRules, not {described(value)}{for_each(value)}"
        )
    proxy = check_proxy("proxy", value)
    return Chooser(lambda origin: proxy, settled=True)
