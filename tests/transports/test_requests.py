"""What goes over the wire: what the library made, and nothing else."""

from __future__ import annotations

import io
import ssl
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

import triopool
from triopool.abc import Instrument
from triopool.testing import (
    Conversation,
    KeepOpen,
    Network,
    Receive,
    ReceiveBytes,
    ReceiveRequest,
    Reply,
    Request,
    Send,
    http_server,
    script,
)

from .world import ADDRESS, TLS_URL, URL, Contexts, Library, echo, ok, serving, tcp

SECRET = "SECRET"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


# ── Byte for byte ──────────────────────────────────────────────────────────────────────────────


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}
HOST_LAST = [("accept", "a"), ("X-A", "1"), ("Host", "elsewhere.test")]

# Arguments of a request, made anew for each time it is sent.
REQUESTS: dict[str, Any] = {
    "as it comes": dict,
    "of one's own method": lambda: {"method": "m-search"},
    "cases and order": lambda: {"headers": [("X-B", "1"), ("x-a", "2"), ("X-B", "3"), ("aC", "4")]},
    "beyond ASCII": lambda: {"headers": [(b"X-Raw", b"\xe4\xff \t(\"'")]},
    "empty values": lambda: {"headers": {"X-Empty": "", "User-Agent": ""}},
    "Host last": lambda: {"headers": HOST_LAST},
    "said to close": lambda: {"headers": {"Connection": "close"}},
    "cookies": lambda: {"cookies": {"a": "1", "b": "2"}},
    "odd path": lambda: {"path": "/\u00fc/%2f%zz/a b/../c|\"<>^`{}'?q=\u00e4 b&x=%2F+[]#fragment"},
    "empty query": lambda: {"path": "/?"},
    "no path": lambda: {"path": "?a=b"},
    "two slashes": lambda: {"path": "//a//b/"},
    "parameters": lambda: {"path": "/", "params": {"a": ["1", "&"], "b": None, "c": True}},
    "target": lambda: {"method": "OPTIONS", "extensions": {"target": b"*"}},
    "odd target": lambda: {"extensions": {"target": b"/%2F..//a|b\"<>[]{}^`?#%"}},
    "empty body": lambda: {"method": "POST"},
    "bytes": lambda: {"method": "POST", "content": b"\x00\r\n\xff"},
    "of some length": lambda: {"method": "PUT", "content": b"a" * 70_000},
    "text": lambda: {"method": "PATCH", "content": "\u00fc"},
    "JSON": lambda: {"method": "POST", "json": {"a": [1, None]}},
    "form": lambda: {"method": "POST", "data": {"a": ["1", "\u00fc&"]}},
    "multipart": lambda: {
        "method": "POST",
        "headers": BOUNDARY,
        "data": {"a": "1"},
        "files": {"f": ("n\u00e4me", io.BytesIO(b"content"), "text/plain")},
    },
    "stream": lambda: {"method": "POST", "content": pieces(b"one", b"two" * 10_000)},
    "stream of nothing": lambda: {"method": "POST", "content": pieces()},
    "stream of some length": lambda: {
        "method": "POST",
        "content": pieces(b"one", b"two"),
        "headers": {"Content-Length": "6"},
    },
    "expecting": lambda: {"method": "POST", "content": b"x", "headers": {"Expect": "100-continue"}},
}  # fmt: skip


async def recorded(lib: Library, transport: Any, options: dict[str, Any], naked: bool) -> bytes:
    """What arrives at a server by this transport, with its port, which is another each time, out
    of sight.

    Args:
      naked: whether the client adds nothing of its own.
    """
    server = script(ReceiveRequest(), Send(ok(b"", b"Connection: close")))
    options = {"method": "GET", "path": "/"} | options
    path = options.pop("path")
    with trio.fail_after(60):
        async with (
            tcp(server) as url,
            lib.client.AsyncClient(transport=transport, timeout=None) as client,
        ):
            if naked:
                client.headers.clear()
            await client.send(client.build_request(url=url + path, **options))
    port = url.rpartition(":")[2]
    return server.conversations[0].received.replace(port.encode(), b"<port>")


@pytest.mark.exhaustive
@pytest.mark.usefixtures("no_leaked_sockets")
@pytest.mark.parametrize("naked", [False, True], ids=["usual fields", "naked"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_the_bytes_are_those_that_the_librarys_own_transport_sends(
    lib: Library, name: str, naked: bool
) -> None:
    make = REQUESTS[name]
    theirs = await recorded(lib, lib.client.AsyncHTTPTransport(), make(), naked)
    ours = await recorded(lib, lib.ours.TriopoolTransport(), make(), naked)
    assert ours == theirs
    if naked:
        assert b"user-agent" not in ours.lower() or name == "empty values"
        assert b"triopool" not in ours


# ── Where to ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "endpoint", "host"),
    [
        ("http://192.0.2.1", ("192.0.2.1", 80), "192.0.2.1"),
        ("http://192.0.2.1:80/", ("192.0.2.1", 80), "192.0.2.1"),
        ("http://192.0.2.1:8080", ("192.0.2.1", 8080), "192.0.2.1:8080"),
        ("http://[2001:db8::1]/", ("2001:db8::1", 80), "[2001:db8::1]"),
        ("http://[2001:DB8::1]:8080/", ("2001:db8::1", 8080), "[2001:DB8::1]:8080"),
        ("http://user:pass@ONE.test/", ("192.0.2.1", 80), "one.test"),
        ("http://b\u00fccher.test/", ("192.0.2.1", 80), "xn--bcher-kva.test"),
        ("http://xn--bcher-kva.test:8080/", ("192.0.2.1", 8080), "xn--bcher-kva.test:8080"),
        ("http://under_score.test/", ("192.0.2.1", 80), "under_score.test"),
        ("ws://one.test/", ("192.0.2.1", 80), "one.test"),
    ],
)
async def test_the_url_says_whom_to_ask(
    lib: Library, autojump_clock: object, url: str, endpoint: tuple[str, int], host: str
) -> None:
    server = http_server(echo)
    async with serving(lib, server) as w:
        for name in ("xn--bcher-kva.test", "under_score.test"):
            w.network.host(name, ADDRESS)
        w.network.listen(*endpoint, server)
        response = await w.client.get(url)
        assert response.text == "GET / "
        assert w.network.connections_accepted(*endpoint) == 1
        assert server.requests[0].header("host") == host


@pytest.mark.parametrize("url", ["https://one.test/", "wss://one.test/"])
async def test_encrypted_schemes_go_over_tls(
    lib: Library, autojump_clock: object, contexts: Contexts, url: str
) -> None:
    async with serving(lib, http_server(echo), contexts) as w:
        assert (await w.client.get(url)).text == "GET / "
        assert w.network.connections_accepted(ADDRESS, 443) == 1


async def test_sni_hostname_is_the_name_to_ask_for_and_to_verify(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    names: list[str | None] = []
    contexts[1].sni_callback = lambda ssl_object, name, context: names.append(name)
    async with serving(lib, http_server(echo), contexts) as w:
        url = f"https://{ADDRESS}/"
        with pytest.raises(lib.client.ConnectError, match=r"192\.0\.2\.1"):
            await w.client.get(url)
        for name in ("one.test", "two.test", "one.test"):
            await w.client.get(url, extensions={"sni_hostname": name})
        # Not where there is no TLS: that is one and the same connection.
        for extensions in ({"sni_hostname": "one.test"}, {}):
            await w.client.get(URL, extensions=extensions)
        assert w.pool.statistics().dialled == 3
    assert names == [None, "one.test", "two.test"]


@pytest.mark.parametrize("name", ["one.test\x00", "one.test\r\nX: 1", "\ud800", b"\xff", b"\0", ""])
async def test_an_sni_hostname_that_is_no_name_is_refused(
    lib: Library, autojump_clock: object, contexts: Contexts, name: str | bytes
) -> None:
    async with serving(lib, http_server(echo), contexts) as w:
        with pytest.raises(lib.client.LocalProtocolError, match=r"^sni_hostname: "):
            await w.client.get(f"https://{ADDRESS}/", extensions={"sni_hostname": name})
        assert not w.network.log


@pytest.mark.parametrize("url", ["ftp://one.test/", "/relative", "one.test", "data:x", "http://"])
async def test_what_is_no_http_is_not_supported(lib: Library, url: str) -> None:
    async with lib.client.AsyncClient(transport=lib.ours.TriopoolTransport()) as client:
        with pytest.raises(lib.client.UnsupportedProtocol) as caught:
            await client.get(url)
        assert caught.value.request.method == "GET"


async def test_the_transport_itself_refuses_other_schemes(lib: Library) -> None:
    async with lib.ours.TriopoolTransport() as transport:
        for url, said in [("ftp://one.test/", "not 'ftp'"), ("/a", "has to begin with http://")]:
            with pytest.raises(lib.client.UnsupportedProtocol, match=said):
                await transport.handle_async_request(lib.client.Request("GET", url))


@pytest.mark.parametrize("url", ["http://127.1/", "http://a..test/"])
async def test_a_host_that_we_do_not_trust_is_an_error_of_the_transport(
    lib: Library, url: str
) -> None:
    async with lib.client.AsyncClient(transport=lib.ours.TriopoolTransport()) as client:
        with pytest.raises(lib.client.LocalProtocolError) as caught:
            await client.get(url)
        assert isinstance(caught.value.__cause__, triopool.InvalidURL)


@pytest.mark.parametrize(
    "host",
    [
        "lo%63alhost",
        "LO%63ALHOST",
        "one%2etest",
        "%6fne.test",
        "127.0.0.%31",
        "[fe80::1%25eth0]",
        "[::1%25lo]",
        "one.test%2f",
        "%ef%bd%8fne.test",
    ],
)
async def test_a_host_that_would_be_dialled_by_another_name_than_hooks_are_told_is_refused(
    lib: Library, autojump_clock: object, host: str
) -> None:
    told: list[str] = []

    async def hook(request: Any) -> None:
        told.append(request.url.host)

    hooks = {"event_hooks": {"request": [hook]}}
    async with serving(lib, http_server(echo), client=hooks) as w:
        w.network.host("localhost", "127.0.0.1")
        with pytest.raises(lib.client.LocalProtocolError) as caught:
            await w.client.get(f"http://{host}/")
        assert isinstance(caught.value.__cause__, triopool.InvalidURL)
        assert len(told) == 1
        assert not w.network.log


async def test_a_redirect_to_a_percent_encoded_host_is_refused(
    lib: Library, autojump_clock: object
) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(status=302, headers={"Location": "http://lo%63alhost/"})

    async with serving(lib, http_server(respond)) as w:
        with pytest.raises(lib.client.LocalProtocolError):
            await w.client.get(URL, follow_redirects=True)
        assert {event.endpoint for event in w.network.events("resolve")} == {"one.test"}


HOSTS = [
    "ONE.test",
    "one.test.",
    "b\u00fccher.test",
    "B\u00dcCHER.test",
    "xn--bcher-kva.test",
    "fa\u00df.test",
    "one\u3002test",
    "a_b.test",
    "192.0.2.1",
    "[2001:DB8::1]",
    "[::ffff:192.0.2.1]",
    "user:p%40ss@one.test",
]


@pytest.mark.parametrize("host", HOSTS, ids=ascii)
async def test_the_host_that_hooks_are_told_is_the_one_that_is_dialled(
    lib: Library, autojump_clock: object, host: str
) -> None:
    told: list[str] = []
    asked: list[str] = []

    async def hook(request: Any) -> None:
        told.append(request.url.raw_host.decode().lower())

    async def resolve(name: str, port: int, /) -> Any:
        asked.append(name)
        raise OSError("nobody")

    def make_socket(address: triopool.AddressInfo) -> Any:
        asked.append(address.sockaddr[0])
        raise OSError("nobody")

    hooks = {"event_hooks": {"request": [hook]}}
    plugs: dict[str, Any] = {"resolver": resolve, "socket_factory": make_socket}
    async with serving(lib, http_server(echo), client=hooks, **plugs) as w:
        with pytest.raises(lib.client.ConnectError):
            await w.client.get(f"http://{host}/")
    assert asked == told


@pytest.mark.parametrize("size", [10, 100_000])
@pytest.mark.parametrize("streams", [False, True], ids=["in memory", "streams"])
async def test_a_body_waits_for_100_continue_where_the_headers_expect_it(
    lib: Library, autojump_clock: object, size: int, streams: bool
) -> None:
    before: list[bytes] = []

    async def look(conversation: Conversation) -> None:
        await trio.sleep(0.5)
        before.append(conversation.received.partition(b"\r\n\r\n")[2])

    async def body() -> AsyncIterator[bytes]:
        yield bytes(size)

    server = script(
        Receive(),
        look,
        Send(b"HTTP/1.1 100 Continue\r\n\r\n"),
        ReceiveBytes(size),
        Send(ok(b"thanks")),
    )
    headers = {"Expect": "100-Continue", "Content-Length": str(size)}
    async with serving(lib, server) as w:
        content = body() if streams else bytes(size)
        response = await w.client.post(URL, content=content, headers=headers)
        assert response.content == b"thanks"
        assert before == [b""]
        assert trio.current_time() == 0.5


async def test_an_expectation_without_a_body_waits_for_nothing(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(echo)) as w:
        for expectation in ("100-continue", "something-else"):
            response = await w.client.get(URL, headers={"Expect": expectation})
            assert response.status_code == 200
        assert trio.current_time() == 0


# ── What is not legal ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X-Token": f"{SECRET}\r\nX: y"}},
        {"headers": {"X-Token": f"{SECRET}\x00"}},
        {"headers": {"X-Token": f"{SECRET}\x01"}},
        {"headers": {f"X: {SECRET}": "value"}},
        {"headers": {"": SECRET}},
        {"headers": {"Host": f"{SECRET}\n"}},
        {"headers": [("Host", SECRET), ("Host", SECRET)]},
        {"headers": {"Content-Length": "3"}, "content": SECRET},
        {"headers": {"Content-Length": SECRET}},
        {"headers": {"Content-Length": "6", "Transfer-Encoding": "chunked"}, "content": SECRET},
        {"extensions": {"target": f"/ {SECRET}\r\n".encode()}},
        {"extensions": {"target": f"/{SECRET}\u00fc".encode()}},
        {"method": "GET /"},
        {"method": "M\u00dcLL"},
    ],
    ids=str,
)
async def test_what_is_not_legal_is_refused_before_anything_is_taken(
    lib: Library, autojump_clock: object, options: dict[str, Any]
) -> None:
    async with serving(lib, http_server(echo)) as w:
        with pytest.raises((lib.client.LocalProtocolError, UnicodeEncodeError)) as caught:
            await w.client.request(**{"method": "POST", "url": URL} | options)
        # A method beyond ASCII does not get as far as us, with httpx.
        assert isinstance(caught.value, lib.client.LocalProtocolError) or "method" in options
        assert SECRET not in "".join(traceback.format_exception_only(caught.value))
        cause = caught.value.__cause__
        assert SECRET not in f"{cause!r} {cause and cause.__context__!r}"
        assert not w.network.log


async def test_without_a_host_nothing_is_sent(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(echo)) as w:
        request = w.client.build_request("GET", URL)
        del request.headers["Host"]
        with pytest.raises(lib.client.LocalProtocolError, match="Host"):
            await w.client.send(request)
        assert not w.network.log


# ── Answers ────────────────────────────────────────────────────────────────────────────────────


async def test_the_head_of_a_response_is_as_it_was_sent(
    lib: Library, autojump_clock: object
) -> None:
    head = (
        b"HTTP/1.0 299 L\xe4uft gut\r\nX-B: 1\r\nx-a: \xff\r\nX-B: 2\r\nContent-Length: 1\r\n\r\nx"
    )
    async with serving(lib, script(ReceiveRequest(), Send(head))) as w:
        response = await w.client.get(URL)
        assert (response.status_code, response.content) == (299, b"x")
        assert (response.http_version, response.reason_phrase) == ("HTTP/1.0", "Luft gut")
        assert response.extensions["http_version"] == b"HTTP/1.0"
        assert response.extensions["reason_phrase"] == b"L\xe4uft gut"
        raw = [(b"X-B", b"1"), (b"x-a", b"\xff"), (b"X-B", b"2"), (b"Content-Length", b"1")]
        assert response.headers.raw == raw
        assert response.elapsed.total_seconds() >= 0
        assert str(response.url) == URL


@pytest.mark.parametrize("status", [204, 304])
async def test_a_response_without_a_body_leaves_the_connection_to_the_next(
    lib: Library, autojump_clock: object, status: int
) -> None:
    bare = b"HTTP/1.1 %d X\r\n\r\n" % status
    server = script(ReceiveRequest(), Send(bare), ReceiveRequest(), Send(ok(b"next")), KeepOpen())
    async with serving(lib, server) as w:
        assert (await w.client.get(URL)).content == b""
        assert (await w.client.get(URL)).content == b"next"
        assert w.pool.statistics().dialled == 1


async def test_an_instrument_of_the_pool_is_told_of_the_librarys_requests(
    lib: Library, autojump_clock: object
) -> None:
    told: list[tuple[str, str]] = []

    class Targets(Instrument):
        def request_sent(self, request: Any, connection: Any) -> None:
            told.append((request.method, request.target))

    async with serving(lib, http_server(echo), instruments=[Targets()]) as w:
        await w.client.post(f"{URL}/a?b", content=b"x")
        await w.client.options(URL, extensions={"target": b"*"})
    assert told == [("POST", "/a?b"), ("OPTIONS", "*")]


# ── Sent again ─────────────────────────────────────────────────────────────────────────────────


def once(then_gone: bool = True) -> Any:
    """Answers one request on each connection, and is gone with the second one."""
    second = [Receive()] if then_gone else [KeepOpen()]
    return script(ReceiveRequest(), Send(ok(b"answer")), *second)


@pytest.mark.parametrize(
    ("method", "content"), [("GET", None), ("OPTIONS", b"body"), ("GET", b"x" * 100_000)]
)
async def test_a_safe_request_with_its_body_in_memory_outlives_a_stale_connection(
    lib: Library, autojump_clock: object, method: str, content: bytes | None
) -> None:
    async with serving(lib, once()) as w:
        for _ in range(3):
            response = await w.client.request(method, URL, content=content)
            assert response.content == b"answer"
        assert (w.pool.statistics().dialled, w.pool.statistics().retried) == (3, 2)


async def test_what_may_not_be_sent_twice_is_an_error_of_the_stale_connection(
    lib: Library, autojump_clock: object
) -> None:
    # Each of them is read whole, so that the iterator has been begun.
    gone = script(ReceiveRequest(), Send(ok(b"answer")), ReceiveRequest())
    async with serving(lib, gone) as w:
        await w.client.get(URL)
        with pytest.raises(lib.client.ReadError, match="closed the connection"):
            await w.client.post(URL, content=b"body")
        await w.client.get(URL)
        with pytest.raises(lib.client.TransportError):
            await w.client.request("GET", URL, content=pieces(b"body"))
        assert w.pool.statistics().retried == 0


async def test_a_stream_that_was_not_begun_can_be_sent_later(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(echo)) as w:
        w.network.refuse(ADDRESS, 80)
        request = w.client.build_request("POST", URL, content=pieces(b"a", b"b"))
        with pytest.raises(lib.client.ConnectError):
            await w.client.send(request)
        w.network.listen(ADDRESS, 80, http_server(echo))
        assert (await w.client.send(request)).text == "POST / ab"


async def test_both_libraries_may_use_one_pool(
    autojump_clock: object, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    one, two = Library.of("httpx"), Library.of("httpx2")
    async with Network() as network:
        network.host("one.test", ADDRESS)
        network.listen(ADDRESS, 443, http_server(echo), ssl_context=server_ssl_context)
        async with triopool.ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            ssl_context=client_ssl_context,
        ) as pool:
            for lib in (one, two):
                client = lib.client.AsyncClient(transport=lib.ours.TriopoolTransport(pool))
                response = await client.get(TLS_URL)
                assert isinstance(response, lib.client.Response)
            assert (await pool.get(TLS_URL)).text == "GET / "
            assert pool.statistics().dialled == 1
