"""An instrument that logs what the pool does; one line of the program switches it on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .._errors import TriopoolError
from ..abc import Instrument

if TYPE_CHECKING:
    from .._facts import (
        CloseReason,
        ConnectionInfo,
        RequestInfo,
        ResponseConnection,
        ResponseEnd,
        ResponseInfo,
    )
    from .._origin import Origin


class LoggingInstrument(Instrument):
    """Logs each event, one line each: ``ConnectionPool(instruments=[LoggingInstrument()])``.

    Failures come at *level* too: whether they matter is for the caller of the request to say.
    Query strings are left out, for they often hold secrets; so are the paths that redirects lead
    to, and what exceptions say that are not triopool's own. ``#7`` is the request with the id 7.

    Args:
      logger: where to; None for the logger named ``"triopool"``.
      level: of all events.
    """

    def __init__(self, logger: logging.Logger | None = None, level: int = logging.DEBUG) -> None:
        self._logger = logger if logger is not None else logging.getLogger("triopool")
        self._level = level

    def _log(self, message: str, *facts: object) -> None:
        self._logger.log(self._level, message, *facts)

    def queued(self, origin: Origin, waiting: int) -> None:
        self._log("request to %s waits for a slot, %d waiting", origin, waiting)

    def dial_started(self, origin: Origin) -> None:
        self._log("dialling %s", origin)

    def dialled(self, connection: ConnectionInfo, seconds: float) -> None:
        self._log(
            "connection %d to %s is open, at %s, after %.3f s",
            connection.id,
            _where(connection),
            connection.remote_address,
            seconds,
        )

    def dial_failed(self, origin: Origin, error: BaseException | None) -> None:
        self._log("dial to %s ended: %s", origin, "called off" if error is None else _why(error))

    def reused(self, connection: ConnectionInfo) -> None:
        self._log("connection %d to %s is reused", connection.id, _where(connection))

    def handed_over(self, connection: ConnectionInfo, seconds: float) -> None:
        self._log(
            "connection %d to %s is handed over after a wait of %.3f s",
            connection.id,
            _where(connection),
            seconds,
        )

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        self._log(
            "connection %d to %s is closed: %s%s",
            connection.id,
            _where(connection),
            reason.value,
            "" if connection.spent is None else f" ({connection.spent.value})",
        )

    def request_started(self, request: RequestInfo) -> None:
        why = ""
        if request.retried_from is not None:
            why = f", a retry of #{request.retried_from}"
        elif request.redirected_from is not None:
            why = f", redirected from #{request.redirected_from}"
        self._log("%s begins%s", _line(request), why)

    def request_queued(self, request: RequestInfo, waiting: int) -> None:
        self._log("%s waits for a slot, %d waiting", _line(request), waiting)

    def request_dial_started(self, request: RequestInfo) -> None:
        self._log("%s has a dial", _line(request))

    def request_connected(
        self, request: RequestInfo, connection: ResponseConnection, seconds: float
    ) -> None:
        self._log(
            "%s has %s connection %d after %.3f s",
            _line(request),
            "the used" if connection.reused else "the new",
            connection.id,
            seconds,
        )

    def request_sent(self, request: RequestInfo, connection: ConnectionInfo) -> None:
        self._log("%s goes over connection %d", _line(request), connection.id)

    def request_retried(self, request: RequestInfo, error: BaseException) -> None:
        self._log("%s is sent again: %s", _line(request), _why(error))

    def request_retry_planned(
        self, request: RequestInfo, reason: int | BaseException, seconds: float
    ) -> None:
        why = f"it was answered with {reason}" if isinstance(reason, int) else _why(reason)
        self._log("%s is tried again in %.3f s: %s", _line(request), seconds, why)

    def response_started(
        self, request: RequestInfo, response: ResponseInfo, connection: ConnectionInfo
    ) -> None:
        self._log(
            "%s is answered with %d after %.3f s over connection %d",
            _line(request),
            response.status_code,
            response.seconds,
            connection.id,
        )

    def response_ended(
        self, request: RequestInfo, response: ResponseInfo, end: ResponseEnd
    ) -> None:
        self._log(
            "%s, answered with %d, is %s after %d bytes of body and %.3f s%s",
            _line(request),
            response.status_code,
            end.outcome.value,
            end.body_bytes,
            end.seconds,
            "" if end.error is None else f": {_why(end.error)}",
        )

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        self._log("%s failed: %s", _line(request), _why(error))


def _line(request: RequestInfo) -> str:
    path = "" if request.redirects else request.target.partition("?")[0]
    way = "" if request.proxy is None else f" through {request.proxy}"
    return f"#{request.id} {request.method} {request.origin}{path}{way}"


def _where(connection: ConnectionInfo) -> str:
    """Where a connection leads. One whose proxy forwards for all origins leads to that proxy."""
    origin, proxy = str(connection.origin), connection.proxy
    return origin if proxy is None or proxy.url == origin else f"{origin} through {proxy.url}"


def _why(error: BaseException) -> str:
    """The message of an error of ours; of others, such as those of a body's iterator, the type.

    With a cancellation, what triopool was doing.
    """
    if isinstance(error, TriopoolError):
        return str(error)
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("triopool was ")]
    return "; ".join([type(error).__name__, *notes])
