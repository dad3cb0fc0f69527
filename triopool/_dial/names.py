"""Names to addresses: requests that ask at one time share a lookup; its answer is kept for a while.

A lookup is a task of the pool and not of the request that asked first, so it survives that
request's cancellation. Every dial that waits for the lookup gets its answer, or its error. An error
is then forgotten, and the next dial asks again. A dial also asks again if the lookup that it finds
has been under way for five seconds, for the question may have been lost. Answers are kept for
``dns_ttl`` seconds. That is not the record's own lifetime, which ``getaddrinfo`` does not tell, but
it is short enough not to matter.

Each use of a kept answer starts with another address, within each family, so that load spreads
over a host's addresses while the system's preference between families (RFC 6724) stands.
"""

from __future__ import annotations

import ipaddress
import itertools
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import trio
from trio.lowlevel import enable_ki_protection

from .._control_c import control_c_passed_on
from .._errors import ResolveError
from .._origin import Origin
from ..abc import AddressInfo, Resolver
from .system_resolver import SystemResolver

MAX_REMEMBERED = 1024
"""Answers kept at one time; the oldest goes first."""

MAX_ADDRESSES = 50
"""Addresses kept for a name, the same number for each family. A DNS response may have thousands,
and each costs time to try, memory to keep, and room in messages. Picked arbitrarily."""

LOOKUP_LIMIT = 60.0
"""Seconds after which a lookup that does not end is given up.

The system's own resolver gives up earlier. Requests have a connect timeout of their own, which is
shorter.
"""

SHARED_FOR = 5.0
"""Seconds for which new dials join a lookup. One that hangs must not block its host for longer.

The time after which the C library repeats its own question (resolv.conf, RES_TIMEOUT).
"""


class Addresses(NamedTuple):
    """The addresses of a host.

    Attributes:
      to_try: in the order to try them.
      left_out: how many more the host has.
    """

    to_try: list[AddressInfo]
    left_out: int = 0


@dataclass(eq=False, slots=True)
class _Answer:
    families: list[list[AddressInfo]]
    left_out: int
    expires_at: float = 0.0
    uses: int = 0

    def rotated(self) -> Addresses:
        """The addresses, each family of them beginning one further than the last time."""
        turn, self.uses = self.uses, self.uses + 1
        to_try = [
            address
            for family in self.families
            for address in (*family[turn % len(family) :], *family[: turn % len(family)])
        ]
        return Addresses(to_try, self.left_out)


@dataclass(eq=False, slots=True)
class _Lookup:
    shared_until: float
    done: trio.Event = field(default_factory=trio.Event)
    # One of the two, when done; neither, if the pool was left meanwhile.
    answer: _Answer | None = None
    error: Exception | None = None


class Names:
    """Looks up hosts for one pool, in its nursery.

    Args:
      resolver: asked for the addresses of a host; None for the system's.
      ttl: for how many seconds an answer is kept; 0 for not at all.
    """

    def __init__(self, resolver: Resolver | None, ttl: float) -> None:
        self._nursery: trio.Nursery | None = None
        self._resolver = resolver
        self._ttl = ttl
        self._lookups: dict[tuple[str, int], _Lookup] = {}
        self._answers: dict[tuple[str, int], _Answer] = {}

    def start(self, nursery: trio.Nursery) -> None:
        """Begin to work: look-ups run in *nursery*."""
        self._nursery = nursery
        if self._resolver is None:
            self._resolver = SystemResolver(nursery)

    async def addresses(self, origin: Origin) -> Addresses:
        """The addresses of a host, at most MAX_ADDRESSES. A literal address is itself.

        If cancelled, the lookup goes on, for other dials that wait for it and for the next one.

        Raises:
          ResolveError: there is none, or the name service failed.
        """
        literal = _literal(origin)
        if literal is not None:
            return Addresses(literal)
        key = (origin.host, origin.port)
        answer = self._answers.get(key)
        if answer is None or trio.current_time() >= answer.expires_at:
            answer = await self._ask(key, origin)
        return answer.rotated()

    async def _ask(self, key: tuple[str, int], origin: Origin) -> _Answer:
        lookup = self._lookups.get(key)
        now = trio.current_time()
        if lookup is None or now >= lookup.shared_until:
            assert self._nursery is not None
            lookup = self._lookups[key] = _Lookup(now + SHARED_FOR)
            self._nursery.start_soon(self._look_up, key, lookup, name=f"look up {origin.host}")
        await lookup.done.wait()
        if isinstance(lookup.error, OSError):
            # A new error object each time, since several tasks may raise it.
            raise _unresolved(origin, lookup.error) from lookup.error
        if lookup.error is not None:
            raise lookup.error
        assert lookup.answer is not None
        return lookup.answer

    @enable_ki_protection
    async def _look_up(self, key: tuple[str, int], lookup: _Lookup) -> None:
        assert self._resolver is not None
        try:
            with trio.move_on_after(LOOKUP_LIMIT):
                with control_c_passed_on():
                    found = await self._resolver(*key)
                lookup.answer = _checked(found)
                self._remember(key, lookup.answer)
            if lookup.answer is None:
                raise OSError(f"no answer within {LOOKUP_LIMIT:g} s")
        except Exception as exc:
            # Stored for the dials that wait, whatever it is: raised here, it would end the pool.
            lookup.error = exc
        finally:
            # Another lookup may have taken this one's place after SHARED_FOR seconds.
            if self._lookups.get(key) is lookup:
                del self._lookups[key]
            lookup.done.set()

    def _remember(self, key: tuple[str, int], answer: _Answer) -> None:
        if self._ttl > 0:
            answer.expires_at = trio.current_time() + self._ttl
            self._answers.pop(key, None)  # So that it goes to the end: the oldest stand in front.
            self._answers[key] = answer
            if len(self._answers) > MAX_REMEMBERED:
                del self._answers[next(iter(self._answers))]


def _checked(found: Iterable[Sequence[Any]]) -> _Answer:
    """Check what a resolver returned, sort it by family, and cut it to MAX_ADDRESSES.

    Raises:
      OSError: there is no address.
      TypeError: it is not what a resolver must return.
    """
    families: dict[int, dict[AddressInfo, None]] = {}
    for info in found:
        try:
            family, kind, proto, canonname, sockaddr = info
        except (TypeError, ValueError):
            raise TypeError(
                "resolver must return 5-tuples as getaddrinfo does, "
                f"and this {type(info).__name__} is none"
            ) from None
        # getaddrinfo lists each address once for TCP, and again for UDP, unless told not to.
        if kind in (socket.SOCK_STREAM, 0):
            address = AddressInfo(family, socket.SOCK_STREAM, proto, canonname, sockaddr)
            families.setdefault(family, {})[address] = None
    if not families:
        raise OSError("it has no address")
    each = MAX_ADDRESSES // len(families)
    kept = [list(itertools.islice(family, each)) for family in families.values()]
    return _Answer(kept, sum(map(len, families.values())) - sum(map(len, kept)))


def _unresolved(origin: Origin, why: OSError) -> ResolveError:
    message = f"{origin.host!r} could not be resolved: {why.strerror or why}"
    return ResolveError(message, origin=origin, phase="connect")


def _literal(origin: Origin) -> list[AddressInfo] | None:
    try:
        ipaddress.ip_address(origin.host)
    except ValueError:
        return None
    # Numeric: the standard library answers at once, and knows about scopes ("fe80::1%eth0").
    try:
        found = socket.getaddrinfo(
            origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )
    except OSError as exc:
        raise _unresolved(origin, exc) from exc
    return [AddressInfo(*info) for info in found]
