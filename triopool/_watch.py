"""Tells an instrument how a request goes, from its call to the head of its response."""

from __future__ import annotations

from collections.abc import Awaitable

import trio

from ._exchange import Exchange
from ._instruments import SILENT
from ._request import Request
from ._response import ResponseInfo
from .abc import Instrument


def watched(
    tell: Instrument, request: Request, sending: Awaitable[Exchange]
) -> Awaitable[Exchange]:
    """The same, to be awaited; then the instrument is told of the response or of the failure."""
    return sending if tell is SILENT else _watch(tell, request, sending)


async def _watch(tell: Instrument, request: Request, sending: Awaitable[Exchange]) -> Exchange:
    called_at = trio.current_time()
    try:
        exchange = await sending
    except BaseException as exc:
        tell.request_failed(request.info(), exc)
        raise
    info = ResponseInfo(exchange.response.status_code, trio.current_time() - called_at)
    tell.response_started(request.info(), info, exchange.connection.info)
    return exchange
