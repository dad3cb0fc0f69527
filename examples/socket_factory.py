"""A socket factory: options that must be set before the handshake, and a guard against SSRF.

The pool calls it once for each address that it tries, before bind and connect, with the address
itself. So an option may depend on the address; and a program that keeps requests away from
some addresses can do it here, where no trick with names or redirects helps, because no name is
involved any more.
"""

from __future__ import annotations

import socket
from contextlib import AsyncExitStack
from typing import Any

import trio
from _server import reply, serve

import triopool
from triopool.testing import Network, Reply, Request, http_server

# ── Options: mark our packets for the routers on the way ───────────────────────────────────────

LOW_DELAY = 0xB8  # DSCP "expedited forwarding", in the upper six bits


def expedited(address: triopool.AddressInfo) -> trio.socket.SocketType:
    """A socket whose packets are marked from the first one, the SYN, on."""
    sock = trio.socket.socket(address.family, address.type, address.proto)
    if address.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, LOW_DELAY)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, LOW_DELAY)
    return sock


async def app(scope: Any, receive: Any, send: Any) -> None:
    await reply(send, b"hello\n")


async def options() -> None:
    made: list[trio.socket.SocketType] = []

    def remember(address: triopool.AddressInfo) -> trio.socket.SocketType:
        # Only so that we can look at the option again below. The pool owns what we return.
        made.append(expedited(address))
        return made[-1]

    async with AsyncExitStack() as stack:
        hosts = ["127.0.0.1", "[::1]"] if _has_ipv6() else ["127.0.0.1"]
        urls = [await stack.enter_async_context(serve(app, host=host)) for host in hosts]
        async with triopool.ConnectionPool(socket_factory=remember) as pool:
            for url in urls:
                response = await pool.get(url)
                sock = made[-1]
                assert sock.getsockname() == response.connection.local_address
                if sock.family == socket.AF_INET6:
                    tclass = sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
                    print(f"  {url}: IPV6_TCLASS is {tclass:#x} on the connected socket")
                else:
                    tos = sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS)
                    print(f"  {url}: IP_TOS is {tos:#x} on the connected socket")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


# ── A guard: fetch what users ask for, but nothing in our own network ──────────────────────────


async def shop(request: Request) -> Reply:
    if request.target == "/moved":
        return Reply(status=302, headers=[("Location", "http://metadata.internal/token")])
    return Reply(body=b"what the shop sells")


async def admin(request: Request) -> Reply:
    return Reply(body=b"the keys to everything")


async def guard() -> None:
    # An internet in memory, with an inside and an outside, so that we may attack it.
    async with Network() as network:
        network.listen("93.184.215.14", 80, http_server(shop))
        for inside in ("10.0.0.5", "169.254.169.254", "::ffff:10.0.0.5", "127.0.0.1", "::1"):
            network.listen(inside, 80, http_server(admin))
        network.host("shop.example", "93.184.215.14")
        network.host("evil.example", "10.0.0.5")
        network.host("half-evil.example", "10.0.0.5", "93.184.215.14")
        network.host("metadata.internal", "169.254.169.254")

        # On the real internet it is ``socket_factory=triopool.only_public``.
        guarded = triopool.OnlyPublic(socket_factory=network.socket)

        async def attempt(what: str, url: str) -> None:
            try:
                # Each redirect is one more request, and so asks the factory again.
                response = await pool.get(url, follow_redirects=True)
            except (triopool.ConnectError, triopool.InvalidURL) as exc:
                # What the factory raised is the __cause__ of the ConnectError.
                print(f"  {what}: {type(exc).__name__}: {exc}")
            else:
                print(f"  {what}: {response.text}")

        # dns_ttl=0 so that the rebinding below is noticed at once. It makes the guard no better:
        # what is remembered are addresses, and the factory sees them each time.
        async with triopool.ConnectionPool(
            resolver=network.resolve, socket_factory=guarded, dns_ttl=0
        ) as pool:
            await attempt("a public host", "http://shop.example/")
            await attempt("a literal address", "http://10.0.0.5/")
            await attempt("the same, as IPv6", "http://[::ffff:10.0.0.5]/")
            await attempt("the same, as a number", "http://167772165/")
            await attempt("loopback", "http://[::1]/")
            await attempt("a name for an internal address", "http://evil.example/")
            await attempt("one internal, one public", "http://half-evil.example/")
            await attempt("a redirect to an internal name", "http://shop.example/moved")

            # DNS rebinding: public while it is checked, internal when it is used. Here checking
            # and using are one.
            network.host("rebind.example", "93.184.215.14")
            await attempt("rebinding, before", "http://rebind.example/")
            network.host("rebind.example", "10.0.0.5")
            pool.close_idle()  # else the first connection, to the public address, is reused
            await attempt("rebinding, after", "http://rebind.example/")

        tried = {event.endpoint[0] for event in network.events("connect")}
        print(f"  addresses that saw a packet of ours: {', '.join(sorted(tried))}")


async def main() -> None:
    print("IP_TOS and IPV6_TCLASS, set before the handshake:")
    await options()
    print("No request gets inside:")
    await guard()


if __name__ == "__main__":
    trio.run(main)
