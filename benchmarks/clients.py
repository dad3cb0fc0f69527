"""What is measured: the names of the clients, and the one shape that they have here.

A client is opened with :class:`Options`, and asked through a :class:`Caller`. A worker gets one for
itself. Of a client with a pool all callers are the same, the client itself; those without a pool
open a connection for each.

Each client is used in the way that its own documentation shows, with its own defaults, but for
those that would make the comparison another one: the bound on connections, idle connections that
are kept, no proxies from the environment, and no timeout shorter than a minute.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import NamedTuple, Protocol, cast

PIECE = b"x" * 65536
"""What is uploaded, again and again."""

KEEP_SECONDS = 3600.0
"""How long an idle connection is kept."""

PATIENCE_SECONDS = 60.0
"""The timeout of clients whose own default is so short that a crowd would run into it."""


class Options(NamedTuple):
    """What a client is opened with.

    Attributes:
      connections: how many it may have open at once.
      certificate: the file with the authority to trust.
      proxy: the URL of the proxy for all requests, for those that have a pool; None for none.
    """

    connections: int
    certificate: str
    proxy: str | None = None

    def ssl_context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate)


class Caller(Protocol):
    """Sends one request at a time."""

    async def get(self, url: str) -> bytes:
        """The whole body of the answer."""
        ...

    async def download(self, url: str) -> int:
        """Read the body piece by piece; tell how many bytes it had."""
        ...

    async def upload(self, url: str, size: int) -> bytes:
        """POST so many bytes, piece by piece and with a Content-Length; give the answer's body."""
        ...


class Client(Protocol):
    async def __aenter__(self) -> Client: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> object: ...

    async def caller(self, origin: str) -> Caller:
        """Give somebody to ask that origin, whose URL has no slash at the end."""
        ...


class Pool(Client, Caller, Protocol):
    """A client with a pool."""

    async def hold(self, url: str, arrive: Callable[[], Awaitable[object]]) -> None:
        """GET; once the head of the answer is here, call *arrive*, and then read the body."""
        ...


async def pieces(size: int) -> AsyncGenerator[bytes, None]:
    """The body of an upload."""
    while size > len(PIECE):
        yield PIECE
        size -= len(PIECE)
    yield PIECE[:size]


# ── The list of them ───────────────────────────────────────────────────────────────────────────


class Kind(NamedTuple):
    """What there is to know of a client without importing it.

    Attributes:
      title: as the report calls it.
      runtime: one of :data:`benchmarks.runtimes.RUNTIMES`.
      maker: module and class.
      packages: what has to be installed, and whose versions matter.
      has_pool: whether it has a pool, so that the experiments with pools are about it.
    """

    title: str
    runtime: str
    maker: str
    packages: tuple[str, ...]
    has_pool: bool = True

    def is_installed(self) -> bool:
        return all(importlib.util.find_spec(package) for package in self.packages)

    def open(self, options: Options) -> Client:
        module, name = self.maker.split(":")
        make = getattr(importlib.import_module(f".{module}", __package__), name)
        return cast(Client, make(options))


UNIT = "bare-h11"
"""The one whose cost is 1.00."""

CLIENTS = {
    "bare-bytes": Kind("bare bytes", "trio", "bare:BareBytes", ("trio",), has_pool=False),
    UNIT: Kind("bare h11", "trio", "bare:BareH11", ("trio", "h11"), has_pool=False),
    "triopool": Kind("triopool", "trio", "pools:Triopool", ("trio", "httptools", "triopool")),
    "triopool-h11": Kind(
        "triopool with h11", "trio", "pools:TriopoolWithH11", ("trio", "h11", "triopool")
    ),
    "triopool-httpx": Kind(
        "triopool under httpx", "trio", "pools:TriopoolUnderHttpx", ("triopool", "httpx")
    ),
    "triopool-httpx2": Kind(
        "triopool under httpx2", "trio", "pools:TriopoolUnderHttpx2", ("triopool", "httpx2")
    ),
    "httpx": Kind("httpx", "trio", "pools:Httpx", ("httpx", "httpcore", "anyio")),
    "httpx2": Kind("httpx2", "trio", "pools:Httpx2", ("httpx2", "httpcore2", "anyio")),
    "httpcore": Kind("httpcore", "trio", "pools:Httpcore", ("httpcore", "anyio")),
    "httpcore2": Kind("httpcore2", "trio", "pools:Httpcore2", ("httpcore2", "anyio")),
    "aiohttp": Kind("aiohttp", "asyncio", "pools_asyncio:Aiohttp", ("aiohttp",)),
    "aiohttp-uvloop": Kind(
        "aiohttp on uvloop", "uvloop", "pools_asyncio:Aiohttp", ("aiohttp", "uvloop")
    ),
}


def installed() -> list[str]:
    return [name for name, kind in CLIENTS.items() if kind.is_installed()]


def versions(names: list[str]) -> dict[str, str]:
    """Of all packages that these clients are made of."""
    packages = sorted({package for name in names for package in CLIENTS[name].packages})
    return {package: importlib.metadata.version(package) for package in packages}
