"""The dial: from a pool key to an open connection. ``resolve -> race -> hops -> Connection``.

A dial runs in a task of the pool, under the pool's connect timeout, with its slot borrowed. What it
owns, step by step: nothing while names are looked up; during the race, what the race says; after
it one socket, in a :class:`Line`, until that belongs to the connection that is returned. If the
dial is left early, for whatever reason, it closes what it owns.

The race is for the addresses of the first proxy, or of the origin if there is none. What is done
once we are connected, with proxies and with TLS, is a list of steps (``hops.py``).

Where TLS fails on one address, the other addresses are still tried: one machine behind a name may
have an old certificate while the others are fine. So it is with a proxy that breaks before it has
answered.
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
from .._errors import ProxyError, ResolveError, TLSError
from .._facts import ConnectionInfo, ProxyInfo, TLSInfo
from .._pool_key import PoolKey
from .._protocol.connection import HTTP1Connection
from .._protocol.parsers import H11, ParserKind
from .._protocol.seam import Connection
from .._proxy.proxy import Proxy
from .._transport import tls as _tls
from .._transport.tls import TLSStream
from ..abc import AddressInfo, SocketFactory
from .happy_eyeballs import interleave, race
from .hops import Step, plan, travel, unreached
from .line import Line
from .names import Addresses, Names
from .pins import Pins
from .report import DialReport, show_address
from .sessions import Sessions
from .sockets import Sockets
from .socks import AnotherAddress
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
      parser: reads what comes on the connections.
      tls_resumption: whether a handshake may go on from an earlier one's session.
      pins: which certificates the origins may show; None for any that the context accepts.
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
        parser: ParserKind = H11,
        tls_resumption: bool = True,
        pins: Pins | None = None,
    ) -> None:
        self._names = names
        self._deadlines = deadlines
        # What we trust ourselves is for proxies too; what the caller lent is for origins alone.
        self._own_trust = Trust(None)
        self._trust = self._own_trust if ssl_context is None else Trust(ssl_context)
        self._sockets = Sockets(socket_factory, local_address)
        self._unix_socket = unix_socket
        self._delay = happy_eyeballs_delay
        self._parser = parser
        self._sessions = Sessions() if tls_resumption else None
        self._pins = pins
        self._ids = itertools.count(1)

    async def dial(self, key: PoolKey, notes: list[str]) -> Connection:
        """Open a connection for *key*, saying in *notes* what is being tried and what failed.

        Atomic with respect to cancellation: if this raises, every socket is closed.

        Raises:
          ConnectError: every address failed. TLSError if for TLS reasons only.
          ProxyError: a proxy could not be reached, or did not do what it was asked.
          ResolveError: there is no address.
          Exception: what the socket factory raised, as itself, unless it was an ``OSError``.
        """
        first = key.proxies[0] if key.proxies else None
        report = DialReport(key, notes, None if first is None else first.url)
        steps = await self._plan(key, report)
        addresses, left_out = await self._addresses(key, first, report)

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
            line = Line(wire, show_address(address))
            try:
                await travel(line, steps, report)
                return self._make_connection(key, line)
            except AnotherAddress:
                pass  # Of the origin's, on a new connection to the same proxy.
            except (TLSError, ProxyError) as exc:
                if line.answered:
                    raise
                failed(address, exc)
        raise report.error(left_out)

    async def _plan(self, key: PoolKey, report: DialReport) -> list[Step]:
        """What is to be done once we are connected."""
        context = own_context = None
        # First of all: once we are connected, the server waits for our side of the handshake.
        if any(proxy.needs_our_trust for proxy in key.proxies):
            report.doing("reading the trust store")
            own_context = await self._own_trust.context()
        if key.has_tls:
            report.doing("reading the trust store")
            context = key.ssl_context or await self._trust.context()
        return await plan(
            key,
            self._names,
            report,
            context=context,
            own_context=own_context,
            sessions=self._sessions,
            pins=self._pins,
        )

    async def _addresses(self, key: PoolKey, first: Proxy | None, report: DialReport) -> Addresses:
        """Where the wire is to lead to: to the *first* proxy, or else to the origin."""
        path = self._unix_socket if first is None else first.unix_socket
        if path is not None:
            return Addresses([AddressInfo(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", path)])
        if first is None:
            report.doing("looking up the host's addresses")
            found = await self._names.addresses(key.origin)
        else:
            report.doing("looking up the proxy's addresses")
            try:
                found = await self._names.addresses(first.origin)
            except ResolveError as exc:
                raise unreached(first, key, exc) from exc
        return found._replace(to_try=interleave(found.to_try))

    def _make_connection(self, key: PoolKey, line: Line) -> Connection:
        """What a line has become. Owns it, and closes it if this raises."""
        wire = line.wire
        try:
            info = ConnectionInfo(
                id=next(self._ids),
                origin=key.origin,
                local_address=_address_or_none(wire.socket.getsockname),
                remote_address=_address_or_none(wire.socket.getpeername),
                tls=_facts(line.tls) if key.has_tls else None,
                opened_at=trio.current_time(),
                proxy=None if key.proxy is None else _facts_of_proxy(key.proxy, key, line),
                http_parser=self._parser.name,
            )
            return HTTP1Connection(wire, line.tls, info, key, self._deadlines, self._parser.make)
        except BaseException:
            line.close()
            raise


def _facts(tls: TLSStream | None) -> TLSInfo:
    assert tls is not None
    return _tls.facts(tls)


def _facts_of_proxy(proxy: Proxy, key: PoolKey, line: Line) -> ProxyInfo:
    # The last proxy is the last one that TLS was spoken with, if it is spoken with that one.
    tls = _facts(line.proxy_tls) if proxy.origin.scheme == "https" else None
    return ProxyInfo(proxy.url, tls, key.forwarded)


def _address_or_none(address_of: Callable[[], Any]) -> Any:
    """An address of a socket; None if the peer is gone already, as the first request will find."""
    with contextlib.suppress(OSError):
        return address_of()
