"""Happy Eyeballs (RFC 8305): try a host's addresses side by side, and take the first that answers.

The problem
-----------
A host has several addresses, of two families, and some of them don't work from here. Trying one
after the other, each with its own timeout, makes a broken IPv6 route cost the user half a minute.
Trying all at once floods the server, and gives its preferred address no head start.

Our way
-------
The addresses are interleaved by family (section 4) and started in that order, 250 ms apart
(section 5). An attempt that fails starts the next one at once. At most six are under way. The first
that connects wins; the others are cancelled, and their sockets are closed *before* the winner is
returned, so that a caller who counts descriptors sees one.

``trio.open_tcp_stream`` does this too. What it can't do is to let a factory make each socket, to
go on with the remaining addresses when TLS fails on the first winner, and to tell why each failed.

Who owns a socket
-----------------
Each attempt owns its socket until it has put it into ``_Race.winner``; there is no checkpoint
between a connect that returns and that line, so a socket is never nobody's. Should two connect in
one tick, the second finds the place taken and closes its own. If the caller is cancelled when
there is a winner already, the race closes it on the way out.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

import trio

from .abc import AddressInfo

MAX_ATTEMPTS_AT_ONCE = 6

Connect: TypeAlias = Callable[[AddressInfo], Awaitable[trio.socket.SocketType]]
"""Opens one socket to one address; closes it if it can't. ``OSError`` means: try another."""


def interleave(addresses: Iterable[AddressInfo]) -> list[AddressInfo]:
    """Alternate between the families, beginning with the first one's; drop duplicates."""
    families: dict[int, dict[AddressInfo, None]] = {}
    for address in addresses:
        families.setdefault(address.family, {})[address] = None
    rounds = itertools.zip_longest(*families.values())
    return [address for one_round in rounds for address in one_round if address is not None]


class _Race:
    """What the attempts of one race have in common."""

    def __init__(self, connect: Connect, failures: dict[AddressInfo, Exception]) -> None:
        self._connect = connect
        self._failures = failures
        self._places = trio.Semaphore(MAX_ATTEMPTS_AT_ONCE)
        self.winner: tuple[AddressInfo, trio.socket.SocketType] | None = None
        # An exception that is not about the address: the caller's own, from his factory.
        self.crash: Exception | None = None

    async def run(self, addresses: Sequence[AddressInfo], delay: float) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for address in addresses:
                    await self._places.acquire()
                    failed = trio.Event()
                    nursery.start_soon(self._attempt, address, failed, nursery.cancel_scope)
                    if address is not addresses[-1]:
                        with trio.move_on_after(delay):
                            await failed.wait()
        except BaseException:
            if self.winner is not None:
                self.winner[1].close()
            raise

    async def _attempt(
        self, address: AddressInfo, failed: trio.Event, scope: trio.CancelScope
    ) -> None:
        try:
            sock = await self._connect(address)
        except OSError as exc:
            self._failures[address] = exc
            self._places.release()
            failed.set()
        except Exception as exc:
            if self.winner is None:
                self.crash = exc
            scope.cancel()
        else:
            if self.winner is None and self.crash is None:
                self.winner = (address, sock)
            else:
                sock.close()
            scope.cancel()


async def race(
    addresses: Sequence[AddressInfo],
    connect: Connect,
    delay: float,
    failures: dict[AddressInfo, Exception],
) -> tuple[AddressInfo, trio.socket.SocketType] | None:
    """Connect to whichever of *addresses*, tried in order, answers first.

    Atomic with respect to cancellation: if this raises, every socket is closed.

    Args:
      addresses: in the order to start them; see :func:`interleave`.
      connect: opens one.
      delay: seconds between two starts, unless a failure starts the next one earlier.
      failures: why an address failed is put in here.

    Returns:
      The address and its connected socket, which the caller owns; None if all failed.

    Raises:
      Whatever *connect* raises that is not an ``OSError``, as itself.
    """
    if len(addresses) == 1:
        # The common case of a literal, a Unix socket or a single record needs no tasks.
        try:
            return addresses[0], await connect(addresses[0])
        except OSError as exc:
            failures[addresses[0]] = exc
            return None
    running = _Race(connect, failures)
    await running.run(addresses, delay)
    if running.crash is not None:
        raise running.crash
    return running.winner
