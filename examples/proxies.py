"""Proxies: one for a pool, one for a request, rules, none; and what to do when one is gone.

Proxies and servers are real ones, on loopback.

    python examples/proxies.py
"""

from __future__ import annotations

import socket
from typing import Any

import trio
from _proxy import serve_proxy
from _server import reply, serve

import triopool
from triopool import DIRECT, Proxy, ProxyRules


async def app(scope: Any, receive: Any, send: Any) -> None:
    await reply(send, b"hello\n")


class Example:
    """Two proxies, of which the blue one wants credentials, and two origins."""

    def __init__(self, red: str, blue: str, one: str, two: str) -> None:
        self.red, self.blue, self.one, self.two = red, blue, one, two
        self.names = {red: "the red proxy", blue: "the blue proxy"}

    def tell(self, what: str, response: triopool.Response) -> None:
        """Every response says which way it came."""
        connection = response.connection
        way = "directly"
        if connection.proxy is not None:  # its URL has no credentials in it
            kind = "through" if connection.proxy.forwards else "in a tunnel of"
            way = f"{kind} {self.names[connection.proxy.url]}"
        reused = ", on a connection of before" if connection.reused else ""
        print(f"  {what}: {response.status_code}, {way}{reused}")

    async def for_a_pool(self) -> None:
        async with triopool.ConnectionPool(proxy=self.red) as pool:
            self.tell("one origin", await pool.get(self.one))
            # For http a proxy forwards single requests: all origins share its connections.
            self.tell("another origin", await pool.get(self.two))
            # For https, upgrades, and if you want, it is asked for a tunnel to the origin.
            tunnel = Proxy(self.red, tunnel=True)
            self.tell("tunnel=True", await pool.get(self.one, proxy=tunnel))
            self.tell("DIRECT", await pool.get(self.one, proxy=DIRECT))

    async def for_a_request(self) -> None:
        async with triopool.ConnectionPool() as pool:
            self.tell("the pool has none", await pool.get(self.one))
            self.tell("red", await pool.get(self.one, proxy=self.red))
            # The proxy's own answer to a request that it should forward is a response.
            self.tell("blue, no credentials", await pool.get(self.one, proxy=self.blue))
            blue = Proxy(self.blue, auth=("ada", "secret"))  # or http://ada:secret@...
            self.tell("blue, with credentials", await pool.get(self.one, proxy=blue))

    async def by_rules(self) -> None:
        # ProxyRules.from_environment() reads the same from http_proxy, https_proxy, no_proxy.
        # Loopback goes directly unless one says so, and all of this example is on loopback.
        rules = ProxyRules(http=self.red, no_proxy=self.two.removeprefix("http://"), loopback=True)
        async with triopool.ConnectionPool(proxy=rules) as pool:
            self.tell("one origin", await pool.get(self.one))
            self.tell("the one in no_proxy", await pool.get(self.two))

    async def fail_over(self) -> None:
        with socket.socket() as gone:
            gone.bind(("127.0.0.1", 0))  # and nobody listens: connections are refused
            dead = f"http://127.0.0.1:{gone.getsockname()[1]}"
            closed = Proxy(self.blue, tunnel=True)  # no credentials: it refuses
            async with triopool.ConnectionPool(timeouts=triopool.Timeouts(connect=3)) as pool:
                response = await get_through_one_of([dead, closed, self.red], pool, self.one)
                self.tell("the third one", response)


# ── The recipe: try one proxy after the other ──────────────────────────────────────────────────


async def get_through_one_of(
    proxies: list[str | Proxy], pool: triopool.ConnectionPool, url: str
) -> triopool.Response:
    """GET through the first proxy that lets us.

    ProxyError says that nothing was sent to the origin, and so does ConnectTimeout: a proxy may be
    silent, too. So this is right for any method, as long as the body can be produced again. After
    a ReadError or WriteError the origin may have acted on the request: with those only go on if
    it may be sent twice. And a 407, 502 or 503 is a response if the proxy forwards: whether it is
    the proxy's or the origin's can't be told. With Proxy(tunnel=True) the proxy's is an error.
    """
    errors = []
    for number, proxy in enumerate(proxies, start=1):
        try:
            return await pool.get(url, proxy=proxy)
        except (triopool.ProxyError, triopool.ConnectTimeout) as exc:
            status = getattr(exc, "status_code", None)
            print(f"  proxy {number}: {type(exc).__name__}, status code {status}")
            errors.append(exc)
    raise ExceptionGroup("no proxy opened the way", errors)


async def main() -> None:
    async with (
        serve_proxy() as red,
        serve_proxy("ada:secret") as blue,
        serve(app) as one,
        serve(app) as two,
    ):
        example = Example(red, blue, one, two)
        print("One proxy for a pool:")
        await example.for_a_pool()
        print("One for each request:")
        await example.for_a_request()
        print("Rules:")
        await example.by_rules()
        print("Fail-over:")
        await example.fail_over()


if __name__ == "__main__":
    trio.run(main)
