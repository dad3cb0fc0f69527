"""How SDKs keep their client, in small: each of these works with a pool that is lent, or the run's.

None of them enters a transport. (openai, anthropic: 1 and 3; ollama, stripe, gql: 1; hishel,
httpx-retries: 2; githubkit: 3 and 4. ``tests/sdks`` has some of the real ones.)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pytest
import trio

import triopool
from triopool.testing import Network, http_server

from .world import ADDRESS, Library, echo

URL = f"http://{ADDRESS}"


class MadeInInit:
    """1. Makes its client when it is made, and may be closed one day."""

    def __init__(self, lib: Library, transport: Any) -> None:
        self._client = lib.client.AsyncClient(base_url=URL, transport=transport)

    async def ask(self, target: str) -> str:
        return str((await self._client.get(target)).text)

    async def close(self) -> None:
        await self._client.aclose()


class Wrapper(MadeInInit):
    """2. Has a transport around the one that it is given, which it closes and never enters."""

    def __init__(self, lib: Library, transport: Any) -> None:
        class Around(lib.client.AsyncBaseTransport):  # type: ignore[name-defined, misc]
            async def handle_async_request(self, request: Any) -> Any:
                return await transport.handle_async_request(request)

            async def aclose(self) -> None:
                await transport.aclose()

        super().__init__(lib, Around())


class EnteredAsAWhole(MadeInInit):
    """3. Has a block of its own, in which its client stays unentered; and closes it at the end."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


class ClientForEach(EnteredAsAWhole):
    """4. Makes a client for each request, on the one transport, and closes it."""

    def __init__(self, lib: Library, transport: Any) -> None:
        self._make = lambda: lib.client.AsyncClient(base_url=URL, transport=transport)

    async def ask(self, target: str) -> str:
        client = self._make()
        try:
            return str((await client.get(target)).text)
        finally:
            await client.aclose()

    async def close(self) -> None:
        pass


Pattern = Callable[[Library, Any], Any]
PATTERNS: list[Pattern] = [MadeInInit, Wrapper, EnteredAsAWhole, ClientForEach]


async def use(sdk: Any) -> None:
    """As a program would: some requests at once, another, and the end."""
    if isinstance(sdk, EnteredAsAWhole):
        async with sdk:
            await ask_some(sdk)
    else:
        await ask_some(sdk)
        await sdk.close()


async def ask_some(sdk: Any) -> None:
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(sdk.ask, f"/{number}")
    assert await sdk.ask("/last") == "GET /last "


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_an_sdk_on_a_pool_that_is_lent(
    lib: Library, pattern: Pattern, autojump_clock: object
) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 80, http_server(echo))
        async with triopool.ConnectionPool(socket_factory=network.socket) as pool:
            for _ in range(2):
                await use(pattern(lib, lib.ours.TriopoolTransport(pool)))
            assert pool.is_open
            assert pool.statistics().dialled <= 3
            assert (await pool.get(URL)).text == "GET / "


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_an_sdk_on_the_pool_of_the_run(
    lib: Library, pattern: Pattern, autojump_clock: object
) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 80, http_server(echo))
        transport = lib.ours.TriopoolTransport(lifetime="run", socket_factory=network.socket)
        for _ in range(2):
            await use(pattern(lib, transport))
        await transport.aclose()
        await trio.sleep(1)
        assert not network.open_sockets


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_an_sdk_that_is_given_a_transport_that_nobody_opens_says_what_to_do(
    lib: Library, pattern: Pattern
) -> None:
    sdk = pattern(lib, lib.ours.TriopoolTransport())
    with pytest.raises(RuntimeError, match="Open one, and lend it"):
        await sdk.ask("/")
    await sdk.close()


async def test_an_sdk_that_is_entered_closes_a_client_that_is_open_in_a_block(
    lib: Library, autojump_clock: object
) -> None:
    """The block goes on behind it, with a client that is closed."""
    reached = False
    async with Network() as network:
        network.listen(ADDRESS, 80, http_server(echo))
        transport = lib.ours.TriopoolTransport(socket_factory=network.socket)
        async with transport:
            async with EnteredAsAWhole(lib, transport) as sdk:
                assert await sdk.ask("/a") == "GET /a "
            await trio.sleep(1)
            reached = True
        await trio.sleep(1)
    assert reached
