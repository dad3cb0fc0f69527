"""The dial: from a pool key to an open connection. ``resolve -> race -> TLS -> Connection``.

A dial runs in a task of the pool, under the pool's connect timeout, with its slot borrowed. What it
owns, step by step: nothing while names are looked up; during the race, what the race says; after
it one socket, in a :class:`Wire`, until the wire belongs to the connection that is returned. If the
dial is left early, for whatever reason, it closes what it owns.

Where TLS fails on one address, the other addresses are still tried: one machine behind a name may
have an old certificate while the others are fine.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
from collections.abc import Callable
from typing import Any

import trio

from .._deadlines import Deadlines
from .._errors import TLSError
from .._facts import ConnectionInfo
from .._origin import PoolKey
from .._protocol.connection import HTTP1Connection
from .._protocol.seam import Connection
from .._transport import tls as _tls
from .._transport.wire import Wire
from ..abc import AddressInfo, SocketFactory
from .happy_eyeballs import interleave, race
from .names import Addresses, Names
from .report import DialReport, show_address
from .sockets import Sockets
from .trust import Trust


class Dialler:
    """Opens connections. What differs between pools is set here once.

    Args:
      names: finds the addresses of a host.
      deadlines: keeps those of the connections that are opened.
      ssl_context: for https; never modified. None for our own.
      socket_factory: makes the sockets; None for plain ones.
      local_address: address and port to connect from; None to leave that to the system.
      unix_socket: the path to connect to, whatever the origin; None to look the host up.
      happy_eyeballs_delay: seconds between the starts of two attempts.
    """

    def __init__(
        self,
        names: Names,
        deadlines: Deadlines,
        *,
        ssl_context: ssl.SSLContext | None = None,
        socket_factory: SocketFactory | None = None,
        local_address: tuple[str, int] | None = None,
        unix_socket: str | None = None,
        happy_eyeballs_delay: float = 0.25,
    ) -> None:
        self._names = names
        self._deadlines = deadlines
        self._trust = Trust(ssl_context)
        self._sockets = Sockets(socket_factory, local_address)
        self._unix_socket = unix_socket
        self._delay = happy_eyeballs_delay
        self._ids = itertools.count(1)

    async def dial(self, key: PoolKey, notes: list[str]) -> Connection:
        """Open a connection for *key*, saying in *notes* what is being tried and what failed.

        Atomic with respect to cancellation: if this raises, every socket is closed.

        Raises:
          ConnectError: every address failed. TLSError if for TLS reasons only.
          ResolveError: there is no address.
          Exception: what the socket factory raised, as itself, unless it was an ``OSError``.
        """
        report = DialReport(key, notes)
        context = None
        if key.origin.scheme == "https":
            # First of all: once we are connected, the server waits for our side of the handshake.
            report.doing("reading the trust store")
            context = await self._trust.context()
        report.doing("looking up the host's addresses")
        addresses, left_out = await self._addresses(key)

        def failed(address: AddressInfo, exc: Exception) -> None:
            addresses.remove(address)
            report.failed(address, exc)
            report.connecting_to(addresses)

        while addresses:
            report.connecting_to(addresses)
            # A copy for the race, since each failure takes an address off the list.
            won = await race(tuple(addresses), self._sockets.connect, self._delay, failed)
            if won is None:
                break
            address, wire = won
            report.doing(f"TLS handshake with {show_address(address)}")
            try:
                return await self._make_connection(key, wire, context)
            except TLSError as exc:
                failed(address, exc)
        raise report.error(left_out)

    async def _addresses(self, key: PoolKey) -> Addresses:
        if self._unix_socket is not None:
            family, kind = socket.AF_UNIX, socket.SOCK_STREAM
            return Addresses([AddressInfo(family, kind, 0, "", self._unix_socket)])
        found = await self._names.addresses(key.origin)
        return found._replace(to_try=interleave(found.to_try))

    async def _make_connection(
        self, key: PoolKey, wire: Wire, context: ssl.SSLContext | None
    ) -> Connection:
        """What is done over a connected wire: TLS, where there is a context for it.

        Owns the wire, and closes it if this raises.
        """
        try:
            stream = tls = None
            if context is not None:
                stream = await _tls.handshake(wire, context, key)
                tls = _tls.facts(stream)
            info = ConnectionInfo(
                id=next(self._ids),
                origin=key.origin,
                local_address=_address_or_none(wire.socket.getsockname),
                remote_address=_address_or_none(wire.socket.getpeername),
                tls=tls,
                opened_at=trio.current_time(),
            )
            return HTTP1Connection(wire, stream, info, key, self._deadlines)
        except BaseException:
            wire.close()
            raise


def _address_or_none(address_of: Callable[[], Any]) -> Any:
    """An address of a socket; None if the peer is gone already, as the first request will find."""
    with contextlib.suppress(OSError):
        return address_of()
