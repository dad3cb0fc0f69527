"""Tells an instrument how a request goes, from its call to the head of its response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from ._exchange import Exchange
from ._instruments import SILENT
from ._request import Request
from ._response import ResponseInfo
from .abc import Instrument


async def watched(
    tell: Instrument, request: Request, send: Callable[[], Awaitable[Exchange]]
) -> Exchange:
    """Await ``send()``, and tell of the response or of the failure."""
    if tell is SILENT:
        return await send()
    called_at = trio.current_time()
    try:
        exchange = await send()
    except BaseException as exc:
        tell.request_failed(request.info(), exc)
        raise
    info = ResponseInfo(exchange.response.status_code, trio.current_time() - called_at)
    tell.response_started(request.info(), info, exchange.connection.info)
    return exchange
