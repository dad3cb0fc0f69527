"""The ``trace`` extension: what is told of a request, with the names that httpcore has for it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio

import triopool
from triopool.testing import (
    KeepOpen,
    Receive,
    ReceiveRequest,
    Send,
    Wait,
    http_server,
    in_turn,
    script,
)

from .world import ADDRESS, TLS_URL, URL, Contexts, Library, echo, ok, serving, tcp

DIAL = ["connection.connect_tcp.started", "connection.connect_tcp.complete"]
TLS = ["connection.start_tls.started", "connection.start_tls.complete"]
SEND = [
    "http11.send_request_headers.started",
    "http11.send_request_headers.complete",
    "http11.send_request_body.started",
    "http11.send_request_body.complete",
]
RECEIVE = [
    "http11.receive_response_headers.started",
    "http11.receive_response_headers.complete",
]
BODY = ["http11.receive_response_body.started", "http11.receive_response_body.complete"]
CLOSED = ["http11.response_closed.started", "http11.response_closed.complete"]


class Trace:
    """Remembers what it is told.

    Attributes:
      events: name and facts of each, in order.
      raises_at: the event at which to raise.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.raises_at: str | None = None

    async def __call__(self, name: str, info: dict[str, Any]) -> None:
        self.events.append((name, info))
        await trio.sleep(0.001)
        if name == self.raises_at:
            raise Odd

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.events]

    @property
    def extensions(self) -> dict[str, Any]:
        return {"trace": self}

    def __getitem__(self, name: str) -> dict[str, Any]:
        return dict(self.events)[name]


class Odd(Exception):
    pass


@pytest.fixture
def trace() -> Trace:
    return Trace()


# ── In order ───────────────────────────────────────────────────────────────────────────────────


async def test_a_request_on_a_new_connection_and_one_on_a_reused(
    lib: Library, autojump_clock: object, trace: Trace
) -> None:
    async with serving(lib, http_server(echo)) as w:
        await w.client.get(URL, extensions=trace.extensions)
        assert trace.names == DIAL + SEND + RECEIVE + BODY + CLOSED
        assert trace[DIAL[0]] == {"host": "one.test", "port": 80}
        stream = trace[DIAL[1]]["return_value"]
        assert stream.get_extra_info("server_addr") == (ADDRESS, 80)
        request = trace[SEND[0]]["request"]
        assert isinstance(request, lib.core.Request)
        assert (request.method, request.url.target) == (b"GET", b"/")
        assert (b"Host", b"one.test") in request.headers
        version, status, reason, headers = trace[RECEIVE[1]]["return_value"]
        assert (version, status, reason) == (b"HTTP/1.1", 200, b"OK")
        assert headers == [(b"Content-Length", b"6")]
        again = Trace()
        await w.client.get(URL, extensions=again.extensions)
        assert again.names == SEND + RECEIVE + BODY + CLOSED


async def test_a_request_over_tls(
    lib: Library, autojump_clock: object, contexts: Contexts, trace: Trace
) -> None:
    async with serving(lib, http_server(echo), contexts) as w:
        extensions = trace.extensions | {"sni_hostname": "two.test", "target": b"/other"}
        await w.client.get(TLS_URL, extensions=extensions)
        assert trace.names == DIAL + TLS + SEND + RECEIVE + BODY + CLOSED
        assert trace[TLS[0]] == {"server_hostname": "two.test"}
        ssl_object = trace[TLS[1]]["return_value"].get_extra_info("ssl_object")
        assert ssl_object.version() == "TLSv1.3"
        assert trace[SEND[0]]["request"].url.target == b"/other"


async def test_the_order_is_that_of_the_librarys_own_transport(lib: Library) -> None:
    """With real sockets, for those are all that it knows."""
    seen: list[list[str]] = []
    for transport in (lib.client.AsyncHTTPTransport(), lib.ours.TriopoolTransport()):
        trace = Trace()
        with trio.fail_after(60):
            async with (
                tcp(http_server(echo)) as url,
                lib.client.AsyncClient(transport=transport) as client,
            ):
                for content in (None, b"body"):
                    await client.post(url, content=content, extensions=trace.extensions)
        seen.append(trace.names)
    assert seen[0] == seen[1]


async def test_a_body_that_streams(lib: Library, autojump_clock: object, trace: Trace) -> None:
    async def pieces() -> Any:
        yield b"a"
        await trio.sleep(1)
        yield b"b"

    async with serving(lib, http_server(echo)) as w:
        await w.client.post(URL, content=pieces(), extensions=trace.extensions)
        assert trace.names == DIAL + SEND + RECEIVE + BODY + CLOSED


async def test_an_answer_that_comes_before_the_end_of_the_body(
    lib: Library, autojump_clock: object, trace: Trace
) -> None:
    server = script(Receive(), Send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"), KeepOpen())
    async with serving(lib, server, buffer_size=4096) as w:
        content = bytes(1_000_000)
        response = await w.client.post(URL, content=content, extensions=trace.extensions)
        assert response.status_code == 413
        assert trace.names == DIAL + SEND + RECEIVE + BODY + CLOSED


async def test_a_request_that_is_sent_again(
    lib: Library, autojump_clock: object, trace: Trace
) -> None:
    server = script(ReceiveRequest(), Send(ok()), Receive())
    async with serving(lib, server) as w:
        await w.client.get(URL)
        await w.client.get(URL, extensions=trace.extensions)
        failed = "http11.receive_response_headers.failed"
        retry = ["connection.retry.started", "connection.retry.complete"]
        first = [*SEND, RECEIVE[0], failed, *retry]
        assert trace.names == first + DIAL + SEND + RECEIVE + BODY + CLOSED


async def test_a_response_that_is_left_unread(
    lib: Library, autojump_clock: object, trace: Trace
) -> None:
    async with serving(lib, http_server(echo)) as w:
        async with w.client.stream("GET", URL, extensions=trace.extensions):
            assert trace.names == DIAL + SEND + RECEIVE
        assert trace.names == DIAL + SEND + RECEIVE + CLOSED


# ── What fails ─────────────────────────────────────────────────────────────────────────────────


async def test_a_dial_that_fails(lib: Library, autojump_clock: object, trace: Trace) -> None:
    async with serving(lib, http_server(echo)) as w:
        w.network.refuse(ADDRESS, 80)
        with pytest.raises(lib.client.ConnectError):
            await w.client.get(URL, extensions=trace.extensions)
        assert trace.names == [DIAL[0], "connection.connect_tcp.failed"]
        assert trace[DIAL[0]] == {"host": "one.test", "port": 80}
        error = trace["connection.connect_tcp.failed"]["exception"]
        assert isinstance(error, triopool.ConnectError)


async def test_a_wait_for_a_slot_that_fails_is_no_failed_dial(
    lib: Library, autojump_clock: object, trace: Trace
) -> None:
    server = script(
        ReceiveRequest(), Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), KeepOpen()
    )
    async with serving(lib, server, max_connections=1) as w:
        async with w.client.stream("GET", URL):
            with pytest.raises(lib.client.PoolTimeout):
                await w.client.get(URL, timeout=1, extensions=trace.extensions)
        assert trace.names == []


async def test_a_request_that_is_not_taken(
    lib: Library, autojump_clock: object, trace: Trace
) -> None:
    server = script(Receive(), Wait(math.inf))
    async with serving(lib, server, buffer_size=4096) as w:
        with pytest.raises(lib.client.WriteTimeout):
            await w.client.post(URL, content=bytes(60_000), timeout=1, extensions=trace.extensions)
        assert trace.names == [*DIAL, SEND[0], "http11.send_request_headers.failed"]


async def test_an_answer_that_does_not_come(
    lib: Library, autojump_clock: object, trace: Trace
) -> None:
    async with serving(lib, script(Receive(), KeepOpen())) as w:
        with pytest.raises(lib.client.ReadTimeout):
            await w.client.get(URL, timeout=1, extensions=trace.extensions)
        assert trace.names == [*DIAL, *SEND, RECEIVE[0], "http11.receive_response_headers.failed"]


async def test_a_body_that_breaks_off(lib: Library, autojump_clock: object, trace: Trace) -> None:
    answer = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
    async with serving(lib, script(ReceiveRequest(), answer)) as w:
        with pytest.raises(lib.client.ReadError):
            await w.client.get(URL, extensions=trace.extensions)
        failed = "http11.receive_response_body.failed"
        assert trace.names == [*DIAL, *SEND, *RECEIVE, BODY[0], failed, *CLOSED]
        assert isinstance(trace[failed]["exception"], triopool.ReadError)


# ── A trace that fails ─────────────────────────────────────────────────────────────────────────


EVERYTHING = DIAL + SEND + RECEIVE + BODY + CLOSED


@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("content", [b"", bytes(100_000)], ids=["one write", "many"])
@pytest.mark.filterwarnings("ignore:Async generator 'httpx2?[.]:ResourceWarning")
async def test_what_a_trace_raises_ends_the_request_and_arrives_as_itself(
    lib: Library, autojump_clock: object, trace: Trace, name: str, content: bytes
) -> None:
    async with serving(lib, http_server(echo)) as w:
        trace.raises_at = name
        with pytest.raises(Odd):
            await w.client.post(URL, content=content, extensions=trace.extensions)
        assert trace.names[-1] in (name, CLOSED[1])
        assert w.pool.statistics().busy == 0
        assert (await w.client.get(URL)).status_code == 200


async def test_a_trace_that_fails_while_the_request_does(
    lib: Library, autojump_clock: object
) -> None:
    async def trace(name: str, info: dict[str, Any]) -> None:
        raise Odd(name)

    async with serving(lib, http_server(echo)) as w:
        w.network.refuse(ADDRESS, 80)
        with pytest.raises(Odd, match="connect_tcp"):
            await w.client.get(URL, extensions={"trace": trace})


async def test_a_trace_that_hangs_hangs_the_request_and_is_cancelled_with_it(
    lib: Library, autojump_clock: object
) -> None:
    async def trace(name: str, info: dict[str, Any]) -> None:
        await trio.sleep_forever()

    async with serving(lib, http_server(echo)) as w:
        with trio.move_on_after(10) as scope:
            await w.client.get(URL, extensions={"trace": trace})
        assert scope.cancelled_caught
        assert w.pool.statistics().busy == 0


# ── The command line's ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("tls", [False, True])
async def test_the_trace_of_the_librarys_command_line_understands_what_it_is_told(
    lib: Library,
    autojump_clock: object,
    contexts: Contexts,
    tls: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main = pytest.importorskip(f"{lib.name}._main", reason="needs the extra of its command line")

    async def trace(name: str, info: dict[str, Any]) -> None:
        main.trace(name, info, verbose=True)

    async with serving(lib, http_server(echo), contexts) as w:
        await w.client.get(TLS_URL if tls else URL, extensions={"trace": trace})
        w.network.refuse(ADDRESS, 8080)
        with pytest.raises(lib.client.ConnectError):
            await w.client.get("http://one.test:8080/", extensions={"trace": trace})
    printed = capsys.readouterr().out
    for line in ("* Connecting to 'one.test'", "GET / HTTP/1.1", "HTTP/1.1 200 OK"):
        assert line in printed
    assert f"* Connected to '{ADDRESS}' on port {443 if tls else 80}" in printed
    assert ("* SSL established using 'TLSv1.3'" in printed) == tls
    assert ("commonName" in printed or "Server certificate" in printed) == tls


async def test_each_connection_is_told_of_to_whom_it_serves(
    lib: Library, autojump_clock: object
) -> None:
    """The pool dials, not the request: who gets a connection that another one dialled is told of
    it, as it is new to him."""
    traces = [Trace(), Trace()]
    slow = script(Receive(), Wait(10), Send(ok(b"", b"Connection: close")))

    async def ask(trace: Trace) -> None:
        await w.client.get(URL, extensions=trace.extensions)

    async with serving(lib, in_turn(slow, http_server(echo)), max_connections=1) as w:
        async with trio.open_nursery() as nursery:
            for number, trace in enumerate(traces):
                nursery.start_soon(ask, trace)
                await trio.sleep(number + 1)
        assert all(trace.names[:2] == DIAL for trace in traces)
