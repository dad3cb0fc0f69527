"""What goes over the wire, and what is refused before anything does."""

# ruff: noqa: SIM117 - one line for the world, the next for what happens in it.
from __future__ import annotations

import array
import inspect
import io
import ssl
import traceback
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from triopool import (
    BasicAuth,
    BearerAuth,
    ConnectionPool,
    LocalProtocolError,
    PoolTimeout,
    ReadError,
    ReadTimeout,
    RequestOptions,
    Timeouts,
    TriopoolError,
    WriteError,
    WriteTimeout,
)
from triopool._exchange.upload import REFUSAL_SECONDS
from triopool._protocol.request_head import make_head
from triopool.testing import (
    Close,
    KeepOpen,
    Network,
    Receive,
    ReceiveBytes,
    ReceiveRequest,
    Reply,
    Request,
    Send,
    Wait,
    http_server,
    script,
)

from .world import URL, Answering, ok, pieces, serving, whole

CHUNKED = ("transfer-encoding", "chunked")


async def received(method: str = "POST", path: str = "/", **options: Any) -> bytes:
    """The bytes of one request as they arrive."""
    server = script(ReceiveRequest(), Send(ok()), KeepOpen())
    async with serving(server) as (pool, _):
        await pool.request(method, URL + path, **options)
    return bytes(server.conversations[0].received)


async def echoed(**options: Any) -> Request:
    server = Answering()
    async with serving(server) as (pool, _):
        await pool.post(URL, **options)
    return server.requests[0]


# ── Bodies ─────────────────────────────────────────────────────────────────────────────────────


class Iterable:
    """An async iterable whose iterator has no aclose()."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = iter(parts)

    def __aiter__(self) -> Iterable:
        return self

    async def __anext__(self) -> bytes:
        for part in self._parts:
            return part
        raise StopAsyncIteration


LARGE = bytes(range(256)) * 1024


@pytest.mark.parametrize(
    ("content", "body", "framing"),
    [
        (None, b"", ("content-length", "0")),
        (b"", b"", ("content-length", "0")),
        (b"body", b"body", ("content-length", "4")),
        ("bödy", "bödy".encode(), ("content-length", "5")),
        (bytearray(b"body"), b"body", ("content-length", "4")),
        (memoryview(b"-body-")[1:5], b"body", ("content-length", "4")),
        (memoryview(array.array("H", [0x4141])), b"AA", ("content-length", "2")),
        (LARGE, LARGE, ("content-length", str(len(LARGE)))),
        (lambda: b"body", b"body", CHUNKED),
        (lambda: b"", b"", CHUNKED),
        (lambda: LARGE, LARGE, CHUNKED),
        (lambda: pieces(), b"", CHUNKED),
        (lambda: pieces(b"bo", b"", b"dy"), b"body", CHUNKED),
        (lambda: pieces(LARGE, b"x"), LARGE + b"x", CHUNKED),
        (lambda: Iterable(b"bo", bytearray(b"d"), memoryview(b"y")), b"body", CHUNKED),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bytes) else "bytes",
)
async def test_a_body_of_every_kind_arrives_whole(
    autojump_clock: object, content: Any, body: bytes, framing: tuple[str, str]
) -> None:
    request = await echoed(content=content)
    assert request.body == body
    assert request.header(framing[0]) == framing[1]
    assert {"content-length", "transfer-encoding"} & dict(request.headers).keys() == {framing[0]}


async def test_an_iterable_body_arrives_whole(autojump_clock: object) -> None:
    assert (await echoed(content=pieces(b"bo", b"dy", gap=1.0))).body == b"body"
    assert trio.current_time() == 1.0
    assert (await echoed(content=Iterable(b"bo", b"dy"))).body == b"body"


async def test_a_receive_stream_is_sent_and_closed(autojump_clock: object) -> None:
    send, receive = trio.testing.memory_stream_one_way_pair()
    await send.send_all(b"body")
    send.close()
    assert (await echoed(content=receive)).body == b"body"
    with pytest.raises(trio.ClosedResourceError):
        await receive.receive_some()


async def test_an_async_file_is_sent_in_blocks_and_closed(tmp_path: Path) -> None:
    """On the real clock: a file is read in threads."""
    path = tmp_path / "file"
    path.write_bytes(b"\n" * 100_000)
    file = await trio.open_file(path, "rb")
    raw = await received(content=file)
    assert file.closed
    assert raw.count(b"\n\n") > 0
    assert raw.partition(b"\r\n\r\n")[2].startswith(b"10000\r\n\n")  # 64 KiB, in hexadecimal


async def test_a_text_file_is_told_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")
    async with serving(Answering()) as (pool, _):
        async with await trio.open_file(path) as file:
            with pytest.raises(TypeError, match="must yield bytes, not str"):
                await pool.post(URL, content=file)  # type: ignore[arg-type]


async def test_json_is_encoded(autojump_clock: object) -> None:
    request = await echoed(json={"ä": [1, None]})
    assert request.body == '{"ä":[1,null]}'.encode()
    assert request.header("content-type") == "application/json"
    assert (await echoed(json=False)).body == b"false"


async def test_text_has_its_charset(autojump_clock: object) -> None:
    assert (await echoed(content="x")).header("content-type") == "text/plain; charset=utf-8"
    overridden = await echoed(content="x", headers={"Content-Type": "text/csv"})
    assert overridden.header("content-type") == "text/csv"


async def test_a_changed_bytearray_does_not_change_the_request(autojump_clock: object) -> None:
    body = bytearray(b"before")

    class Server(Answering):
        async def __call__(self, stream: trio.abc.Stream) -> None:
            body[:] = b"behind"
            await super().__call__(stream)

    server = Server()
    async with serving(server) as (pool, _):
        await pool.post(URL, content=body)
    assert server.requests[0].body == b"before"


# ── The head ───────────────────────────────────────────────────────────────────────────────────


async def test_host_goes_first_and_everything_else_as_it_was_given(autojump_clock: object) -> None:
    raw = await received(
        path="/x?y",
        params={"z": "1"},
        headers=[("X-b", "1"), (b"x-A", b"\xe9"), ("X-b", "2")],
        content=b"body",
    )
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[:3] == [b"POST /x?y&z=1 HTTP/1.1", b"Host: 192.0.2.1", b"Accept: */*"]
    assert lines[3].startswith(b"User-Agent: triopool/")
    assert lines[4] == b"Accept-Encoding: gzip, deflate, br, zstd"
    assert lines[5:] == [b"Content-Length: 4", b"X-b: 1", b"x-A: \xe9", b"X-b: 2"]
    assert body == b"body"


async def test_defaults_are_overridden_in_any_case(autojump_clock: object) -> None:
    raw = await received(
        "GET",
        headers={
            "accept": "a/b",
            "USER-AGENT": "me",
            "accept-encODING": "br",
            "hOST": "other.example",
            "X": "",
        },
    )
    assert raw == (
        b"GET / HTTP/1.1\r\nhOST: other.example\r\naccept: a/b\r\nUSER-AGENT: me\r\n"
        b"accept-encODING: br\r\nX: \r\n\r\n"
    )


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "purge"])
async def test_no_length_where_a_body_has_no_meaning(autojump_clock: object, method: str) -> None:
    raw = await received(method)
    assert raw.startswith(method.encode() + b" / HTTP/1.1\r\n")
    assert b"ontent-" not in raw
    assert b"ransfer-" not in raw


@pytest.mark.parametrize("method", ["get", "head", "post", "put", "patch", "delete", "options"])
async def test_each_method_has_its_helper(autojump_clock: object, method: str) -> None:
    server = Answering()
    async with serving(server) as (pool, _):
        response = await getattr(pool, method)(URL + "/x", headers={"A": "b"})
    assert (server.requests[0].method, response.method) == (method.upper(), method.upper())
    assert server.requests[0].header("a") == "b"
    assert response.content == (b"" if method == "head" else b"/x")


async def test_a_body_can_be_chunked_at_will(autojump_clock: object) -> None:
    request = await echoed(content=b"body", headers={"Transfer-Encoding": "chunked"})
    assert request.body == b"body"
    assert request.header("content-length") is None


async def test_a_length_that_is_told_twice_is_sent_once(autojump_clock: object) -> None:
    sent = await received(content=b"body", headers=[("Content-Length", "4")] * 2)
    assert sent.count(b"Content-Length: 4\r\n") == 1


async def test_an_iterable_can_have_a_length(autojump_clock: object) -> None:
    request = await echoed(content=pieces(b"bo", b"dy"), headers={"Content-Length": "4"})
    assert request.body == b"body"
    assert request.header("transfer-encoding") is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [((b"bo",), "it is shorter"), ((b"bo", b"dy", b"!"), "it is longer")],
)
async def test_an_iterable_of_another_length_than_declared_is_an_error(
    autojump_clock: object, parts: tuple[bytes, ...], message: str
) -> None:
    async with serving(script(ReceiveBytes(10_000))) as (pool, network):
        with pytest.raises(LocalProtocolError, match=message):
            await pool.post(URL, content=pieces(*parts), headers={"Content-Length": "4"})
        assert not network.open_sockets


# ── Refused before a slot is taken (scenario 58) ───────────────────────────────────────────────

SECRET = "SECRET"


def all_text(exc: BaseException) -> str:
    """Whatever a log could show of it: messages, causes, contexts, reprs."""
    texts = traceback.format_exception(exc)
    link: BaseException | None = exc
    while link is not None:
        texts += [repr(link), repr(link.args)]
        link = link.__cause__ or link.__context__
    return "".join(texts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"headers": {"X": f"a\r\n{SECRET}: b"}}, "value of header 'X'"),
        ({"headers": {"X": f"a\n{SECRET}"}}, "value of header 'X'"),
        ({"headers": {"X": f"a\r{SECRET}"}}, "value of header 'X'"),
        ({"headers": {"X": f"a\0{SECRET}"}}, "value of header 'X'"),
        ({"headers": {"X": f"a\x1b[0m{SECRET}"}}, "value of header 'X'"),
        ({"headers": {"X": f"a\x7f{SECRET}"}}, "value of header 'X'"),
        ({"headers": {"X": f" {SECRET}"}}, "value of header 'X'"),
        ({"headers": {"X": f"é{SECRET}"}}, "value of header 'X'"),
        ({"headers": {b"X": f"a\r\n{SECRET}".encode()}}, "value of header 'X'"),
        ({"headers": {"Host": f"a\r\n{SECRET}"}}, "value of header 'Host'"),
        ({"headers": {"Authorization": f"{SECRET}\n"}}, "value of header 'Authorization'"),
        ({"headers": {f"X: {SECRET}": "b"}}, "begins with 'X'"),
        ({"headers": {f"X\r\n{SECRET}": "b"}}, "begins with 'X'"),
        ({"headers": {f"X{'x' * 99} {SECRET}": "b"}}, "begins with 'Xx"),
        ({"headers": {"": SECRET}}, "begins with ''"),
        ({"headers": {"é": SECRET}}, "begins with ''"),
        ({"headers": [("Host", "a"), ("Host", SECRET)]}, "multiple Host"),
        ({"headers": {"Content-Length": f"-{SECRET}"}}, "value of header 'Content-Length'"),
        ({"headers": [("Content-Length", "1"), ("Content-Length", "2")]}, "conflicting"),
        ({"headers": {"Transfer-Encoding": f"gzip{SECRET}"}}, "value of header 'Transfer-Enc"),
        ({"headers": [("Transfer-Encoding", "chunked")] * 2}, "multiple Transfer-Encoding"),
        ({"headers": {"Content-Length": "3"}, "content": b"four"}, "not that of the body, 4"),
        ({"headers": {"Content-Length": "1"}}, "not that of the body, 0"),
        (
            {"headers": {"Content-Length": "4", "Transfer-Encoding": "chunked"}},
            "exclude each other",
        ),
        ({"headers": {"Proxy-Authorization": SECRET}}, "would reach the origin: .* Proxy.auth="),
        ({"method": f"GET / HTTP/1.1\r\n{SECRET}"}, "method is not a token"),
        ({"method": f"GE T{SECRET}"}, "method is not a token"),
        ({"method": f"GÉT{SECRET}"}, "method is not a token"),
        ({"method": ""}, "method is not a token"),
        ({"method": "CONNECT"}, "target='host:port'"),
        ({"method": "CONNECT", "target": "a.example"}, "target='host:port'"),
        ({"method": "CONNECT", "target": "u:p@a.example:80"}, "target='host:port'"),
        ({"method": "CONNECT", "target": "a:1", "content": b"x"}, "CONNECT has no body"),
        ({"target": f"/ HTTP/1.1\r\n{SECRET}"}, "target has characters"),
        ({"auth": ("a:b", SECRET)}, "can't have a colon"),
        ({"auth": ("a", f"{SECRET}\n")}, "control characters"),
        ({"auth": ("a", f"{SECRET}\ud800")}, "surrogate"),
        ({"multipart": {}, "headers": {"Content-Type": SECRET}}, "makes its own Content-Type"),
        ({"auth": BearerAuth(SECRET), "headers": {"authorization": SECRET}}, "either auth= or"),
        ({"form": {"a": f"{SECRET}\ud800"}}, "form has half a surrogate pair"),
        ({"url": f"{URL}/\r\n{SECRET}"}, "control character"),
        ({"url": f"http://a\r\n{SECRET}/"}, "control character"),
    ],
)
async def test_what_is_unsafe_is_refused_before_a_slot_is_taken(
    autojump_clock: object, options: dict[str, Any], message: str
) -> None:
    async with serving(Answering()) as (pool, network):
        everything = {"method": "GET", "url": URL} | options
        with pytest.raises((TriopoolError, ValueError), match=message) as caught:
            await pool.request(**everything)
        with pytest.raises((TriopoolError, ValueError), match=message):
            pool.stream(**everything)
        assert not network.log
    if "url" not in options:  # A URL is quoted, escaped; its query and credentials are not.
        assert SECRET not in all_text(caught.value)


def test_a_target_is_checked_even_if_the_url_was_not() -> None:
    target = "/ " + "secret"[::-1]
    with pytest.raises(LocalProtocolError, match="the target has characters") as caught:
        make_head("GET", target, [("Host", "a")])
    assert "terces" not in all_text(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": b"GET"}, "method must be a str, not bytes"),
        ({"url": None}, "url must be a str, not NoneType"),
        ({"timeouts": 5}, "timeouts must be a triopool.Timeouts, not 5"),
        ({"headers": "a: b"}, "headers must be a mapping"),
        ({"headers": 5}, "headers must be a mapping"),
        ({"headers": ["a: b"]}, "headers must be a mapping"),
        ({"headers": {"A": 5}}, "value of header 'A' must be str or bytes, not int"),
        ({"headers": {"A": None}}, "value of header 'A' must be str or bytes, not NoneType"),
        ({"headers": {5: "a"}}, "headers must be a mapping"),
        ({"content": 5}, "content must be bytes, str, a Path, an async iterable.*, not int"),
        ({"content": [b"a"]}, "not list"),
        ({"content": iter([b"a"])}, "not list_iterator"),
        ({"content": io.BytesIO()}, "pass its path, as a pathlib.Path"),
        ({"content": b"", "json": 1}, "give one body, not several: content=, json="),
        ({"form": {}, "multipart": {}}, "give one body, not several: form=, multipart="),
        ({"form": "a=b"}, "form must be a mapping"),
        ({"form": {"a": b"b"}}, "'a' in form must be a str, a number, a bool or None, not bytes"),
        ({"auth": "token"}, "auth must be triopool.BasicAuth"),
        ({"auth": BasicAuth}, "auth must be triopool.BasicAuth"),
        ({"auth": ("a", None)}, "BasicAuth needs a name and a password, both str, not NoneType"),
        ({"auth": ["a", "b"]}, "auth must be triopool.BasicAuth"),
        ({"target": ""}, "target must be a str that is not empty"),
        ({"target": b"*"}, "target must be a str that is not empty"),
        ({"follow_redirects": 5}, "follow_redirects must be a bool or triopool.Redirects"),
        ({"follow_redirects": None}, "follow_redirects must be a bool or triopool.Redirects"),
        (
            {"on_progress": trio.sleep},
            "on_progress must be callable, and not async: function is async",
        ),
        ({"decode": "no"}, "decode must be True or False, not str"),
        ({"expect_continue": 1}, "expect_continue must be True or False, not 1"),
        ({"idempotent": "no"}, "idempotent must be True or False, not str"),
        ({"content": {"a": 1}}, "not dict: is it for json= or form="),
        ({"content": [b"a"]}, "not list: join the pieces, or make the iterable async"),
        ({"form": {"a": b"a"}}, "not bytes: a file goes into multipart="),
        ({"multipart": {"a": ("name", b"x", "a/b")}}, "field 'a' must not be a tuple: give "),
        ({"on_progress": 5}, "on_progress must be callable, and not async: 5 is not"),
        ({"json": object()}, "not JSON serializable"),
        ({"on_informational": 5}, "on_informational must be callable, and not async: 5"),
        ({"server_hostname": b"a", "url": "https://a/"}, "server_hostname must be a name"),
        ({"server_hostname": "", "url": "https://a/"}, "server_hostname must be a name"),
        ({"max_body_bytes": 1.5}, "max_body_bytes must be a whole number"),
    ],
)
async def test_what_has_the_wrong_type_is_told(options: dict[str, Any], message: str) -> None:
    async with serving(Answering()) as (pool, network):
        with pytest.raises(TypeError, match=message):
            await pool.request(**({"method": "GET", "url": URL} | options))
        assert not network.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"server_hostname": "a"}, "for https URLs only"),
        ({"max_body_bytes": -1}, "at least 0"),
        ({"json": float("nan")}, "not JSON compliant"),
        ({"content": "\ud800"}, "surrogates"),
    ],
)
async def test_what_has_a_wrong_value_is_told(options: dict[str, Any], message: str) -> None:
    async with serving(Answering()) as (pool, network):
        with pytest.raises(ValueError, match=message):
            await pool.request("POST", URL, **options)
        assert not network.log


# ── A body that fails (scenario 52) ────────────────────────────────────────────────────────────


class Boom(Exception):
    pass


@pytest.mark.parametrize("as_factory", [False, True])
async def test_what_the_body_raises_is_what_the_request_raises(
    autojump_clock: object, as_factory: bool
) -> None:
    closed: list[float] = []
    boom = Boom()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"begun"
            await trio.sleep(1)
            raise boom
        finally:
            closed.append(trio.current_time())

    server = script(ReceiveBytes(10_000))
    async with serving(server, max_connections=1) as (pool, network):
        with pytest.raises(Boom) as caught:
            await pool.post(URL, content=body if as_factory else body())
        assert caught.value is boom
        assert closed == [1.0]
        assert not network.open_sockets
        assert pool.statistics().open == 0
        assert pool.statistics().discarded == 1
    assert b"begun" in server.conversations[0].received
    assert not server.conversations[0].received.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: pieces("text"), "must yield bytes, not str"),  # type: ignore[arg-type]
        (lambda: pieces(None), "must yield bytes, not NoneType"),  # type: ignore[arg-type]
        (lambda: 5, "must return an async iterable of bytes, not int"),
        (lambda: iter([b"a"]), "must return an async iterable of bytes, not list_iterator"),
        (trio.lowlevel.checkpoint, "must return an async iterable of bytes, not coroutine"),
    ],
)
async def test_a_body_of_something_else_than_bytes_is_told(
    autojump_clock: object, content: Callable[[], Any], message: str
) -> None:
    async with serving(script(ReceiveBytes(10_000))) as (pool, network):
        with pytest.raises(TypeError, match=message):
            await pool.post(URL, content=content)
        assert not network.open_sockets


async def test_a_group_that_the_body_raises_is_the_callers_own(autojump_clock: object) -> None:
    group = ExceptionGroup("mine", [Boom()])

    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise group

    async with serving(script(ReceiveBytes(10_000))) as (pool, _):
        with pytest.raises(ExceptionGroup) as caught:
            await pool.post(URL, content=body())
        assert caught.value is group


class Stream(trio.abc.ReceiveStream):
    def __init__(self) -> None:
        self.closed = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


async def test_a_stream_is_closed_even_if_no_connection_was_to_be_had(
    autojump_clock: object,
) -> None:
    async with serving(Answering(), max_connections=1) as (pool, _):
        async with pool.lease(URL):
            body = Stream()
            with pytest.raises(PoolTimeout):
                await pool.post(URL, content=body, timeouts=Timeouts(pool=1))
            assert body.closed
            with trio.move_on_after(1):
                await pool.post(URL, content=(second := Stream()))
            assert second.closed


async def test_a_stream_is_closed_if_the_server_does_not_want_it(autojump_clock: object) -> None:
    refusal = b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 10\r\n\r\nno, thanks"
    server = script(Receive(), Send(refusal), KeepOpen())
    async with serving(server) as (pool, _):
        body = Stream()
        response = await pool.post(URL, content=body, expect_continue=True)
        assert response.content == b"no, thanks"
        assert body.closed


async def test_a_stream_is_closed_if_the_caller_is_cancelled(autojump_clock: object) -> None:
    async with serving(script(ReceiveBytes(10_000))) as (pool, network):
        body = Stream()
        with trio.move_on_after(1) as scope:
            await pool.post(URL, content=body)
        assert scope.cancelled_caught
        assert body.closed
        assert trio.current_time() == 1
        assert not network.open_sockets


async def test_a_cancelled_upload_raises_one_cancelled_and_no_group(autojump_clock: object) -> None:
    async with serving(script(ReceiveBytes(10_000))) as (pool, _):
        with trio.move_on_after(1) as scope:
            with pytest.raises(BaseException) as caught:  # noqa: PT011 - the type is compared below
                await pool.post(URL, content=Stream())
            await trio.lowlevel.checkpoint()
        assert type(caught.value) is trio.Cancelled
        assert scope.cancelled_caught


async def test_a_nursery_in_a_body_makes_no_group_of_a_cancellation(autojump_clock: object) -> None:
    class Parallel(trio.abc.ReceiveStream):
        async def receive_some(self, max_bytes: int | None = None) -> bytes:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.fail_when_cancelled)
                await trio.sleep_forever()
            raise AssertionError

        async def fail_when_cancelled(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                raise Boom

        async def aclose(self) -> None:
            pass

    async with serving(script(ReceiveBytes(10_000))) as (pool, network):
        with pytest.raises(Boom), trio.move_on_after(1):
            await pool.post(URL, content=Parallel())
        assert not network.open_sockets


async def test_a_body_that_fails_when_it_is_stopped_does_not_cost_the_answer(
    autojump_clock: object,
) -> None:
    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"begun"
            await trio.sleep_forever()
        finally:
            raise Boom

    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 6\r\n\r\nenough"
    server = script(Receive(b"begun"), Send(refusal), KeepOpen())
    async with serving(server) as (pool, _):
        assert (await pool.post(URL, content=body())).content == b"enough"


# ── Time ───────────────────────────────────────────────────────────────────────────────────────


def slow_reader(count: int, gap: float) -> Any:
    """Takes 64 KiB each *gap* seconds."""
    steps = [step for _ in range(count) for step in (Wait(gap), ReceiveBytes(65536))]
    return script(*steps, Send(ok(b"got it")), KeepOpen())


@pytest.mark.parametrize("kind", ["bytes", "iterator", "one piece"])
async def test_an_upload_of_10_mb_is_limited_by_its_gaps_only(
    autojump_clock: object, kind: str
) -> None:
    body = bytes(10 << 20)
    contents: dict[str, Any] = {
        "bytes": body,
        "iterator": pieces(*[body[:65536]] * 160),
        "one piece": pieces(body),
    }
    async with serving(slow_reader(160, 10.0)) as (pool, _):
        response = await pool.post(
            URL, content=contents[kind], timeouts=Timeouts(write=11.0, read=1.0)
        )
        assert response.content == b"got it"
    assert trio.current_time() == pytest.approx(1600.0)


async def test_who_takes_nothing_for_too_long_gets_nothing_more(autojump_clock: object) -> None:
    server = script(Wait(5.0), ReceiveBytes(65536), Wait(1000.0))
    async with serving(server) as (pool, network):
        with pytest.raises(WriteTimeout, match=r"took nothing of the request for 3 s") as caught:
            await pool.post(URL, content=bytes(1 << 20), timeouts=Timeouts(write=3))
        assert trio.current_time() == 3.0
        assert (caught.value.seconds, caught.value.phase) == (3, "write")
        assert caught.value.origin is not None
        assert isinstance(caught.value, trio.TooSlowError)
        assert not network.open_sockets


async def test_the_write_timeout_holds_for_what_goes_out_in_one_write(
    autojump_clock: object,
) -> None:
    async with serving(script(Wait(1000.0)), buffer_size=4096) as (pool, network):
        with pytest.raises(WriteTimeout, match=r"4096 bytes sent so far"):
            await pool.post(URL, content=bytes(60_000), timeouts=Timeouts(write=2))
        assert trio.current_time() == 2.0
        assert not network.open_sockets


@pytest.mark.parametrize("content", [bytes(60_000), bytes(100_000)], ids=["one write", "task"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_who_takes_a_little_now_and_then_is_waited_for(
    autojump_clock: object,
    scheme: str,
    content: bytes,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
) -> None:
    """The write timeout is per gap: it starts anew with each byte that the kernel takes."""

    async def sips(stream: trio.abc.Stream) -> None:
        while True:
            await trio.sleep(1.0)
            await stream.receive_some(1000)

    async with Network(buffer_size=1000) as network:
        network.host("one.test", "192.0.2.1")
        network.listen("192.0.2.1", 80, sips)
        network.listen("192.0.2.1", 443, sips, ssl_context=server_ssl_context)
        async with ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            ssl_context=client_ssl_context,
            # A server takes a TLS record of 16 KiB at once, and then sips at that.
            timeouts=Timeouts(write=20.0, read=2.0),
        ) as pool:
            with pytest.raises(ReadTimeout):
                await pool.post(f"{scheme}://one.test/", content=content)
    assert trio.current_time() > len(content) / 2000


async def test_a_slow_body_is_no_slow_server(autojump_clock: object) -> None:
    """The read timeout doesn't run while the upload goes on (scenario 61), nor does the write
    timeout while the body is awaited."""
    async with serving(Answering()) as (pool, _):
        response = await pool.post(
            URL, content=pieces(b"a", b"b", gap=100.0), timeouts=Timeouts(read=1, write=1)
        )
        assert response.status_code == 200
        assert trio.current_time() == 100.0


async def test_the_read_timeout_runs_from_the_end_of_the_upload(autojump_clock: object) -> None:
    async with serving(script(ReceiveRequest(), KeepOpen())) as (pool, network):
        with pytest.raises(ReadTimeout, match=r"0 bytes received so far"):
            await pool.post(URL, content=pieces(b"a", b"b", gap=100.0), timeouts=Timeouts(read=3))
        assert trio.current_time() == 103.0
        assert not network.open_sockets


# ── Early answers ──────────────────────────────────────────────────────────────────────────────

REFUSAL = b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large"


@pytest.mark.parametrize(
    ("reads_no_more", "seconds"),
    [
        pytest.param([Wait(0.3), Close()], 0.3, id="closed, with bytes unread"),
        pytest.param([Wait(100.0), Close()], REFUSAL_SECONDS, id="open"),
    ],
)
@pytest.mark.parametrize("kind", ["bytes", "iterator", "factory"])
async def test_a_refused_upload_gets_its_refusal(
    autojump_clock: object, kind: str, reads_no_more: list[Any], seconds: float
) -> None:
    """Scenario 50."""
    body = bytes(10 << 20)
    server = script(ReceiveBytes(200_000), Send(REFUSAL), *reads_no_more)
    async with serving(server) as (pool, network):
        contents: dict[str, Any] = {
            "bytes": body,
            "iterator": pieces(body),
            "factory": lambda: pieces(body),
        }
        response = await pool.post(URL, content=contents[kind])
        assert (response.status_code, response.content) == (413, b"too large")
        assert seconds <= trio.current_time() <= 2 * seconds
        assert not network.open_sockets  # never reused, owing a body


async def test_a_refusal_that_comes_after_the_connection_broke_is_read(
    autojump_clock: object,
) -> None:
    async def late(conversation: Any) -> None:
        await conversation.stream.send_all(REFUSAL)

    server = script(Receive(), late, Close())
    async with serving(server, buffer_size=1000) as (pool, _):
        response = await pool.post(URL, content=bytes(60_000))
        assert response.content == b"too large"


async def test_a_broken_write_tells_more_than_the_end_of_file_behind_it(
    autojump_clock: object,
) -> None:
    async with serving(script(Receive(), Wait(1.0), Close()), buffer_size=1000) as (pool, _):
        for content in (bytes(60_000), bytes(100_000)):
            with pytest.raises((WriteError, ReadError), match="broke while") as caught:
                await pool.post(URL, content=content)
            assert isinstance(caught.value.__cause__, trio.BrokenResourceError)
            assert not isinstance(caught.value, ExceptionGroup)


# ── 100-continue ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content", [b"body", bytes(100_000)])
async def test_the_body_waits_for_the_server_to_ask(autojump_clock: object, content: bytes) -> None:
    async def pause(conversation: Any) -> None:
        await trio.sleep(0.25)
        assert conversation.received.endswith(b"\r\n\r\n")

    go_ahead = Send(b"HTTP/1.1 100 Continue\r\n\r\n")
    server = script(
        Receive(), pause, go_ahead, ReceiveBytes(len(content)), Send(ok(b"x")), KeepOpen()
    )
    async with serving(server) as (pool, _):
        asked: list[int] = []
        response = await pool.put(
            URL,
            content=content,
            expect_continue=True,
            on_informational=lambda status, headers: asked.append(status),
        )
        assert (response.content, asked) == (b"x", [100])
        assert trio.current_time() == 0.25
        assert pool.statistics().idle == 1
    assert b"Expect: 100-continue\r\n" in server.conversations[0].received


@pytest.mark.parametrize("value", ["100-continue", "x, 100-Continue", b"100-continue"])
async def test_the_body_waits_where_the_callers_own_header_says_so(
    autojump_clock: object, value: Any
) -> None:
    name = "Expect" if isinstance(value, str) else b"expect"
    async with serving(script(ReceiveRequest(), Send(ok(b"x")), KeepOpen())) as (pool, _):
        await pool.put(URL, content=b"body", headers=[(name, value)])
        assert trio.current_time() == 1.0


async def test_the_body_waits_a_second_and_no_longer(autojump_clock: object) -> None:
    async with serving(script(ReceiveRequest(), Send(ok(b"x")), KeepOpen())) as (pool, _):
        await pool.put(URL, content=b"body", expect_continue=True)
        assert trio.current_time() == 1.0


@pytest.mark.parametrize("status", [b"413 Too Large", b"417 Expectation Failed", b"302 Found"])
async def test_a_refusal_before_the_body_sends_no_body_and_the_connection_is_not_reused(
    autojump_clock: object, status: bytes
) -> None:
    """Scenario 51."""
    answer = b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nno"
    server = script(Receive(), Send(answer), KeepOpen())
    async with serving(server) as (pool, network):
        response = await pool.put(URL, content=b"body", expect_continue=True)
        assert response.content == b"no"
        assert not network.open_sockets
    assert b"body" not in server.conversations[0].received


async def test_a_success_before_the_body_asks_for_it(autojump_clock: object) -> None:
    """The server has accepted a request whose body it must still be about to read."""
    for content, sent in ((b"body", b"body"), (pieces(b"body"), b"4\r\nbody\r\n0\r\n\r\n")):
        server = script(Receive(), Send(ok(b"yes")), KeepOpen())
        async with serving(server) as (pool, _):
            response = await pool.put(URL, content=content, expect_continue=True)
            assert response.content == b"yes"
            assert pool.statistics().idle == 1
        assert server.conversations[0].received.endswith(b"\r\n\r\n" + sent)


async def test_nothing_is_expected_for_no_body(autojump_clock: object) -> None:
    raw = await received("POST", content=b"", expect_continue=True)
    assert b"Expect" not in raw
    assert trio.current_time() == 0.0


async def test_what_the_callback_raises_is_what_the_request_raises(autojump_clock: object) -> None:
    def fail(status: int, headers: object) -> None:
        raise Boom

    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    for content in (b"", pieces(b"a", b"b", gap=1.0)):
        async with serving(Answering(whole(hints + ok()))) as (pool, network):
            with pytest.raises(Boom):
                await pool.post(URL, content=content, on_informational=fail)
            assert not network.open_sockets


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timeout", r"'timeout': did you mean timeouts=triopool.Timeouts\(\.\.\.\), or a cancel"),
        ("data", "'data': did you mean form= or content="),
        ("nonsense", "'nonsense'$"),
    ],
)
async def test_an_argument_that_does_not_exist_is_told(
    autojump_clock: object, name: str, message: str
) -> None:
    async with serving(Answering()) as (pool, network):
        options: Any = {name: 5}
        message = f"got an unexpected keyword argument {message}"
        with pytest.raises(TypeError, match=rf"^stream\(\) {message}"):
            pool.stream("GET", URL, **options)
        with pytest.raises(TypeError, match="got an unexpected keyword argument"):
            await pool.get(URL, **options)
        async with pool.lease(URL) as connection:
            with pytest.raises(TypeError, match=f"^a leased connection {message}"):
                await connection.request("GET", "/", **options)
        assert network.connections_accepted("192.0.2.1", 80) == 1


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"X": "secret\n"}, "'X' can't be sent: byte 6 of 7 is a control character, 0x0a"),
        ({"X": b"se\x00cret"}, "'X' can't be sent: byte 2 of 7 is a control character, 0x00"),
        ({"X": "\x7fsecret"}, "'X' can't be sent: byte 0 of 7 is a control character, 0x7f"),
        ({"X": b"secret\x1b"}, "'X' can't be sent: byte 6 of 7 is a control character, 0x1b"),
        ({"X": "secr\u00e9t"}, "'X' can't be sent: character 4 of 6 is not ASCII"),
        ({"X": " secret"}, "'X' can't be sent: it begins or ends with a blank"),
        ({"X": b"secret\t"}, "'X' can't be sent: it begins or ends with a blank"),
        ({"Content-Length": "secret"}, "'Content-Length' can't be sent: it is not a number"),
        ({"Transfer-Encoding": "secret"}, "'Transfer-Encoding' can't be sent: it can only be"),
    ],
)
async def test_a_value_that_can_t_be_sent_is_told_by_the_rule_it_breaks(
    autojump_clock: object, fields: Any, why: str
) -> None:
    async with serving(Answering()) as (pool, _):
        with pytest.raises(LocalProtocolError) as caught:
            await pool.get(URL, headers=fields)
    assert why in str(caught.value)
    assert "secr" not in all_text(caught.value)


OPTIONS = [name for name in RequestOptions.__annotations__ if name not in ("content", "json")]


class Revealing:
    """Neither what it is taken for, nor discreet."""

    def __repr__(self) -> str:
        return SECRET


@pytest.mark.parametrize("value", [SECRET, SECRET.encode(), Revealing(), [SECRET], {1: SECRET}])
@pytest.mark.parametrize("name", OPTIONS)
async def test_an_argument_of_the_wrong_type_is_not_quoted(
    autojump_clock: object, name: str, value: Any
) -> None:
    async with serving(Answering()) as (pool, _):
        said = ""
        try:
            await pool.request("GET", URL, **{name: value})
        except (TypeError, ValueError, TriopoolError) as exc:
            said = all_text(exc)
        assert SECRET not in said


@pytest.mark.parametrize(
    "value", [SECRET, SECRET.encode(), Revealing(), [SECRET], (SECRET, SECRET)]
)
@pytest.mark.parametrize("name", sorted(inspect.signature(ConnectionPool).parameters))
def test_an_argument_of_a_pool_of_the_wrong_type_is_not_quoted(name: str, value: Any) -> None:
    said = ""
    try:
        ConnectionPool(**{name: value})
    except (TypeError, ValueError, NotImplementedError) as exc:
        said = str(exc)
    assert SECRET not in said


async def test_http_server_agrees_about_every_body(autojump_clock: object) -> None:
    async def echo(request: Request) -> Reply:
        return Reply(body=request.body)

    server = http_server(echo)
    async with serving(server) as (pool, _):
        for content in (b"a", bytes(100_000), lambda: pieces(b"a", b"b")):
            assert (await pool.post(URL, content=content, expect_continue=True)).status_code == 200
        assert [len(request.body) for request in server.requests] == [1, 100_000, 2]
        assert server.connections == 1


async def test_a_usual_method_may_be_written_in_lower_case(autojump_clock: object) -> None:
    server = Answering()
    async with serving(server) as (pool, _):
        # If "head" went out as it is, the answer would have a body that nobody expects.
        response = await pool.request("head", URL)
        assert response.method == "HEAD"
        await pool.request("Get", URL)
        await pool.request("purge", URL)
    assert [request.method for request in server.requests] == ["HEAD", "GET", "purge"]
