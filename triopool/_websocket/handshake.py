"""The handshake: a request to switch to WebSocket, and whether the server agreed to that."""

from __future__ import annotations

import base64
import re
import secrets
import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from trio.lowlevel import enable_ki_protection
from wsproto.utilities import generate_accept_token

from .._body.form import Params
from .._config import Timeouts, check_count, check_seconds
from .._errors import RemoteProtocolError
from .._own_nursery import OwnNursery
from .._pool import ConnectionPool
from .._proxy.choice import ProxyOption
from .._request import fields as _fields
from .._request.auth import AuthOption
from .._request.fields import Field, Headers
from .._session.session import Session
from .websocket import Limits, WebSocket

if TYPE_CHECKING:
    from .._client.response import Response
    from .._exchange.upgraded import UpgradedStream

_OURS = frozenset(
    {
        *("connection", "upgrade", "sec-websocket-accept", "sec-websocket-extensions"),
        *("sec-websocket-key", "sec-websocket-protocol", "sec-websocket-version"),
    }
)
"""Fields of the handshake that are not the caller's to give."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class HandshakeOptions(TypedDict, total=False):
    """The options of a request that the handshake may have; ``pool.request()`` explains them."""

    params: Params | None
    headers: Headers | None
    auth: AuthOption | None
    timeouts: Timeouts | None
    server_hostname: str | None
    ssl_context: ssl.SSLContext | None
    proxy: ProxyOption | None


class HandshakeError(RemoteProtocolError):
    """The server switched to something else than was asked for, or did not switch at all.

    (A refusal, that is a status of 400 or more, is a :class:`triopool.StatusError`.)
    """


def connect(
    pool: ConnectionPool | Session,
    url: str,
    *,
    subprotocols: Iterable[str] = (),
    max_message_bytes: int = 2**20,
    ping_interval: float | None = 20.0,
    ping_timeout: float | None = 20.0,
    close_timeout: float = 5.0,
    **options: Unpack[HandshakeOptions],
) -> Connecting:
    """Open a WebSocket: ``async with connect(pool, "wss://...") as ws: ...``

    It holds one of the pool's slots for as long as the block. At the end of the block it says
    farewell, and waits for the server's; an exception in the block, a cancellation included, closes
    the connection at once.

    Args:
      pool: which has to be open; or a session on it, with what that adds to its requests.
      url: ``ws://`` or ``wss://``; http and https mean the same. Of a session it may be relative.
      subprotocols: which ones to offer, the preferred one first; see :attr:`WebSocket.subprotocol`.
      max_message_bytes: how long a message of the server may be, text as UTF-8. A longer one ends
        the connection. About as much is kept for a program that does not receive.
      ping_interval: after how many seconds the server is asked for a sign of life; None for never.
      ping_timeout: how many seconds it has for that, before the connection counts as broken. None
        for no limit.
      close_timeout: how many seconds it has for its farewell.
      options: headers, params, auth, timeouts, server_hostname, ssl_context, proxy: those of a
        request. Its timeouts hold for the handshake only.

    Raises:
      HandshakeError: the server did not switch to WebSocket as RFC 6455 has it.
      triopool.StatusError: it refused.
      triopool.TriopoolError: what ``pool.stream()`` raises.
    """
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols must be an iterable of str, and not a single one")
    unknown = options.keys() - HandshakeOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"connect() has no option {min(unknown)!r}")
    offered = tuple(subprotocols)
    if not all(map(_TOKEN.fullmatch, offered)):
        raise ValueError("a subprotocol has to be a token (RFC 6455 section 4.1)")
    if check_count("max_message_bytes", max_message_bytes) is None:
        raise TypeError("max_message_bytes can't be None: a server could fill the memory")
    check_seconds("ping_interval", ping_interval)
    check_seconds("ping_timeout", ping_timeout)
    check_seconds("close_timeout", close_timeout)
    limits = Limits(max_message_bytes, ping_interval, ping_timeout, close_timeout)
    return Connecting(pool, url, offered, limits, options)


class Connecting:
    """What :func:`connect` returns: a block. Nothing is taken or sent before it is entered."""

    def __init__(
        self,
        pool: ConnectionPool | Session,
        url: str,
        subprotocols: tuple[str, ...],
        limits: Limits,
        options: HandshakeOptions,
    ) -> None:
        self._key = base64.b64encode(secrets.token_bytes(16))
        self._subprotocols = subprotocols
        self._limits = limits
        self._nursery = OwnNursery()
        self._websocket: WebSocket | None = None
        if str(url).lower().startswith(("ws://", "wss://")):
            url = f"http{url[2:]}"
        request: Any = {**options, "headers": self._fields(options.get("headers")), "decode": False}
        self._block = pool.stream("GET", url, **request)

    def _fields(self, given: Headers | None) -> list[Field]:
        fields = [] if given is None else _fields.read(given)
        for name in sorted(_fields.names_of(fields) & _OURS):
            raise ValueError(f"a header {name!r} is made by connect(): leave it out")
        fields += [  # The pool adds "Connection: Upgrade".
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", self._key),
        ]
        if self._subprotocols:
            fields.append(("Sec-WebSocket-Protocol", ", ".join(self._subprotocols)))
        return fields

    @enable_ki_protection
    async def __aenter__(self) -> WebSocket:
        response = await self._block.__aenter__()
        try:
            stream, subprotocol = self._check(response)
            websocket = self._websocket = WebSocket(stream, response, subprotocol, self._limits)
            nursery = await self._nursery.open()
            websocket.start(nursery)
        except BaseException as exc:
            await self._block.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        return websocket

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._websocket is not None
        try:
            if exc is None:
                await self._websocket.aclose()
        finally:
            self._websocket.close()
            self._nursery.cancel()
            try:
                await self._nursery.close()
            finally:
                await self._block.__aexit__(kind, exc, traceback)

    def _check(self, response: Response) -> tuple[UpgradedStream, str | None]:
        """See that the server has agreed to what was asked for (RFC 6455 section 4.1).

        Raises:
          HandshakeError: it has not.
          StatusError: it has refused.
        """
        stream = response.raise_for_status().upgraded
        if stream is None:
            raise HandshakeError(f"the server answered with {response.status_code}, and not 101")
        headers = response.headers
        words = [word.strip().lower() for word in headers.get("Connection", "").split(",")]
        if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in words:
            raise HandshakeError("the server switched to another protocol")
        if headers.get("Sec-WebSocket-Accept") != generate_accept_token(self._key).decode():
            raise HandshakeError("the server did not understand the handshake")
        if "Sec-WebSocket-Extensions" in headers:
            raise HandshakeError("the server chose an extension that was not offered")
        chosen = headers.getall("Sec-WebSocket-Protocol", [])
        if len(chosen) > 1 or not {*chosen} <= {*self._subprotocols}:
            raise HandshakeError("the server chose a subprotocol that was not offered")
        return stream, chosen[0] if chosen else None
