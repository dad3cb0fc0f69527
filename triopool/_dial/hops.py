"""How a dial goes on once it is connected: hop by hop, over one line.

    connect → [TLS with the proxy] → [CONNECT or SOCKS] → … → [TLS with the origin] → connection

The wire leads to the first proxy, or to the origin if there is none. Each step is taken on what the
steps before it have made of the line: TLS is put on top, a proxy connects to the next one. So a
chain of proxies is a longer list, and TLS in TLS in TLS is nothing special.

*Who owns what.* A line is one descriptor, however many layers are on it. :func:`travel` owns it
from its first moment: if a step raises, or is cancelled, the descriptor is closed before the dial
goes on or ends. Before the first step nothing is open, so all that can be done without the proxy is
done there, by :func:`plan`: names are looked up, trust stores read, fields checked.

*What may be tried again.* Until a proxy has said its first word, the address at which we are may be
the wrong one, and the others of its name are tried (``Line.answered``). What it says is final, but
for this: where SOCKS is told addresses and no name, and refuses one of several, the next one is
asked for, on a new connection (:class:`~.socks.AnotherAddress`).
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from .._errors import ProxyError, ResolveError, TLSError
from .._origin import Origin
from .._pool_key import PoolKey
from ..abc import AddressInfo
from .asking import Errand
from .happy_eyeballs import interleave
from .line import Line
from .names import Names
from .report import DialReport
from .socks import Socks, check_target
from .tunnel import Tunnel

MOST_ADDRESSES = 4
"""As many addresses of a host are asked of a SOCKS proxy, each on a new connection."""

_WHY_NONE = "SOCKS4 has IPv4 only (use socks5://), and no kind of SOCKS has zones"


@dataclass(frozen=True, slots=True, repr=False)
class ProxyHop:
    """What a dial has to know of a proxy. No part of it is shown but *url*.

    Attributes:
      url: for messages, without credentials.
      scheme: http, https, socks5, socks5h, socks4 or socks4a.
      host, port: where it is; an IPv6 address without brackets.
      fields: sent with CONNECT: User-Agent, its credentials, what else it is to get.
      credentials: for SOCKS, a name and a password; None for none.
      ssl_context: for https; None for our own.
      server_hostname: for https: to be verified in place of the host.
      unix_socket: where it listens, whatever its host; for the first proxy only.
    """

    url: str
    scheme: str
    host: str
    port: int
    fields: Sequence[tuple[bytes, bytes]] = ()
    credentials: tuple[str, str] | None = None
    ssl_context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    unix_socket: str | None = None

    @property
    def origin(self) -> Origin:
        return Origin(self.scheme, self.host, self.port)


@dataclass(frozen=True, slots=True)
class Route:
    """The way to an origin.

    Attributes:
      proxies: in the order in which they are reached; none for the direct way.
      forwards: whether the last one is to be sent requests for whatever origin, so that the way
        ends with it.
    """

    proxies: Sequence[ProxyHop] = ()
    forwards: bool = False


DIRECTLY = Route()


class Step(Protocol):
    """What is done on a line."""

    def doing(self, line: Line) -> str:
        """What :meth:`take` is doing, for the report of the dial."""
        ...

    async def take(self, line: Line) -> None:
        """Do it. The caller owns the line, and closes it if this raises."""


class ProxyTLS:
    """TLS with a proxy, which is no business of the origin's: a trust and a name of its own."""

    def __init__(self, proxy: ProxyHop, context: ssl.SSLContext, errand: Errand) -> None:
        self._key = PoolKey(proxy.origin, proxy.server_hostname)
        self._context = context
        self._errand = errand

    def doing(self, line: Line) -> str:
        return f"TLS handshake with {self._errand.proxy}"

    async def take(self, line: Line) -> None:
        try:
            await line.shake_hands(self._context, self._key)
        except TLSError as exc:
            proxy = self._errand.proxy
            raise ProxyError(
                f"TLS with the proxy {proxy}: {exc}",
                proxy=proxy,
                origin=self._errand.origin,
                phase="connect",
            ) from exc.__cause__


class OriginTLS:
    """TLS with the origin.

    Args:
      through: the URL of the proxy that leads there; None if the line does so by itself.
    """

    def __init__(self, key: PoolKey, context: ssl.SSLContext, through: str | None) -> None:
        self._key = key
        self._context = context
        self._through = through

    def doing(self, line: Line) -> str:
        return f"TLS handshake with {line.peer}"

    async def take(self, line: Line) -> None:
        try:
            await line.shake_hands(self._context, self._key)
        except TLSError as exc:
            if self._through is None:
                raise  # It is told of one of the origin's addresses.
            raise TLSError(
                f"could not connect to {self._key} through {self._through}: {exc}",
                origin=self._key.origin,
                phase="connect",
            ) from exc.__cause__


async def plan(
    route: Route,
    key: PoolKey,
    names: Names,
    report: DialReport,
    *,
    context: ssl.SSLContext | None,
    own_context: ssl.SSLContext | None,
) -> list[Step]:
    """The steps from a connected wire to *key*. Nothing is open yet.

    Args:
      context: for the origin; None if there is no TLS with it.
      own_context: for the proxies that speak TLS and have no context of their own.

    Raises:
      ResolveError: a name that is looked up on our side has no address.
      ProxyError: it has none that the proxy can be asked for.
      LocalProtocolError: a field for a proxy is not legal.
      ValueError: a proxy can't be asked for this host.
    """
    steps: list[Step] = []
    for number, proxy in enumerate(route.proxies, start=1):
        following = route.proxies[number : number + 1]
        target = following[0].origin if following else key.origin
        errand = Errand(proxy.url, following[0].url if following else str(target), key.origin)
        if proxy.scheme == "https":
            lent_or_own = proxy.ssl_context or own_context
            assert lent_or_own is not None
            steps.append(ProxyTLS(proxy, lent_or_own, errand))
        if not following and route.forwards:
            break
        try:
            steps.append(await _ask_for(target, proxy, errand, names, report))
        except ResolveError as exc:
            if not following:
                raise
            raise unreached(following[0], key, exc) from exc
    if context is not None:
        through = route.proxies[-1].url if route.proxies else None
        steps.append(OriginTLS(key, context, through))
    return steps


async def _ask_for(
    target: Origin, proxy: ProxyHop, errand: Errand, names: Names, report: DialReport
) -> Step:
    check_target(proxy.scheme, target.host)
    if proxy.scheme in ("http", "https"):
        return Tunnel(errand, target.host, target.port, proxy.fields)
    hosts = [target.host]
    if proxy.scheme in ("socks5", "socks4"):
        report.doing("looking up the host's addresses")
        hosts = _to_ask_for(proxy.scheme, (await names.addresses(target)).to_try)
        if not hosts:
            raise errand.error(f"can't reach any of the addresses of {errand.to}: {_WHY_NONE}")
    version = 5 if proxy.scheme in ("socks5", "socks5h") else 4
    return Socks(errand, version, hosts, target.port, proxy.credentials)


def _to_ask_for(scheme: str, found: Sequence[AddressInfo]) -> list[str]:
    """The addresses that a proxy can be asked for, as text."""
    hosts = []
    for address in interleave(found):
        host = str(address.sockaddr[0])
        with contextlib.suppress(ValueError):
            check_target(scheme, host)
            hosts.append(host)
    return hosts[:MOST_ADDRESSES]


async def travel(line: Line, steps: Sequence[Step], report: DialReport) -> None:
    """Take all *steps*. Owns the line, and closes it if this raises."""
    try:
        for step in steps:
            report.doing(step.doing(line))
            await step.take(line)
    except BaseException:
        line.close()
        raise


def unreached(proxy: ProxyHop, key: PoolKey, exc: ResolveError) -> ProxyError:
    """The error of a dial that goes through a proxy whose name can't be resolved."""
    return Errand(proxy.url, str(key.origin), key.origin).error(f"can't be reached: {exc}")
