"""Many instruments behind the face of one, so that the pool tells each thing once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .._config import described
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

logger = logging.getLogger("triopool")

SILENT = Instrument()
"""The instrument of a pool that has none. Facts that cost something need not be made for it."""

_HOOKS = tuple(name for name in vars(Instrument) if not name.startswith("_"))


def combine(instruments: Iterable[Instrument]) -> Instrument:
    """Make one instrument out of any number; without any, it is SILENT."""
    instruments = tuple(instruments)
    for instrument in instruments:
        if not isinstance(instrument, Instrument):
            raise TypeError(
                "instruments must be instances of triopool.abc.Instrument, "
                f"not {described(instrument)}"
            )
    return Chorus(instruments) if instruments else SILENT


class Chorus(Instrument):
    """Calls each instrument that overrides a hook; one that raises is switched off."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        instruments = tuple(instruments)
        self._singers = {
            hook: [one for one in instruments if getattr(type(one), hook) is not base]
            for hook in _HOOKS
            for base in [getattr(Instrument, hook)]
        }

    def _sing(self, hook: str, *facts: object) -> None:
        for instrument in tuple(self._singers[hook]):
            try:
                getattr(instrument, hook)(*facts)
            except Exception:
                name = type(instrument).__qualname__
                logger.exception("instrument %s raised in %r: switched off", name, hook)
                self._dismiss(instrument)

    def _dismiss(self, instrument: Instrument) -> None:
        for singers in self._singers.values():
            if instrument in singers:
                singers.remove(instrument)

    def queued(self, origin: Origin, waiting: int) -> None:
        self._sing("queued", origin, waiting)

    def dial_started(self, origin: Origin) -> None:
        self._sing("dial_started", origin)

    def dialled(self, connection: ConnectionInfo, seconds: float) -> None:
        self._sing("dialled", connection, seconds)

    def dial_failed(self, origin: Origin, error: BaseException | None) -> None:
        self._sing("dial_failed", origin, error)

    def reused(self, connection: ConnectionInfo) -> None:
        self._sing("reused", connection)

    def handed_over(self, connection: ConnectionInfo, seconds: float) -> None:
        self._sing("handed_over", connection, seconds)

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        self._sing("closed", connection, reason)

    def request_started(self, request: RequestInfo) -> None:
        self._sing("request_started", request)

    def request_queued(self, request: RequestInfo, waiting: int) -> None:
        self._sing("request_queued", request, waiting)

    def request_dial_started(self, request: RequestInfo) -> None:
        self._sing("request_dial_started", request)

    def request_connected(
        self, request: RequestInfo, connection: ResponseConnection, seconds: float
    ) -> None:
        self._sing("request_connected", request, connection, seconds)

    def request_sent(self, request: RequestInfo, connection: ConnectionInfo) -> None:
        self._sing("request_sent", request, connection)

    def request_retried(self, request: RequestInfo, error: BaseException) -> None:
        self._sing("request_retried", request, error)

    def response_started(
        self, request: RequestInfo, response: ResponseInfo, connection: ConnectionInfo
    ) -> None:
        self._sing("response_started", request, response, connection)

    def response_ended(
        self, request: RequestInfo, response: ResponseInfo, end: ResponseEnd
    ) -> None:
        self._sing("response_ended", request, response, end)

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        self._sing("request_failed", request, error)
