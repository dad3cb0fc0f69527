"""What a pool can be asked for: requests and all that is made of them, sessions, connections.

This is the one place at which the options of a request are explained, those of a session, and what
each method does. Sessions and leased connections have the same, and say only what differs.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Unpack

import trio
from trio.lowlevel import enable_ki_protection

from . import _habits
from ._client.block import Block
from ._client.client import Client
from ._client.download import Download
from ._client.event_source import RECONNECT_AFTER, EventSource
from ._client.lease import LeasedConnection, about_a_connection, lease_block
from ._client.response import Response
from ._client.verbs import Verbs
from ._config import Timeouts
from ._proxy.choice import ProxyOption
from ._reading.lines import MAX_LENGTH
from ._request.options import RequestOptions, check_names, repeatable
from ._request.prepare import refuse_switch
from ._session.budget import Budgets
from ._session.options import SessionOptions
from ._session.policy import Policy
from ._session.session import Session


class Requests(Verbs):
    """The side of a pool that requests see. The other one, ``_pool.py``, has what is used here."""

    _client: Client
    _budgets: Budgets

    if TYPE_CHECKING:

        def _check_usable(self) -> None:
            """Raise RuntimeError or :class:`PoolClosed` if it can't be asked for anything."""

    # ── Requests ───────────────────────────────────────────────────────────────────────────────

    @enable_ki_protection
    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a request; return the response with its body read.

        The caller's deadline is a cancel scope: ``with trio.fail_after(10): ...``. May be cancelled
        at any point: the slot is free again in the same scheduler tick (or a dial goes on, counted,
        for the next request).

        Args:
          method: such as ``"GET"``.
          url: absolute, http or https. May have credentials in it, percent-encoded.
          params: added to the URL's query; a value that is a list is repeated.
          headers: a mapping, or pairs in the order in which to send them. ``Host``, ``Accept``,
            ``Accept-Encoding``, ``User-Agent``, and what the body needs, are added where they are
            missing.
          content: the body: bytes; str (sent as UTF-8); a ``pathlib.Path``, whose file is read as
            it is sent; an async iterable of bytes, among them a ``trio.abc.ReceiveStream``, which
            is closed in the end; or a callable that returns a fresh async iterable, so that the
            request can be repeated.
          json: the body, as an object to be encoded.
          form: the body, as the fields of a form: a mapping, or pairs (URL-encoded).
          multipart: the same, for forms with files: values may be a ``pathlib.Path``, bytes, or a
            :class:`triopool.Part` too (RFC 7578).
          auth: :class:`triopool.BasicAuth`, a pair of name and password for one, or
            :class:`triopool.BearerAuth`. Goes before credentials in the URL. No message shows it.
          timeouts: the limits of the phases; None for the pool's.
          server_hostname: the name to send as SNI and to verify, instead of the URL's host.
          ssl_context: for TLS with the URL's origin; None for the pool's. Connections are shared
            only by requests that have the same one. Dropped where a redirect changes the origin.
          proxy: the one to go through, as for the pool; :data:`triopool.DIRECT` for none; None for
            the pool's. Redirects go the same way.
          target: what to send instead of the URL's path and query (RFC 9112 section 3.2): ``"*"``
            with OPTIONS, ``"host:port"`` with CONNECT.
          idempotent: whether the request may be sent again if a reused connection turns out to
            have been closed by the server; None for: if its method is safe.
          expect_continue: let the body wait, at most a second, for the server to ask for it.
          follow_redirects: whether to follow at most 20 of them, none of them from https to http;
            or :class:`triopool.Redirects`. Credentials and cookies are dropped where the origin
            changes. The response's ``history`` has those that led to it.
          decode: whether to ask for a compressed body and to decode it; if not, it comes as it is.
            So does one whose encoding is unknown here, such as br without triopool[brotli].
          on_informational: called with status code and raw headers of each 1xx response.
          on_progress: called with a :class:`triopool.Progress` as the bodies go over the wire.
          max_body_bytes: the largest body that is accepted, as it travels and decoded.

        Raises:
          PoolTimeout, PoolFull, PoolClosed: no connection was to be had. Nothing was sent.
          ConnectError: no connection could be opened. Nothing was sent. ProxyError if it was for
            the proxy.
          WriteError, WriteTimeout, ReadError, ReadTimeout: the exchange broke off.
          RemoteProtocolError: the response is not legal, too large, or can't be decoded.
          RedirectError: a redirect can't be followed.
          LocalProtocolError, InvalidURL, TypeError, ValueError: an argument is wrong. Raised before
            anything is taken or sent, as is OSError for a file that can't be read.
        """
        self._check_usable()
        request = self._client.prepare("request()", method, url, options)
        refuse_switch(request)
        delivery = await self._client.send(request)
        return Response(delivery, await delivery.read_all())

    def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Block[Response]:
        """Send a request; the response comes when its head is here, its body is read in the block.

        ``async with pool.stream("GET", url) as response: async for chunk in response: ...``

        The arguments and errors are those of :meth:`request`. A body that does not go out in one
        write (64 KiB) is sent beside the block, so what is sent may depend on what is read. The end
        of the response comes when the request has been sent, too; to leave the block before that
        stops the upload. Its iterator has been closed when the block has been left.

        The connection is given back when the body has been read to its end. When the block is left
        before that: if little is left it is read by the pool, without letting the caller wait; else
        the connection is closed. An exception in the block, ``Cancelled`` included, always closes
        it.
        """
        self._check_usable()
        return self._client.stream(self._client.prepare("stream()", method, url, options))

    def events(
        self,
        url: str,
        *,
        last_event_id: str = "",
        reconnect_after: float = RECONNECT_AFTER,
        max_event_length: int | None = MAX_LENGTH,
        **options: Unpack[RequestOptions],
    ) -> EventSource:
        """Read the server-sent events of a URL; connect again whenever the connection ends.

        ``async with pool.events(url) as events: async for event in events: ...``

        As the WHATWG standard says: each new request tells the id of the last event, the server may
        tell how long to wait before, and ends it all with 204. While it waits it holds no slot. It
        goes on for ever, but in the caller's cancel scope. A server that is silent for longer than
        ``timeouts.read`` is asked anew, so give it the time that it needs. For the events in the
        answer to a POST: ``stream()``, and ``response.iter_events()``.

        Args:
          url: as for :meth:`request`.
          last_event_id: of the event behind which to begin; ``""`` for wherever the server does.
          reconnect_after: seconds to wait before connecting again, until the server says. If that
            fails it is tried at growing intervals, up to a minute.
          max_event_length: how many characters a line, or the data of an event, may have; None
            for no bound.
          options: as for :meth:`request`.

        Raises:
          StatusError, RemoteProtocolError: the answer is no stream of events. Not tried again.
          TriopoolError: as :meth:`stream`, for the first connection, on entering the block.
        """
        self._check_usable()
        check_names("events()", options)
        return EventSource(
            self.stream,
            url,
            last_event_id=last_event_id,
            reconnect_after=reconnect_after,
            max_event_length=max_event_length,
            options=repeatable(options),
        )

    async def download(
        self,
        url: str,
        path: str | os.PathLike[str],
        *,
        resume: bool = False,
        fsync: bool = True,
        **options: Unpack[RequestOptions],
    ) -> Response:
        """Fetch a URL into a file, which is there as a whole or not at all; return the response.

        As ``response.save_to()``. But a connection that breaks is no end: where the server can, the
        rest is asked for (Range, If-Range), as long as each attempt brings something; after three
        in a row that bring it less than 64 KiB further than ever before the error is raised.

        If cancelled, or if anything is raised, the connection is closed at once; the temporary file
        is removed, or kept if *resume*, before this returns.

        Args:
          url: as for :meth:`request`.
          path: where the file is to be.
          resume: whether to keep what has come, as ``<path>.part``, if this fails or is cancelled;
            and to go on with what was kept by an earlier call for the same URL, if the server has
            still the same version of it. It holds a digest of the URL, not the URL.
          fsync: as for ``response.save_to()``.
          options: as for :meth:`request`. ``on_progress`` is told how much of the whole file has
            come.

        Raises:
          StatusError: the status is 400 or more.
          OSError: the file can't be written.
          TriopoolError: as :meth:`request`; RemoteProtocolError also for an answer that is no file.
        """
        self._check_usable()
        check_names("download()", options)
        options = repeatable(options)
        resource = f"{url}\n{options.get('params')!r}"
        return await Download(
            self.stream, url, path, resource=resource, resume=resume, fsync=fsync, options=options
        ).run()

    # ── Sessions ───────────────────────────────────────────────────────────────────────────────

    def session(self, **options: Unpack[SessionOptions]) -> Session:
        """What the requests to one API have in common, in one object that borrows this pool.

        ``api = pool.session(base_url="https://api.example.org/v1/", auth=auth)``, and then
        ``await api.get("users")``. It costs nothing to make, needs no block, and can be derived:
        ``api.session(...)``. It may be made before the pool is entered.

        A request's own option goes before the session's, and that before the one of the session
        from which it was derived, and of the pool. None counts as given: ``auth=None`` sends no
        credentials, ``retry=None`` sends nothing again, ``timeouts=None`` means the pool's. Headers
        and parameters are put together by name; there None gives nothing, and a header whose value
        is None takes the session's away.

        What is meant for the origin of ``base_url`` stays there, also where a request gives an
        absolute URL: ``auth``, ``params``, and of the headers Authorization, Cookie and Host. Other
        headers go along, as they do with redirects.

        Args:
          base_url: what relative URLs are joined to, as RFC 3986 says and browsers do: with
            ``https://a.example/v1/``, ``users`` is ``/v1/users``, ``/users`` is ``/users``,
            ``?q=1`` is ``/v1/?q=1`` and ``""`` is the base itself. Without the slash at its end
            ``users`` would be ``/users``. (httpx appends in all these cases.) Credentials in it
            are as ``auth``.
          confined: whether that is a bound: then no absolute URL, no ``..``, however it is encoded,
            and no redirect leads out of it. It has to end with a slash. For a session whose URLs
            come from elsewhere.
          headers: as for a request; for each of them.
          params: added to each URL's query.
          auth: as for a request.
          ssl_context: as for a request; for https URLs of the origin of ``base_url``.
          timeouts, proxy, follow_redirects, decode, max_body_bytes: as for a request, which may
            have its own.
          retry: a :class:`triopool.Retry`, which says when to send a request again. Nothing is
            sent again unless that is asked for.
          cookies: True for a jar of its own (:class:`triopool.Cookies`, which needs
            ``triopool[cookies]``); or a jar. A request with a Cookie header of its own has no
            others.

        Raises:
          TypeError, ValueError, InvalidURL: an option is wrong.
          ImportError: ``cookies=True``, and the list of public suffixes is not installed.
        """
        return Session(self._usable_client, self._budgets, Policy().derive(options))

    def _usable_client(self) -> Client:
        self._check_usable()
        return self._client

    # ── Connections ───────────────────────────────────────────────────────────────────────────────

    @_habits.given("lease()", _habits.OF_A_REQUEST)
    def lease(
        self,
        url: str,
        *,
        timeouts: Timeouts | None = None,
        server_hostname: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ProxyOption | None = None,
    ) -> Block[LeasedConnection]:
        """Hold one connection to the URL's origin, for several exchanges.

        ``async with pool.lease(url) as connection: await connection.request("GET", "/a")``

        Its slot is held for as long as the block. If the block is cancelled or raises, or an
        exchange is unfinished, the connection is closed. All its requests go through the proxy that
        the lease has.

        Raises:
          PoolTimeout, PoolFull, PoolClosed, ConnectError: no connection was to be had.
        """
        self._check_usable()
        options = RequestOptions(
            timeouts=timeouts,
            server_hostname=server_hostname,
            ssl_context=ssl_context,
            proxy=proxy,
        )
        request = about_a_connection(self._client, "lease()", url, options)
        return lease_block(self._client, request)

    @_habits.given("connect()", _habits.OF_A_REQUEST)
    def connect(
        self,
        url: str,
        *,
        timeouts: Timeouts | None = None,
        server_hostname: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ProxyOption | None = None,
    ) -> Block[trio.abc.Stream]:
        """Hold a stream to the URL's origin, for a protocol that the program speaks itself.

        ``async with pool.connect("https://host:443") as stream: await stream.send_all(...)``

        It is dialled as the connections of requests are (names, the race, the socket factory, TLS
        for https), through proxies in a tunnel, http URLs included, and no byte is sent on it. It
        has never carried a request, and never will. It holds a slot of the pool for as long as the
        block, and queues for it as requests do; streams and requests to one origin are bounded by
        ``max_connections_per_origin`` each by themselves. No timeout of the pool applies to what
        the program sends and receives. To leave the block closes it, without a word to the peer.

        If cancelled while it waits, it holds nothing; a dial under way goes on for a short while.

        Raises:
          PoolTimeout, PoolFull, PoolClosed, ConnectError: no connection was to be had.
        """
        self._check_usable()
        options = RequestOptions(
            timeouts=timeouts,
            server_hostname=server_hostname,
            ssl_context=ssl_context,
            proxy=proxy,
        )
        request = about_a_connection(self._client, "connect()", url, options)
        return self._client.connect(request)

    async def warm_up(
        self,
        url: str,
        n: int = 1,
        *,
        timeouts: Timeouts | None = None,
        server_hostname: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: ProxyOption | None = None,
    ) -> None:
        """Dial until *n* connections to the URL's origin are open, busy ones counted.

        As far as slots are free: closes no connection, and overtakes no request, to make room. If
        cancelled, the dials under way go on for a short while, for the requests that come next.

        Raises:
          ConnectError: a dial failed. The others are kept.
          PoolClosed: the pool was left, or is being drained.
        """
        self._check_usable()
        options = RequestOptions(
            timeouts=timeouts,
            server_hostname=server_hostname,
            ssl_context=ssl_context,
            proxy=proxy,
        )
        request = about_a_connection(self._client, "warm_up()", url, options)
        await self._client.warm_up(request, n)
