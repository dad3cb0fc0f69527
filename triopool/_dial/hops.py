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

import ssl
from collections.abc import Sequence
from typing import Protocol

from .._errors import ProxyError, ResolveError, TLSError
from .._origin import Origin
from .._pool_key import PoolKey
from .._proxy.proxy import Proxy
from .._transport.tls_errors import as_of_a_proxy
from ..abc import AddressInfo
from .asking import Errand
from .happy_eyeballs import interleave
from .line import Line
from .names import Names
from .pins import Pins
from .report import DialReport
from .sessions import Sessions
from .socks import Socks, can_be_asked_for
from .tunnel import Tunnel

MOST_ADDRESSES = 4
"""As many addresses of a host are asked of a SOCKS proxy, each on a new connection."""

_WHY_NONE = "SOCKS4 has IPv4 only (use socks5://), and no kind of SOCKS has zones"


class Step(Protocol):
    """What is done on a line."""

    def doing(self, line: Line) -> str:
        """What :meth:`take` is doing, for the report of the dial."""
        ...

    async def take(self, line: Line) -> None:
        """Do it. The caller owns the line, and closes it if this raises."""


class ProxyTLS:
    """TLS with a proxy, which is no business of the origin's: a trust and a name of its own."""

    def __init__(self, proxy: Proxy, context: ssl.SSLContext, errand: Errand) -> None:
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
                f"TLS with the proxy {proxy}: {as_of_a_proxy(str(exc))}",
                proxy=proxy,
                origin=self._errand.origin,
                phase="connect",
            ) from exc.__cause__
        line.proxy_tls = line.tls


class OriginTLS:
    """TLS with the origin, resumed where we have a session with it."""

    def __init__(
        self,
        key: PoolKey,
        context: ssl.SSLContext,
        sessions: Sessions | None,
        pins: Pins | None,
    ) -> None:
        self._key = key
        self._context = context
        self._sessions = sessions
        self._pins = pins

    def doing(self, line: Line) -> str:
        return f"TLS handshake with {line.peer}"

    async def take(self, line: Line) -> None:
        sessions = self._sessions
        session = None if sessions is None else sessions.find(self._key)
        try:
            tls = await line.shake_hands(self._context, self._key, session)
            if self._pins is not None:
                self._pins.check(self._key, tls.ssl)
        except TLSError as exc:
            if sessions is not None:
                sessions.forget(self._key)
            if self._key.proxy is None:
                raise  # It is told of one of the origin's addresses.
            raise TLSError(
                f"could not connect to {self._key}: {exc}",
                origin=self._key.origin,
                phase="connect",
            ) from exc.__cause__
        if sessions is not None:
            sessions.keep(self._key, self._context, tls.ssl)


async def plan(
    key: PoolKey,
    names: Names,
    report: DialReport,
    *,
    context: ssl.SSLContext | None,
    own_context: ssl.SSLContext | None,
    sessions: Sessions | None = None,
    pins: Pins | None = None,
) -> list[Step]:
    """The steps from a connected wire to *key*. Nothing is open yet.

    Args:
      context: for the origin; None if there is no TLS with it.
      own_context: for the proxies that speak TLS and have no context of their own.
      sessions: of the origins; None to resume none.
      pins: which certificates the origins may show; None for any that the context accepts.

    Raises:
      ResolveError: a name that is looked up on our side has no address.
      ProxyError: it has none that the proxy can be asked for.
    """
    steps: list[Step] = []
    proxies = key.proxies
    for number, proxy in enumerate(proxies, start=1):
        following = proxies[number] if number < len(proxies) else None
        target = key.origin if following is None else following.origin
        errand = Errand(proxy.url, str(target), key.origin)
        if proxy.origin.scheme == "https":
            lent_or_own = proxy.ssl_context or own_context
            assert lent_or_own is not None
            steps.append(ProxyTLS(proxy, lent_or_own, errand))
        if following is None and key.forwarded:
            break
        try:
            steps.append(await _ask_for(target, proxy, errand, names, report))
        except ResolveError as exc:
            if following is None:
                raise
            raise unreached(following, key, exc) from exc
    if context is not None:
        steps.append(OriginTLS(key, context, sessions, pins))
    return steps


async def _ask_for(
    target: Origin, proxy: Proxy, errand: Errand, names: Names, report: DialReport
) -> Step:
    if proxy.speaks_http:
        return Tunnel(errand, target.host, target.port, proxy.fields)
    version = 5 if proxy.origin.scheme in ("socks5", "socks5h") else 4
    hosts = [target.host]
    if proxy.needs_addresses:
        report.doing("looking up the host's addresses")
        hosts = _to_ask_for(version, (await names.addresses(target)).to_try)
        if not hosts:
            raise errand.error(f"can't reach any of the addresses of {errand.to}: {_WHY_NONE}")
    return Socks(errand, version, hosts, target.port, proxy.socks_credentials)


def _to_ask_for(version: int, found: Sequence[AddressInfo]) -> list[str]:
    """The addresses that a proxy can be asked for, as text."""
    hosts = (str(address.sockaddr[0]) for address in interleave(found))
    return [host for host in hosts if can_be_asked_for(version, host)][:MOST_ADDRESSES]


async def travel(line: Line, steps: Sequence[Step], report: DialReport) -> None:
    """Take all *steps*. Owns the line, and closes it if this raises."""
    try:
        for step in steps:
            report.doing(step.doing(line))
            await step.take(line)
    except BaseException:
        line.close()
        raise


def unreached(proxy: Proxy, key: PoolKey, exc: ResolveError) -> ProxyError:
    """The error of a dial that goes through a proxy whose name can't be resolved."""
    return Errand(proxy.url, str(key.origin), key.origin).error(f"can't be reached: {exc}")
