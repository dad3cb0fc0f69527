"""The cancel sweep over every kind of exchange: cancelled at any moment, nothing is lost, and no
response goes astray: each carries the target that was asked."""

from __future__ import annotations

import gzip
import io
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from sweeping import BUSY_FOR
from sweeping import sweep as sweep_and_count

from triopool import ConnectionPool, Part, TriopoolError
from triopool._body.file import FILE_BLOCK_BYTES
from triopool.testing import (
    Conversation,
    Network,
    Reply,
    Request,
    Reset,
    Sweep,
    http_server,
)

from .world import URL, Answer, Answering, nothing_held, ok, pieces

TLS_URL = "https://one.test"


async def reply(request: Request) -> Reply:
    """The target, after a while, in two pieces if it is to be streamed."""
    body = request.target.encode()
    if request.target.startswith("/streamed"):
        return Reply(body=[body, b"!" * 1000], delay=0.1, gap=0.02)
    return Reply(body=body, delay=0.1)


class World:
    def __init__(self, pool: ConnectionPool, network: Network, url: str) -> None:
        self.pool = pool
        self.network = network
        self.url = url

    async def get(self, target: str, **options: Any) -> None:
        response = await self.pool.get(self.url + target, **options)
        assert response.content == target.encode()

    async def is_sound(self) -> None:
        """Nothing is held once dials and drains are through, and every slot works."""
        await trio.sleep(6)
        nothing_held(self.pool, self.network)
        async with trio.open_nursery() as nursery:
            for i in range(2):
                nursery.start_soon(self.get, f"/fresh/{i}")
        await trio.sleep(1)  # The one may have been served by the other's connection.
        nothing_held(self.pool, self.network)
        statistics = self.pool.statistics()
        closed = (
            statistics.discarded + statistics.stale + statistics.expired
            + statistics.evicted + statistics.retired
        )  # fmt: skip
        assert statistics.dialled == closed + statistics.open
        assert statistics.dialled == len(self.network.events("connected"))


Victim = Callable[[World], Awaitable[None]]


@asynccontextmanager
async def world(
    handler: Any, contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None
) -> AsyncIterator[World]:
    client, server = contexts or (None, None)
    async with Network() as network:
        for name, address in (("one.test", "192.0.2.1"), ("two.test", "192.0.2.2")):
            network.host(name, address)
            network.listen(address, 80, handler, connect_delay=0.05)
            if server is not None:
                network.listen(address, 443, handler, connect_delay=0.05, ssl_context=server)
        async with ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            ssl_context=client,
            max_connections=2,
        ) as pool:
            yield World(pool, network, TLS_URL if client else URL)
        assert not network.open_sockets


async def plain_get(w: World) -> None:
    await w.get("/victim")


async def upload(w: World) -> None:
    response = await w.pool.post(w.url + "/victim", content=pieces(b"a", b"b", gap=0.03))
    assert response.content == b"/victim"


async def large_upload(w: World) -> None:
    response = await w.pool.post(w.url + "/victim", content=bytes(200_000))
    assert response.content == b"/victim"


async def streamed(w: World) -> None:
    async with w.pool.stream("GET", w.url + "/streamed") as response:
        body = b"".join([piece async for piece in response])
    assert body == b"/streamed" + b"!" * 1000


async def left_early(w: World) -> None:
    async with w.pool.stream("GET", w.url + "/streamed") as response:
        assert await response.receive_some() == b"/streamed"
    await trio.sleep(0.01)
    await w.get("/behind")


async def expecting(w: World) -> None:
    response = await w.pool.put(w.url + "/victim", content=b"body", expect_continue=True)
    assert response.content == b"/victim"


async def leasing(w: World) -> None:
    async with w.pool.lease(w.url) as connection:
        for target in ("/1", "/2"):
            response = await connection.request("GET", target)
            assert response.content == target.encode()


async def leasing_and_leaving_early(w: World) -> None:
    async with w.pool.lease(w.url) as connection:
        async with connection.stream("GET", "/streamed") as response:
            assert await response.receive_some() == b"/streamed"
        assert (await connection.request("GET", "/2")).content == b"/2"


def sweep(
    victim: Victim,
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
    *,
    make_handler: Callable[[], Any] = lambda: http_server(reply),
    warm: bool = True,
    with_signal: bool = False,
) -> None:
    outcomes: set[bool] = set()

    async def scenario(one: Sweep) -> None:
        async with world(make_handler(), contexts) as w:
            if warm:
                await w.get("/warm")
            result = await one.victim(victim, w)
            outcomes.add(result.cancelled)
            await w.is_sound()

    name = f"{victim.__name__}, warm={warm}, tls={contexts is not None}"
    # What is left of a response is drained for 0.05 s, and then the leased connection is closed.
    busy_for = 0.02 if victim is leasing_and_leaving_early else BUSY_FOR
    points = sweep_and_count(
        scenario, with_signal=with_signal, busy_for=busy_for, name=f"exchange: {name}"
    )
    assert outcomes == {True, False}
    print(f"{points} points: {name}")


VICTIMS = [
    plain_get,
    upload,
    large_upload,
    streamed,
    left_early,
    expecting,
    leasing,
    leasing_and_leaving_early,
]


@pytest.mark.parametrize("warm", [False, True], ids=["new", "reused"])
@pytest.mark.parametrize("victim", VICTIMS)
def test_an_exchange_may_be_cancelled_anywhere(victim: Victim, warm: bool) -> None:
    sweep(victim, warm=warm)


@pytest.mark.parametrize("victim", [upload, left_early])
def test_control_c_may_come_anywhere(victim: Victim) -> None:
    sweep(victim, with_signal=True)


@pytest.mark.parametrize("victim", [plain_get, upload, left_early, leasing_and_leaving_early])
def test_an_exchange_with_tls_may_be_cancelled_anywhere(
    victim: Victim, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    sweep(victim, (client_ssl_context, server_ssl_context))


def test_the_retry_of_a_stale_connection_may_be_cancelled_anywhere() -> None:
    gone = Answer([b"", b""], "close")
    sweep(plain_get, make_handler=lambda: Answering(once={"/victim": gone}))


@pytest.mark.parametrize("tls", [False, True])
def test_a_refused_upload_may_be_cancelled_anywhere(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext, tls: bool
) -> None:
    contexts = (client_ssl_context, server_ssl_context) if tls else None

    async def refused(w: World) -> None:
        response = await w.pool.post(w.url + "/victim", content=bytes(1_000_000))
        assert (response.status_code, response.content) == (413, b"no")

    sweep(refused, contexts, make_handler=Refusing, warm=False)


# ── Bodies that are not done with when the caller is ───────────────────────────────────────────


class Reluctant:
    """A body whose cleanup takes a second, whoever is cancelled.

    Attributes:
      busy: how many connections were in use right after it was cut short, each time.
    """

    def __init__(self) -> None:
        self.busy: list[int] = []

    async def body(self, w: World) -> AsyncIterator[bytes]:
        try:
            for _ in range(3):
                yield b"x" * 1000
                await trio.sleep(0.03)
        except BaseException:
            with trio.CancelScope(shield=True):
                # If this task was about to run, the cancellation has met it a tick before the one
                # that reads; and within a tick, tasks run in any order. Look behind both.
                for _ in range(2):
                    await trio.lowlevel.checkpoint()
                self.busy.append(w.pool.statistics().busy)
                await trio.sleep(1)
            raise


@pytest.mark.parametrize("tls", [False, True])
def test_a_slot_does_not_wait_for_a_body_that_does_not_want_to_end(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext, tls: bool
) -> None:
    reluctant = Reluctant()

    async def reluctant_upload(w: World) -> None:
        response = await w.pool.post(w.url + "/victim", content=reluctant.body(w))
        assert response.content == b"/victim"

    sweep(reluctant_upload, (client_ssl_context, server_ssl_context) if tls else None)
    assert set(reluctant.busy) == {0}
    assert len(reluctant.busy) > 5


class Refusing(Answering):
    """Answers an upload before it has read it."""

    async def __call__(self, stream: trio.abc.Stream) -> None:
        conversation = Conversation(stream, number=1)
        try:
            while (data := await conversation.receive_some()).startswith(b"GET"):
                await stream.send_all(ok(data.split()[1]))
        except EOFError:
            return
        await trio.sleep(0.1)
        await stream.send_all(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\n")
        await trio.sleep(0.1)
        await stream.send_all(b"no")


@pytest.mark.parametrize("kind", ["iterator", "reluctant", "multipart"])
def test_an_upload_that_is_answered_early_may_be_cancelled_anywhere(kind: str) -> None:
    async def refused(w: World) -> None:
        options: dict[str, dict[str, Any]] = {
            "iterator": {"content": pieces(*[b"x"] * 9, gap=0.03)},
            "reluctant": {"content": Reluctant().body(w)},
            "multipart": {"multipart": {"a": Part(lambda: pieces(b"x", b"y", gap=0.3))}},
        }
        response = await w.pool.post(w.url + "/victim", **options[kind])
        assert (response.status_code, response.content) == (413, b"no")

    sweep(refused, make_handler=Refusing, warm=False)


@pytest.mark.parametrize(
    "answer",
    [
        Answer([b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\n"]),
        Answer([b"HTTP/1.1 100 Continue\r\n\r\n"]),
        Answer([b"not even HTTP\r\n\r\n"]),
        Answer([], "close"),
        Answer([], "reset"),
    ],
    ids=["refused", "going on", "nonsense", "closed", "reset"],
)
async def test_a_slot_never_waits_for_the_body_of_who_has_gone(
    autojump_clock: object, answer: Answer
) -> None:
    """Found by sweeping: once the head was there, its connection was held for as long as the
    body's iterator took to end, though nobody wanted the response any more."""

    async def server(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        await trio.sleep(0.1)
        for piece in answer.pieces:
            await stream.send_all(piece)
        if answer.end == "reset":
            await Reset()(Conversation(stream, number=1))
        elif answer.end == "close":
            await stream.aclose()
        else:
            await trio.sleep_forever()

    ended: list[bool] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await trio.sleep(0.03)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            ended.append(True)

    async def post() -> None:
        with trio.move_on_at(0.5), suppress(TriopoolError):
            await w.pool.post(f"{URL}/", content=endless())

    async with world(server, None) as w, trio.open_nursery() as nursery:
        nursery.start_soon(post)
        await trio.sleep(0.6)
        assert w.pool.statistics().busy == 0
        assert trio.current_time() == 0.6
        assert not ended


# ── Sent again ─────────────────────────────────────────────────────────────────────────────────


def test_the_retry_of_an_upload_may_be_cancelled_anywhere() -> None:
    async def put(w: World) -> None:
        response = await w.pool.put(
            w.url + "/victim", content=lambda: pieces(b"a", b"b", gap=0.03), idempotent=True
        )
        assert response.content == b"/victim"

    gone = Answer([b"", b""], "close")
    sweep(put, make_handler=lambda: Answering(once={"/victim": gone}))


def redirecting(elsewhere: str) -> Callable[[], Any]:
    """A server whose /first leads to /victim, at the same origin or elsewhere."""

    async def respond(request: Request) -> Reply:
        if request.target.startswith("/first"):
            status = 307 if request.method == "POST" else 302
            return Reply(status, (("Location", elsewhere),), body=b"moved", delay=0.1)
        return Reply(body=request.target.encode() + request.body, delay=0.1)

    return lambda: http_server(respond)


async def redirected(w: World) -> None:
    response = await w.pool.get(w.url + "/first", follow_redirects=True)
    assert (response.content, len(response.history)) == (b"/victim", 1)


async def redirected_with_its_body(w: World) -> None:
    response = await w.pool.post(
        w.url + "/first", content=lambda: pieces(b"a", b"b", gap=0.03), follow_redirects=True
    )
    assert (response.content, len(response.history)) == (b"/victimab", 1)


async def redirected_within_a_lease(w: World) -> None:
    async with w.pool.lease(w.url) as connection:
        response = await connection.request("GET", "/first", follow_redirects=True)
        assert (response.content, len(response.history)) == (b"/victim", 1)


@pytest.mark.parametrize(
    ("victim", "elsewhere"),
    [
        (redirected, "/victim"),
        (redirected, "http://two.test/victim"),
        (redirected_with_its_body, "/victim"),
        (redirected_with_its_body, "http://two.test/victim"),
        (redirected_within_a_lease, "/victim"),
    ],
)
def test_a_redirect_may_be_cancelled_anywhere(victim: Victim, elsewhere: str) -> None:
    sweep(victim, make_handler=redirecting(elsewhere))


@pytest.mark.parametrize("elsewhere", ["/victim", "https://two.test/victim"])
def test_a_redirect_with_tls_may_be_cancelled_anywhere(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext, elsewhere: str
) -> None:
    contexts = (client_ssl_context, server_ssl_context)
    sweep(redirected_with_its_body, contexts, make_handler=redirecting(elsewhere))


# ── Encoded, and made of parts ─────────────────────────────────────────────────────────────────

ENCODED = gzip.compress(b"/streamed" * 20_000)


def encoding() -> Any:
    """A server that compresses, and is slow to send it."""

    async def respond(request: Request) -> Reply:
        if not request.target.startswith("/streamed"):
            return await reply(request)
        half = len(ENCODED) // 2
        parts = [ENCODED[:5], ENCODED[5:half], ENCODED[half:]]
        return Reply(headers=(("Content-Encoding", "gzip"),), body=parts, delay=0.1, gap=0.02)

    return http_server(respond)


async def decoded(w: World) -> None:
    response = await w.pool.get(w.url + "/streamed")
    assert response.content == b"/streamed" * 20_000


async def decoded_in_pieces(w: World) -> None:
    received = b""
    async with w.pool.stream("GET", w.url + "/streamed") as response:
        while piece := await response.receive_some(50_000):
            received += piece
    assert received == b"/streamed" * 20_000


async def decoded_and_left_early(w: World) -> None:
    async with w.pool.stream("GET", w.url + "/streamed") as response:
        assert await response.receive_some(9) == b"/streamed"
    await trio.sleep(0.01)
    await w.get("/behind")


@pytest.mark.parametrize("victim", [decoded, decoded_in_pieces, decoded_and_left_early])
def test_decoding_may_be_cancelled_anywhere(victim: Victim) -> None:
    sweep(victim, make_handler=encoding)


@pytest.mark.parametrize("victim", [decoded, decoded_in_pieces])
def test_decoding_with_tls_may_be_cancelled_anywhere(
    victim: Victim, client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext
) -> None:
    sweep(victim, (client_ssl_context, server_ssl_context), make_handler=encoding)


# ── Chunks of one byte ─────────────────────────────────────────────────────────────────────────

CHUNKS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 9000 + b"0\r\n\r\n"
)


async def one_byte_chunks(w: World) -> None:
    response = await w.pool.get(w.url + "/chunks")
    assert response.content == b"x" * 9000


async def one_byte_chunks_and_left_early(w: World) -> None:
    async with w.pool.stream("GET", w.url + "/chunks") as response:
        assert set(await response.receive_some()) == {b"x"[0]}
    await w.get("/behind")


@pytest.mark.parametrize("victim", [one_byte_chunks, one_byte_chunks_and_left_early])
def test_reading_chunks_of_one_byte_may_be_cancelled_anywhere(victim: Victim) -> None:
    """Also in the pauses that others get."""
    sweep(victim, make_handler=lambda: Answering(once={"/chunks": Answer([CHUNKS])}))


async def multipart(w: World) -> None:
    part = Part(lambda: pieces(b"a", b"b", gap=0.03), filename="a")
    form = {"text": "x", "part": part, "bytes": bytes(100_000)}
    response = await w.pool.post(w.url + "/victim", multipart=form)
    assert response.content == b"/victim"


@pytest.mark.parametrize("tls", [False, True])
def test_a_multipart_form_may_be_cancelled_anywhere(
    client_ssl_context: ssl.SSLContext, server_ssl_context: ssl.SSLContext, tls: bool
) -> None:
    sweep(multipart, (client_ssl_context, server_ssl_context) if tls else None)


async def in_this_thread(
    function: Callable[..., Any],
    *args: Any,
    limiter: trio.CapacityLimiter,
    abandon_on_cancel: bool = False,
) -> Any:
    """As trio.to_thread.run_sync, with a thread that is through at once: a sweep has to take the
    same steps each time."""
    await trio.lowlevel.checkpoint_if_cancelled()
    result = function(*args)
    if abandon_on_cancel:
        await trio.lowlevel.checkpoint()
    else:
        await trio.lowlevel.cancel_shielded_checkpoint()
    return result


@pytest.mark.parametrize("where", ["content", "multipart"])
def test_the_upload_of_a_file_may_be_cancelled_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(trio.to_thread, "run_sync", in_this_thread)
    opened: list[io.FileIO] = []

    class Watched(io.FileIO):
        def __init__(self, path: str) -> None:
            super().__init__(path)
            opened.append(self)

    monkeypatch.setattr(io, "FileIO", Watched)
    path = tmp_path / "file"
    path.write_bytes(bytes(FILE_BLOCK_BYTES * 2 + 100))

    async def file(w: World) -> None:
        options: Any = {"content": path} if where == "content" else {"multipart": {"a": path}}
        try:
            response = await w.pool.post(w.url + "/victim", **options)
            assert response.content == b"/victim"
        finally:
            assert all(file.closed for file in opened)
            opened.clear()

    sweep(file)


async def test_a_broken_off_read_all_is_sound(autojump_clock: object) -> None:
    async with world(http_server(reply), None) as w:
        async with w.pool.stream("GET", w.url + "/streamed") as response:
            with trio.move_on_after(0.01):
                await response.read()
        await w.is_sound()
