"""Where the requests of a pool went before: what all requests to one place have in common.

Most of what it takes to prepare a request concerns the host: to find it in the URL, to check its
name, and to check the fields that every request has. That is remembered for as long as the pool
lives: scheme, host and port, and nothing of a path, of a query, or of the caller's fields; and no
place that only a server has named, by a redirect.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from .._body.form import Params
from .._origin import Origin
from .._protocol.request_head import RequestHead
from .url import URL, add_params, parse

MAX_PLACES = 512
"""How many are remembered."""

# A URL in which nothing has to be encoded, decoded or looked at twice; all others are parsed.
_LEGAL = r"A-Za-z0-9._~!$&'()*+,;=:@/%-"
_PLAIN = re.compile(
    r"(https?://[a-z0-9._-]{1,100}(?::[0-9]{1,5})?)"
    rf"(/[{_LEGAL}]*)?(\?[{_LEGAL}?]*)?(?:#[!-~]*)?"
)

Place: TypeAlias = tuple[str, bool]
"""A Host field, and whether the body may be encoded: what usual fields are made of."""


class Places:
    """What a pool remembers of the places that its requests went to."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Origin, str]] = {}
        self._heads: dict[Place, RequestHead] = {}

    def __len__(self) -> int:
        return len(self._places) + len(self._heads)

    def parse(self, url: str, params: Params | None = None) -> URL:
        """:func:`.url.parse`, quicker for a place that is known."""
        match = _PLAIN.fullmatch(url) if type(url) is str else None
        if match is None:
            return parse(url, params)
        where, path, query = match.groups(default="")
        place = self._places.get(where)
        if place is None:
            parsed = parse(url)
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            self._places[where] = parsed.origin, parsed.host_header
        else:
            origin, host_header = place
            parsed = URL(origin, f"{path or '/'}{query}", host_header)
        return parsed if params is None else add_params(parsed, params)

    def usual_head(self, place: Place) -> RequestHead | None:
        """A head with the fields of a request to a place that asks for nothing special."""
        return self._heads.get(place)

    def keep_usual_head(self, place: Place, head: RequestHead) -> None:
        """Keep such a head, which must not be that of a real request."""
        if len(self._heads) >= MAX_PLACES:
            self._heads.clear()
        self._heads[place] = head
