"""A server that has a file, sends parts of it, and breaks off where it is told to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import trio

from triopool.testing import Conversation, ReceiveRequest, Request, Reset, Send

CONTENT = bytes(range(256)) * 16
DATE = b"Tue, 15 Nov 1994 08:12:31 GMT"
EARLIER = b"Tue, 15 Nov 1994 08:12:30 GMT"


class Shelf:
    """Serves *content* whatever the path, by RFC 9110 section 14.

    Attributes:
      cuts: after how many bytes of the body the connection is reset, for each request in turn; from
        the last one on never.
      fields: of the head of a 200 and a 206.
      validator: what If-Range has to say.
      answer: another way to answer; None as a result for the usual one.
      asked: Range and If-Range of each request.
    """

    def __init__(
        self,
        content: bytes = CONTENT,
        *cuts: int,
        fields: Iterable[bytes] = (b'ETag: "one"',),
        validator: str = '"one"',
        answer: Callable[[Request], bytes | None] = lambda request: None,
    ) -> None:
        self.content = content
        self.cuts = list(cuts)
        self.fields = list(fields)
        self.validator = validator
        self.answer = answer
        self.asked: list[tuple[str | None, str | None]] = []
        self.requests: list[Request] = []

    async def __call__(self, stream: trio.abc.Stream) -> None:
        conversation = Conversation(stream, number=1)
        while True:
            try:
                await ReceiveRequest()(conversation)
            except EOFError:
                return
            request = conversation.requests[-1]
            self.requests.append(request)
            self.asked.append((request.header("range"), request.header("if-range")))
            other = self.answer(request)
            if other is not None:
                await Send(other)(conversation)
                continue
            head, body = self._answer(request)
            cut = self.cuts.pop(0) if self.cuts else None
            await Send(head + body[:cut])(conversation)
            if cut is not None:
                await trio.sleep(0.1)
                await Reset()(conversation)
                return

    def _answer(self, request: Request) -> tuple[bytes, bytes]:
        asked = re.fullmatch(r"bytes=(\d+)-", request.header("range") or "")
        size = len(self.content)
        if asked is None or request.header("if-range") != self.validator:
            return self._head(b"200 OK", size), self.content
        start = int(asked[1])
        if start >= size:
            return self._head(b"416 Range Not Satisfiable", 0), b""
        part = self.content[start:]
        where = b"Content-Range: bytes %d-%d/%d" % (start, size - 1, size)
        return self._head(b"206 Partial Content", len(part), where), part

    def _head(self, status: bytes, length: int, *fields: bytes) -> bytes:
        lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % length, *self.fields, *fields]
        return b"\r\n".join([*lines, b"", b""])


async def in_this_thread(
    function: Callable[..., object],
    *args: object,
    abandon_on_cancel: bool = False,
    cancellable: bool | None = None,
    limiter: object = None,
) -> object:
    """As trio.to_thread.run_sync, with a thread that is through at once: a sweep has to take the
    same steps each time."""
    await trio.lowlevel.checkpoint_if_cancelled()
    result = function(*args)
    if abandon_on_cancel:
        await trio.lowlevel.checkpoint()
    else:
        await trio.lowlevel.cancel_shielded_checkpoint()
    return result
