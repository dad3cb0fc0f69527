"""Redirects: whether a response leads on, to where, and what of the request may go there.

The rules are RFC 9110's (section 15.4) where it has one, and else those of WHATWG Fetch, which
browsers follow and servers are tested with:

- 301, 302, 303, 307, 308 with a Location lead on. 303 becomes GET (HEAD stays HEAD), and so does a
  POST that meets 301 or 302. All else keeps its method.
- A request that becomes GET loses its body and the fields that describe it. One that keeps its
  body must be able to send it: again (bytes, a Path, a callable), or for the first time, where the
  answer came before a byte of it was asked for (``expect_continue=True``). A body that can't be
  produced again is an error, and never an empty request.
- What was meant for one origin stays there: credentials, cookies, a Host, a server name or a TLS
  context of the caller's own are dropped for good as soon as the origin changes. A redirect that
  comes back doesn't get them again. (Other fields go along: if a field of your own making is a
  secret, don't follow redirects with it.)
- The pool's proxy is chosen anew; one that the caller has named for the request stays.
- From https to http only if allowed: what was private would travel in the open.

The redirect's own body is drained or closed, as that of any response that is left unread, and the
next request does not wait for that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .._errors import InvalidURL
from .._exchange.sending import Sending
from .._request import fields as _fields
from .._request import url as _url
from .._request.request import Request
from .._request.url import URL
from .delivery import Delivery
from .response import REDIRECTS, RedirectError, Response

OF_THE_ORIGIN = frozenset({"authorization", "cookie", "cookie2", "host", "proxy-authorization"})
"""Fields that are meant for one origin, in lower case."""

# RFC 9110 section 15.4, and Expect and Transfer-Encoding, which have no meaning without a body.
_OF_THE_BODY = frozenset(
    {
        "content-encoding",
        "content-language",
        "content-length",
        "content-location",
        "content-type",
        "digest",
        "expect",
        "last-modified",
        "transfer-encoding",
    }
)


async def leads_to(
    delivery: Delivery, check: Callable[[Request, Response], None] | None = None
) -> Sending | None:
    """The request that a response leads to, ready to be sent; None if it leads nowhere.

    Owns the response: it is closed, unless it is what the caller gets.

    Args:
      check: looks at the request and the response before, and raises RedirectError if that one is
        not to be followed.

    Raises:
      RedirectError: it leads to where we don't go.
    """
    sending = delivery.exchange.sending
    try:
        following = next_request(sending, Response(delivery))
        if following is None:
            # No other request will need the body. But this one may still be sending it.
            await delivery.give_up_body()
            return None
        if check is not None:
            check(following, Response(delivery))
        delivery.close()
        await delivery.join()
        # If the next request has the same body, that one sends it, or closes it.
        if following.body is not sending.request.body:
            await sending.give_up_body()
    except BaseException as exc:
        sending.listener.broke(exc)
        delivery.close(drain=isinstance(exc, RedirectError))
        await delivery.join()
        raise
    redirected_from = sending.id or None  # 0 is no number of a request.
    return Sending(following, followed=sending.followed + 1, redirected_from=redirected_from)


def next_request(sending: Sending, response: Response) -> Request | None:
    """The request that a response leads to; None if it leads nowhere.

    Raises:
      RedirectError: it leads to where we don't go.
    """
    request = sending.request
    redirects = request.redirects
    if redirects is None or response.status_code not in REDIRECTS or request.method == "CONNECT":
        return None
    url = _location(request, response)
    if url is None:
        return None
    if sending.followed >= redirects.limit:
        raise _refused(
            request, response, f"is one redirect more than the limit of {redirects.limit}"
        )
    is_downgrade = (request.url.origin.scheme, url.origin.scheme) == ("https", "http")
    if is_downgrade and not redirects.allow_downgrade:
        raise _refused(
            request,
            response,
            f"leads from https to {url.origin}, where everybody can listen: "
            "follow_redirects=Redirects(allow_downgrade=True) would allow it",
        )
    return _rewrite(sending, response, url)


def _location(request: Request, response: Response) -> URL | None:
    locations = {value for name, value in response.raw_headers if name.lower() == b"location"}
    if not locations:
        return None
    if len(locations) > 1:
        raise _refused(request, response, "names several locations")
    raw = locations.pop()
    try:
        reference = raw.decode()
    except UnicodeDecodeError:
        reference = raw.decode("latin-1")
    try:
        return _url.join(request.url, reference)
    except InvalidURL as exc:
        raise _refused(request, response, f"leads nowhere: {exc}") from exc


def _rewrite(sending: Sending, response: Response, url: URL) -> Request:
    request = sending.request
    method = _method(request.method, response.status_code)
    changes: dict[str, Any] = {"method": method, "url": url, "target": None, "added": ()}
    # What was meant for one origin is dropped where the origin changes. The URLs are compared, and
    # not the pool keys, so that a server_hostname makes no difference: http and https of one host
    # are two origins, and so are two ports.
    if url.origin == request.url.origin:
        fields, auth = request.fields, request.auth
    else:
        fields, auth = _fields.without(request.fields, OF_THE_ORIGIN), None
        changes |= {"server_hostname": None, "ssl_context": None}
    if response.status_code == 303 or method != request.method:
        fields = _fields.without(fields, _OF_THE_BODY)
        changes |= {"body": b"", "body_length": 0, "content_type": None, "expect_continue": False}
    elif sending.body_started and not request.replayable:
        raise _refused(
            request,
            response,
            "wants the body once more, and it can be produced only once: give bytes, a Path, or "
            "a callable that returns a fresh iterable",
        )
    if request.chooser is not None:
        changes["proxy"] = request.chooser(url.origin)
    try:
        return replace(request, **changes, fields=fields, auth=url.auth or auth)
    except InvalidURL as exc:
        raise _refused(request, response, f"can't be followed: {exc}") from exc


def _method(method: str, status_code: int) -> str:
    becomes_get = (status_code == 303 and method != "HEAD") or (
        status_code in (301, 302) and method == "POST"
    )
    return "GET" if becomes_get else method


def _refused(request: Request, response: Response, why: str) -> RedirectError:
    origin = request.url.origin
    return RedirectError(
        f"the redirect ({response.status_code}) from {origin} {why}", response, origin=origin
    )
