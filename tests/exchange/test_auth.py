"""Credentials: what goes into the Authorization field, and that it goes nowhere else."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from triopool import (
    BasicAuth,
    BearerAuth,
    ConnectError,
    InvalidURL,
    LocalProtocolError,
    LoggingInstrument,
    ReadError,
    RedirectError,
    RemoteProtocolError,
    RequestInfo,
    StatusError,
    Timeouts,
    TriopoolError,
)
from triopool._exchange.sending import Sending
from triopool._request.auth import check_auth
from triopool._request.places import Places
from triopool._request.prepare import prepare
from triopool.abc import Instrument

from .world import URL, Answer, Answering, ok, serving

HOST = "192.0.2.1"


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


async def sent(url: str = URL, **options: Any) -> list[str]:
    """What arrived as Authorization."""
    server = Answering()
    async with serving(server) as (pool, _):
        await pool.get(url, **options)
    (request,) = server.requests
    return [value for name, value in request.headers if name == "authorization"]


# ── What goes out ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("auth", "value"),
    [
        (("name", "password"), basic("name:password")),
        (("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),  # RFC 7617 section 2
        (("test", "123£"), "Basic dGVzdDoxMjPCow=="),  # RFC 7617 section 2.1
        (("", ""), basic(":")),
        (("name", "a:b:c"), basic("name:a:b:c")),
        (BasicAuth("ü", "ö" * 1000), basic("ü:" + "ö" * 1000)),
        (BearerAuth("mF_9.B5f-4.1JqM"), "Bearer mF_9.B5f-4.1JqM"),  # RFC 6750 section 2.1
        (BearerAuth("12|abc:=="), "Bearer 12|abc:=="),
        (BearerAuth("x" * 8000), "Bearer " + "x" * 8000),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_credentials_are_sent_as_the_rfcs_say(
    autojump_clock: object, auth: Any, value: str
) -> None:
    assert await sent(auth=auth) == [value]


@pytest.mark.parametrize(
    ("userinfo", "text"),
    [
        ("name:password", "name:password"),
        ("name", "name:"),
        ("name:", "name:"),
        (":password", ":password"),
        ("user%40example.org:a%3Ab%2F%3F%23%5B%5D", "user@example.org:a:b/?#[]"),
        ("%C3%BC:%c3%b6%20", "ü:ö "),
        ("100%25:+", "100%:+"),
        ("a:b:c", "a:b:c"),
    ],
)
async def test_credentials_in_the_url_are_decoded(
    autojump_clock: object, userinfo: str, text: str
) -> None:
    assert await sent(f"http://{userinfo}@{HOST}/") == [basic(text)]


async def test_the_argument_goes_before_the_url_and_a_header_before_the_url(
    autojump_clock: object,
) -> None:
    url = f"http://url:x@{HOST}/"
    assert await sent(url) == [basic("url:x")]
    assert await sent(url, auth=("argument", "y")) == [basic("argument:y")]
    assert await sent(url, auth=BearerAuth("token")) == ["Bearer token"]
    assert await sent(url, headers={"authorization": "Mine x"}) == ["Mine x"]
    assert await sent(url, headers={b"AUTHORIZATION": b"Mine x"}) == ["Mine x"]
    assert await sent(url, auth=None) == [basic("url:x")]
    assert await sent() == []


async def test_an_argument_and_a_header_are_one_too_many(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, network):
        for auth in (("name", "x"), BearerAuth("token")):
            with pytest.raises(ValueError, match="either auth= or an Authorization header"):
                await pool.get(URL, auth=auth, headers={"Authorization": "Mine x"})
        assert not network.log


async def test_streams_leases_and_retries_send_them_too(autojump_clock: object) -> None:
    gone = Answer([], "close")
    server = Answering(ok(), gone)
    async with serving(server) as (pool, _):
        await pool.get(URL, auth=("a", "b"))
        await pool.get(URL, auth=("a", "b"))
        assert pool.statistics().retried == 1
        async with pool.stream("GET", URL, auth=("a", "b")) as response:
            await response.read()
        async with pool.lease(URL) as connection:
            await connection.request("GET", "/", auth=("a", "b"))
            await connection.request("GET", f"http://a:b@{HOST}/")
            # Each request for itself: on a connection that others may use next.
            await connection.request("GET", "/")
    values = [request.header("authorization") for request in server.requests]
    assert values == [basic("a:b")] * 6 + [None]


async def test_credentials_are_no_reason_for_another_connection(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        for auth in (("a", "b"), BearerAuth("c"), None):
            await pool.get(URL, auth=auth)
        assert pool.statistics().dialled == 1


# ── What can't be ──────────────────────────────────────────────────────────────────────────────

# Not what the source has, which tracebacks show.
SECRET = "-".join(["s", "e", "c", "r", "e", "t"])


def all_text(exc: BaseException) -> str:
    """Whatever a log could show of it: messages, causes, contexts, notes, reprs."""
    texts = traceback.format_exception(exc)
    links: list[BaseException | None] = [exc]
    while links:
        if (link := links.pop()) is not None:
            texts += [repr(link), repr(link.args), repr(vars(link))]
            links += [link.__cause__, link.__context__]
    return "".join(texts)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: BasicAuth(f"{SECRET}:", "x"), ValueError, "can't have a colon in it"),
        (lambda: BasicAuth("a", f"{SECRET}\r\n"), ValueError, "control characters"),
        (lambda: BasicAuth(f"{SECRET}\0", "x"), ValueError, "control characters"),
        (lambda: BasicAuth("a", f"{SECRET}\ud800"), ValueError, "half a surrogate pair"),
        (lambda: BasicAuth("a", SECRET.encode()), TypeError, "both str, not bytes"),  # type: ignore[arg-type]
        (lambda: BasicAuth(None, SECRET), TypeError, "both str, not NoneType"),  # type: ignore[arg-type]
        (lambda: BearerAuth(""), ValueError, "visible ASCII characters"),
        (lambda: BearerAuth(f"{SECRET}\n"), ValueError, "is there a newline behind it?"),
        (lambda: BearerAuth(f"Bearer {SECRET}"), ValueError, "visible ASCII characters"),
        (lambda: BearerAuth(f"{SECRET}ü"), ValueError, "visible ASCII characters"),
        (lambda: BearerAuth(SECRET.encode()), TypeError, "a token, a str, not bytes"),  # type: ignore[arg-type]
        (lambda: check_auth(f"a:{SECRET}"), TypeError, "not str"),
        (lambda: check_auth(("a", SECRET, "c")), TypeError, "not a tuple of 3"),
        (lambda: check_auth(("a", SECRET.encode())), TypeError, "both str, not bytes"),
        (lambda: check_auth(["a", SECRET]), TypeError, "not list"),
        (lambda: check_auth({"a": SECRET}), TypeError, "not dict"),
        (lambda: check_auth(lambda: SECRET), TypeError, "not function"),
    ],
)
def test_what_can_not_be_sent_is_told_and_not_quoted(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        make()
    assert SECRET not in all_text(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_credentials_can_be_compared_and_not_changed() -> None:
    auth = BasicAuth("a", "b")
    assert auth == BasicAuth("a", "b") != BasicAuth("a", "c")
    assert len({auth, BasicAuth("a", "b"), BearerAuth("a")}) == 2
    with pytest.raises(AttributeError):
        auth.password = "c"  # type: ignore[misc]


# ── What is never told ─────────────────────────────────────────────────────────────────────────

CREDENTIALS: dict[str, dict[str, Any]] = {
    "pair": {"auth": (f"user{SECRET}", SECRET)},
    "bearer": {"auth": BearerAuth(SECRET)},
    "url": {"url": f"http://user{SECRET}:{SECRET}@{HOST}/path"},
    "header": {"headers": {"Authorization": f"Mine {SECRET}"}},
    "cookie": {"headers": {"Cookie": SECRET}},
}
LEAKS = (SECRET, base64.b64encode(f"user{SECRET}:{SECRET}".encode()).decode())


def is_silent(text: object) -> bool:
    return not any(leak in str(text) for leak in LEAKS)


def test_no_repr_shows_them() -> None:
    for auth in (BasicAuth(f"user{SECRET}", SECRET), BearerAuth(SECRET)):
        for shown in (repr(auth), str(auth), f"{auth}", repr([auth]), repr((auth,))):
            assert is_silent(shown)
    assert repr(BasicAuth("a", "b")) == "BasicAuth(...)"
    assert repr(BearerAuth("a")) == "BearerAuth(...)"


@pytest.mark.parametrize("kind", CREDENTIALS)
async def test_no_request_shows_them(kind: str) -> None:
    given: dict[str, Any] = {"method": "GET", "url": f"{URL}/path"} | CREDENTIALS[kind]
    request = prepare(**given, content=SECRET, default_timeouts=Timeouts(), places=Places())
    assert repr(request) == str(request) == f"<Request GET to http://{HOST}:80>"
    for part in (request.url, request.auth, Sending(request).info()):
        assert is_silent(f"{part!r} {part}")


class Told(Instrument):
    """Everything that instruments get to see."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def _see(self, *facts: object) -> None:
        self.seen += [f"{fact!r} {fact}" for fact in facts]
        self.seen += [all_text(fact) for fact in facts if isinstance(fact, BaseException)]

    def request_sent(self, request: RequestInfo, connection: Any) -> None:
        self._see(request, connection)

    def request_retried(self, request: RequestInfo, error: BaseException) -> None:
        self._see(request, error)

    def response_started(self, request: RequestInfo, response: Any, connection: Any) -> None:
        self._see(request, response, connection)

    def request_failed(self, request: RequestInfo, error: BaseException) -> None:
        self._see(request, error)

    def dial_failed(self, origin: object, error: BaseException | None) -> None:
        self._see(origin, error)


def head(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", *lines, "", ""]).encode()


FAILURES: dict[str, tuple[Answer | bytes, type[TriopoolError]]] = {
    "nothing": (Answer([], "close"), ReadError),
    "reset": (Answer([b"HTTP/1.1 2", b""], "reset"), ReadError),
    "not HTTP": (b"nonsense\r\n\r\n", RemoteProtocolError),
    "redirect to nowhere": (head("302 Go", "Location: http://[/"), RedirectError),
    "redirect without end": (head("302 Go", "Location: /path"), RedirectError),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", CREDENTIALS)
async def test_no_error_and_no_log_shows_them(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, kind: str, failure: str
) -> None:
    caplog.set_level(logging.DEBUG)
    answer, expected = FAILURES[failure]
    told = Told()
    server = Answering(ok(), *[answer] * 30)
    async with serving(server, instruments=[told, LoggingInstrument()]) as (pool, _):
        given: dict[str, Any] = {"method": "GET", "url": f"{URL}/path", "follow_redirects": True}
        given |= CREDENTIALS[kind]
        response = await pool.request(**given)
        assert is_silent(f"{response!r} {response} {response.url} {response.history}")
        assert is_silent(f"{response.connection!r}")
        with pytest.raises(expected) as caught:
            await pool.request(**given)
        assert is_silent(all_text(caught.value))
        assert is_silent(f"{pool!r} {pool.statistics()!r}")
    assert told.seen
    assert is_silent(told.seen)
    assert caplog.text.count("GET http://192.0.2.1:80/path") > 1
    assert is_silent(caplog.text)
    # They were there.
    values = [request.header("authorization") or "" for request in server.requests]
    assert (SECRET in "".join(values)) == (kind in ("bearer", "header"))


@pytest.mark.parametrize("kind", CREDENTIALS)
async def test_no_failed_dial_and_no_bad_status_shows_them(
    autojump_clock: object, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    given: dict[str, Any] = {"method": "GET", "url": f"{URL}/path"} | CREDENTIALS[kind]
    async with serving(Answering(head("404 No")), instruments=[LoggingInstrument()]) as (pool, net):
        response = await pool.request(**given)
        with pytest.raises(StatusError) as status:
            response.raise_for_status()
        pool.close_idle()
        net.refuse(HOST, 80)
        with pytest.raises(ConnectError) as refused:
            await pool.request(**given)
    assert is_silent(all_text(status.value))
    assert is_silent(all_text(refused.value))
    assert is_silent(caplog.text)


@pytest.mark.parametrize(
    "options",
    [
        {"url": f"http://a:{SECRET}@{HOST}:99999/"},
        {"url": f"http://a:{SECRET} @{HOST}/"},
        {"url": f"http://a%0a:{SECRET}@{HOST}/"},
        {"url": f"http://{SECRET}:x@[::1/"},
        {"url": f"ftp://a:{SECRET}@{HOST}/"},
        {"url": f"http://a:{SECRET}@/"},
        {"auth": ("a", SECRET), "headers": {"Authorization": "x", "X": "\n"}},
        {"auth": ("a", SECRET), "headers": {"X": "\n"}},
        {"auth": BearerAuth(SECRET), "headers": {"Host": "a b\0"}},
        {"auth": BearerAuth(SECRET), "method": "GE T"},
        {"auth": BearerAuth(SECRET), "target": "a b"},
    ],
    ids=lambda options: "-".join(options),
)
async def test_no_refusal_shows_them(autojump_clock: object, options: dict[str, Any]) -> None:
    async with serving(Answering()) as (pool, network):
        given = {"method": "GET", "url": URL} | options
        with pytest.raises((LocalProtocolError, InvalidURL, ValueError)) as caught:
            await pool.request(**given)
        with pytest.raises((LocalProtocolError, InvalidURL, ValueError)):
            pool.stream(**given)
        assert not network.log
    assert is_silent(all_text(caught.value))


async def test_a_lookup_that_fails_does_not_show_them(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        with pytest.raises(ConnectError, match=r"no-such\.test") as caught:
            await pool.get(f"http://a:{SECRET}@no-such.test/")
    assert is_silent(all_text(caught.value))
