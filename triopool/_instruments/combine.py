"""Many instruments that look like one, so that the pool tells each thing once."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from .._config import described
from .._protocol.request_head import sent_field
from ..abc import Instrument

if TYPE_CHECKING:
    from .._facts import (
        CloseReason,
        ConnectionInfo,
        RequestInfo,
        RequestRecord,
        ResponseConnection,
        ResponseEnd,
        ResponseInfo,
    )
    from .._origin import Origin

logger = logging.getLogger("triopool")

SILENT = Instrument()
"""The instrument of a pool that has none. Facts that cost something need not be made for it."""

Field: TypeAlias = tuple[str, str]

_HOOKS = tuple(name for name in vars(Instrument) if not name.startswith("_"))

# They say where a message ends, whom it is for, or what becomes of the connection.
_NOT_THEIRS = frozenset(
    {
        *("connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)


def _name_of(given: object) -> str:
    return given.__name__ if isinstance(given, type) else described(given)


def combine(instruments: Iterable[Instrument]) -> Instrument:
    """Make one instrument out of any number; without any, it is SILENT."""
    given: Any = instruments
    if isinstance(given, type) or not isinstance(given, Iterable):
        raise TypeError(
            f"instruments must be a list of them, not {_name_of(given)}: write instruments=[...]"
        )
    given = tuple(given)
    for instrument in given:
        if not isinstance(instrument, Instrument):
            hint = ": it is a class, and has to be called" if isinstance(instrument, type) else ""
            raise TypeError(
                "instruments must be instances of triopool.abc.Instrument, "
                f"not {_name_of(instrument)}{hint}"
            )
    return Instruments(given) if given else SILENT


class Instruments(Instrument):
    """Calls each instrument that overrides a hook; one that raises is switched off."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._by_hook: dict[str, list[Instrument]] = {name: [] for name in _HOOKS}
        for instrument in instruments:
            for name in _HOOKS:
                # A hook that is not overridden does nothing, and need not be called.
                if getattr(type(instrument), name) is not getattr(Instrument, name):
                    self._by_hook[name].append(instrument)

    def _notify(self, hook: str, *facts: object) -> None:
        # A copy, for one that raises is removed meanwhile.
        for instrument in tuple(self._by_hook[hook]):
            try:
                getattr(instrument, hook)(*facts)
            except Exception:
                self._switch_off(instrument, hook)

    def _switch_off(self, instrument: Instrument, hook: str) -> None:
        """To be called where its exception is handled."""
        name = type(instrument).__qualname__
        logger.exception("instrument %s raised in %r: switched off", name, hook)
        for instruments in self._by_hook.values():
            if instrument in instruments:
                instruments.remove(instrument)

    def queued(self, origin: Origin, waiting: int) -> None:
        self._notify("queued", origin, waiting)

    def dial_started(self, origin: Origin) -> None:
        self._notify("dial_started", origin)

    def dialled(self, connection: ConnectionInfo, seconds: float) -> None:
        self._notify("dialled", connection, seconds)

    def dial_failed(self, origin: Origin, error: BaseException | None) -> None:
        self._notify("dial_failed", origin, error)

    def reused(self, connection: ConnectionInfo) -> None:
        self._notify("reused", connection)

    def handed_over(self, connection: ConnectionInfo, seconds: float) -> None:
        self._notify("handed_over", connection, seconds)

    def idled(self, connection: ConnectionInfo) -> None:
        self._notify("idled", connection)

    def closed(self, connection: ConnectionInfo, reason: CloseReason) -> None:
        self._notify("closed", connection, reason)

    def request_started(self, request: RequestInfo) -> None:
        self._notify("request_started", request)

    def attempt_started(self, record: RequestRecord) -> list[Field]:
        """Ask each instrument for fields; one that wants to add what it may not is switched off."""
        found: list[Field] = []
        for instrument in tuple(self._by_hook["attempt_started"]):
            try:
                found += [_checked(*field) for field in instrument.attempt_started(record) or ()]
            except Exception:
                self._switch_off(instrument, "attempt_started")
        return found

    def request_queued(self, request: RequestInfo, waiting: int) -> None:
        self._notify("request_queued", request, waiting)

    def request_dial_started(self, request: RequestInfo) -> None:
        self._notify("request_dial_started", request)

    def request_connected(
        self, request: RequestInfo, connection: ResponseConnection, seconds: float
    ) -> None:
        self._notify("request_connected", request, connection, seconds)

    def request_sent(self, request: RequestInfo, connection: ConnectionInfo) -> None:
        self._notify("request_sent", request, connection)

    def request_retried(self, request: RequestInfo, error: BaseException) -> None:
        self._notify("request_retried", request, error)

    def request_retry_planned(
        self, request: RequestInfo, reason: int | BaseException, seconds: float
    ) -> None:
        self._notify("request_retry_planned", request, reason, seconds)

    def response_started(
        self, request: RequestInfo, response: ResponseInfo, connection: ConnectionInfo
    ) -> None:
        self._notify("response_started", request, response, connection)

    def response_ended(
        self, request: RequestInfo, response: ResponseInfo, end: ResponseEnd
    ) -> None:
        self._notify("response_ended", request, response, end)

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        self._notify("request_failed", request, error)

    def request_ended(self, record: RequestRecord) -> None:
        self._notify("request_ended", record)


def _checked(name: str, value: str) -> Field:
    """A field that an instrument wants to add.

    Raises:
      ValueError: it can't be sent, or is none of an instrument's business.
    """
    sent_name, _ = sent_field(name, value)
    if sent_name.decode("ascii").lower() in _NOT_THEIRS:  # It may be bytes, where nobody checks.
        raise ValueError(f"an instrument can't add a header {name!r}")
    return name, value
