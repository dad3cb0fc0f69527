"""What a proxy leaves behind in a pool when its connections are closed: nothing."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.lowlevel
from inside import preparations
from trio.testing import MockClock

from triopool import BasicAuth, ConnectTimeout, Origin, PoolTimeout, Proxy, ProxyError, Timeouts
from triopool.testing import Reply, Request, http_proxy

from .world import HTTP, SOCKS5H, A, B, World, world

A_THOUSAND = 1000


def alive(kind: type) -> list[Any]:
    """The objects of a kind that there are, when all that nobody refers to has gone."""
    gc.collect()
    return [one for one in gc.get_objects() if type(one) is kind]


def mentions(text: str) -> list[str]:
    """The texts in memory that contain *text*, other than this module's own.

    Strings are not tracked by the collector, so we look into what is.
    """
    gc.collect()
    found = []
    for one in gc.get_objects():
        if type(one) in (list, tuple, dict, set):
            values = [*one, *one.values()] if type(one) is dict else one
            found += [f"{v!r:.80}" for v in values if type(v) in (str, bytes) and is_in(text, v)]
    return found


def is_in(text: str, value: str | bytes) -> bool:
    return text in value if isinstance(value, str) else text.encode() in value


MAKE: dict[str, Callable[[int], Proxy | str]] = {
    "forwarded": lambda n: Proxy(HTTP, auth=(f"user{n}", "pw")),
    "as a URL": lambda n: f"http://user{n}:pw@proxy.test:3128",
    "tunnel": lambda n: Proxy(HTTP, auth=(f"user{n}", "pw"), tunnel=True),
    "SOCKS5": lambda n: f"socks5h://user{n}:pw@socks.test",
    "chain": lambda n: Proxy(HTTP, auth=(f"user{n}", "pw"), tunnel=True, via=SOCKS5H),
}


class Anyone:
    """The answer to everybody, whatever the credentials are."""

    async def __call__(self, stream: trio.abc.Stream) -> None:
        while head := await self._head(stream):
            if head.startswith(b"CONNECT"):
                await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def _head(self, stream: trio.abc.Stream) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            data = await stream.receive_some()
            if not data:
                return b""
            head += data
        return head


class AnySocks(Anyone):
    async def __call__(self, stream: trio.abc.Stream) -> None:
        greeting = await stream.receive_some()
        if not greeting:
            return
        if 2 in greeting[2:]:
            await stream.send_all(b"\5\2")
            await stream.receive_some()
            await stream.send_all(b"\1\0")
        else:
            await stream.send_all(b"\5\0")
        if await stream.receive_some():
            await stream.send_all(b"\5\0\0\1" + bytes(6))
            await super().__call__(stream)


def listen(w: World) -> None:
    w.network.listen("192.0.2.9", 3128, Anyone())
    w.network.listen("192.0.2.10", 1080, AnySocks())


@pytest.mark.parametrize("kind", MAKE)
async def test_many_proxies_in_turn_leave_nothing_but_what_is_open(
    autojump_clock: MockClock, kind: str
) -> None:
    async with world(max_connections=3, is_watched=False) as w:
        listen(w)
        # What is remembered of other things, such as of a host, is there from the beginning.
        await w.pool.get(f"{A}/", proxy=SOCKS5H)
        w.pool.close_idle()
        before = len(alive(Proxy)), len(alive(BasicAuth))
        number = A_THOUSAND if kind == "tunnel" else A_THOUSAND // 10
        for n in range(number):
            assert (await w.pool.get(f"{A}/", proxy=MAKE[kind](n))).status_code == 200
            if n % 100 == 99:
                assert w.pool.statistics().open == 3
                assert len(w.pool.statistics().origins) == 3
        names = {one.username for one in alive(BasicAuth)}
        ours = {name for name in names if name.startswith("user")}
        assert ours == {f"user{n}" for n in range(number - 3, number)}
        w.pool.close_idle()
        await trio.lowlevel.checkpoint()
        assert (len(alive(Proxy)), len(alive(BasicAuth))) == before
        assert not w.network.open_sockets
        assert w.pool.statistics().origins == {}
        # The place, and the fields of all requests to it, which have nothing of a proxy.
        kept = preparations(w.pool)
        assert len(kept) == 0
        assert len(kept.places) == 2


async def test_a_chooser_that_takes_many_in_turn_leaves_nothing_either(
    autojump_clock: MockClock,
) -> None:
    numbers = iter(range(A_THOUSAND // 10))

    def choose(origin: Origin) -> Proxy | str:
        return MAKE["forwarded"](next(numbers))

    async with world(max_connections=3, proxy=choose, is_watched=False) as w:
        listen(w)
        before = len(alive(Proxy))
        for n in range(A_THOUSAND // 10):
            assert (await w.pool.get(f"{(A, B)[n % 2]}/")).status_code == 200
        assert len(alive(Proxy)) == before + 3
        w.pool.close_idle()
        assert len(alive(Proxy)) == before
        assert len(preparations(w.pool).places) == 4


async def test_no_text_of_a_requests_own_proxy_is_kept(autojump_clock: MockClock) -> None:
    """Neither its password nor what is made of it, in any list or table there is."""
    async with world() as w:
        listen(w)
        proxy = Proxy(HTTP, auth=("ada", "".join(["un", "heard", "of"])))
        field = proxy.fields[0][1].decode()
        value = field.partition(" ")[2]
        for url in (f"{A}/", f"{B}/"):
            for _ in range(2):
                await w.pool.get(url, proxy=proxy)
        del proxy, field
        w.pool.close_idle()
        await trio.lowlevel.checkpoint()
        # This frame's own local variable is no list.
        assert not mentions(value)


@pytest.mark.parametrize("outcome", ["407", "refused", "cancelled", "time", "pool time"])
async def test_a_proxy_that_has_failed_is_forgotten(
    autojump_clock: MockClock, outcome: str
) -> None:
    async def slow(request: Request) -> Reply:
        await trio.sleep(100)
        return Reply(status=403)

    async with world(max_connections=1, credentials=("other", "pw")) as w:
        if outcome == "refused":
            w.network.refuse("192.0.2.9", 3128)
        elif outcome != "407":
            slow_one = http_proxy(w.network, slow, credentials=("ada", "pw"))
            w.network.listen("192.0.2.9", 3128, slow_one)
        before = len(alive(Proxy))
        timeouts = Timeouts(connect=1.0, pool=0.5) if "time" in outcome else Timeouts()

        async def ask() -> None:
            proxy = Proxy(HTTP, auth=("ada", "pw"), tunnel=True)
            try:
                with trio.move_on_after(0.5 if outcome == "cancelled" else 50):
                    await w.pool.get(f"{A}/", proxy=proxy, timeouts=timeouts)
            except (ProxyError, ConnectTimeout, PoolTimeout):
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            if outcome == "pool time":
                await trio.sleep(0.1)
                nursery.start_soon(ask)
        await trio.sleep(6)  # An orphan's grace.
        assert w.pool.statistics().open == 0
        assert len(alive(Proxy)) == before


async def test_a_response_that_is_kept_keeps_its_own_proxy_and_no_other(
    autojump_clock: MockClock,
) -> None:
    async with world(max_connections=1) as w:
        listen(w)
        before = len(alive(Proxy))
        response = await w.pool.get(f"{A}/", proxy=MAKE["forwarded"](1))
        await w.pool.get(f"{A}/", proxy=MAKE["forwarded"](2))
        w.pool.close_idle()
        assert len(alive(Proxy)) == before + 1
        assert response.connection.proxy is not None
        gone = weakref.ref(response)
        del response
        gc.collect()
        assert gone() is None
        assert len(alive(Proxy)) == before
