"""Bodies both ways: closed at once by whoever holds them, never by the garbage collector."""

from __future__ import annotations

import gc
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import trio

import triopool
from triopool.testing import (
    KeepOpen,
    Receive,
    ReceiveRequest,
    Reply,
    Request,
    Reset,
    Send,
    Wait,
    http_server,
    script,
)

from .world import URL, Contexts, Library, World, echo, ok, read_into, serving

LARGE = 1_000_000

# httpx, and httpx2 before 2.16, leave a generator of their own behind when a loop is left or fails,
# even if the loop is over aclosing(). One of ours would still be an error.
theirs_are_ignored = pytest.mark.filterwarnings(
    "ignore:Async generator 'httpx2?[.]:ResourceWarning"
)


class Body:
    """An async generator as a body, and how far it got.

    Attributes:
      asked: how many pieces it was asked for.
      closed: whether it was told to end.
    """

    def __init__(self, pieces: int, size: int = 10, gap: float = 0.0) -> None:
        self.asked = 0
        self.closed = False
        self._pieces, self._size, self._gap = pieces, size, gap

    async def generate(self) -> AsyncIterator[bytes]:
        try:
            for _ in range(self._pieces):
                self.asked += 1
                yield b"x" * self._size
                await trio.sleep(self._gap)
        finally:
            self.closed = True


# ── Requests ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("length", [None, "30"], ids=["chunked", "of known length"])
async def test_a_generator_is_sent_to_its_end(
    lib: Library, autojump_clock: object, length: str | None
) -> None:
    body = Body(3, gap=0.1)
    headers = {"Content-Length": length} if length else {}
    async with serving(lib, http_server(echo)) as w:
        response = await w.client.put(URL, content=body.generate(), headers=headers)
        assert response.content == b"PUT / " + b"x" * 30
        assert (body.asked, body.closed) == (3, True)


async def test_a_generator_is_closed_when_the_answer_comes_early(
    lib: Library, autojump_clock: object
) -> None:
    body = Body(1000, 1000)
    server = script(Receive(), Send(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"), Wait(100))
    async with serving(lib, server, buffer_size=4096) as w:
        async with w.client.stream("POST", URL, content=body.generate()) as response:
            assert response.status_code == 413
            assert await response.aread() == b"no"
            assert body.closed
        assert body.asked < 1000
        assert w.pool.statistics().open == 0


async def test_what_a_generator_raises_behind_the_answer_is_told_when_the_block_is_left(
    lib: Library, autojump_clock: object
) -> None:
    async def generate() -> AsyncIterator[bytes]:
        yield b"one"
        await trio.sleep(1.0)
        raise ZeroDivisionError

    async with serving(lib, script(Receive(), Send(ok(b"two")), KeepOpen())) as w:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - on leaving the block
            async with w.client.stream("POST", URL, content=generate()) as response:
                assert response.status_code == 200
                await trio.sleep(2.0)
        assert w.pool.statistics().open == 0


async def test_a_generator_is_closed_when_the_connection_breaks(
    lib: Library, autojump_clock: object
) -> None:
    body = Body(1000, 1000)
    async with serving(lib, script(Receive(), Wait(1), Reset()), buffer_size=4096) as w:
        # Both sides hear of a reset at once; which of them is the first is a matter of luck.
        with pytest.raises((lib.client.WriteError, lib.client.ReadError)) as caught:
            await w.client.post(URL, content=body.generate())
        assert isinstance(caught.value.__cause__, triopool.WriteError | triopool.ReadError)
        assert body.closed


async def test_a_generator_is_closed_when_the_request_is_cancelled(
    lib: Library, autojump_clock: object
) -> None:
    body = Body(1000, 1000)
    async with serving(lib, script(Receive(), Wait(math.inf)), buffer_size=4096) as w:
        with trio.move_on_after(1):
            await w.client.post(URL, content=body.generate())
        assert body.closed
        assert w.pool.statistics().open == 0


async def test_a_generator_that_was_not_begun_is_left_alone(
    lib: Library, autojump_clock: object
) -> None:
    body = Body(1)
    generator = body.generate()
    async with serving(lib, http_server(echo)) as w:
        w.network.refuse("192.0.2.1", 80)
        with pytest.raises(lib.client.ConnectError):
            await w.client.post(URL, content=generator)
    assert [piece async for piece in generator] == [b"x" * 10]


class Odd(Exception):
    pass


async def test_what_a_body_raises_is_what_the_request_raises(
    lib: Library, autojump_clock: object
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"
        raise Odd

    async with serving(lib, http_server(echo)) as w:
        with pytest.raises(Odd):
            await w.client.post(URL, content=body())
        assert w.pool.statistics().open == 0


async def test_a_stream_of_ones_own_class_is_iterated_over_and_not_closed(
    lib: Library, autojump_clock: object
) -> None:
    """The library may send it again: after a redirect, or with credentials."""

    class Again(lib.client.AsyncByteStream):  # type: ignore[misc,name-defined]
        def __aiter__(self) -> AsyncIterator[bytes]:
            return Body(2).generate()

        async def aclose(self) -> None:
            raise AssertionError("closed")

    async def respond(request: Request) -> Reply:
        if request.target == "/":
            return Reply(307, [("Location", "/there")])
        return await echo(request)

    async with serving(lib, http_server(respond), client={"follow_redirects": True}) as w:
        request = lib.client.Request(
            "POST", URL, stream=Again(), headers={"Host": "one.test", "Content-Length": "20"}
        )
        response = await w.client.send(request)
        assert response.content == b"POST /there " + b"x" * 20


async def test_upload_and_download_go_on_side_by_side(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    """As far as HTTP/1.1 goes: what was answered before the end of the upload ends it."""
    body = Body(300, 1000, gap=0.01)
    async with serving(lib, http_server(echo), contexts, buffer_size=4096) as w:
        url = "https://one.test/"
        async with w.client.stream("POST", url, content=body.generate()) as response:
            size = 0
            async for piece in response.aiter_raw():
                size += len(piece)
        assert size == len("POST / ") + 300_000


# ── Responses ──────────────────────────────────────────────────────────────────────────────────


async def in_pieces(request: Request) -> Reply:
    """Three pieces, a tenth of a second apart; ``/large`` is many, ``/long`` says its length."""
    size = LARGE if request.target == "/large" else 5
    return Reply(body=[b"a" * size, b"b" * size, b"c" * size], gap=0.1)


async def test_pieces_come_as_they_arrive(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(in_pieces)) as w:
        start = trio.current_time()
        seen: list[tuple[float, bytes]] = []
        async with w.client.stream("GET", URL) as response:
            async for piece in response.aiter_bytes():
                seen.append((round(trio.current_time() - start, 9), piece))
            assert w.pool.statistics().idle == 1  # Before the block is left.
        assert seen == [(0.0, b"aaaaa"), (0.1, b"bbbbb"), (0.2, b"ccccc")]


@pytest.mark.parametrize("way", ["aiter_raw", "aiter_bytes", "aiter_text", "aiter_lines"])
async def test_every_way_to_iterate_reads_to_the_end(
    lib: Library, autojump_clock: object, way: str
) -> None:
    async with serving(lib, http_server(in_pieces)) as w:
        async with w.client.stream("GET", URL) as response:
            parts = [part async for part in getattr(response, way)()]
        text = "".join(p.decode() if isinstance(p, bytes) else p for p in parts)
        assert text == "aaaaabbbbbccccc"
        assert w.pool.statistics().idle == 1


async def leave_early(w: World, target: str) -> None:
    async with (
        w.client.stream("GET", URL + target) as response,
        aclosing(response.aiter_bytes()) as pieces,
    ):
        async for _ in pieces:
            break


@theirs_are_ignored
async def test_a_small_rest_is_read_by_the_pool_and_the_connection_used_again(
    lib: Library, autojump_clock: object
) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(body=[b"a" * 10, b"b" * 10], gap=0.01)

    async with serving(lib, http_server(respond)) as w:
        for _ in range(3):
            await leave_early(w, "/")
            await trio.sleep(0.02)
        assert (w.pool.statistics().dialled, w.pool.statistics().reused) == (1, 2)


@theirs_are_ignored
async def test_a_large_rest_costs_the_connection(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(in_pieces)) as w:
        await leave_early(w, "/large")
        assert w.pool.statistics().open == 0
        await leave_early(w, "/large")
        assert w.pool.statistics().dialled == 2


async def test_a_cancelled_response_is_closed_and_not_drained(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(in_pieces)) as w:
        with trio.move_on_after(0.05) as scope:
            async with w.client.stream("GET", URL) as response:
                await response.aread()
        assert scope.cancelled_caught
        assert w.pool.statistics().open == 0


async def test_closing_in_a_cancelled_scope_frees_the_slot_in_the_same_tick(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(in_pieces)) as w:
        request = w.client.build_request("GET", URL)
        response = await w.client.send(request, stream=True)
        assert w.pool.statistics().busy == 1
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await response.aclose()
            finally:
                assert w.pool.statistics().open == 0
        assert scope.cancelled_caught


async def test_iteration_that_is_cancelled_frees_the_slot_before_anybody_closes(
    lib: Library, autojump_clock: object
) -> None:
    """Nor can it be taken up again: the library has a generator on top of it, which is through."""
    async with serving(lib, http_server(in_pieces)) as w:
        transport = lib.ours.TriopoolTransport(w.pool)
        response = await transport.handle_async_request(w.client.build_request("GET", URL))
        pieces = aiter(response.stream)
        assert await anext(pieces) == b"aaaaa"
        with trio.move_on_after(0.05) as scope:
            await anext(pieces)
        assert scope.cancelled_caught
        assert w.pool.statistics().open == 0
        with pytest.raises(lib.client.ReadError):
            await anext(pieces)


async def test_closing_twice_is_closing_once(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(in_pieces)) as w:
        transport = lib.ours.TriopoolTransport(w.pool)
        request = w.client.build_request("GET", f"{URL}/large")
        response = await transport.handle_async_request(request)
        for _ in range(3):
            await response.stream.aclose()
            assert w.pool.statistics().open == 0
        with pytest.raises(lib.client.ReadError, match="the response was closed"):
            await anext(aiter(response.stream))


async def test_another_task_may_close_what_is_being_read(
    lib: Library, autojump_clock: object
) -> None:
    async def read(response: Any) -> None:
        with pytest.raises(lib.client.ReadError) as caught:
            await response.aread()
        assert isinstance(caught.value.__cause__, trio.ClosedResourceError)

    async with serving(lib, http_server(in_pieces)) as w:
        request = w.client.build_request("GET", URL)
        response = await w.client.send(request, stream=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, response)
            await trio.sleep(0.05)
            await response.aclose()
            assert w.pool.statistics().open == 0


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_breaks_off_frees_the_slot_and_stays_broken(
    lib: Library, autojump_clock: object, chunked: bool
) -> None:
    head = b"Transfer-Encoding: chunked\r\n\r\n5\r\n" if chunked else b"Content-Length: 9\r\n\r\n"
    server = script(ReceiveRequest(), Send(b"HTTP/1.1 200 OK\r\n" + head + b"aaaaa"), Wait(0.1))
    async with serving(lib, server) as w:
        async with w.client.stream("GET", URL) as response:
            seen = bytearray()
            with pytest.raises(lib.client.ReadError, match="after 5") as caught:
                await read_into(seen, response)
            assert seen == b"aaaaa"
            assert w.pool.statistics().open == 0
            assert isinstance(caught.value.__cause__, triopool.ReadError)
            assert caught.value.request is response.request
        with pytest.raises(lib.client.ReadError):
            await w.client.get(URL)


@theirs_are_ignored
async def test_a_body_that_can_not_be_decoded_frees_the_slot(
    lib: Library, autojump_clock: object
) -> None:
    answer = ok(b"no gzip at all", b"Content-Encoding: gzip")
    async with serving(lib, script(ReceiveRequest(), Send(answer), KeepOpen())) as w:
        with pytest.raises(lib.client.DecodingError):
            await w.client.get(URL)
        assert w.pool.statistics().busy == 0


async def break_out(w: World, target: str) -> None:
    async with w.client.stream("GET", URL + target) as response:
        async for _ in response.aiter_bytes():
            break
    await trio.sleep(1)


async def test_only_the_librarys_own_generators_are_left_to_the_garbage_collector(
    lib: Library, autojump_clock: object
) -> None:
    """Who breaks out of a loop leaves those behind; the connection does not wait for them."""
    async with serving(lib, http_server(in_pieces)) as w:
        for target in ("/", "/large"):
            with pytest.warns(ResourceWarning) as warned:
                await break_out(w, target)
            assert w.pool.statistics().busy == 0
            names = {str(one.message).split("'")[1].split(".")[0] for one in warned}
            assert names == {lib.name}


@pytest.mark.parametrize("target", ["/", "/large"])
async def test_who_breaks_out_of_the_transports_own_stream_leaves_nothing_to_the_garbage_collector(
    lib: Library, autojump_clock: object, target: str
) -> None:
    async with serving(lib, http_server(in_pieces)) as w:
        transport = lib.ours.TriopoolTransport(w.pool)
        request = w.client.build_request("GET", URL + target)
        response = await transport.handle_async_request(request)
        async for _ in response.stream:
            break
        await response.stream.aclose()
        await trio.sleep(1)
        del response
        gc.collect()  # Warnings are errors here.
        await trio.lowlevel.checkpoint()


async def break_out_and_keep_the_generators(w: World) -> None:
    held = []
    for _ in range(3):
        async with w.client.stream("GET", f"{URL}/large") as response:
            pieces = response.aiter_bytes()
            held.append(pieces)
            async for _ in pieces:
                break
        assert w.pool.statistics().open == 0
    for pieces in held:
        await pieces.aclose()


@theirs_are_ignored
async def test_who_breaks_out_of_a_loop_has_the_connection_back_without_the_garbage_collector(
    lib: Library, autojump_clock: object
) -> None:
    gc.disable()
    try:
        async with serving(lib, http_server(in_pieces), max_connections=1) as w:
            await break_out_and_keep_the_generators(w)
            gc.collect()  # Here, and not in a test where warnings are errors.
            await trio.lowlevel.checkpoint()
            assert w.pool.statistics().open == 0
    finally:
        gc.enable()


async def test_closing_the_generator_is_enough_for_httpx2(autojump_clock: object) -> None:
    """httpx keeps generators inside of generators, where nobody can close them."""
    lib = Library.of("httpx2")
    if tuple(map(int, lib.client.__version__.split(".")[:2])) < (2, 16):
        pytest.skip("older versions of httpx2 keep generators as httpx does")
    async with serving(lib, http_server(in_pieces)) as w:
        for target in ("/", "/large"):
            await leave_early(w, target)
            await trio.sleep(1)
            gc.collect()  # Warnings are errors here.
            await trio.lowlevel.checkpoint()


async def test_what_is_never_read_nor_closed_is_closed_with_the_pool(
    lib: Library, autojump_clock: object
) -> None:
    transport: Any
    async with triopool.testing.Network() as network:
        network.listen("192.0.2.1", 80, http_server(in_pieces))
        transport = lib.ours.TriopoolTransport(socket_factory=network.socket)
        async with lib.client.AsyncClient(transport=transport) as client:
            request = client.build_request("GET", "http://192.0.2.1/")
            response = await client.send(request, stream=True)
            assert network.open_sockets
        assert not network.open_sockets
        with pytest.raises(lib.client.TransportError, match="was left"):
            await response.aread()
