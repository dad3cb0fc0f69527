"""The sending side of an exchange: one write, or an upload that goes on side by side with reading.

A server may answer before it has read the request. It may refuse an upload of 100 MB after the
first kilobyte; it may as well send its head first and read then, or answer piece by piece while it
reads. A client that writes everything before it reads would block for ever in the first case, and
one that takes the head of a response for the end of the upload would lose data in the others. So a
body that does not go out in one write is sent by a task of its own (``upload.py``), and both sides
go on until both are done. The upload is stopped when

- the write fails,
- the caller closes the response, or
- the response has ended, it is no success, and the server takes nothing more for a short while.

A request without a body, or with one that fits one write, needs no task: it is written, then read.
If that write fails, the answer may still be there to be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from .._errors import ReadError, WriteError
from .upload import ONE_WRITE_BYTES, Upload

if TYPE_CHECKING:
    from .._protocol.seam import Codec
    from .background import Background
    from .progress import Meter
    from .sending import Sending


class Sender:
    """Sends one request.

    Attributes:
      body_sent: how many bytes of its body the system has taken.
    """

    # What few requests need is set when they do.
    body_sent = 0
    _upload: Upload | None = None
    # How the one write broke, where there is no upload.
    _failed: WriteError | None = None

    def __init__(self, sending: Sending, codec: Codec, meter: Meter | None) -> None:
        self._sending = sending
        self._codec = codec
        self._meter = meter

    async def begin(
        self,
        background: Background,
        crashed: Callable[[BaseException], None],
        *,
        reused: bool,
        just_seen: bool,
    ) -> None:
        """Write the head, and the body with it if one write can hold both.

        If not, the head is written before we read, for what could be read before is no answer to
        it. Then the body is sent side by side with the reading, by a task. Neither side stops the
        other: the server decides which of them comes to its end first. So the task only notes how
        it has ended, and what that means is for the reading side to say (:meth:`first_cause`).

        Args:
          background: runs the task.
          crashed: is called if the task ends with what ends the exchange.
          reused, just_seen: what the codec wants to know of the connection.

        Raises:
          WriteError, WriteTimeout, PoolClosed: nothing that could be read now is an answer.
        """
        codec, request = self._codec, self._sending.request
        body = self._body_for_one_write()
        try:
            written = codec.start(
                request.url.origin,
                request.head,
                body,
                request.timeouts,
                reused=reused,
                just_seen=just_seen,
            )
            if body is None:
                if not written:
                    await codec.flush()
                self._start_upload(background, crashed, is_framed=False)
                return
            if not written:
                if body:
                    # The kernel has no more room, and the server may want to be read first.
                    self._start_upload(background, crashed, is_framed=True)
                    return
                await codec.flush()
            if body:
                self._count_sent(len(body))
            self._sending.listener.written()
        except WriteError as exc:
            if body is None or not codec.bytes_sent:
                raise
            self._failed = exc

    def _body_for_one_write(self) -> bytes | None:
        request = self._sending.request
        body = request.body
        if not isinstance(body, bytes) or request.expect_continue:
            return None
        return body if len(body) <= ONE_WRITE_BYTES else None

    def _start_upload(
        self, background: Background, crashed: Callable[[BaseException], None], *, is_framed: bool
    ) -> None:
        upload = self._upload = Upload(
            self._sending,
            self._codec,
            is_framed=is_framed,
            count_sent=self._count_sent,
            crashed=crashed,
        )
        background.start(upload.run, stop=upload.stop, name="triopool upload")

    def _count_sent(self, size: int) -> None:
        self.body_sent += size
        if self._meter is not None:
            self._meter.add_sent(size)

    # ── While the response comes ───────────────────────────────────────────────────────────────

    @property
    def is_under_way(self) -> bool:
        """Whether the upload's task is still there; its iterator may need time to be closed."""
        return self._upload is not None and not self._upload.has_ended

    def go_ahead(self) -> None:
        """The server asks for a body that waits for that."""
        if self._upload is not None:
            self._upload.go_ahead()

    def answer(self, *, accepted: bool) -> None:
        """The final head is here."""
        if self._upload is not None:
            self._upload.answer(accepted=accepted)

    async def wait_until_sent(self) -> None:
        """RFC 9110 section 7.8: the request comes before another protocol.

        Raises:
          BaseException: it was not sent to its end.
        """
        if self._upload is not None:
            await self._upload.wait_until_sent()

    async def wait_unless_refused(self, *, accepted: bool) -> None:
        """The response is whole: wait for the upload's end, unless the server refuses the rest."""
        assert self._upload is not None
        await self._upload.wait_unless_refused(accepted=accepted)

    # ── Endings ────────────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Send nothing more. Synchronous; the iterator of the body is closed a little later."""
        if self._upload is not None:
            self._upload.stop()

    async def give_up_body(self) -> None:
        """No other exchange will ask for the request's body: it is closed if this one doesn't."""
        if self._upload is not None and self.is_under_way:
            self._upload.closes_body = True
        else:
            await self._sending.give_up_body()

    async def join(self) -> None:
        """Wait for the upload's task to end, if there is one: it has been stopped, or is over.

        Its iterator is closed then. Shielded, as the end of a nursery is; no checkpoint if there is
        nothing to wait for. If it is that iterator which calls, it does not wait for itself.
        """
        if self._upload is not None:
            with trio.CancelScope(shield=True):
                await self.wait_joined()

    async def wait_joined(self) -> None:
        """:meth:`join`, but if cancelled it waits no more."""
        upload = self._upload
        if upload is not None and self.is_under_way and not upload.is_running_here:
            await upload.wait_ended()

    # ── Errors ─────────────────────────────────────────────────────────────────────────────────

    def first_cause(self, exc: BaseException) -> BaseException:
        """What to raise where reading raised *exc*: it may follow from how sending ended."""
        if self._upload is not None:
            return self._upload.cause_of(exc)
        # A write that broke tells more than the end of file that follows it.
        if self._failed is not None and isinstance(exc, ReadError):
            return self._failed
        return exc

    def why_not_whole(self, status_code: int) -> WriteError:
        """The error of a success that was said of half a request.

        Raises:
          TriopoolError: the connection was closed under us, which is why.
        """
        self._codec.check_open()
        origin = self._sending.request.url.origin
        error = WriteError(
            f"{origin} answered with {status_code} to a request whose end it has not taken: "
            f"{self.body_sent} bytes of the body were sent",
            origin=origin,
            phase="write",
        )
        error.__cause__ = self._failed if self._upload is None else self._upload.error
        return error
