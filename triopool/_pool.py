"""The pool: what a program opens, asks, and leaves. It builds its parts, starts and ends them.

What it is asked for, requests above all, stands in ``_requests.py``.
"""

from __future__ import annotations

import enum
import os
import ssl
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType

import trio
from trio.lowlevel import enable_ki_protection

from . import _habits
from ._client.client import Client
from ._config import (
    Timeouts,
    check_bool,
    check_count,
    check_delay,
    check_local_address,
    check_seconds,
    check_ssl_context,
    check_timeouts,
    check_ttl,
    described,
)
from ._deadlines import Deadlines
from ._dial.dialler import Dialler
from ._dial.names import Names
from ._dial.pins import Pins
from ._errors import PoolClosed
from ._facts import ConnectionInfo
from ._instruments.combine import combine
from ._own_nursery import OwnNursery
from ._protocol.parsers import ParserOption, choose_parser
from ._proxy.choice import ProxyOption
from ._proxy.chooser import chooser_of_pool
from ._request.pins import PinsOption, check_pins
from ._request.preparations import Preparations
from ._requests import Requests
from ._session.budget import Budgets
from ._slots.engine import Slots
from ._statistics import PoolStatistics
from ._trio_only import check_trio
from .abc import Instrument, ProxyChooser, Resolver, SocketFactory


class _State(enum.Enum):
    NEW = "new"
    OPEN = "open"
    LEFT = "left"


class ConnectionPool(Requests):
    """A pool of HTTP/1.1 connections, and the client that uses it.

    It is an async context manager, and works inside its block only::

        async with triopool.ConnectionPool() as pool:
            response = await pool.request("GET", "https://www.example.org/")

    Any number of tasks of the same Trio run may use it at once. Its own tasks (dials, the sweeper,
    drains) run in a nursery of its own; when the block has been left, no task and no socket of it
    is left. Requests that wait or are in flight then get :class:`PoolClosed`. An exception raised
    in the block arrives as itself.

    Args:
      max_connections: how many connections may be open at once; idle, busy and dialling ones all
        counted. None for no limit. May be changed while running: :attr:`max_connections`.
      max_connections_per_origin: how many of them to one origin. Those through a proxy are counted
        for each proxy; what it forwards is counted together, whatever the origins. None for no
        limit of its own.
      max_waiting: how many requests may wait for a slot; one more gets :class:`PoolFull` at once.
        None for no limit.
      max_idle: how many connections may be idle at once; with one more, the least recently used is
        closed. Busy ones don't count. None for no limit of its own.
      idle_timeout: seconds after which an idle connection is closed. None for no limit.
      max_lifetime: seconds after which a connection is not used any more; shortened by up to a
        tenth, at random, so that connections opened together don't end together. None for no
        limit.
      max_requests_per_connection: after how many requests a connection is closed. The last of them
        says so (``Connection: close``); a :meth:`lease` counts as one. None for no limit.
      timeouts: the limits of the phases of each request, unless it has its own.
      ssl_context: for https; never modified. None for one that verifies against the operating
        system's trust store.
      pins: the only certificates that a host may show, whatever the context accepts: a mapping of
        hosts to fingerprints, one or several for each. A fingerprint is a SHA-256 of the server's
        public key or of its certificate: ``"sha256/..."`` in Base64, or in hexadecimal. Looked at
        after each handshake, before anything is sent; another one is a :class:`TLSError` that names
        what was seen. None for any.
      tls_resumption: whether a handshake of TLS 1.2 may go on from an earlier one with the same
        origin, which saves a round trip. False to have each server's certificate shown again.
      socket_factory: makes each socket, before it is bound and connected; see
        :data:`triopool.abc.SocketFactory`. :data:`triopool.only_public` refuses those to our own
        network. None for plain ones.
      local_address: the address to connect from, as ``"192.0.2.1"`` or ``("192.0.2.1", port)``.
      resolver: finds a host's addresses; see :class:`triopool.abc.Resolver`. None for the system's.
      dns_ttl: for how many seconds addresses are remembered; 0 for not at all, None for ever.
      happy_eyeballs_delay: seconds between the starts of two attempts to connect (RFC 8305).
      unix_socket: the path of a Unix socket to connect to, whatever the URL's host.
      proxy: through which proxy requests go: a :class:`triopool.Proxy`, its URL (``http://``,
        ``https://``, ``socks5://``, ``socks5h://``, ``socks4://``, ``socks4a://``), or what says it
        for each origin, such as :class:`triopool.ProxyRules`; see
        :data:`triopool.abc.ProxyChooser`. ``unix_socket`` and ``ssl_context`` are for origins:
        a :class:`triopool.Proxy` has its own, while ``socket_factory``, ``resolver`` and
        ``local_address`` are for the first proxy. None, or :data:`triopool.DIRECT`, for no proxy;
        the environment's variables count only if asked: ``ProxyRules.from_environment()``.
      http_parser: ``"h11"``; ``"httptools"``, which takes half the time for a small response, and
        has to be installed (``triopool[fast]``); or ``"auto"`` for httptools if it is installed,
        and else h11. Both accept and refuse the same.
      instruments: are told what happens; see :class:`triopool.abc.Instrument`.
    """

    @_habits.given("ConnectionPool()", _habits.OF_A_POOL)
    def __init__(
        self,
        *,
        max_connections: int | None = 100,
        max_connections_per_origin: int | None = None,
        max_waiting: int | None = None,
        max_idle: int | None = None,
        idle_timeout: float | None = 15.0,
        max_lifetime: float | None = 600.0,
        max_requests_per_connection: int | None = None,
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - immutable
        ssl_context: ssl.SSLContext | None = None,
        pins: PinsOption | None = None,
        tls_resumption: bool = True,
        socket_factory: SocketFactory | None = None,
        local_address: str | tuple[str, int] | None = None,
        resolver: Resolver | None = None,
        dns_ttl: float | None = 10.0,
        happy_eyeballs_delay: float = 0.25,
        unix_socket: str | os.PathLike[str] | None = None,
        proxy: ProxyOption | ProxyChooser | None = None,
        http_parser: ParserOption = "auto",
        instruments: Iterable[Instrument] = (),
    ) -> None:
        check_timeouts(timeouts)
        check_ssl_context(ssl_context)
        if unix_socket is not None and local_address is not None:
            raise ValueError("local_address has no meaning for a unix_socket: give one of them")
        check_bool("tls_resumption", tls_resumption)
        chooser = chooser_of_pool(proxy)
        if unix_socket is not None and chooser is not None:
            raise ValueError(
                "unix_socket is where the origins are, and a proxy is on the way to others: "
                "Proxy(unix_socket=...) is for one that listens there"
            )
        for name, seam in (("socket_factory", socket_factory), ("resolver", resolver)):
            if seam is not None and not callable(seam):
                raise TypeError(f"{name} must be callable, not {described(seam)}")
        instrument = combine(instruments)
        self._deadlines = Deadlines()
        self._names = Names(resolver, check_ttl(dns_ttl))
        self._parser = choose_parser(http_parser)
        dialler = Dialler(
            self._names,
            self._deadlines,
            ssl_context=ssl_context,
            socket_factory=socket_factory,
            local_address=check_local_address(local_address),
            unix_socket=None if unix_socket is None else os.fspath(unix_socket),
            happy_eyeballs_delay=check_delay(happy_eyeballs_delay),
            parser=self._parser,
            tls_resumption=tls_resumption,
            pins=None if pins is None else Pins(check_pins(pins)),
        )
        self._slots = Slots(
            dialler.dial,
            self._deadlines,
            max_connections=check_count("max_connections", max_connections),
            max_connections_per_origin=check_count(
                "max_connections_per_origin", max_connections_per_origin
            ),
            max_waiting=check_count("max_waiting", max_waiting, least=0),
            max_idle=check_count("max_idle", max_idle, least=0),
            idle_timeout=check_seconds(
                "idle_timeout",
                idle_timeout,
                instead="None for no limit; max_idle=0 keeps no connection",
            ),
            max_lifetime=check_seconds("max_lifetime", max_lifetime),
            max_requests_per_connection=check_count(
                "max_requests_per_connection", max_requests_per_connection
            ),
            instrument=instrument,
        )
        self._client = Client(Preparations(timeouts, chooser), self._slots, instrument)
        self._budgets = Budgets()
        self._nursery = OwnNursery()
        self._run: trio.lowlevel.TrioToken | None = None
        self._state = _State.NEW

    # ── Open and leave ─────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> ConnectionPool:
        check_trio()
        if self._state is not _State.NEW:
            raise RuntimeError("a ConnectionPool can be entered only once: make a new one")
        nursery = await self._nursery.open()
        self._names.start(nursery)
        self._slots.start(nursery)
        self._client.start(nursery)
        nursery.start_soon(self._deadlines.run, name="triopool keeper of deadlines")
        self._run = trio.lowlevel.current_trio_token()
        self._state = _State.OPEN
        return self

    @enable_ki_protection
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close everything, then wait for our own tasks to end: cancelled as they are, not long."""
        close_all(self)
        self._nursery.cancel()
        await self._nursery.close()

    @property
    def is_open(self) -> bool:
        """Whether it has been entered, and not been left."""
        return self._state is _State.OPEN

    def _check_usable(self) -> None:
        if self._run is None:
            raise RuntimeError(
                "this ConnectionPool is not open: write 'async with ConnectionPool() as pool:' "
                "and use it in that block"
            )
        if check_trio() is not self._run:
            raise RuntimeError("this ConnectionPool belongs to another Trio run")
        if self._state is _State.LEFT:
            raise PoolClosed("the pool was closed: its 'async with' block has been left")

    # ── Operations ─────────────────────────────────────────────────────────────────────────────

    async def drain(self) -> None:
        """End gracefully: refuse new requests, let the present ones finish, keep nothing idle.

        New requests get :class:`PoolClosed` from the call on; there is no way back. If cancelled,
        that stays so, and what is in flight goes on: ``with trio.move_on_after(30): await
        pool.drain()``, then leave the block.
        """
        self._check_usable()
        self._slots.refuse("the pool is being drained")
        await self._slots.wait_quiet()

    def close_idle(self) -> None:
        """Close all idle connections now."""
        self._check_usable()
        self._slots.close_idle()

    def retire(self, predicate: Callable[[ConnectionInfo], bool] = lambda info: True) -> int:
        """Let the open connections that match serve no further request; return how many match.

        Idle ones are closed now, busy ones when they are given back. Dials under way are not
        looked at. For when a backend moves, a certificate is replaced, a network changes.
        """
        self._check_usable()
        return self._slots.retire(lambda connection: predicate(connection.info))

    def statistics(self) -> PoolStatistics:
        """A frozen snapshot of the pool; :class:`PoolStatistics` says what each figure means.

        Costs about a microsecond for each open connection and waiting request.
        """
        if self._state is not _State.LEFT:
            self._check_usable()
        # The slots know of connections, and not of what is spoken on them.
        return replace(self._slots.statistics(), http_parser=self._parser.name)

    @property
    def max_connections(self) -> int | None:
        """How many connections may be open at once. May be set while running.

        Lowered, it closes idle connections at once, and busy ones as they are given back.
        """
        return self._slots.max_connections

    @max_connections.setter
    def max_connections(self, value: int | None) -> None:
        self._slots.max_connections = check_count("max_connections", value)

    def __repr__(self) -> str:
        return f"<triopool.ConnectionPool, {self._state.value}, at {id(self):#x}>"


_habits.answer(
    ConnectionPool,
    "triopool.ConnectionPool",
    _habits.ON_A_POOL,
    **dict.fromkeys(("__enter__", "__exit__", "__await__"), _habits.A_POOL_IS_A_BLOCK),
)


# ── For the bridge to httpx ────────────────────────────────────────────────────────────────────
#
# The bridge is another room, and what it needs is not for programs. So these are functions of this
# module, and no attributes of the pool: what is found on a pool may be used by all.


def client_of(pool: ConnectionPool) -> Client:
    """What sends the requests of a pool, which has to be open."""
    pool._check_usable()
    return pool._client


def requests_of(pool: ConnectionPool) -> int:
    """How many requests a pool has: in line, in flight, or with a response that is not closed."""
    return pool._slots.books.under_way - pool._client.drains


def close_all(pool: ConnectionPool) -> None:
    """Close everything that a pool has, so that it can't be used any more. May be called again.

    It is left where it was entered, and only then are its keepers cancelled: that would cancel the
    block in which it is open, too.
    """
    if pool._state is _State.OPEN:
        pool._state = _State.LEFT
        pool._slots.shut("the pool was closed")
        pool._client.stop()
        pool._deadlines.stop()
