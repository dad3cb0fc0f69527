"""What is told how one request goes, while it is sent and while its response is read.

There are two: the pool's instruments (``_client/watch.py``), and the trace of httpx
(``_httpx/trace.py``). The client, the exchange and the reader of the body each tell what they know,
and don't ask whether anybody listens: that reads better, and a call that does nothing costs 40 ns.
"""

from __future__ import annotations

from typing import Any

from .._facts import ConnectionInfo


class Listener:
    """Hears of one request, and does nothing about it; subclasses override what they care for.

    All methods are synchronous, and must not raise.
    """

    def queued(self, waiting: int) -> None:
        """It waits for a slot; *waiting* requests of the pool do, with this one."""

    def dial_started(self) -> None:
        """A dial has begun for it."""

    def connected(self, connection: ConnectionInfo, *, reused: bool) -> None:
        """The pool has given it a connection, which may have served another request before."""

    def begun(self, connection: Any, *, reused: bool) -> None:
        """It is about to be written; once for each attempt.

        Args:
          connection: what it goes over. Any, because this room doesn't know connections.
          reused: whether that has been idle, or has served another request before.
        """

    def retried(self, error: BaseException) -> None:
        """The connection was stale: it begins again, on another one."""

    def retry_planned(self, reason: int | BaseException, seconds: float) -> None:
        """It has ended, and another request for the same is sent in *seconds*: a session's retry.

        Args:
          reason: the status of its response, or the error that it failed with.
        """

    def written(self) -> None:
        """All of it has been handed to the system, and no response had arrived before."""

    def failed(self, error: BaseException) -> None:
        """There is no response, and there won't be one."""

    def answered(self, delivery: Any) -> None:
        """The head of its response is here.

        Args:
          delivery: the response as it is on its way; Any, because this room doesn't know it.
        """

    def delivered(self) -> None:
        """The body of its response was read to the end."""

    def broke(self, error: BaseException) -> None:
        """The body can't be read any further; if *error* is no Exception, the caller gave up."""

    def left(self, error: BaseException | None) -> None:
        """Its response was closed; *error* is what ended the block, if anything did."""


SILENT = Listener()
"""The listener of a request that has none."""
