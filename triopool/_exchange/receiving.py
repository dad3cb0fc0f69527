"""The body of a response as it travels: the pieces that have come and have not been read.

The bound ``max_body_bytes`` is kept here. It counts what has come, read or not: the pieces in front
of it are still given out, the one that exceeds it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import RemoteProtocolError

if TYPE_CHECKING:
    from .._protocol.seam import Bytes, Codec, Head
    from .._request.request import Request
    from .progress import Meter


class Receiving:
    """Takes from the codec what has come of one body.

    Attributes:
      body_bytes: how many bytes of it have come.
      pieces: what has not been read.
    """

    __slots__ = ("_codec", "_limit", "_meter", "_request", "body_bytes", "pieces")

    def __init__(self, codec: Codec, request: Request, meter: Meter | None) -> None:
        self._codec = codec
        self._request = request
        self._limit = request.max_body_bytes
        self._meter = meter
        self.body_bytes = 0
        self.pieces: list[Bytes] = []

    def check_length(self, head: Head) -> None:
        """Refuse a body that says itself that it is too large.

        Raises:
          RemoteProtocolError: it is.
        """
        if self._limit is None or head.length is None:
            return
        # RFC 9112 section 6.3: these have no body, and Content-Length tells of another response.
        if self._request.method == "HEAD" or head.status_code == 304:
            return
        length = head.length
        if length > self._limit:
            raise self._too_large(f"a body of {length} bytes")

    def take(self) -> bool:
        """Take what has come; whether that was the end of the body.

        Raises:
          RemoteProtocolError: it is not legal, or too large.
          ReadError: it was cut.
        """
        codec = self._codec
        while piece := codec.take():
            self.body_bytes += len(piece)
            if self._meter is not None:
                self._meter.received = self.body_bytes
            if self._limit is not None and self.body_bytes > self._limit:
                raise self._too_large("a body")
            self.pieces.append(piece)
        return piece is None

    def give_out(self) -> bytes:
        """All that has come and has not been read."""
        # A single piece that is of the type bytes is not copied.
        joined = b"".join(self.pieces)
        self.pieces.clear()
        return joined

    def _too_large(self, what: str) -> RemoteProtocolError:
        return not_accepted(self._request, f"{what}, more than max_body_bytes={self._limit}")


def not_accepted(request: Request, what: str) -> RemoteProtocolError:
    """The error that says that the server sent *what*, which its parser has no objection to."""
    origin = request.url.origin
    return RemoteProtocolError(f"{request.way} sent {what}", origin=origin, phase="read")
