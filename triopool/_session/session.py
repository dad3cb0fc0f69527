"""A session: policies for the requests to one API, on a pool that it borrows."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from typing import Any, Unpack, cast

import trio
from trio.lowlevel import enable_ki_protection

from .. import _habits
from .._client.block import Block
from .._client.client import Client
from .._client.download import Download
from .._client.event_source import RECONNECT_AFTER, EventSource, StreamFunction
from .._client.lease import LeasedConnection, about_a_connection
from .._client.response import Response
from .._client.turns import Turns
from .._config import Timeouts
from .._proxy.choice import ProxyOption
from .._reading.lines import MAX_LENGTH
from .._request.options import RequestOptions, repeatable
from .._request.prepare import refuse_switch
from .._request.request import Request
from . import base_url as _base
from .budget import Budgets
from .cookies import Cookies
from .options import SessionOptions, SessionRequestOptions
from .policy import Policy, split
from .retry import Retry
from .sender import Sender


class Session:
    """What the requests to one API have in common; ``pool.session(...)`` makes and explains it.

    It has those methods of the pool that ask a server for something, and borrows its connections:
    any number of sessions share one pool, one for each tenant, SDK or test. It holds nothing, so it
    needs no block and no closing; it works while the pool does. Any number of tasks may use it at
    once.

    Attributes:
      base_url: what relative URLs are joined to, without credentials; None if there is nothing.
      cookies: its jar; None if it has none.
      retry: when its requests are sent again; None for never.
    """

    def __init__(self, client: Callable[[], Client], budgets: Budgets, policy: Policy) -> None:
        self._client = client
        self._budgets = budgets
        self._policy = policy

    @property
    def base_url(self) -> str | None:
        return None if self._policy.base is None else str(self._policy.base)

    @property
    def cookies(self) -> Cookies | None:
        return self._policy.cookies

    @property
    def retry(self) -> Retry | None:
        return self._policy.retry

    def session(self, **options: Unpack[SessionOptions]) -> Session:
        """A session like this one, but for what is given.

        The options are those of ``pool.session()``. ``base_url`` may be relative to this one's. A
        confined session has confined ones only, below its own base. If this one has cookies, the
        new one has a jar of its own, empty: ``cookies=session.cookies`` shares this one's. If its
        base is of another origin, credentials and parameters are not inherited.
        """
        return Session(self._client, self._budgets, self._policy.derive(options))

    @enable_ki_protection
    async def request(
        self, method: str, url: str, **options: Unpack[SessionRequestOptions]
    ) -> Response:
        """As ``pool.request()``, with what the session adds; *url* may be relative to its base.

        The caller's deadline is a cancel scope around it, and no wait for a retry goes past that.
        May be cancelled at any point: the slot is free again in the same scheduler tick.

        Args:
          retry: when to send it again, for this request; None for never.

        Raises:
          InvalidURL: the URL can't be used, or leads out of a session that is confined.
          RedirectError: a redirect can't be followed, or leads out of a session that is confined.
          TriopoolError, TypeError, ValueError: as ``pool.request()``.
        """
        sender, request, retry = self._prepare("request()", method, url, options)
        refuse_switch(request)
        return await sender.request(request, retry)

    def stream(
        self, method: str, url: str, **options: Unpack[SessionRequestOptions]
    ) -> Block[Response]:
        """As ``pool.stream()``, with what the session adds. See :meth:`request`.

        The block gets the last response, after all retries. Once it has begun, nothing is sent
        again.
        """
        sender, request, retry = self._prepare("stream()", method, url, options)
        return sender.stream(request, retry)

    def events(
        self,
        url: str,
        *,
        last_event_id: str = "",
        reconnect_after: float = RECONNECT_AFTER,
        max_event_length: int | None = MAX_LENGTH,
        **options: Unpack[SessionRequestOptions],
    ) -> EventSource:
        """As ``pool.events()``, with what the session adds to each of its requests.

        Where the session retries, it does so for each of these requests by itself: what it gives up
        is raised on entering the block, and tried anew later, as ``pool.events()`` says.
        """
        self._client()
        stream, given = self._stream_function(options)
        return EventSource(
            stream,
            url,
            last_event_id=last_event_id,
            reconnect_after=reconnect_after,
            max_event_length=max_event_length,
            options=given,
        )

    async def download(
        self,
        url: str,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        fsync: bool = True,
        **options: Unpack[SessionRequestOptions],
    ) -> Response:
        """As ``pool.download()``, with what the session adds to each of its requests.

        What was kept by ``resume=True`` is gone on with if it is of the same absolute URL and
        parameters. The credentials make no difference there: the server decides, by If-Range.
        """
        self._client()
        stream, given = self._stream_function(options)
        absolute, whole = self._policy.apply(url, given)
        resource = f"{absolute}\n{whole.get('params')!r}"
        return await Download(
            stream, url, path, resource=resource, resume=resume, fsync=fsync, options=given
        ).run()

    async def get(self, url: str, **options: Unpack[SessionRequestOptions]) -> Response:
        """``request("GET", url, ...)``"""
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Unpack[SessionRequestOptions]) -> Response:
        """``request("HEAD", url, ...)``"""
        return await self.request("HEAD", url, **options)

    async def post(self, url: str, **options: Unpack[SessionRequestOptions]) -> Response:
        """``request("POST", url, ...)``"""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[SessionRequestOptions]) -> Response:
        """``request("PUT", url, ...)``"""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[SessionRequestOptions]) -> Response:
        """``request("PATCH", url, ...)``"""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Unpack[SessionRequestOptions]) -> Response:
        """``request("DELETE", url, ...)``"""
        return await self.request("DELETE", url, **options)

    async def options(self, url: str, **options: Unpack[SessionRequestOptions]) -> Response:
        """``request("OPTIONS", url, ...)``"""
        return await self.request("OPTIONS", url, **options)

    # ── Connections ────────────────────────────────────────────────────────────────────────────

    @_habits.given("lease()", _habits.OF_A_REQUEST)
    def lease(
        self,
        url: str = "",
        *,
        timeouts: Timeouts | None = None,
        server_hostname: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ProxyOption | None = None,
    ) -> Block[LeasedConnection]:
        """As ``pool.lease()``: hold one connection, to where a URL of the session leads.

        The requests on it are the session's: its headers, credentials, cookies, and relative URLs
        that lead to the same origin. Nothing is sent again there, for that could need another
        connection.

        Args:
          url: relative to the base, or absolute; ``""`` for the base.
          timeouts, ssl_context, proxy: None for the session's.
          server_hostname: as in ``pool.lease()``.

        Raises:
          InvalidURL: the URL can't be used, or leads out of a session that is confined.
          TriopoolError, ValueError: as ``pool.lease()``.
        """
        client, policy = self._client(), self._policy
        request = self._about("lease()", url, timeouts, server_hostname, ssl_context, proxy)
        return Block(
            "lease()",
            lambda: client.lease(request),
            lambda turns: LeasedConnection(turns, Sender(client.on(turns), policy, self._budgets)),
            Turns.leave,
        )

    @_habits.given("connect()", _habits.OF_A_REQUEST)
    def connect(
        self,
        url: str = "",
        *,
        timeouts: Timeouts | None = None,
        server_hostname: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ProxyOption | None = None,
    ) -> Block[trio.abc.Stream]:
        """As ``pool.connect()``: a stream to where a URL of the session leads.

        Nothing is sent on it, and nothing tried again. If the session is confined, what is sent is
        still the program's own business.

        The arguments and errors are those of :meth:`lease`.
        """
        request = self._about("connect()", url, timeouts, server_hostname, ssl_context, proxy)
        return self._client().connect(request)

    async def warm_up(
        self,
        url: str = "",
        n: int = 1,
        *,
        timeouts: Timeouts | None = None,
        server_hostname: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ProxyOption | None = None,
    ) -> None:
        """As ``pool.warm_up()``, for where a URL of the session leads.

        The arguments and errors are those of :meth:`lease`.
        """
        request = self._about("warm_up()", url, timeouts, server_hostname, ssl_context, proxy)
        await self._client().warm_up(request, n)

    def _about(
        self,
        caller: str,
        url: str,
        timeouts: Timeouts | None,
        server_hostname: str | None,
        ssl_context: ssl.SSLContext | None,
        proxy: ProxyOption | None,
    ) -> Request:
        """A request that tells where to connect, and is not sent."""
        policy = self._policy
        resolved = policy.resolve(url)
        text = url if resolved is None or resolved.auth is not None else _base.as_text(resolved)
        if ssl_context is None:
            ssl_context = policy.ssl_context_for(text, resolved)
        options = RequestOptions(
            timeouts=policy.options.get("timeouts") if timeouts is None else timeouts,
            server_hostname=server_hostname,
            ssl_context=ssl_context,
            proxy=policy.options.get("proxy") if proxy is None else proxy,
        )
        return about_a_connection(self._client(), caller, text, options)

    # ── Inside ─────────────────────────────────────────────────────────────────────────────────

    def _stream_function(
        self, options: SessionRequestOptions
    ) -> tuple[StreamFunction, RequestOptions]:
        """:meth:`stream`, for something that adds header fields to those of its caller.

        And the options for it, among whose fields none is None: the function takes those away.
        """
        removed, fields = split(options.get("headers"))

        def stream(method: str, url: str, **given: Any) -> Block[Response]:
            headers = [*given.pop("headers"), *((name, None) for name in removed)]
            return self.stream(method, url, headers=headers, **given)

        return stream, repeatable(cast("RequestOptions", {**options, "headers": fields}))

    def _prepare(
        self, caller: str, method: str, url: str, options: SessionRequestOptions
    ) -> tuple[Sender, Request, Retry | None]:
        retry = options.pop("retry", self._policy.retry)
        if retry is not None and not isinstance(retry, Retry):
            raise TypeError(f"retry must be a triopool.Retry or None, not {type(retry).__name__}")
        sender = Sender(self._client(), self._policy, self._budgets)
        return sender, sender.prepare(caller, method, url, cast("RequestOptions", options)), retry

    def __repr__(self) -> str:
        base = self._policy.base
        # Nothing of a path, which may hold a secret.
        where = "any origin" if base is None else str(base.origin)
        return f"<triopool.Session for {where}>"


_habits.answer(
    Session,
    "triopool.Session",
    _habits.ON_A_SESSION,
    **dict.fromkeys(
        ("__enter__", "__exit__", "__aenter__", "__aexit__"), _habits.A_SESSION_IS_NO_BLOCK
    ),
)
