"""The dial: from a pool key to an open connection. ``resolve -> race -> TLS -> Connection``.

It runs in a task of the pool, under the pool's connect timeout, with its slot borrowed. What it
owns, in order: nothing while names are looked up; during the race, what the race says; then one
socket, in a :class:`Wire`, until that is handed to the connection it returns. Leaving early for
whatever reason closes it.

Where TLS fails on one address the remaining ones are still tried: one machine behind a name may
have an old certificate while the others are fine.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
import socket as stdlib_socket
import ssl
from collections.abc import Awaitable
from typing import Any

import trio

from .._control_c import control_c_passed_on
from .._deadlines import Deadlines
from .._errors import ConnectError, TLSError
from .._facts import ConnectionInfo
from .._origin import PoolKey
from .._protocol.http11 import Connection
from .._threads import run_in_thread
from .._transport import tls as _tls
from .._transport.wire import Wire, nowait
from ..abc import AddressInfo, AnySocket, SocketFactory
from .happy_eyeballs import interleave, race
from .names import Addresses, Names

MAX_TOLD = 10
"""How many addresses a message names."""


class Dialler:
    """Opens connections. What differs between pools is set here once."""

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
        self._ssl_context = ssl_context
        self._loading = trio.Lock()
        self._socket_factory: SocketFactory = socket_factory or plain_socket
        self._local_address = local_address
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
        context = None
        if key.origin.scheme == "https":
            # Now, for once we are connected the server waits.
            notes[:] = ["reading the trust store"]
            context = await self._context()
        notes[:] = ["looking up the host's addresses"]
        addresses, left_out = await self._addresses(key)
        failures: dict[AddressInfo, Exception] = {}

        def failed(address: AddressInfo, exc: Exception) -> None:
            failures[address] = exc
            addresses.remove(address)
            notes[:] = [*_told(failures), f"connecting to {_listed(addresses)}"]

        while addresses:
            notes[:] = [*_told(failures), f"connecting to {_listed(addresses)}"]
            won = await race(tuple(addresses), self._connect_socket, self._delay, failed)
            if won is not None:
                address, wire = won
                notes[:] = [*_told(failures), f"TLS handshake with {_shown(address)}"]
                try:
                    return await self._make_connection(key, wire, context)
                except TLSError as exc:
                    failed(address, exc)
        raise _all_failed(key, failures, left_out)

    async def _addresses(self, key: PoolKey) -> Addresses:
        if self._unix_socket is not None:
            family, kind = stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM
            return Addresses([AddressInfo(family, kind, 0, "", self._unix_socket)])
        found = await self._names.addresses(key.origin)
        return found._replace(to_try=interleave(found.to_try))

    async def _connect_socket(self, address: AddressInfo) -> Wire:
        """Make a socket, bind it, connect it; close it on every other way out."""
        self._check_local_family(address)
        with control_c_passed_on():
            made = await _result_of(self._socket_factory(address))
        socket = _take_over(made, address)
        try:
            if self._local_address is not None:
                await socket.bind(self._local_address)
            await socket.connect(address.sockaddr)
        except BaseException:
            socket.close()
            raise
        return Wire(socket, nowait(made))

    def _check_local_family(self, address: AddressInfo) -> None:
        if self._local_address is not None:
            host, _ = self._local_address
            family = stdlib_socket.AF_INET6 if ":" in host else stdlib_socket.AF_INET
            if family != address.family:
                raise OSError(f"local_address {host} is of another address family")

    async def _make_connection(
        self, key: PoolKey, wire: Wire, context: ssl.SSLContext | None
    ) -> Connection:
        try:
            stream = tls = None
            if context is not None:
                stream = await _tls.handshake(wire, context, key)
                tls = _tls.facts(stream)
            info = ConnectionInfo(
                id=next(self._ids),
                origin=key.origin,
                local_address=_ask(wire.socket.getsockname),
                remote_address=_ask(wire.socket.getpeername),
                tls=tls,
                opened_at=trio.current_time(),
            )
            return Connection(wire, stream, info, key, self._deadlines)
        except BaseException:
            wire.close()
            raise

    async def _context(self) -> ssl.SSLContext:
        # One for all dials that begin together; in a thread, for it takes some 20 ms.
        async with self._loading:
            if self._ssl_context is None:
                self._ssl_context = await run_in_thread(
                    _tls.default_context, limiter=trio.CapacityLimiter(1)
                )
            return self._ssl_context


def plain_socket(address: AddressInfo) -> AnySocket:
    """The socket factory of a pool that has no other."""
    # Asked of Trio, because a program may have told it how: set_custom_socket_factory().
    made = trio.socket.socket(address.family, address.type, address.proto)
    try:
        descriptor = made.detach()
    except NotImplementedError:
        return made  # Not the kernel's.
    # Trio's has no methods that don't wait; the standard library's has.
    return stdlib_socket.socket(address.family, address.type, address.proto, fileno=descriptor)


async def _result_of(made: AnySocket | Awaitable[AnySocket]) -> AnySocket:
    return await made if inspect.isawaitable(made) else made


def _take_over(made: AnySocket, address: AddressInfo) -> trio.socket.SocketType:
    """Own what the factory returned, as a Trio socket; or close it, and say what is wrong."""
    if not isinstance(made, stdlib_socket.socket | trio.socket.SocketType):
        raise TypeError(
            "socket_factory must return a Trio or standard-library socket, "
            f"not {type(made).__name__}"
        )
    try:
        if made.type != stdlib_socket.SOCK_STREAM or made.family != address.family:
            raise TypeError(
                "socket_factory must return a SOCK_STREAM socket of the address's own family "
                f"({_name_of(address.family)}), not {made.type!r} of {made.family!r}"
            )
        if isinstance(made, stdlib_socket.socket):
            return trio.socket.from_stdlib_socket(made)
    except BaseException:
        made.close()
        raise
    return made


def _name_of(family: int) -> str:
    return stdlib_socket.AddressFamily(family).name


def _ask(address_of: Any) -> Any:
    """An address of a socket; None if the peer is gone already, as the first request will find."""
    with contextlib.suppress(OSError):
        return address_of()


# ── What to say ────────────────────────────────────────────────────────────────────────────────


def _shown(address: AddressInfo) -> str:
    if address.family == stdlib_socket.AF_UNIX:
        # An abstract one begins with a NUL, which everybody writes as "@".
        return f"unix socket {os.fsdecode(address.sockaddr)}".replace("\0", "@")
    host, port = address.sockaddr[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listed(addresses: list[AddressInfo]) -> str:
    shown = ", ".join(map(_shown, addresses[:MAX_TOLD]))
    more = len(addresses) - MAX_TOLD
    return f"{shown} and {more} more" if more > 0 else shown


def _told(failures: dict[AddressInfo, Exception], left_out: int = 0) -> list[str]:
    some = itertools.islice(failures.items(), MAX_TOLD)
    told = [f"{_shown(address)}: {_reason(address, exc)}" for address, exc in some]
    more = max(len(failures) - MAX_TOLD, 0) + left_out
    if more:
        told.append(f"and {more} more" + (f" ({left_out} not tried)" if left_out else ""))
    return told


def _reason(address: AddressInfo, exc: Exception) -> str:
    reason = str((isinstance(exc, OSError) and exc.strerror) or exc)
    # Trio repeats the address, in Python's spelling.
    return reason.removeprefix(f"Error connecting to {address.sockaddr!r}: ") or type(exc).__name__


def _all_failed(
    key: PoolKey, failures: dict[AddressInfo, Exception], left_out: int
) -> ConnectError:
    """One error that tells why; its cause is the one failure, or the group of them."""
    errors = list(failures.values())
    message = f"could not connect to {key}: " + "; ".join(_told(failures, left_out))
    kind = TLSError if all(isinstance(exc, TLSError) for exc in errors) else ConnectError
    error = kind(message, origin=key.origin, phase="connect")
    if len(errors) == 1:
        error.__cause__ = errors[0].__cause__ if kind is TLSError else errors[0]
    else:
        error.__cause__ = ExceptionGroup(f"all {len(errors)} addresses failed", errors)
    return error
