"""The way of a session's request: the client's, with what a session does between two requests.

    cookies ──► request ──► response ──► cookies ──► retry? ──► redirect? ──► the caller
       ▲                                               │            │
       │                         give it up, wait ◄────┘            │
       └─────────────────────────────┴──────────────────────────────┘

A session that does none of this takes the client's own way.

What is owned on the way is what the client says: after ``answer()`` a delivery, until it is
returned, given to ``leads_to()``, or closed; and the body of a request that will not be sent. What
to do about a response is decided in the step in which it came, and it is given up before the wait:
so no slot is held for a request that waits. (The little that is left of it may be drained, which
takes a task of the pool's at most 50 ms.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import trio
from trio.lowlevel import enable_ki_protection

from .._client.block import Block
from .._client.client import Client
from .._client.delivery import Delivery
from .._client.redirect import leads_to
from .._client.response import RedirectError, Response
from .._errors import TriopoolError
from .._exchange.sending import Sending
from .._request import fields as _fields
from .._request.options import RequestOptions
from .._request.request import Request
from .attempts import Attempts, Resending
from .budget import Budgets
from .policy import Policy
from .retry import Retry

Result: TypeAlias = tuple[Delivery, bytes | None]
"""A response, and its body if that was asked for."""

_COOKIE = frozenset({"cookie"})


class Sender:
    """Sends the requests of one session, over the pool or a connection that is leased.

    Args:
      client: the pool's, or that of the connection.
      policy: the session's.
      budgets: the pool's.
    """

    def __init__(self, client: Client, policy: Policy, budgets: Budgets) -> None:
        self._client = client
        self._policy = policy
        self._budgets = budgets

    def prepare(self, caller: str, method: str, url: str, options: RequestOptions) -> Request:
        """Check the arguments of a request, and add what the session adds."""
        return self._client.prepare(caller, method, *self._policy.apply(url, options))

    def stream(self, request: Request, retry: Retry | None = None) -> Block[Response]:
        """The block in which the response to a request is read."""
        return Block("stream()", lambda: self.send(request, retry), Response, Delivery.leave)

    async def request(self, request: Request, retry: Retry | None) -> Response:
        """The response, with its body read."""
        return Response(*await self._send(request, retry, whole=True))

    async def send(self, request: Request, retry: Retry | None = None) -> Delivery:
        """The response, its head read.

        Raises:
          RedirectError: a redirect can't be followed, or leads out of the session.
          TriopoolError: any phase's; and what the caller's body raised, as itself.
        """
        delivery, _ = await self._send(request, retry, whole=False)
        return delivery

    @enable_ki_protection
    async def _send(self, request: Request, retry: Retry | None, *, whole: bool) -> Result:
        if retry is None and self._policy.cookies is None and not self._policy.confined:
            delivery = await self._client.send(request)
            return delivery, await delivery.read_all() if whole else None
        return await _Way(self._client, self._policy, Attempts(retry, self._budgets)).go(
            request, whole=whole
        )


class _Way:
    """One request's way, from one response or error to the next."""

    def __init__(self, client: Client, policy: Policy, attempts: Attempts) -> None:
        self._client = client
        self._policy = policy
        self._attempts = attempts
        self._previous: Delivery | None = None

    async def go(self, request: Request, *, whole: bool) -> Result:
        sending = Sending(request)
        try:
            if self._policy.cookies is not None:
                await self._policy.cookies.get_ready()
            while True:
                outcome = await self._attempt(sending, whole=whole)
                if not isinstance(outcome, Sending):
                    return outcome
                sending = outcome
        except BaseException:
            await sending.give_up_body()
            raise

    async def _attempt(self, sending: Sending, *, whole: bool) -> Result | Sending:
        """Send one request. What the caller gets; or what is to be sent next, after the wait."""
        request = sending.request
        if not isinstance(sending, Resending):
            self._attempts.begin(request)
        sending.request = self._with_cookies(request)
        try:
            delivery = await self._client.answer(sending, self._previous)
            pause = self._look_at(delivery)
            if pause is None:
                # Before the next request has its own cookies.
                following = await self._following(delivery, request)
                if following is not None:
                    return following
                return delivery, await delivery.read_all() if whole else None
        except RedirectError:
            raise
        except TriopoolError as exc:
            pause = self._attempts.pause_after_error(sending, exc)
            if pause is None:
                raise
            sending.listener.retry_planned(exc, pause)
            why = type(exc).__name__
        else:
            delivery.close()
            await delivery.join()
            status_code = delivery.exchange.response.status_code
            sending.listener.retry_planned(status_code, pause)
            why = f"status {status_code}"
        await _wait(request, why, pause)
        return self._attempts.again(request, sending)

    # ── Before and behind one response ─────────────────────────────────────────────────────────

    def _with_cookies(self, request: Request) -> Request:
        cookies = self._policy.cookies
        # A Cookie field of the caller's own is all that is sent, as with other clients.
        if cookies is None or "cookie" in _fields.names_of(request.fields):
            return request
        value = cookies.field_for(request.url)
        if value is None:
            return request
        return replace(request, fields=[*request.fields, ("Cookie", value)])

    def _look_at(self, delivery: Delivery) -> float | None:
        """Take the cookies of a response; say how long to wait until it is asked for again.

        None if it won't be.
        """
        try:
            if self._policy.cookies is not None:
                self._policy.cookies.take(delivery.exchange.request.url, delivery.raw_headers)
            return self._attempts.pause_after_response(delivery)
        except BaseException:
            delivery.close(drain=False)
            raise

    async def _following(self, delivery: Delivery, request: Request) -> Sending | None:
        """The request that a response leads to, without the cookies that were added to *request*.

        Raises:
          RedirectError: it leads to where we don't go.
        """
        following = await leads_to(delivery, self._check_inside)
        if following is not None:
            following = self._attempts.behind_redirect(following)
            self._previous = delivery
            if delivery.exchange.request.fields is not request.fields:
                fields = _fields.without(following.request.fields, _COOKIE)
                following.request = replace(following.request, fields=fields)
        return following

    def _check_inside(self, following: Request, response: Response) -> None:
        """See that a redirect does not lead out of a session that is confined.

        Raises:
          RedirectError: it does.
        """
        if self._policy.leads_out(following.url):
            origin = response.request.origin
            raise RedirectError(
                f"the redirect ({response.status_code}) from {origin} leads out of the base_url to "
                "which this session is confined",
                response,
                origin=origin,
            )


async def _wait(request: Request, why: str, seconds: float) -> None:
    try:
        await trio.sleep(seconds)
    except trio.Cancelled as exc:
        exc.add_note(
            f"triopool was waiting {seconds:.3g} s to send {request.method} to "
            f"{request.url.origin} again, after {why}"
        )
        raise
