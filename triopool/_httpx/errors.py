"""Our exceptions as those of httpx or httpx2, and those of a network stream as httpcore's too."""

from __future__ import annotations

from typing import Any, NamedTuple

import trio

from .. import _errors
from .._errors import ProxyError, ReadError, ResolveError, TriopoolError

# The name, in httpx and httpx2 alike, of the most specific class for each of ours.
_NAMES: dict[type[TriopoolError], str] = {
    _errors.PoolTimeout: "PoolTimeout",
    # No connection was to be had, and waiting for one was out of the question.
    _errors.PoolFull: "PoolTimeout",
    _errors.PoolClosed: "TransportError",
    _errors.ConnectTimeout: "ConnectTimeout",
    _errors.ProxyError: "ProxyError",
    _errors.ConnectError: "ConnectError",
    _errors.WriteTimeout: "WriteTimeout",
    _errors.WriteError: "WriteError",
    _errors.ReadTimeout: "ReadTimeout",
    _errors.ReadError: "ReadError",
    _errors.LocalProtocolError: "LocalProtocolError",
    _errors.RemoteProtocolError: "RemoteProtocolError",
    # The library took the URL, which may come from a redirect. Its own InvalidURL is no
    # TransportError, so a program that expects those of a request would not catch it.
    _errors.InvalidURL: "LocalProtocolError",
    TriopoolError: "TransportError",
}

# In the order of StreamErrors' fields.
_OF_STREAMS = (
    "ConnectError",
    "ConnectTimeout",
    "ReadError",
    "ReadTimeout",
    "WriteError",
    "WriteTimeout",
)


class StreamErrors(NamedTuple):
    """What a network stream raises: each is an error of the client's and one of its core's."""

    connect_error: type[Exception]
    connect_timeout: type[Exception]
    read_error: type[Exception]
    read_timeout: type[Exception]
    write_error: type[Exception]
    write_timeout: type[Exception]


class Errors:
    """The exceptions of one client library.

    Args:
      client: the module ``httpx`` or ``httpx2``.
      core: the module ``httpcore`` or ``httpcore2`` that belongs to it.
    """

    def __init__(self, client: Any, core: Any) -> None:
        self._kinds = {ours: getattr(client, name) for ours, name in _NAMES.items()}
        self.of_streams: StreamErrors = StreamErrors(
            *(type(name, (getattr(client, name), getattr(core, name)), {}) for name in _OF_STREAMS)
        )

        # For the library an end of file is the server's fault, and a reset the network's. For us
        # they are one: which of them comes depends on what the server had left unread.
        both = (client.RemoteProtocolError, client.ReadError)
        self._end_of_file = type("RemoteProtocolError", both, {})

    def translate(self, error: TriopoolError) -> Exception:
        """The library's exception for one of ours; to be raised ``from`` it."""
        kind = next(self._kinds[kind] for kind in type(error).__mro__ if kind in self._kinds)
        cause = error.__cause__
        if isinstance(error, ProxyError) and _is_of_the_network(error):
            kind = self._kinds[_errors.ConnectError]
        if isinstance(error, ReadError) and isinstance(cause, Exception):
            kind = kind if isinstance(cause, trio.BrokenResourceError) else self._end_of_file
        translated: Exception = kind(str(error))
        return translated


def _is_of_the_network(error: BaseException | None) -> bool:
    """Whether it came to no conversation with a proxy: no address, no connection, no TLS.

    All else is what the proxy has answered, or that it has gone without an answer.
    """
    if isinstance(error, ProxyError):
        return _is_of_the_network(error.__cause__)
    if isinstance(error, ExceptionGroup):
        return all(_is_of_the_network(one) for one in error.exceptions)
    return isinstance(error, OSError | ResolveError)
