"""The cancel sweep over requests of either library: cancelled at any moment, every slot comes back,
and no body of a request is left half-way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio
from sweeping import sweep as sweep_and_count

from triopool import ConnectionPool
from triopool.testing import Network, Reply, Request, Sweep, http_proxy, http_server

from .patching import PATCHES, Patch
from .world import ADDRESS, LIBRARIES, TLS_URL, URL, Contexts, Library, nothing_held

PROXY_ADDRESS = "192.0.2.9"

# httpx leaves generators of its own behind when it is cancelled. One of ours would be an error.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)2?[.]:ResourceWarning")


async def reply(request: Request) -> Reply:
    """The target, after a while, in two pieces if it is to be streamed."""
    body = request.target.encode()
    if request.target.startswith("/redirect"):
        return Reply(307, [("Location", "/victim")], b"moved", delay=0.05)
    if request.target.startswith("/streamed"):
        return Reply(body=[body, b"!" * 1000], delay=0.1, gap=0.02)
    return Reply(body=body, delay=0.1)


class Swept:
    def __init__(self, client: Any, transport: Any, network: Network, url: str) -> None:
        self.client = client
        self.transport = transport
        self.network = network
        self.url = url

    @property
    def pool(self) -> ConnectionPool:
        pool: ConnectionPool = self.transport.pool
        return pool

    async def ask(self, target: str, method: str = "GET", **options: Any) -> None:
        response = await self.client.request(method, self.url + target, **options)
        assert response.text == target

    async def is_sound(self) -> None:
        """Nothing is held once dials and drains are through, and every slot works."""
        assert self.pool  # One of the run may not have been asked for yet: so it opens now.
        await trio.sleep(6)
        nothing_held(self.pool, self.network)
        async with trio.open_nursery() as nursery:
            for i in range(2):
                nursery.start_soon(self.ask, f"/fresh/{i}")
        await trio.sleep(1)
        nothing_held(self.pool, self.network)


Victim = Callable[[Swept], Awaitable[None]]


@asynccontextmanager
async def swept(
    lib: Library, contexts: Contexts | None, proxy: str | None = None, lifetime: str = "block"
) -> AsyncIterator[Swept]:
    client, server = contexts or (None, None)
    async with Network() as network:
        network.host("one.test", ADDRESS)
        port = 80 if server is None else 443
        network.listen(ADDRESS, port, http_server(reply), connect_delay=0.05, ssl_context=server)
        network.listen(PROXY_ADDRESS, 3128, http_proxy(network), connect_delay=0.05)
        transport = lib.ours.TriopoolTransport(
            resolver=network.resolve,
            socket_factory=network.socket,
            ssl_context=client,
            max_connections=2,
            proxy=proxy,
            lifetime=lifetime,
        )
        async with lib.client.AsyncClient(transport=transport, timeout=None) as made:
            yield Swept(made, transport, network, TLS_URL if contexts else URL)
        if lifetime == "run":
            await trio.sleep(1)  # The pool was given up, and ends in a task of its own.
        assert not network.open_sockets


class Pieces:
    """A body that streams, and knows whether it was left half-way."""

    def __init__(self) -> None:
        self.running = 0

    async def __call__(self) -> AsyncIterator[bytes]:
        self.running += 1
        try:
            for _ in range(2):
                yield b"piece"
                await trio.sleep(0.03)
        finally:
            self.running -= 1


async def plain(w: Swept) -> None:
    await w.ask("/victim")


async def upload(w: Swept) -> None:
    pieces = Pieces()
    try:
        await w.ask("/victim", "POST", content=pieces())
    finally:
        assert not pieces.running


async def large_upload(w: Swept) -> None:
    await w.ask("/victim", "POST", content=bytes(200_000))


async def redirected(w: Swept) -> None:
    response = await w.client.put(w.url + "/redirect", content=b"body", follow_redirects=True)
    assert response.text == "/victim"


async def streamed(w: Swept) -> None:
    async with w.client.stream("GET", w.url + "/streamed") as response:
        body = b"".join([piece async for piece in response.aiter_bytes()])
    assert body == b"/streamed" + b"!" * 1000


async def left_early(w: Swept) -> None:
    async with (
        w.client.stream("GET", w.url + "/streamed") as response,
        aclosing(response.aiter_raw()) as pieces,
    ):
        assert await anext(pieces) == b"/streamed"
    await trio.sleep(0.01)
    await w.ask("/behind")


async def traced(w: Swept) -> None:
    async def trace(name: str, info: dict[str, Any]) -> None:
        await trio.sleep(0.001)

    await w.ask("/victim", extensions={"trace": trace})


async def crowd(w: Swept) -> None:
    """More requests than slots, cancelled together while some wait and others dial.

    httpcore 1.0.9 loses a slot to this for good: with the only one, every later request gets
    PoolTimeout. (httpcore #785, #961 are of this kind.)
    """
    w.pool.max_connections = 1
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(w.ask, "/first")
            nursery.start_soon(w.ask, "/second")
            await trio.sleep(0.01)
            await w.ask("/victim")
    finally:
        w.pool.max_connections = 2


VICTIMS: list[Victim] = [
    plain,
    upload,
    large_upload,
    redirected,
    streamed,
    left_early,
    traced,
    crowd,
]


def sweep(
    name: str,
    victim: Victim,
    contexts: Contexts | None = None,
    *,
    proxy: str | None = None,
    warm: bool = True,
    with_signal: bool = False,
    lifetime: str = "block",
) -> None:
    lib = Library.of(name)
    outcomes: set[bool] = set()

    async def scenario(one: Sweep) -> None:
        async with swept(lib, contexts, proxy, lifetime) as w:
            if warm:
                await w.ask("/warm")
            result = await one.victim(victim, w)
            outcomes.add(result.cancelled)
            await w.is_sound()

    label = f"{name}: {victim.__name__}, warm={warm}, tls={contexts is not None}, proxy={proxy}"
    label += f", {lifetime}"
    sweep_and_count(scenario, with_signal=with_signal, name=label)
    assert outcomes == {True, False}


@pytest.mark.parametrize("warm", [False, True], ids=["new", "reused"])
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_request_may_be_cancelled_anywhere(name: str, victim: Victim, warm: bool) -> None:
    sweep(name, victim, warm=warm)


@pytest.mark.parametrize("victim", [upload, streamed])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_request_over_tls_may_be_cancelled_anywhere(
    name: str, victim: Victim, contexts: Contexts
) -> None:
    sweep(name, victim, contexts)


@pytest.mark.parametrize("with_tls", [False, True], ids=["forwarded", "tunnel"])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_request_through_a_proxy_may_be_cancelled_anywhere(
    name: str, contexts: Contexts, with_tls: bool
) -> None:
    proxy = f"http://{PROXY_ADDRESS}:3128"
    sweep(name, plain, contexts if with_tls else None, proxy=proxy, warm=False)


async def with_transports_of_its_own(w: Swept) -> None:
    """A client of two of them, made and left in the middle of the other client's life."""
    plugged = {"resolver": w.network.resolve, "socket_factory": w.network.socket}
    one, two = [type(w.transport)(**plugged) for _ in range(2)]
    made = type(w.client)(transport=one, mounts={"http://one.test": two}, timeout=None)
    try:
        async with made:
            assert (await made.get(f"http://{ADDRESS}/a")).text == "/a"
            assert (await made.get(f"{URL}/b")).text == "/b"
    finally:
        assert not one.pool.is_open
        assert not two.pool.is_open


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_client_of_two_transports_may_be_cancelled_anywhere(name: str) -> None:
    sweep(name, with_transports_of_its_own)


async def closing(w: Swept) -> None:
    """Other requests go on as the client is closed in their midst, and after it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(w.ask, "/victim")
        await trio.sleep(0.01)
        await w.transport.aclose()
        await w.ask("/behind")


@pytest.mark.parametrize("with_signal", [False, True], ids=["cancelled", "control-C"])
@pytest.mark.parametrize("victim", [plain, upload, left_early, closing])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_request_on_the_pool_of_the_run_may_be_cancelled_anywhere(
    name: str, victim: Victim, with_signal: bool
) -> None:
    """The first one, too: it waits for the pool to open."""
    sweep(name, victim, warm=False, lifetime="run", with_signal=with_signal)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.__name__)
@pytest.mark.parametrize("victim", [upload, streamed])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_request_that_passes_a_patch_may_be_cancelled_anywhere(
    name: str, victim: Victim, patch: Patch
) -> None:
    with patch(Library.of(name), lambda request: None):
        sweep(name, victim)


@pytest.mark.parametrize("name", LIBRARIES)
def test_control_c_may_come_anywhere(name: str) -> None:
    sweep(name, upload, with_signal=True)


async def test_after_a_storm_of_cancellations_every_slot_is_free(
    lib: Library, autojump_clock: object
) -> None:
    """A hundred requests for ten slots are cancelled at the first answer, again and again; then
    the next hundred run at full concurrency."""
    async with Network() as network:
        network.host("one.test", ADDRESS)
        network.listen(ADDRESS, 80, http_server(reply), connect_delay=0.01)
        transport = lib.ours.TriopoolTransport(
            resolver=network.resolve, socket_factory=network.socket, max_connections=10
        )
        timeouts = lib.client.Timeout(None, pool=3)
        async with lib.client.AsyncClient(transport=transport, timeout=timeouts) as client:

            async def ask(scope: trio.CancelScope | None) -> None:
                assert (await client.get(f"{URL}/a")).status_code == 200
                if scope is not None:
                    scope.cancel()

            for _ in range(10):
                async with trio.open_nursery() as nursery:
                    for _ in range(100):
                        nursery.start_soon(ask, nursery.cancel_scope)
                assert transport.pool.statistics().busy == 0
                assert transport.pool.statistics().waiting == 0
            await trio.sleep(6)
            nothing_held(transport.pool, network)
            start = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(ask, None)
            # Ten at a time, a tenth of a second each, and at first a dial.
            assert trio.current_time() - start < 1.1
            nothing_held(transport.pool, network)
        assert not network.open_sockets
