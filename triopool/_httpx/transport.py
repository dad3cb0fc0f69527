"""A pool of ours behind the API of httpx or httpx2: what both transports have in common.

Everything above the transport stays the library's: redirects, cookies, authentication flows, event
hooks, decoding, multipart. What comes down to us is a request that is complete (its header fields
in their order and spelling, the raw target, a body), and goes over the wire as it is.

A request of theirs becomes one of ours, :class:`~triopool._request.Request`, and goes the way of
all requests; its response is handed back with a stream that iterates over ours. Nothing in between
holds a slot: it is given back by the response, synchronously, whether its stream is read to the
end, fails, is closed in a cancelled scope, or twice.

The two libraries are of one shape but not of one type, so each has a module of its own
(``triopool.httpx``, ``triopool.httpx2``) that derives the classes; here they are ``Any``.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import AsyncIterator, Callable
from types import ModuleType, TracebackType
from typing import Any, Literal, Self

import trio
from trio.lowlevel import enable_ki_protection

from .._body.pieces import close_body
from .._client.client import Client
from .._client.delivery import Delivery
from .._config import Timeouts
from .._errors import InvalidURL, LocalProtocolError, TriopoolError
from .._pool import ConnectionPool, client_of
from .._request import fields as _fields
from .._request.preparations import Preparations
from .._request.prepare import refuse_proxy_authorization
from .._request.request import Request
from .._request.url import check_server_hostname
from .core_request import CoreRequest
from .errors import Errors
from .lifetimes import InBlock, Lent, Lifetime
from .network_stream import NetworkStream
from .options import refuse_what_is_the_clients, warn_of_http2
from .patches import Patches
from .run_lifetime import UntilRunEnds
from .trace import Trace, Tracer, traced

# WebSockets begin as HTTP, and httpx-ws leaves it to the transport to know that.
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


class Bridge:
    """The transport, but for its library's base class, ``AsyncHTTPTransport``.

    Whatever is derived from it has to hand on to that base while somebody has patched it: see
    ``patches.py``.
    """

    library: ModuleType
    core: ModuleType
    errors: Errors
    patches: Patches
    code: str
    """What the caller has made, in code, with {} for how it comes to a pool."""

    def __init__(
        self,
        pool: ConnectionPool | None = None,
        *,
        lifetime: Literal["block", "run"] = "block",
        **options: Any,
    ) -> None:
        if pool is not None and (options or lifetime != "block"):
            raise TypeError(
                "give either a pool, or the options of one: a pool that is lent has its own"
            )
        if lifetime not in ("block", "run"):
            raise ValueError(f"lifetime must be 'block' or 'run', not {lifetime!r}")
        refuse_what_is_the_clients(self.library, options)
        warn_of_http2(options, stacklevel=2)
        self._lifetime: Lifetime
        if pool is not None:
            self._lifetime = Lent(pool)
        elif lifetime == "run":
            self._lifetime = UntilRunEnds(options)
        else:
            self._lifetime = InBlock(ConnectionPool(**options), self.code)
        # The library's name for it, and for its own methods, if they are called.
        self._pool = self.patches.core_pool(self.handle_core)

    @property
    def pool(self) -> ConnectionPool:
        """The pool that it uses: its own, or one that it was lent."""
        return self._lifetime.pool

    # ── Open and close ─────────────────────────────────────────────────────────────────────────

    async def __aenter__(self) -> Self:
        """Open the pool, if it is our own. A client enters its transport again for each mount."""
        await self._lifetime.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Leave the pool, if it is our own, and was entered as often as it has been left now."""
        await self._lifetime.leave()

    async def aclose(self) -> None:
        """Close all connections, if the pool is our own. It is left where it was opened.

        One that lives until the run ends is given up: it takes no new request, and ends once it has
        none. The next request gets another pool.
        """
        self._lifetime.close()
        await trio.lowlevel.checkpoint()

    # ── Requests ───────────────────────────────────────────────────────────────────────────────

    async def handle(
        self, request: Any, stream_class: Callable[..., Any], *, directly: bool = False
    ) -> Any:
        """Send a request of the library; return its response.

        Args:
          request: the library's.
          stream_class: for the body of the response.
          directly: whether to go past the proxies that the pool has.
        """
        if not isinstance(request, self.library.Request):
            raise TypeError(self._about_a_strangers(request))
        status, fields, stream, extensions = await self._send(request, stream_class, directly)
        return self.library.Response(status, headers=fields, stream=stream, extensions=extensions)

    def _about_a_strangers(self, request: Any) -> str:
        ours, theirs = self.library.__name__, type(request).__module__.partition(".")[0]
        other = "httpx2" if ours == "httpx" else "httpx"
        return (
            f"this transport is one of {ours}, and was given to a client of {theirs}, to which it "
            f"can't answer: for a client of {other} there is triopool.{other}.TriopoolTransport"
        )

    async def handle_core(self, request: Any, *, directly: bool = False) -> Any:
        """Send a request of httpcore, as the library's own transport makes them; the same."""
        asked = CoreRequest(request, self.library)
        status, fields, stream, extensions = await self._send(asked, BridgeStream, directly)
        return self.core.Response(status, headers=fields, content=stream, extensions=extensions)

    @enable_ki_protection
    async def _send(
        self, request: Any, stream_class: Callable[..., Any], directly: bool
    ) -> tuple[int, Any, Any, dict[str, Any]]:
        trace = request.extensions.get("trace")
        try:
            pool = self._lifetime.pool
            if not pool.is_open:
                pool = await self._lifetime.open()
            client = client_of(pool)
            ours = self._translate(request, client.preparations, directly=directly)
            if trace is None:
                delivery = await client.send(ours)
            else:
                delivery = await self._traced(trace, request, client, ours)
        except TriopoolError as exc:
            raise self.errors.translate(exc) from exc
        head = delivery.exchange.response
        network_stream = NetworkStream(
            delivery.exchange.connection, self.errors.of_streams, delivery
        )
        extensions = {
            "http_version": b"HTTP/" + head.http_version,
            "reason_phrase": head.reason,
            "network_stream": network_stream,
        }
        stream = stream_class(delivery, self.errors, trace)
        return head.status_code, delivery.raw_headers, stream, extensions

    def _translate(
        self, request: Any, preparations: Preparations, *, directly: bool = False
    ) -> Request:
        """Make their request one of ours, with nothing added to it and nothing taken away.

        Raises:
          LocalProtocolError, InvalidURL: it can't be sent.
          Exception: what the pool's own chooser of proxies raises, as itself.
        """
        url, extensions = request.url, request.extensions
        scheme = _SCHEMES.get(url.scheme)
        if scheme is None:
            raise self.library.UnsupportedProtocol(
                f"triopool speaks http and https, and not {url.scheme!r}"
                if url.scheme
                else "the URL needs a scheme: it has to begin with http:// or https://"
            )
        # Where to go is checked as strictly as for our own requests, and remembered as theirs are.
        parsed = preparations.places.parse(f"{scheme}://{url.netloc.decode('ascii')}/")
        _check_host(url.raw_host.decode("ascii"), parsed.origin.host)
        fields = request.headers.raw
        if "target" not in extensions:
            refuse_proxy_authorization(_fields.names_of(fields))
        chooser = None if directly else preparations.chooser
        proxy = None if chooser is None else chooser(parsed.origin)
        body = self._body(request)
        return Request(
            method=request.method,
            url=parsed,
            timeouts=_timeouts(**extensions.get("timeout", {})),
            target=extensions.get("target", url.raw_path).decode("latin-1"),
            fields=fields,
            verbatim=True,
            decode=False,
            body=body,
            body_length=len(body) if isinstance(body, bytes) else None,
            expect_continue=body != b"" and _fields.expects_continue(fields),
            server_hostname=_sni_hostname(extensions) if scheme == "https" else None,
            proxy=proxy,
        )

    def _body(self, request: Any) -> Any:
        """All of it where it is in memory, so that it can be sent again; else its stream."""
        try:
            return request.content
        except self.library.RequestNotRead:
            return _RequestBody(request.stream)

    async def _traced(self, trace: Trace, request: Any, client: Client, ours: Request) -> Delivery:
        delivery: Delivery | None = None

        async def work(say: Callable[[str, dict[str, Any]], object]) -> None:
            nonlocal delivery
            core_request = self._core_request(request, ours)
            tracer = Tracer(say, core_request, ours.key, self._stream_of)
            delivery = await client.send(ours, tracer)

        try:
            await traced(trace, work)
        except BaseException:
            if delivery is not None:
                delivery.close(drain=False)
                await delivery.join()
            raise
        assert delivery is not None
        return delivery

    def _core_request(self, request: Any, ours: Request) -> Any:
        """What httpcore's events carry."""
        origin = ours.url.origin
        return self.core.Request(
            method=request.method,
            url=self.core.URL(
                scheme=origin.scheme, host=origin.host, port=origin.port, target=ours.target or "/"
            ),
            headers=request.headers.raw,
            extensions=request.extensions,
        )

    def _stream_of(self, connection: Any) -> NetworkStream:
        return NetworkStream(connection, self.errors.of_streams)


def _sni_hostname(extensions: Any) -> str | None:
    """The name to ask for and to verify, checked as ``server_hostname=`` of ours is."""
    name = extensions.get("sni_hostname")
    if name is None:
        return None
    try:
        return check_server_hostname(name if isinstance(name, str) else name.decode("ascii"))
    except ValueError as exc:
        raise LocalProtocolError(f"sni_hostname: {exc}", phase="connect") from exc


class _RequestBody:
    """The stream of a request, iterated over so that nothing is left to the garbage collector.

    The stream itself is not closed: the library may send it once more, after a redirect.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._stream)
        try:
            async for piece in pieces:
                yield piece
        finally:
            await close_body(pieces)
            # httpx does not close the caller's generator that its own one iterates over.
            for held in vars(self._stream).values():
                if inspect.isasyncgen(held):
                    await held.aclose()


class BridgeStream:
    """A response's body, but for its library's base class. Iterates over it once.

    An iterator of its own, and not a generator: there is nothing to be left to the garbage
    collector, and closing it is synchronous.
    """

    def __init__(self, delivery: Delivery, errors: Errors, trace: Trace | None) -> None:
        self._delivery = delivery
        self._errors = errors
        self._trace = trace
        self._begun = self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            if not self._begun:
                self._begun = True
                await self._say("receive_response_body.started", {})
            piece = await self._receive()
            if not piece:
                await self._say("receive_response_body.complete", {"return_value": None})
        except BaseException as exc:
            # The caller can't go on after that: the library iterates over this in a generator of
            # its own, which has ended with the exception. So we hold nothing any longer.
            self._delivery.close(drain=False, error=exc)
            await self._delivery.join()
            raise
        if not piece:
            raise StopAsyncIteration
        return piece

    async def _receive(self) -> bytes:
        try:
            # No checkpoint for what is there already: httpx promises none to its callers.
            return await self._delivery.receive()
        except TriopoolError as exc:
            await self._say("receive_response_body.failed", {"exception": exc})
            raise self._errors.translate(exc) from exc
        except trio.ClosedResourceError as exc:
            raise self._errors.of_streams.read_error(str(exc)) from exc

    async def aclose(self) -> None:
        """Give the connection up, now: what little is left of the body is read by the pool."""
        if self._closed:
            return
        self._closed = True
        # The library closes a response in the same way, whether all is well or the caller was
        # cancelled. In the latter case something went wrong, so nothing is drained.
        self._delivery.close(drain=trio.current_effective_deadline() > -math.inf)
        await self._delivery.join()
        if (untold := self._delivery.exchange.take_untold()) is not None:
            raise untold
        await self._say("response_closed.started", {})
        await self._say("response_closed.complete", {"return_value": None})
        await trio.lowlevel.checkpoint_if_cancelled()

    async def _say(self, name: str, info: dict[str, Any]) -> None:
        if self._trace is not None:
            await self._trace(f"http11.{name}", info)


def _check_host(told: str, dialled: str) -> None:
    """Refuse a host that we would read otherwise than the library does.

    What the library tells as ``url.host``, to event hooks say, is the host of the URL as it is
    written, but in lower case. We would undo percent-encoding in it. So a hook that refuses
    "localhost" could be passed by with "lo%63alhost".

    Raises:
      InvalidURL: it is one.
    """
    if told.lower() != dialled.lower():
        shown = ascii(told[:100])
        raise InvalidURL(f"the host {shown} is no name as it is written: percent-encoding in it?")


@functools.lru_cache(maxsize=64)
def _timeouts(
    *,
    pool: float | None = None,
    connect: float | None = None,
    read: float | None = None,
    write: float | None = None,
) -> Timeouts:
    """Those of the extension, by the same names: what is missing is no limit.

    Zero means "at once or never" there. Our limits have to be positive, so it becomes a very small
    one.
    """
    limits = {"pool": pool, "connect": connect, "read": read, "write": write}
    return Timeouts(**{name: 1e-9 if value == 0 else value for name, value in limits.items()})
