"""Happy Eyeballs (RFC 8305): try a host's addresses side by side, and take the first that answers.

The problem
-----------
A host has several addresses, of two families, and some of them don't work from here. Trying one
after the other, each with its own timeout, makes a broken IPv6 route cost the user half a minute.
Trying all at once floods the server, and gives its preferred address no head start.

Our way
-------
The addresses are interleaved by family (section 4) and started in that order, 250 ms apart
(section 5). Each attempt that fails, be it the latest or an older one, starts the next one at once.
At most six are under way. The first that connects wins; the others are cancelled, and their sockets
are closed *before* the winner is returned, so that a caller who counts descriptors sees one.

``trio.open_tcp_stream`` does this too. What it can't do is to let a factory make each socket, to
go on with the remaining addresses when TLS fails on the first winner, and to say why each address
failed.

Who owns a socket
-----------------
Each attempt owns its socket until it has stored it as the winner. There is no checkpoint between
the return of connect and that line, so every socket has an owner at any moment. If two attempts
connect in one tick, the second one finds the place taken and closes its own socket. When the race
raises, be it ``Cancelled`` or what a factory raised in another attempt, it closes the winner first.

Each attempt is a task, and a task does not inherit protection from control-C. Without protection of
its own, a ``KeyboardInterrupt`` could fall between the connect and that line, and would end the
pool's tasks.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

import trio
from trio.lowlevel import enable_ki_protection

from .._transport.wire import Wire
from ..abc import AddressInfo

MAX_ATTEMPTS_AT_ONCE = 6
"""How many sockets of one race may be connecting at one time. Picked arbitrarily."""

Connect: TypeAlias = Callable[[AddressInfo], Awaitable[Wire]]
"""Opens one connection, or closes what it has opened. ``OSError`` means: try another address."""

OnFailure: TypeAlias = Callable[[AddressInfo, OSError], None]
"""Called with each address that failed, in the moment in which it fails."""


def interleave(addresses: Iterable[AddressInfo]) -> list[AddressInfo]:
    """Alternate between the families, beginning with the first one's; drop duplicates."""
    families: dict[int, dict[AddressInfo, None]] = {}
    for address in addresses:
        families.setdefault(address.family, {})[address] = None
    rounds = itertools.zip_longest(*families.values())
    return [address for one_round in rounds for address in one_round if address is not None]


class _Race:
    """What the attempts of one race have in common."""

    def __init__(self, connect: Connect, on_failure: OnFailure) -> None:
        self._connect = connect
        self._on_failure = on_failure
        self._places = trio.Semaphore(MAX_ATTEMPTS_AT_ONCE)
        # Each failure releases one token, and lets the next attempt start before its time.
        self._early_starts = trio.Semaphore(0)
        self._winner: tuple[AddressInfo, Wire] | None = None
        # What the user's socket factory raised, if it was no OSError: not about the address.
        self._crash: Exception | None = None

    async def run(
        self, addresses: Sequence[AddressInfo], delay: float
    ) -> tuple[AddressInfo, Wire] | None:
        try:
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    await self._places.acquire()
                    nursery.start_soon(self._attempt, address, nursery.cancel_scope)
                    with trio.move_on_after(delay):
                        await self._early_starts.acquire()
            if self._crash is not None:
                raise self._crash
        except BaseException:
            if self._winner is not None:
                self._winner[1].close()
            raise
        return self._winner

    @enable_ki_protection
    async def _attempt(self, address: AddressInfo, race: trio.CancelScope) -> None:
        try:
            wire = await self._connect(address)
        except OSError as exc:
            self._on_failure(address, exc)
            self._places.release()
            self._early_starts.release()
        except Exception as exc:
            self._crash = self._crash or exc
            race.cancel()
        else:
            # No checkpoint since connect() has returned: a cancellation that comes now is raised
            # at the next one, and there is none in this task. So the wire is stored or closed,
            # whatever happens. Another attempt may have won in this very tick, before it could
            # cancel us.
            if self._winner is None:
                self._winner = (address, wire)
            else:
                wire.close()
            race.cancel()


async def race(
    addresses: Sequence[AddressInfo], connect: Connect, delay: float, on_failure: OnFailure
) -> tuple[AddressInfo, Wire] | None:
    """Connect to the one of *addresses* that answers first.

    Atomic with respect to cancellation: if this raises, every socket is closed.

    Args:
      addresses: in the order to start them; see :func:`interleave`.
      connect: opens a connection to one.
      delay: seconds between two starts, unless a failure starts the next one earlier.
      on_failure: called with each address that failed, and why.

    Returns:
      The address and its wire, which the caller owns; None if all failed.

    Raises:
      Exception: what *connect* raises that is not an ``OSError``, as itself.
    """
    if len(addresses) > 1:
        return await _Race(connect, on_failure).run(addresses, delay)
    # The common case of a literal, a Unix socket or a single record needs no tasks.
    try:
        return addresses[0], await connect(addresses[0])
    except OSError as exc:
        on_failure(addresses[0], exc)
        return None
