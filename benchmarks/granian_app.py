"""What granian asks Python for; in RSGI, its own interface."""

from __future__ import annotations

from typing import Any

_BODY = (b"0123456789abcde\n" * 125)[:2000]
_TYPE = [("content-type", "application/octet-stream")]


async def app(scope: Any, protocol: Any) -> None:
    if scope.path == "/2000":
        protocol.response_bytes(200, _TYPE, _BODY)
    elif scope.path == "/upload":
        read = 0
        async for piece in protocol:
            read += len(piece)
        announced = scope.headers.get("content-length")
        protocol.response_str(200, _TYPE, f"{announced} {read}")
    else:
        protocol.response_empty(404, [])
