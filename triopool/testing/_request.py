"""A request as a server of a test sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import h11

# RFC 9112 section 3: a method, which is a token, and a space; or as much of it as has come. No
# method is longer than 24 characters; with no bound, the rest of a body could be one for ever.
_BEGINNING = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,24}( |\Z)")
_SHOWN_BYTES = 40


@dataclass(frozen=True, slots=True)
class Request:
    """A request that was received in full.

    Attributes:
      method: such as ``"GET"``.
      target: as in the request line: a path with its query, a URL, an authority, or ``"*"``.
      headers: name and value of each field, in order; names in lower case.
      body: the body, with any chunked coding undone.
      connection_number: which connection it came on; the first one is 1.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection_number: int

    def header(self, name: str) -> str | None:
        """Return the value of the first field called *name*, in any case; None without one."""
        return next((value for field, value in self.headers if field == name.lower()), None)

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
          ValueError: it is not.
        """
        return json.loads(self.body)


def check_begins_request(data: bytes) -> None:
    """See that *data*, all that has come behind the last request, is how a request begins.

    A client whose idea of where a body ends differs from what it told the server is noticed here,
    and not at the next blank line, which may never come.

    Raises:
      h11.RemoteProtocolError: it does not begin a request.
    """
    if data and not _BEGINNING.match(data):
        shown = f"{data[:_SHOWN_BYTES]!r}{'...' if len(data) > _SHOWN_BYTES else ''}"
        raise h11.RemoteProtocolError(
            f"the client sent {len(data)} bytes where a request was to begin, and they don't "
            f"begin one: {shown}"
        )


def check_for_an_origin(request: Request) -> None:
    """See that *request*, which has come to an origin, has nothing for a proxy with it.

    One in another form may be for a test's own proxy: absolute form, or CONNECT.

    Raises:
      h11.RemoteProtocolError: it has a ``Proxy-Authorization``.
    """
    in_origin_form = request.target.startswith("/") or request.target == "*"
    if in_origin_form and request.header("proxy-authorization") is not None:
        raise h11.RemoteProtocolError("the client sent an origin what is a proxy's credentials")


async def read_request(
    protocol: h11.Connection, receive: Callable[[], Awaitable[bytes]], connection_number: int
) -> Request | None:
    """Read the next request; None if the client closed the connection before it was complete.

    Args:
      protocol: the server's side of the connection; may hold some bytes of the request already.
      receive: called when more bytes are needed; returns ``b""`` at the end of file.
      connection_number: goes into the request.

    Raises:
      h11.RemoteProtocolError: this is not HTTP. A client should not do that to a test.
    """
    head: h11.Request | None = None
    body = bytearray()
    while True:
        if head is None:
            check_begins_request(protocol.trailing_data[0])
        event = protocol.next_event()
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return _request(head, bytes(body), connection_number)
        else:
            # h11 is not told about the end: it would wait for the rest of half a head for ever.
            data = await receive()
            if not data:
                return None
            protocol.receive_data(data)


def _request(head: h11.Request, body: bytes, connection_number: int) -> Request:
    return Request(
        method=head.method.decode("ascii"),
        target=head.target.decode("ascii"),
        headers=tuple(
            (name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers
        ),
        body=body,
        connection_number=connection_number,
    )
