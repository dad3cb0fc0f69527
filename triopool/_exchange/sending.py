"""A request under way: what changes while it is sent, beside the request itself, which doesn't."""

from __future__ import annotations

import trio

from .._body.pieces import close_body
from .._facts import RequestInfo
from .._request.listener import SILENT, Listener
from .._request.request import Request


class Sending:
    """One request on its way, however often it is sent again after a stale connection.

    A request that follows a redirect is another request, with a sending of its own.

    Attributes:
      request: what is sent. Checked, and never changed; but a body whose length only the disk knows
        is measured once the request has begun, and the request that knows the length takes the
        place of the one that doesn't.
      listener: is told how it goes.
      began_at: when it began, on Trio's clock.
      attempt: how often it has been sent, with this time.
      in_vain: how often some of it was sent, and the connection turned out to be stale.
      body_started: whether an iterator over the body has been asked for anything.
      followed: how many redirects led here.
      id: the number that instruments know it by; 0 where there are none.
      redirected_from: the same, of the request whose response redirected here; else None.
    """

    __slots__ = (
        "attempt",
        "began_at",
        "body_started",
        "followed",
        "id",
        "in_vain",
        "listener",
        "redirected_from",
        "request",
    )

    def __init__(
        self,
        request: Request,
        listener: Listener = SILENT,
        *,
        followed: int = 0,
        redirected_from: int | None = None,
    ) -> None:
        self.request: Request = request
        self.listener: Listener = listener
        self.began_at: float = trio.current_time()
        self.attempt: int = 1
        self.in_vain: int = 0
        self.body_started: bool = False
        self.followed: int = followed
        self.id: int = 0
        self.redirected_from: int | None = redirected_from

    async def give_up_body(self) -> None:
        """Close a body that will not be sent. One that was begun is closed by its upload."""
        if not (self.request.replayable or self.body_started):
            self.body_started = True
            await close_body(self.request.body)

    def info(self) -> RequestInfo:
        """The facts for instruments."""
        request = self.request
        return RequestInfo(
            request.method,
            request.url.origin,
            request.target or request.url.target,
            self.attempt,
            self.followed,
            self.id,
            self.redirected_from,
            None if request.proxy is None else request.proxy.url,
        )
