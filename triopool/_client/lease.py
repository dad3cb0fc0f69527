"""``pool.lease()``: one connection, held by the user for several exchanges.

For protocols that tie state to a connection (NTLM, a pinned backend), and for requests that go one
after the other without asking the pool in between.
"""

from __future__ import annotations

from typing import Protocol, Unpack

from trio.lowlevel import enable_ki_protection

from .._facts import ConnectionInfo
from .._proxy.proxy import DIRECT
from .._request.options import RequestOptions
from .._request.prepare import refuse_switch
from .._request.request import Request
from .block import Block
from .client import Client
from .delivery import Delivery
from .response import Response
from .turns import Turns
from .verbs import Verbs


class Sends(Protocol):
    """What sends the requests on a leased connection: a client, or a session's sender."""

    def prepare(self, caller: str, method: str, url: str, options: RequestOptions) -> Request: ...
    def stream(self, request: Request) -> Block[Response]: ...
    async def send(self, request: Request) -> Delivery: ...


def about_a_connection(
    client: Client,
    caller: str,
    url: str,
    options: RequestOptions,
) -> Request:
    """A request that tells where to connect, and is not sent.

    Raises:
      ValueError: there are credentials in the URL.
    """
    request = client.prepare(caller, "GET", url, options)
    if request.auth is not None:
        raise ValueError(
            f"{caller} is about a connection, and credentials are about requests: leave them "
            "out of this URL, and give auth= with each request"
        )
    return request


def lease_block(client: Client, request: Request) -> Block[LeasedConnection]:
    """The block that holds a connection to where *request* would go."""
    return Block(
        "lease()",
        lambda: client.lease(request),
        lambda turns: LeasedConnection(turns, client.on(turns)),
        Turns.leave,
    )


class LeasedConnection(Verbs):
    """A connection held for several exchanges, one at a time. From ``async with pool.lease(url)``.

    There are no retries on another connection here, for it would be another one.
    """

    def __init__(self, turns: Turns, client: Sends) -> None:
        self._turns = turns
        self._client = client

    @property
    def info(self) -> ConnectionInfo:
        """The connection's facts: id, addresses, TLS."""
        return self._turns.connection.info

    @property
    def is_usable(self) -> bool:
        """Whether another exchange can be tried; False once the connection has been closed."""
        return self._turns.usable

    @enable_ki_protection
    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Response:
        """As ``pool.request()``, on this connection. *url* may be a path that begins with ``/``.

        If cancelled, the connection is closed.

        Raises:
          WriteError: the connection is closed (nothing was sent): lease another one.
          ValueError: *url* is for another origin.
          TypeError: there is a ``proxy=``, which only the lease can have.
          trio.BusyResourceError: the last exchange is not finished.
        """
        request = self._prepare(method, url, options)
        refuse_switch(request)
        delivery = await self._client.send(request)
        return Response(delivery, await delivery.read_all())

    def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Block[Response]:
        """As ``pool.stream()``, on this connection. See :meth:`request`."""
        return self._client.stream(self._prepare(method, url, options))

    def end(self, *, finished: bool) -> None:
        """Give the connection back to the pool; close it if an exchange is not finished.

        The end of the block does that. To be called where the block goes on without it.
        """
        self._turns.end(finished=finished)

    def _prepare(self, method: str, url: str, options: RequestOptions) -> Request:
        leased = self._turns.request
        if "proxy" in options:
            raise TypeError(
                "a leased connection goes through the proxy that lease(url, proxy=...) was given"
            )
        if str(url).startswith("/"):
            url = f"{leased.url.origin}{url}"
        if options.get("server_hostname") is None:
            options["server_hostname"] = leased.server_hostname
        if options.get("ssl_context") is None:
            options["ssl_context"] = leased.ssl_context
        options["proxy"] = leased.proxy or DIRECT
        request = self._client.prepare("a leased connection", method, url, options)
        if not self._turns.leads_to(request):
            raise ValueError(self._turns.not_for(request))
        return request
