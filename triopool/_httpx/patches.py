"""What others patch in a library, so that it holds for our transport too.

respx, pytest-httpx, vcrpy and OpenTelemetry's global switch replace a method of the library's own
transport, ``AsyncHTTPTransport.handle_async_request``, or of what that one calls, httpcore's
``AsyncConnectionPool.handle_async_request``. If a transport of ours went past these, a request that
a test believes to be mocked would go to the real network.

So ours is derived from the library's. For each request it sees whether one of the two methods is
still the library's own. If not, it calls that method, as it is now, on itself. What does not end in
the patch comes back to us at the lower end: the library's transport asks its ``_pool``, which is of
a class derived from httpcore's, and that one sends by us what it is asked to send, and nothing of
what was asked for above: a patch may have changed it.

::

    client ─► our transport ─► (patched: the library's transport ─► its _pool ─►) our pool

A request that nobody has patched costs two comparisons.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

Send: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Sends a request of httpcore; returns a response of httpcore."""


class Patches:
    """Whether the methods are the library's own. Asked for each request, for patches come and go.

    Args:
      library: ``httpx`` or ``httpx2``.
      core: the ``httpcore`` or ``httpcore2`` that belongs to it.
    """

    def __init__(self, library: ModuleType, core: ModuleType) -> None:
        self._transport: Any = vars(library)["AsyncHTTPTransport"]
        base: Any = vars(core)["AsyncConnectionPool"]
        self._pool = base
        self._own = _own(library, self._transport.handle_async_request)
        self._own_of_core = _own(core, self._pool.handle_async_request)

        patches = self

        class CorePool(base):  # type: ignore[misc]
            def __init__(self, send: Send) -> None:
                super().__init__(max_connections=None)
                self._send = send

            async def handle_async_request(self, request: Any) -> Any:
                if patches.is_core_patched:
                    return await super().handle_async_request(request)
                return await self._send(request)

            def create_connection(self, origin: Any) -> Any:
                """What the patch does not answer comes here, by way of httpcore's own method."""
                return Relay(self._send)

        self.core_pool: Callable[[Send], Any] = CorePool

    @property
    def is_there(self) -> bool:
        """Whether either method is another one now."""
        return self._transport.handle_async_request is not self._own or self.is_core_patched

    @property
    def is_core_patched(self) -> bool:
        """Whether httpcore's method is another one now."""
        return self._pool.handle_async_request is not self._own_of_core


def _own(module: ModuleType, method: Any) -> Any:
    """The method, if it is the library's own; None if it has been patched before we came.

    A wrapper may have the name, the module and the class of what it wraps, and even its code.
    """
    assert module.__file__ is not None
    home = os.path.dirname(module.__file__) + os.sep
    is_own = type(method) is FunctionType and method.__code__.co_filename.startswith(home)
    return method if is_own else None


class Relay:
    """A connection, as httpcore's pool sees it: for one request, and closed from the first.

    So httpcore keeps none, gives none to another request, and closes none. The connections are in
    our pool.
    """

    def __init__(self, send: Send) -> None:
        self.handle_async_request = send

    def is_closed(self) -> bool:
        return True

    def is_available(self) -> bool:
        return False

    def is_idle(self) -> bool:
        return False

    def can_handle_request(self, origin: Any) -> bool:
        return False
