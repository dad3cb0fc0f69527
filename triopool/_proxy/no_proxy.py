"""The table of ``no_proxy``: to whom requests go directly.

Each program reads this variable in its own way. These are our rules, and where others disagree we
take the reading that curl has:

- Entries stand between commas or blanks. Case and a last dot make no difference, and names beyond
  ASCII are encoded (IDNA), as a URL's host is.
- ``*`` is everything.
- ``example.com`` and ``.example.com`` are that name and all names below it. ``*.example.com`` is
  the names below it only.
- An address, or a network such as ``10.0.0.0/8`` or ``fd00::/8``, with or without brackets, is
  compared as an address. Bits behind the prefix are ignored. An IPv4 address that is written as
  IPv6 is IPv4. A zone takes no part, on either side.
- ``host:port`` and ``[address]:port`` are for that port only.

A host that is an address is never looked for among the names, and no name is ever looked up: an
entry for an address says nothing of names. An entry that means nothing of this is skipped. It
could only be guessed what was meant, and a wrong guess would lead past the proxy.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from typing import TypeAlias

from .._origin import Origin
from .._request.url import host_name

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_SEPARATOR = re.compile(r"[,\s]+")
# Longer ones are no name, and not worth the time that it takes to find out.
_MAX_CHARACTERS = 300
# What stands before the port: a name, an IPv4 address or network; or, in brackets, an IPv6 one,
# whose prefix may stand behind them.
_ENTRY = re.compile(
    r"(?:\[([^\[\]]*)\](/[0-9]{1,3})?|([^\[\]:]*))(?::([0-9]{1,5}))?",
)
# A zone can only follow an IPv6 address.
_IPV4 = re.compile(r"([0-9.]+)(/[0-9]{1,3})?")
_IPV6 = re.compile(r"([0-9a-f.]*:[0-9a-f.:]*)(?:%[^/]*)?(/[0-9]{1,3})?")
_MAPPED_PREFIX = 96
"""Of ``::ffff:0:0/96``, in which IPv4 addresses are written as IPv6 ones."""


class NoProxy:
    """What a text means, ready to be asked.

    Args:
      text: the variable's value.
    """

    def __init__(self, text: str) -> None:
        self._everything = False
        # Each with the port that it is for; None for all of them.
        self._names: set[tuple[str, int | None]] = set()
        self._parents: set[tuple[str, int | None]] = set()
        self._networks: list[tuple[Network, int | None]] = []
        for entry in _SEPARATOR.split(text):
            if len(entry) <= _MAX_CHARACTERS:
                self._add(entry.lower())

    def _add(self, entry: str) -> None:
        if entry == "*":
            self._everything = True
            return
        where, is_bracketed, port = _split(entry)
        if port is not None and not 1 <= port <= 65535:
            return
        network = _network(where)
        if network is not None:
            self._networks.append((network, port))
        elif not is_bracketed:
            self._add_name(where.removesuffix("."), port)

    def _add_name(self, text: str, port: int | None) -> None:
        only_below = text.startswith("*.")
        name, problem = host_name(text[2:] if only_below else text.removeprefix("."))
        if problem:
            return
        address = _address(name)
        if address is None:
            self._parents.add((name, port))
            if not only_below:
                self._names.add((name, port))
        elif not text.startswith(("*.", ".")):
            # It was not written as one: its digits are not ASCII, or it ends with a dot.
            self._networks.append((ipaddress.ip_network(address), port))

    def matches(self, origin: Origin) -> bool:
        """Whether requests for *origin* go directly."""
        if self._everything:
            return True
        address = address_of(origin)
        if address is not None:
            return any(
                address in network and port in (None, origin.port)
                for network, port in self._networks
            )
        host = origin.host.removesuffix(".")
        if not self._ports_of(host, origin.port).isdisjoint(self._names):
            return True
        while host:
            _, _, host = host.partition(".")
            if not self._ports_of(host, origin.port).isdisjoint(self._parents):
                return True
        return False

    @staticmethod
    def _ports_of(host: str, port: int) -> set[tuple[str, int | None]]:
        return {(host, None), (host, port)}


def address_of(origin: Origin) -> Address | None:
    """The address that an origin's host is, without its zone; None if it is a name."""
    return _address(origin.host.partition("%")[0])


def _address(text: str) -> Address | None:
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(text)
        return getattr(address, "ipv4_mapped", None) or address
    return None


def _split(entry: str) -> tuple[str, bool, int | None]:
    """What an entry is for; whether that stands in brackets; and its port, if it has one."""
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return entry, False, None  # An IPv6 address without brackets, or nothing.
    inside, prefix, plain, port = match.groups()
    where = plain if inside is None else f"{inside}{prefix or ''}"
    return where, inside is not None, None if port is None else int(port)


def _network(text: str) -> Network | None:
    """The addresses that an entry is for; None if it is for a name, or for nothing."""
    match = _IPV4.fullmatch(text) or _IPV6.fullmatch(text)
    if match is None:
        return None
    with contextlib.suppress(ValueError):
        network = ipaddress.ip_network("".join(match.groups(default="")), strict=False)
        if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= _MAPPED_PREFIX:
            mapped = network.network_address.ipv4_mapped
            if mapped is not None:
                return ipaddress.IPv4Network((mapped, network.prefixlen - _MAPPED_PREFIX))
        return network
    return None
