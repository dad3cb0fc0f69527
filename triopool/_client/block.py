"""``async with pool.stream(...) as response``: the block that gives the connection back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType

import trio
from trio.lowlevel import enable_ki_protection

from .response import Response


class StreamContext:
    """What ``pool.stream()`` returns. Nothing has been sent before it is entered."""

    def __init__(self, send: Callable[[], Awaitable[Response]]) -> None:
        self._send: Callable[[], Awaitable[Response]] | None = send
        self._response: Response | None = None

    @enable_ki_protection
    async def __aenter__(self) -> Response:
        send, self._send = self._send, None
        if send is None:
            raise RuntimeError("this block has been entered already: call stream() again")
        self._response = await send()
        return self._response

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # An exception, Cancelled or one of the caller's own, closes an unread connection: a
        # cancelled exchange is never drained.
        assert self._response is not None
        if exc is None:
            self._response.close()
        else:
            self._response._close_for(exc)
        await self._response._join()
        await trio.lowlevel.cancel_shielded_checkpoint()
        if exc is None and (untold := self._response._take_untold()) is not None:
            raise untold
