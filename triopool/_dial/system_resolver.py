"""Names by the operating system, in threads of our own: ``getaddrinfo`` blocks.

It may block for long. Where a name server does not answer, the C library asks again and again, for
half a minute with the usual settings, and nothing can stop it: a look-up that was given up leaves
its thread behind. If each thread had a place until its end, a few dozen dead domains would take all
places, and no other name could be looked up.

So a look-up has a place for five seconds at most, the time after which the C library repeats its
question. Until then an answer is likely, and a name server has enough to do with that many
questions at once. After that the look-up goes on without a place, and the next one begins. A
second, larger number bounds the threads themselves.

The places belong to a pool: dead names that one pool asks for do not block another pool.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import trio
from trio.lowlevel import enable_ki_protection

from .._threads import run_in_thread
from ..abc import AddressInfo

MAX_LOOKUPS = 32
"""How many names are looked up at one time, those that hang not counted. Picked arbitrarily."""

HANGS_AFTER = 5.0
"""Seconds after which a look-up loses its place (resolv.conf, RES_TIMEOUT)."""

MAX_THREADS = 256
"""How many threads there may be, with those that hang. A thread costs some 50 KB of memory."""


class SystemResolver:
    """Asks the system. A :class:`triopool.abc.Resolver`.

    As Trio does it: ``trio.socket.set_custom_hostname_resolver`` is honoured.

    Args:
      nursery: the pool's.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._places = trio.CapacityLimiter(MAX_LOOKUPS)
        self._threads = trio.CapacityLimiter(MAX_THREADS)

    async def __call__(self, host: str, port: int, /) -> Sequence[AddressInfo]:
        """The addresses of *host*. If cancelled, the thread that asks is left to end by itself.

        Raises:
          OSError: there is none, or the name service failed.
        """
        if _is_customized():
            found: Any = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        else:
            found = await self._ask(host, port)
        return [AddressInfo(*info) for info in found]

    async def _ask(self, host: str, port: int) -> Any:
        # The event stands for the look-up: the place is borrowed on its behalf, and a task of the
        # pool gives it back, when the look-up has ended or when it has had its time. We can't do
        # that here: this task waits for the thread meanwhile.
        ended = trio.Event()
        await self._places.acquire_on_behalf_of(ended)
        self._nursery.start_soon(self._take_place_back, ended, name=f"place to look up {host}")
        try:
            return await run_in_thread(
                _getaddrinfo, host, port, limiter=self._threads, abandon_on_cancel=True
            )
        finally:
            ended.set()

    @enable_ki_protection
    async def _take_place_back(self, ended: trio.Event) -> None:
        with trio.move_on_after(HANGS_AFTER):
            await ended.wait()
        self._places.release_on_behalf_of(ended)


def _getaddrinfo(host: str, port: int) -> Any:
    # As bytes, which the standard library passes on as they are: the name is IDNA-encoded already.
    return socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)


def _is_customized() -> bool:
    """Whether the program has told Trio how to look names up.

    Trio has no way to ask. But to set a resolver returns the one before, which we put back.
    """
    resolver = trio.socket.set_custom_hostname_resolver(None)
    trio.socket.set_custom_hostname_resolver(resolver)
    return resolver is not None
