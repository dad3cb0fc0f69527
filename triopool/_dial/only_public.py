"""A socket factory for programs that connect to where others tell them to.

A service that fetches what its users name (webhooks, previews, feeds) can be sent to the machines
beside it: to ``localhost``, to a database, to a cloud's metadata service. To look at the URL does
not help, for any name may have any address, and another one a moment later. So the check is made
where nothing can change any more: on the address that the socket is about to be connected to. There
it holds for every name, and for redirects too.

Why a table, and not ``ipaddress.ip_address(...).is_global``: that knows what was reserved when the
Python was made, and calls addresses global that *contain* a private one (6to4, NAT64).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Iterable
from typing import TypeAlias

from ..abc import AddressInfo, AnySocket, SocketFactory
from .sockets import plain_socket

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_NOT_PUBLIC: dict[Network, str] = {
    ipaddress.ip_network(network): what
    for network, what in {
        # IANA IPv4 Special-Purpose Address Registry, what is not globally reachable.
        "0.0.0.0/8": "this network, RFC 791",
        "10.0.0.0/8": "private use, RFC 1918",
        "100.64.0.0/10": "shared by a provider's customers, RFC 6598",
        "127.0.0.0/8": "loopback, RFC 1122",
        "169.254.0.0/16": "link-local, RFC 3927",
        "172.16.0.0/12": "private use, RFC 1918",
        # With its anycast addresses: they reach the nearest translator, which is ours.
        "192.0.0.0/24": "protocol assignments, RFC 6890",
        "192.0.2.0/24": "documentation, RFC 5737",
        "192.88.99.0/24": "6to4 relay, RFC 7526",
        "192.168.0.0/16": "private use, RFC 1918",
        "198.18.0.0/15": "benchmarks, RFC 2544",
        "198.51.100.0/24": "documentation, RFC 5737",
        "203.0.113.0/24": "documentation, RFC 5737",
        "224.0.0.0/4": "multicast, RFC 5771",
        "255.255.255.255/32": "broadcast, RFC 919",
        "240.0.0.0/4": "reserved, RFC 1112",
        # IANA IPv6 Special-Purpose Address Registry, and what else is not for everybody.
        "::1/128": "loopback, RFC 4291",
        "::/128": "unspecified, RFC 4291",
        "::/96": "IPv4-compatible, RFC 4291",
        "::ffff:0:0/96": "IPv4-mapped, RFC 4291",
        "::ffff:0:0:0/96": "IPv4-translated, RFC 2765",
        "64:ff9b::/96": "IPv4 by way of NAT64, RFC 6052",
        "64:ff9b:1::/48": "IPv4 by way of a local NAT64, RFC 8215",
        "100::/64": "discard only, RFC 6666",
        "100:0:0:1::/64": "dummy prefix, RFC 9780",
        "2001::/32": "IPv4 by way of Teredo, RFC 4380",
        "2001::/23": "protocol assignments, RFC 2928",
        "2001:db8::/32": "documentation, RFC 3849",
        "2002::/16": "IPv4 by way of 6to4, RFC 3056",
        "3fff::/20": "documentation, RFC 9637",
        "5f00::/16": "segment routing, RFC 9602",
        "fc00::/7": "unique local, RFC 4193",
        "fe80::/10": "link-local, RFC 4291",
        "fec0::/10": "site-local, RFC 3879",
        "ff00::/8": "multicast, RFC 4291",
        # All else that IANA has not given out; 2000::/3 is left.
        "::/3": "not global unicast, RFC 4291",
        "4000::/2": "not global unicast, RFC 4291",
        "8000::/1": "not global unicast, RFC 4291",
    }.items()
}

_LAST_32_BITS = 0xFFFF_FFFF
_WITH_IPV4_AT_THE_END = [
    ipaddress.IPv6Network(network)
    for network in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
]
_TEREDO = ipaddress.IPv6Network("2001::/32")
_SIX_TO_FOUR = ipaddress.IPv6Network("2002::/16")
# RFC 5214 section 6.1: the first half of the interface identifier, whatever its universal bit.
_ISATAP, _ISATAP_MASK = 0x0000_5EFE, 0xFDFF_FFFF


class OnlyPublic:
    """A socket factory that makes sockets for public addresses, and for no others.

    ``triopool.only_public`` is one; make your own to refuse or to allow more::

        factory = triopool.OnlyPublic(allow=["10.1.0.0/16"], refuse=["168.63.129.16"])
        async with triopool.ConnectionPool(socket_factory=factory) as pool: ...

    Public is what IANA's registries of special-purpose addresses (RFC 6890) don't call otherwise.
    What leads to an IPv4 address through some translation or tunnel (NAT64, 6to4, Teredo,
    IPv4-mapped, ...) is not public; where it is allowed, and where ISATAP (RFC 5214) has an IPv4
    address in it, the address inside has to be public or allowed as well. Unix sockets are refused.

    The pool calls it for each attempt, with the very address that it connects to next: no redirect,
    no name that changes its address, no spelling of an address gets past it. It can't know what is
    behind a public address: a server that forwards, a router that maps it to the inside, a NAT64
    prefix of the network's own, addresses of your own that are public.

    Args:
      refuse: further networks or addresses, as ``"203.0.113.0/24"`` or :mod:`ipaddress` has them.
        Goes before *allow*.
      allow: those that are to be reached though they are not public.
      socket_factory: makes the sockets, once an address has passed; None for plain ones.

    Raises:
      ValueError: *refuse* or *allow* has something that is no network.
      TypeError: one of them is a str, or *socket_factory* can't be called.
    """

    def __init__(
        self,
        *,
        refuse: Iterable[str | Address | Network] = (),
        allow: Iterable[str | Address | Network] = (),
        socket_factory: SocketFactory | None = None,
    ) -> None:
        if socket_factory is not None and not callable(socket_factory):
            raise TypeError(f"socket_factory must be callable, not {socket_factory!r}")
        self._refuse = _networks("refuse", refuse)
        self._allow = _networks("allow", allow)
        self._make: SocketFactory = socket_factory or plain_socket

    def __call__(self, address: AddressInfo) -> AnySocket | Awaitable[AnySocket]:
        """Make the socket for *address*; see :data:`triopool.abc.SocketFactory`.

        Raises:
          PermissionError: it is not public. The pool skips such an address, and names it in the
            error if no other address is left.
        """
        why = self._why_not(address)
        if why is not None:
            raise PermissionError(why)
        return self._make(address)

    def _why_not(self, address: AddressInfo) -> str | None:
        if address.family not in (socket.AF_INET, socket.AF_INET6):
            return "not an address of the internet"
        literal = _parse(address.sockaddr[0])
        if literal is None:
            return "not a literal address"
        return self._why_not_literal(literal)

    def _why_not_literal(self, address: Address) -> str | None:
        for network in self._refuse:
            if address in network:
                return f"not to be connected to: {address} is in {network}, which is refused"
        if not any(address in network for network in self._allow):
            for network, what in _NOT_PUBLIC.items():
                if address in network:
                    return f"not a public address: {address} is in {network} ({what})"
        inside = _ipv4_in(address)
        return None if inside is None else self._why_not_literal(inside)

    def __repr__(self) -> str:
        changed = {"refuse": self._refuse, "allow": self._allow}
        shown = ", ".join(f"{name}={list(map(str, of))}" for name, of in changed.items() if of)
        return f"triopool.OnlyPublic({shown})"


def _networks(name: str, given: Iterable[str | Address | Network]) -> list[Network]:
    if isinstance(given, str | bytes):
        raise TypeError(f"{name} must be a list of networks, not a {type(given).__name__}")
    return [ipaddress.ip_network(network) for network in given]


def _parse(host: object) -> Address | None:
    """None for what is no literal: a socket would look it up anew, and find something else."""
    try:
        # The zone, as in "fe80::1%eth0", says by which interface.
        return ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return None


def _ipv4_in(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, where that can be told from it."""
    if isinstance(address, ipaddress.IPv4Address) or int(address) <= 1:
        return None  # "::" and "::1" have none in them, though they are in ::/96.
    if address in _TEREDO:
        return ipaddress.IPv4Address(int(address) & _LAST_32_BITS ^ _LAST_32_BITS)
    if address in _SIX_TO_FOUR:
        return ipaddress.IPv4Address(int(address) >> 80 & _LAST_32_BITS)
    is_isatap = int(address) >> 32 & _ISATAP_MASK == _ISATAP
    if is_isatap or any(address in network for network in _WITH_IPV4_AT_THE_END):
        return ipaddress.IPv4Address(int(address) & _LAST_32_BITS)
    return None


only_public: OnlyPublic = OnlyPublic()
"""Makes sockets for public addresses only: ``ConnectionPool(socket_factory=only_public)``."""
