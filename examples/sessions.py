"""Sessions: what the requests to one API have in common, cookies, and what is tried again.

On an in-memory network and Trio's mock clock, so that every time below is exact, and the whole
takes no time at all. See testing_your_code.py for how that works.
"""

from __future__ import annotations

import trio
from trio.testing import MockClock

import triopool
from triopool.testing import Network, Reply, Request, http_server

RETRY = triopool.Retry(
    attempts=3, backoff=1.0, jitter=0
)  # chance would make the times below differ


class Shop:
    """An API that is busy at times, with a login."""

    def __init__(self) -> None:
        self.busy = 0

    async def __call__(self, request: Request) -> Reply:
        if self.busy:
            self.busy -= 1
            return Reply(503, {"Retry-After": "5"} if request.target == "/v1/soon" else {})
        if request.target == "/v1/login":
            return Reply(303, {"Location": "account", "Set-Cookie": "sid=42; Path=/; HttpOnly"})
        who = request.header("authorization") or request.header("cookie") or "nobody"
        return Reply(body=f"{request.method} {request.target} for {who}".encode())


async def one_session_for_each_tenant(pool: triopool.ConnectionPool, shop: Shop) -> None:
    """Any number of sessions share one pool."""
    api = pool.session(base_url="http://shop.test/v1/", headers={"X-Client": "example"})
    for name in ("ada", "grace"):
        tenant = api.session(auth=triopool.BearerAuth(name))
        print("  ", (await tenant.get("orders", params={"page": 2})).text)
    print(f"   connections opened: {pool.statistics().dialled}")


async def cookies(pool: triopool.ConnectionPool, shop: Shop) -> None:
    """A login that redirects: each hop sets its cookies, and gets those that are for it."""
    api = pool.session(base_url="http://shop.test/v1/", cookies=True, follow_redirects=True)
    print("  ", (await api.post("login", form={"name": "ada"})).text)
    other = api.session()  # with a jar of its own
    print("  ", (await other.get("account")).text)


async def retries(pool: triopool.ConnectionPool, shop: Shop) -> None:
    """What is tried again, how long that takes, and when it is not."""
    api = pool.session(base_url="http://shop.test/v1/", retry=RETRY)

    async def show(what: str, method: str, url: str) -> None:
        began_at = trio.current_time()
        status = (await api.request(method, url)).status_code
        print(f"   {what}: {status} after {trio.current_time() - began_at:g} s")

    shop.busy = 2
    await show("busy twice", "GET", "orders")
    shop.busy = 3
    await show("busy for longer", "GET", "orders")
    shop.busy = 1
    await show("the server says when", "GET", "soon")
    shop.busy = 1
    await show("a POST, which could buy twice", "POST", "orders")
    shop.busy = 2
    with trio.fail_after(2):  # the second wait would take 2 s, so that there is none
        await show("2 s left", "GET", "orders")


async def confined(pool: triopool.ConnectionPool, shop: Shop) -> None:
    """URLs that come from elsewhere stay where they are to."""
    api = pool.session(base_url="http://shop.test/v1/", confined=True)
    for url in ("orders/7", "../admin", "%2e%2e/admin", "http://other.test/"):
        try:
            print(f"   {url}: {(await api.get(url)).status_code}")
        except triopool.InvalidURL as exc:
            print(f"   {url}: {type(exc).__name__}")


async def main() -> None:
    for scene in (one_session_for_each_tenant, cookies, retries, confined):
        print(scene.__doc__)
        async with Network() as network:
            shop = Shop()
            network.host("shop.test", "192.0.2.1")
            network.listen("192.0.2.1", 80, http_server(shop))
            async with triopool.ConnectionPool(
                resolver=network.resolve, socket_factory=network.socket
            ) as pool:
                await scene(pool, shop)


if __name__ == "__main__":
    trio.run(main, clock=MockClock(autojump_threshold=0))
