"""The requests of a pool that ask for nothing special: checked and written once, and kept.

To check a URL and to write a head takes longer than all that the pool does for a request, and most
programs ask for the same again. So a pool keeps the last few of them, for as long as it lives.

What is kept stays in memory, and some of it could be a secret. So we keep only what was asked with
a method and a URL alone, and only if the URL is short and has no credentials, query or fragment in
it. A URL that a server has sent (a redirect's) is never kept.
"""

from __future__ import annotations

import re
from typing import Unpack

from .._config import Timeouts
from .._proxy.chooser import Chooser
from .options import RequestOptions
from .places import Places
from .prepare import prepare
from .request import Request

MAX_KEPT = 512
"""How many; a thing of about 2 KB each."""

MAX_CHARACTERS = 250
"""How long a method and a URL may be. Longer ones are rarely asked for twice."""

_MAY_HOLD_SECRETS = re.compile(r"[@?#]")


class Preparations:
    """What a pool keeps of the requests that it has sent.

    Attributes:
      timeouts: the pool's own, which a request has unless the caller gives others.
      places: what it keeps of where they went, for those that are not quite alike.
      chooser: which proxy they go through; None if they go directly.
    """

    def __init__(self, timeouts: Timeouts, chooser: Chooser | None = None) -> None:
        self.timeouts = timeouts
        self.chooser = chooser
        self._kept: dict[tuple[str, str], Request] = {}
        self.places: Places = Places()

    def __len__(self) -> int:
        return len(self._kept)

    def plain(self, method: str, url: str) -> Request:
        """:func:`prepare`, for a request that asks for nothing special.

        Raises:
          InvalidURL, LocalProtocolError, TypeError: it can't be sent.
        """
        if type(method) is not str or type(url) is not str:
            return self.special(method, url)
        # The same object each time: a request never changes. What does stands in its Sending.
        return self._kept.get((method, url)) or self._first(method, url)

    def special(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Request:
        """:func:`prepare`, for any request."""
        return prepare(
            method,
            url,
            default_timeouts=self.timeouts,
            places=self.places,
            chooser=self.chooser,
            **options,
        )

    def _first(self, method: str, url: str) -> Request:
        request = self.special(method, url)
        if self.chooser is not None and not self.chooser.settled:
            return request  # The next one may have to go through another proxy.
        if len(method) + len(url) <= MAX_CHARACTERS and not _MAY_HOLD_SECRETS.search(url):
            if len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]  # The oldest.
            self._kept[method, url] = request
        return request
