"""What arrives before it was asked for is nobody's: the connection is closed, whatever comes next.

Behind the answer to CONNECT or SOCKS, on an idle tunnel, behind a forwarded response; in the very
tick in which the connection is used again; and the end of a tunnel that has just been opened.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from triopool import Proxy, ProxyError, ReadError, TriopoolError, WriteError
from triopool.testing import (
    Close,
    Conversation,
    KeepOpen,
    ReceiveBytes,
    ReceiveRequest,
    Send,
    Sweep,
    Wait,
    cancel_sweep,
    in_turn,
    script,
)

from .world import HTTP, SECURE, SOCKS4A, SOCKS5H, A, B, Contexts, World, contexts, lent, world

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
OPEN = b"HTTP/1.1 200 OK\r\n\r\n"
TUNNEL = Proxy(HTTP, tunnel=True)


@pytest.fixture(scope="module")
def made() -> Contexts:
    return contexts()


# ── Behind the answer to CONNECT or SOCKS ──────────────────────────────────────────────────────

SOCKS5_ASKED = (ReceiveBytes(3), Send(b"\5\0"), ReceiveBytes(5 + 6 + 2))
SOCKS5_GRANTED = b"\5\0\0\1" + bytes(6)
SOCKS4_ASKED, SOCKS4_GRANTED = (ReceiveBytes(8 + 1 + 7),), b"\0\x5a" + bytes(6)

DIALOGUES: dict[str, Any] = {
    "CONNECT": (TUNNEL, (ReceiveRequest(),), OPEN),
    "SOCKS5": (SOCKS5H, SOCKS5_ASKED, SOCKS5_GRANTED),
    "SOCKS4a": (SOCKS4A, SOCKS4_ASKED, SOCKS4_GRANTED),
}
dialogues = pytest.mark.parametrize("kind", DIALOGUES)


@pytest.mark.parametrize("url", [A, SECURE])
@pytest.mark.parametrize("early", [b"x", EVIL, b"\x16\x03\x01", b"\r\n"])
@dialogues
async def test_a_byte_behind_the_answer_is_an_error(
    autojump_clock: MockClock, made: Contexts, kind: str, early: bytes, url: str
) -> None:
    proxy, asked, answer = DIALOGUES[kind]
    async with world(made, proxy=proxy) as w:
        for address, port in (("192.0.2.9", 3128), ("192.0.2.10", 1080)):
            w.network.listen(address, port, script(*asked, Send(answer + early), KeepOpen()))
        with pytest.raises(ProxyError, match="sent something before it was asked for anything"):
            await w.pool.get(f"{url}/")
        assert not w.network.open_sockets
        assert w.pool.statistics().open == 0


@dialogues
def test_a_response_that_comes_between_the_answer_and_our_request(kind: str) -> None:
    """At every step from the proxy's answer on. Before our request is written it answers nothing;
    behind that, nobody can tell."""
    proxy, asked, answer = DIALOGUES[kind]
    was_early: list[bool] = []

    async def scenario(sweep: Sweep) -> None:
        opened: list[Any] = []
        early = False

        async def open_it(conversation: Conversation) -> None:
            [theirs] = w.network.open_server_sockets
            theirs.send_nowait(answer)
            opened.append(theirs)

        def inject() -> None:
            nonlocal early
            if opened and not opened[0].closed:
                [talk] = server.conversations
                early = b"GET" not in talk.received and not opened[0].is_readable()
                opened[0].send_nowait(EVIL)

        server = script(*asked, open_it, ReceiveRequest(), Wait(0.1), Send(OK), KeepOpen())
        async with world(proxy=proxy) as w:
            for address, port in (("192.0.2.9", 3128), ("192.0.2.10", 1080)):
                w.network.listen(address, port, server)
            sweep.other(inject)
            try:
                result = await sweep.victim(w.pool.get, f"{A}/")
            except (ProxyError, WriteError):
                assert early
                assert not w.network.open_sockets
            else:
                assert result.value is not None
                assert not (early and result.value.content == b"evil")
            was_early.append(early)

    assert cancel_sweep(scenario, happens=("other",)) > 10
    assert any(was_early)


@pytest.mark.parametrize("proxy", [TUNNEL, HTTP], ids=["tunnel", "forwarded"])
async def test_a_response_on_a_fresh_connection_that_has_not_been_used_yet(
    autojump_clock: MockClock, proxy: Any
) -> None:
    connect = (ReceiveRequest(), Send(OPEN)) if proxy is TUNNEL else ()
    server = script(*connect, Wait(0.5), Send(EVIL), KeepOpen())
    async with world(proxy=proxy) as w:
        w.network.listen("192.0.2.9", 3128, server)
        async with w.pool.lease(f"{A}/") as connection:
            await trio.sleep(1)
            with pytest.raises(WriteError, match="has been closed"):
                await connection.request("GET", "/")
        assert not w.network.open_sockets


@pytest.mark.parametrize("ends", ["close", "reset"])
@pytest.mark.parametrize("url", [A, SECURE])
@dialogues
async def test_a_proxy_that_closes_right_behind_its_answer(
    autojump_clock: MockClock, made: Contexts, kind: str, url: str, ends: str
) -> None:
    """Nothing was sent to the origin, and it is the proxy that has failed."""
    proxy, asked, answer = DIALOGUES[kind]

    async def answer_and_end(conversation: Conversation) -> None:
        [theirs] = w.network.open_server_sockets
        theirs.send_nowait(answer)
        getattr(theirs, ends)()

    async with world(made, proxy=proxy) as w:
        for address, port in (("192.0.2.9", 3128), ("192.0.2.10", 1080)):
            w.network.listen(address, port, script(*asked, answer_and_end))
        with pytest.raises(ProxyError, match="closed the") as caught:
            await w.pool.post(f"{url}/", content=b"x")
        assert caught.value.proxy in (HTTP, f"{proxy}:1080")
        assert not w.network.open_sockets
        statistics = w.pool.statistics()
        assert (statistics.open, statistics.retried) == (0, 0)


@dialogues
async def test_a_proxy_that_closes_a_little_later_is_no_error_of_the_dial(
    autojump_clock: MockClock, kind: str
) -> None:
    """The connection is open then; and a fresh one that fails is not tried again."""
    proxy, asked, answer = DIALOGUES[kind]
    async with world(proxy=proxy) as w:
        for address, port in (("192.0.2.9", 3128), ("192.0.2.10", 1080)):
            w.network.listen(address, port, script(*asked, Send(answer), Wait(0.1), Close()))
        with pytest.raises(ReadError):
            await w.pool.get(f"{A}/")
        assert not w.network.open_sockets
        assert w.pool.statistics().retried == 0


async def test_a_warm_tunnel_that_the_proxy_closes_at_once_serves_nobody(
    autojump_clock: MockClock,
) -> None:
    dies = script(ReceiveRequest(), Send(OPEN), Wait(0.1), Close())
    lives = script(ReceiveRequest(), Send(OPEN), ReceiveRequest(), Send(OK), KeepOpen())
    async with world(proxy=TUNNEL) as w:
        w.network.listen("192.0.2.9", 3128, in_turn(dies, lives))
        await w.pool.warm_up(f"{A}/")
        await trio.sleep(0.2)
        assert (await w.pool.post(f"{A}/", content=b"x")).content == b"ok"
        assert w.pool.statistics().stale == 1


# ── On an idle connection ──────────────────────────────────────────────────────────────────────


def listen(w: World, proxy: Any, *steps: Any) -> None:
    """A proxy: behind CONNECT, if it is asked for that, *steps*; then one that behaves."""
    connect = (ReceiveRequest(), Send(OPEN)) if proxy is TUNNEL else ()
    once = script(*connect, *steps, KeepOpen())
    again = script(*connect, *[ReceiveRequest(), Send(OK)] * 5, KeepOpen())
    w.network.listen("192.0.2.9", 3128, in_turn(once, again))


ways = pytest.mark.parametrize("proxy", [HTTP, TUNNEL], ids=["forwarded", "tunnel"])


@pytest.mark.parametrize("evil", [b"x", EVIL, b"\r\n"])
@ways
async def test_bytes_behind_a_response_are_never_the_next_ones(
    autojump_clock: MockClock, proxy: Any, evil: bytes
) -> None:
    async with world(proxy=proxy) as w:
        listen(w, proxy, ReceiveRequest(), Send(OK + evil))
        for url in (f"{A}/1", f"{B if proxy is HTTP else A}/2"):
            assert (await w.pool.get(url)).content == b"ok"
        assert w.pool.statistics().dialled == 2
        assert len(w.network.open_sockets) == 1


@pytest.mark.parametrize("evil", [b"x", EVIL])
@ways
async def test_bytes_on_an_idle_connection_close_it(
    autojump_clock: MockClock, proxy: Any, evil: bytes
) -> None:
    async with world(proxy=proxy) as w:
        listen(w, proxy, ReceiveRequest(), Send(OK), Wait(1.0), Send(evil))
        assert (await w.pool.get(f"{A}/1")).content == b"ok"
        await trio.sleep(2)
        assert (await w.pool.post(f"{A}/2", content=b"x")).content == b"ok"
        statistics = w.pool.statistics()
        assert (statistics.dialled, statistics.stale) == (2, 1)


@ways
async def test_a_response_in_the_tick_of_the_next_request(
    autojump_clock: MockClock, proxy: Any
) -> None:
    """The surplus response has arrived, and nobody has had the time to see it."""
    async with world(proxy=proxy) as w:
        listen(w, proxy, ReceiveRequest(), Send(OK), KeepOpen())
        assert (await w.pool.get(f"{A}/1")).content == b"ok"
        [theirs] = w.network.open_server_sockets
        theirs.send_nowait(EVIL)  # type: ignore[attr-defined]
        other = B if proxy is HTTP else A
        assert (await w.pool.get(f"{other}/2")).content == b"ok"
        assert w.pool.statistics().dialled == 2


@ways
async def test_early_bytes_and_the_end_in_one_tick(autojump_clock: MockClock, proxy: Any) -> None:
    async with world(proxy=proxy) as w:
        listen(w, proxy, ReceiveRequest(), Send(OK), KeepOpen())
        assert (await w.pool.get(f"{A}/1")).content == b"ok"
        [theirs] = w.network.open_server_sockets
        theirs.send_nowait(EVIL)  # type: ignore[attr-defined]
        theirs.close()
        assert (await w.pool.get(f"{A}/2")).content == b"ok"
        assert w.pool.statistics().dialled == 2


@ways
async def test_a_connection_with_early_bytes_is_handed_to_nobody(
    autojump_clock: MockClock, proxy: Any
) -> None:
    """It comes back while another request waits for it."""
    async with world(proxy=proxy, max_connections=1) as w:
        listen(w, proxy, ReceiveRequest(), Wait(1.0), Send(OK + EVIL))
        contents: list[bytes] = []

        async def ask(url: str) -> None:
            contents.append((await w.pool.get(url)).content)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, f"{A}/1")
            await wait_all_tasks_blocked()
            nursery.start_soon(ask, f"{B if proxy is HTTP else A}/2")
        assert contents == [b"ok", b"ok"]


async def test_a_surplus_response_meets_no_request_of_another_origin(
    autojump_clock: MockClock,
) -> None:
    """What is on its way when the next request is written can't be told from an answer to it: that
    is the one window which every reuse has. Once it has come, it is nobody's."""
    async with world(proxy=HTTP) as w:
        listen(w, HTTP, ReceiveRequest(), Send(OK), ReceiveRequest(), Send(OK), Send(EVIL))
        for n in range(4):
            response = await w.pool.get(f"{(A, B)[n % 2]}/{n}")
            assert response.content == b"ok"
            await wait_all_tasks_blocked()


async def test_bytes_behind_the_answer_within_tls(
    autojump_clock: MockClock, made: Contexts
) -> None:
    for url in (A, SECURE):
        async with world(made, proxy=lent(made, tunnel=True)) as w:
            server = script(ReceiveRequest(), Send(OPEN + EVIL), KeepOpen())
            w.network.listen("192.0.2.9", 3129, server, ssl_context=made.proxy)
            with pytest.raises(ProxyError, match="sent something before it was asked"):
                await w.pool.get(f"{url}/")
            assert not w.network.open_sockets


async def test_a_refusal_with_an_answer_behind_it_is_a_refusal(autojump_clock: MockClock) -> None:
    async with world(proxy=TUNNEL) as w:
        server = script(ReceiveRequest(), Send(b"HTTP/1.1 403 no\r\n\r\n" + OPEN), KeepOpen())
        w.network.listen("192.0.2.9", 3128, server)
        with pytest.raises(TriopoolError) as caught:
            await w.pool.get(f"{A}/")
        assert isinstance(caught.value, ProxyError)
        assert caught.value.status_code == 403


async def test_a_200_with_a_length_is_a_tunnel_and_its_body_is_early(
    autojump_clock: MockClock,
) -> None:
    for fields in (b"Content-Length: 0", b"Content-Length: 5", b"Transfer-Encoding: chunked"):
        async with world(proxy=TUNNEL) as w:
            head = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n"
            opened = script(ReceiveRequest(), Send(head), ReceiveRequest(), Send(OK), KeepOpen())
            talks = script(ReceiveRequest(), Send(head + b"hello"), KeepOpen())
            w.network.listen("192.0.2.9", 3128, in_turn(opened, talks))
            assert (await w.pool.get(f"{A}/")).content == b"ok"
            with pytest.raises(ProxyError, match="sent something before it was asked"):
                await w.pool.get(f"{B}/")
