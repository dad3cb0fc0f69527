"""httpx on triopool: the API you have, on a pool that loses no slot.

::

    import httpx
    from triopool.httpx import TriopoolTransport

    async with triopool.ConnectionPool() as pool:
        client = httpx.AsyncClient(transport=TriopoolTransport(pool))
        response = await client.get("https://www.example.org/")

or, where the client is given what would be lost with ``transport=`` (``verify``, ``cert``,
``limits``, ``proxy``)::

    async with triopool.httpx.AsyncClient(verify=ssl_context) as client: ...

For httpx2 there is :mod:`triopool.httpx2`, which has the same.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any, Literal

try:
    import httpcore
    import httpx
except ImportError as _exc:
    raise ImportError("triopool.httpx needs httpx: pip install 'triopool[httpx]'") from _exc

from ._httpx.client import client_options
from ._httpx.errors import Errors
from ._httpx.options import HTTP2Warning
from ._httpx.patches import Patches
from ._httpx.proxies import with_none_as
from ._httpx.transport import Bridge, BridgeStream
from ._pool import ConnectionPool

__all__ = ["AsyncClient", "HTTP2Warning", "TriopoolTransport"]

_PATCHES = Patches(httpx, httpcore)


class _Stream(BridgeStream, httpx.AsyncByteStream):
    pass


class TriopoolTransport(Bridge, httpx.AsyncHTTPTransport):
    """A transport for ``httpx.AsyncClient(transport=...)``.

    It is an ``httpx.AsyncHTTPTransport``, so that what is patched there (by respx, pytest-httpx,
    vcrpy, OpenTelemetry) holds here.

    Args:
      pool: a pool to borrow, which is opened and left elsewhere: so it can be shared, and the
        client needs no block. None to own one, made of *options*.
      lifetime: for how long one of its own is open: ``"block"``, from when the client's
        ``async with`` is entered until it is left; or ``"run"``, from the first request until the
        main task of the Trio run ends, in a system task. That has a price: see docs/httpx.md.
      options: those of :class:`triopool.ConnectionPool`. Its ``timeouts`` has no meaning here:
        the client's own hold.
    """

    library: ModuleType = httpx
    core: ModuleType = httpcore
    errors: Errors = Errors(httpx, httpcore)
    patches: Patches = _PATCHES
    code: str = "httpx.AsyncClient(transport=triopool.httpx.TriopoolTransport({}))"

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; return when the head of its response is here.

        Raises:
          httpx.TransportError: the most specific class; its cause is ours.
        """
        if _PATCHES.is_there:
            return await super().handle_async_request(request)
        response: httpx.Response = await self.handle(request, _Stream)
        return response


class _TransportOfClient(TriopoolTransport):
    code = "triopool.httpx.AsyncClient({})"


class _Directly(httpx.AsyncHTTPTransport):
    """What None stands for among the mounts of a client: its transport, but past the proxies."""

    def __init__(self, transport: TriopoolTransport) -> None:
        self._transport = transport
        self._pool = _PATCHES.core_pool(partial(transport.handle_core, directly=True))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if _PATCHES.is_there:
            return await super().handle_async_request(request)
        response: httpx.Response = await self._transport.handle(request, _Stream, directly=True)
        return response


class AsyncClient(httpx.AsyncClient):
    """``httpx.AsyncClient`` on a pool of ours; takes the arguments of that one.

    ``verify``, ``cert``, ``limits``, ``proxy`` and ``trust_env`` are carried over to the pool.
    ``http2=True`` is warned of (:class:`HTTP2Warning`), and HTTP/1.1 is spoken.

    With ``trust_env``, and without ``proxy``, the environment says which proxies to use, as
    :meth:`triopool.ProxyRules.from_environment` has it. A ``socks5`` proxy resolves the names, as
    it is usual in httpx: ours is called ``socks5h``. ``proxy`` may also be what a pool takes, such
    as a :class:`triopool.Proxy`, and means there what it means to a pool.

    Args:
      pool: a pool to borrow; see :class:`TriopoolTransport`.
      lifetime: for how long a pool of its own is open; see there, too.
      options: all others of ``httpx.AsyncClient``.
    """

    def __init__(
        self,
        *,
        pool: ConnectionPool | None = None,
        lifetime: Literal["block", "run"] = "block",
        **options: Any,
    ) -> None:
        for_pool, rest = client_options(httpx, pool, lifetime, options)
        transport = _TransportOfClient(pool, **for_pool)
        if pool is None:
            rest["mounts"] = with_none_as(_Directly(transport), rest.get("mounts"))
        super().__init__(transport=transport, **rest)
