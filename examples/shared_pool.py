"""One pool for a whole program: for its own requests, and for an SDK that is built on httpx.

    pip install -e ".[examples]"
    python examples/shared_pool.py

Many SDKs take an ``http_client=``, an ``httpx.AsyncClient``. Lent the program's pool, it shares the
program's connections and its bound: both together never have more than ``max_connections`` open.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import trio
from _server import reply, serve

import triopool
from triopool.httpx import TriopoolTransport


class WeatherSDK:
    """Somebody else's code, which knows httpx and nothing of triopool."""

    def __init__(self, base_url: str, *, http_client: httpx.AsyncClient) -> None:
        self._base_url = base_url
        self._client = http_client

    async def temperature(self, city: str) -> int:
        response = await self._client.get(f"{self._base_url}/weather/{city}")
        return int(response.raise_for_status().json()["celsius"])


class Watch(triopool.abc.Instrument):
    """Notes how many connections are open, dials included, and how many at most were."""

    now = most = 0

    def dial_started(self, origin: triopool.Origin) -> None:
        self.now += 1
        self.most = max(self.most, self.now)

    def dial_failed(self, origin: triopool.Origin, error: BaseException | None) -> None:
        self.now -= 1

    def closed(self, connection: triopool.ConnectionInfo, reason: triopool.CloseReason) -> None:
        self.now -= 1


async def main() -> None:
    watch = Watch()
    async with (
        serve(app) as url,
        triopool.ConnectionPool(max_connections=4, instruments=[watch]) as pool,
    ):
        async with httpx.AsyncClient(transport=TriopoolTransport(pool)) as client:
            sdk = WeatherSDK(url, http_client=client)
            await both_at_once(pool, sdk, url)
            print(f"never more than {watch.most} connections open, of {pool.max_connections}")

            # A connection that the one has opened serves the other.
            opened = pool.statistics().dialled
            await pool.get(f"{url}/page")
            await sdk.temperature("Oslo")
            await pool.get(f"{url}/page")
            print(f"three more requests: {pool.statistics().dialled - opened} connections opened")

        # The client is closed. The pool was only lent to it, and is still open.
        response = await pool.get(f"{url}/page")
        print(f"after the SDK: {response.status_code}, on a connection of before: ", end="")
        print(response.connection.reused)


async def both_at_once(pool: triopool.ConnectionPool, sdk: WeatherSDK, url: str) -> None:
    pages: list[int] = []
    temperatures: list[int] = []

    async def ask_ourselves() -> None:
        pages.append((await pool.get(f"{url}/page")).status_code)

    async def ask_the_sdk() -> None:
        temperatures.append(await sdk.temperature("Oslo"))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask_ourselves)
            nursery.start_soon(ask_the_sdk)
    print(f"{len(pages)} pages of our own, {len(temperatures)} temperatures by the SDK")


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The server's side: answers after 5 ms."""
    await trio.sleep(0.005)
    if scope["path"].startswith("/weather/"):
        await reply(send, json.dumps({"celsius": -3}).encode())
    else:
        await reply(send, b"a page\n")


if __name__ == "__main__":
    trio.run(main)
