"""Redirects: whether a response leads on, to where, and what of the request may go there.

The rules are RFC 9110's (section 15.4) where it has one, and else those of WHATWG Fetch, which
browsers follow and servers are tested with:

- 301, 302, 303, 307, 308 with a Location lead on. 303 becomes GET (HEAD stays HEAD), and so does a
  POST that meets 301 or 302. All else keeps its method.
- A request that becomes GET loses its body and the fields that describe it. One that keeps its
  body must be able to send it: again (bytes, a Path, a callable), or for the first time, where the
  answer came before a byte of it was asked for (``expect_continue=True``). A body that can't be
  produced again is an error, and never an empty request.
- What was meant for one origin stays there: credentials, cookies, a Host or server name of the
  caller's own are dropped for good as soon as the origin changes. A redirect that comes back
  doesn't get them again. (Other fields go along: if a field of your own making is a secret,
  don't follow redirects with it.)
- From https to http only if allowed: what was private would travel in the open.

The redirect's own body is drained or closed as any response's that nobody reads, and the next
request does not wait for that.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable

from .._errors import InvalidURL
from .._request import fields as _fields
from .._request import url as _url
from .._request.request import Request
from .._request.url import URL
from .errors import RedirectError
from .response import Response

STATUS_CODES = frozenset({301, 302, 303, 307, 308})

_OF_THE_ORIGIN = frozenset({"authorization", "cookie", "cookie2", "host", "proxy-authorization"})
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


def follow(request: Request, send: Callable[[Request], Awaitable[Response]]) -> Awaitable[Response]:
    """Send a request, and what its redirects lead to; to be awaited for the last response.

    Raises:
      RedirectError: a redirect can't be followed, or there were too many.
      Exception: what *send* raises.
    """
    if request.redirects is None and request.replayable:
        return send(request)  # Nothing to follow, and no body that might have to be closed.
    return _follow(request, send)


async def _follow(request: Request, send: Callable[[Request], Awaitable[Response]]) -> Response:
    try:
        while True:
            response = await send(request)
            following = await _what_follows(request, response)
            if following is None:
                return response
            request = following
    except BaseException:
        await request.give_up_body()
        raise


async def _what_follows(request: Request, response: Response) -> Request | None:
    """Owns the response: it is closed, unless it leads nowhere and is what the caller gets."""
    try:
        following = next_request(request, response)
        if following is None:
            await response._give_up_body()
            return None
        response.close()
        await response._join()
        if following.body is not request.body:
            await request.give_up_body()
    except BaseException as exc:
        response.close(drain=isinstance(exc, RedirectError))
        await response._join()
        raise
    return following


def next_request(request: Request, response: Response) -> Request | None:
    """The request that a response leads to; None if it leads nowhere.

    Raises:
      RedirectError: it leads to where we don't go.
    """
    redirects = request.redirects
    if redirects is None or response.status_code not in STATUS_CODES or request.method == "CONNECT":
        return None
    url = _location(request, response)
    if url is None:
        return None
    if request.followed >= redirects.limit:
        raise _refused(response, f"is one redirect more than the limit of {redirects.limit}")
    if request.url.origin.scheme == "https" != url.origin.scheme and not redirects.allow_downgrade:
        raise _refused(
            response,
            f"leads from https to {url.origin}, where everybody can listen: "
            "follow_redirects=Redirects(allow_downgrade=True) would allow it",
        )
    return _rewrite(request, response, url)


def _location(request: Request, response: Response) -> URL | None:
    locations = {value for name, value in response.raw_headers if name.lower() == b"location"}
    if not locations:
        return None
    if len(locations) > 1:
        raise _refused(response, "names several locations")
    raw = locations.pop()
    try:
        reference = raw.decode()
    except UnicodeDecodeError:
        reference = raw.decode("latin-1")
    try:
        return _url.join(request.url, reference)
    except InvalidURL as exc:
        raise _refused(response, f"leads nowhere: {exc}") from exc


def _rewrite(request: Request, response: Response, url: URL) -> Request:
    # Where the URL came from counts, and not the key: http and https of one host are two origins.
    leaves = url.origin != request.url.origin
    following = copy.copy(request)
    following.method = _method(request.method, response.status_code)
    following.url = url
    following.target = None
    following.attempt = 1
    following.redirected_from = None if request.watch is None else request.watch.info.id
    following.watch = None
    following.previous = response
    following.followed += 1
    if leaves:
        following.fields = _fields.without(request.fields, _OF_THE_ORIGIN)
        following.server_hostname = following.auth = None
    following.auth = url.auth or following.auth
    if response.status_code == 303 or following.method != request.method:
        _drop_body(following)
    elif request.body_started and not request.replayable:
        raise _refused(
            response,
            "wants the body once more, and it can be produced only once: give bytes, a Path, or "
            "a callable that returns a fresh iterable",
        )
    following.compose()
    return following


def _method(method: str, status_code: int) -> str:
    becomes_get = (status_code == 303 and method != "HEAD") or (
        status_code in (301, 302) and method == "POST"
    )
    return "GET" if becomes_get else method


def _drop_body(request: Request) -> None:
    request.body, request.body_length, request.content_type = b"", 0, None
    request.body_started = request.expect_continue = False
    request.fields = _fields.without(request.fields, _OF_THE_BODY)


def _refused(response: Response, why: str) -> RedirectError:
    origin = response.connection.origin
    return RedirectError(
        f"the redirect ({response.status_code}) from {origin} {why}", response, origin=origin
    )
