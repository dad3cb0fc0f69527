"""Proxies behind the API of httpx: which requests go through which, and what becomes of errors."""

from __future__ import annotations

import logging
import re
import ssl
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from servers import Microsocks, Tinyproxy

import triopool
from triopool import DIRECT, ConnectionPool, LoggingInstrument, Origin, Proxy, ProxyRules
from triopool.testing import (
    HTTPProxy,
    HTTPServer,
    KeepOpen,
    Network,
    Receive,
    Reply,
    Request,
    Reset,
    Send,
    SOCKSProxy,
    SOCKSRequest,
    http_proxy,
    http_server,
    script,
    socks_proxy,
)

from .patching import PATCHES, Patch
from .test_trace import DIAL, TLS, Trace
from .world import ADDRESS, TLS_URL, URL, Contexts, Library, echo, tcp

pytestmark = pytest.mark.usefixtures("no_proxies")

PROXY, PROXY_ADDRESS = "http://proxy.test:3128", "192.0.2.9"
SOCKS, SOCKS_ADDRESS = "socks5://socks.test", "192.0.2.10"
TLS_PROXY, TLS_PROXY_ADDRESS = "https://two.test", "192.0.2.11"
NAME, PASSWORD, TOKEN = "ada-QXZ", "pass-QXZ", "token-QXZ"
LOGIN = f"{NAME}:{PASSWORD}@"
ENCODED = triopool.BasicAuth(NAME, PASSWORD).field_value().removeprefix("Basic ")


def with_login(url: str) -> str:
    return url.replace("://", f"://{LOGIN}")


@dataclass(frozen=True)
class Town:
    """An origin, the proxies on the way to it, and the pools that were made here."""

    network: Network
    origin: HTTPServer
    proxy: HTTPProxy
    tls_proxy: HTTPProxy
    socks: SOCKSProxy
    pools: list[ConnectionPool]

    @property
    def went_through(self) -> list[str]:
        """What the HTTP proxy was asked for."""
        return [request.target for request in self.proxy.requests]

    @property
    def arrived(self) -> list[str]:
        """What came to the origin, on whatever way."""
        return [request.target for request in self.origin.requests]


Visit = Callable[..., Any]


@pytest.fixture
def visit(lib: Library, monkeypatch: pytest.MonkeyPatch, contexts: Contexts) -> Visit:
    """A town in memory, in which all pools of the transports are. The library's own are nowhere."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the library has made a transport of its own")

    @asynccontextmanager
    async def enter(
        respond: Any = None, *, credentials: tuple[str, str] | None = None
    ) -> AsyncIterator[Town]:
        async with Network() as network:
            origin = http_server(echo)
            proxies = [http_proxy(network, respond, credentials=credentials) for _ in range(2)]
            socks = socks_proxy(network, credentials=credentials)
            for name, address in {
                "one.test": ADDRESS,
                "proxy.test": PROXY_ADDRESS,
                "socks.test": SOCKS_ADDRESS,
                "two.test": TLS_PROXY_ADDRESS,
            }.items():
                network.host(name, address)
            network.listen(ADDRESS, 80, origin)
            network.listen(ADDRESS, 443, origin, ssl_context=contexts[1])
            network.listen(PROXY_ADDRESS, 3128, proxies[0])
            network.listen(TLS_PROXY_ADDRESS, 443, proxies[1], ssl_context=contexts[1])
            network.listen(SOCKS_ADDRESS, 1080, socks)
            town = Town(network, origin, *proxies, socks, [])

            class Pool(ConnectionPool):
                def __init__(self, **options: Any) -> None:
                    plugged = {"resolver": network.resolve, "socket_factory": network.socket}
                    super().__init__(**plugged | options)
                    town.pools.append(self)

            monkeypatch.setattr("triopool._httpx.transport.ConnectionPool", Pool)
            monkeypatch.setattr(f"{lib.name}.AsyncHTTPTransport.__init__", refuse)
            yield town
            await trio.sleep(10)
            for pool in town.pools:
                assert pool.statistics().open == 0
            assert not network.open_sockets

    return enter


# ── The transport ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "proxy",
    [PROXY, Proxy(PROXY), lambda origin: Proxy(PROXY), ProxyRules(http=PROXY, https=PROXY)],
    ids=["str", "Proxy", "chooser", "ProxyRules"],
)
async def test_a_transport_takes_what_a_pool_takes(
    lib: Library, visit: Visit, autojump_clock: object, contexts: Contexts, proxy: Any
) -> None:
    async with visit() as town:
        transport = lib.ours.TriopoolTransport(proxy=proxy, ssl_context=contexts[0])
        async with lib.client.AsyncClient(transport=transport) as client:
            assert (await client.get(f"{URL}/a?b=c")).text == "GET /a?b=c "
            assert (await client.get(f"{TLS_URL}/d")).text == "GET /d "
        assert town.went_through == [f"{URL}/a?b=c", "one.test:443"]


@pytest.mark.parametrize("proxy", [None, DIRECT])
async def test_a_transport_without_a_proxy(
    lib: Library, visit: Visit, autojump_clock: object, proxy: Any
) -> None:
    async with visit() as town:
        async with lib.client.AsyncClient(
            transport=lib.ours.TriopoolTransport(proxy=proxy)
        ) as client:
            await client.get(URL)
        assert (town.went_through, town.arrived) == ([], ["/"])


async def test_a_pool_that_is_lent_has_its_own_proxies(
    lib: Library, visit: Visit, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://elsewhere.test")
    async with visit() as town:
        plugged = {"resolver": town.network.resolve, "socket_factory": town.network.socket}
        async with (
            ConnectionPool(proxy=PROXY, **plugged) as pool,
            lib.client.AsyncClient(transport=lib.ours.TriopoolTransport(pool)) as one,
            # Nobody has asked this pool to go directly.
            lib.ours.AsyncClient(pool=pool, proxy=None, mounts={"all://one.test": None}) as two,
        ):
            await one.get(f"{URL}/one")
            await two.get(f"{URL}/two")
        assert town.went_through == [f"{URL}/one", f"{URL}/two"]


def test_a_pool_that_is_lent_and_a_proxy_exclude_each_other(lib: Library) -> None:
    pool = ConnectionPool()
    with pytest.raises(TypeError, match="give either a pool, or the options of one") as caught:
        lib.ours.TriopoolTransport(pool, proxy=with_login(PROXY))
    assert "QXZ" not in str(caught.value)
    with pytest.raises(TypeError, match="proxy: with a pool that is borrowed") as caught:
        lib.ours.AsyncClient(pool=pool, proxy=with_login(PROXY))
    assert "QXZ" not in str(caught.value)


@pytest.mark.parametrize("name", ["Proxy", "URL"])
def test_a_transport_says_where_the_librarys_own_classes_are_taken(lib: Library, name: str) -> None:
    proxy = getattr(lib.client, name)(with_login(PROXY))
    with pytest.raises(TypeError, match=rf"triopool\.{lib.name}\.AsyncClient") as caught:
        lib.ours.TriopoolTransport(proxy=proxy)
    assert "QXZ" not in str(caught.value)


async def test_a_chooser_is_asked_for_each_request_and_each_redirect(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    asked: list[Origin] = []

    def choose(origin: Origin) -> Any:
        asked.append(origin)
        return DIRECT if len(asked) > 1 else PROXY

    async def redirect(request: Request) -> Reply:
        return Reply(status=302, headers={"Location": f"{URL}/there"})

    async with visit(redirect) as town:
        async with lib.client.AsyncClient(
            transport=lib.ours.TriopoolTransport(proxy=choose), follow_redirects=True
        ) as client:
            assert (await client.get(f"{URL}/here")).text == "GET /there "
        assert (town.went_through, town.arrived) == ([f"{URL}/here"], ["/there"])
    assert asked == [Origin("http", "one.test", 80)] * 2


async def test_what_a_chooser_raises_arrives_as_itself(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    def raising(origin: Origin) -> Any:
        raise KeyError(origin.host)

    for chooser, kind in ((raising, KeyError), (lambda origin: None, TypeError)):
        async with (
            visit() as town,
            lib.client.AsyncClient(transport=lib.ours.TriopoolTransport(proxy=chooser)) as client,
        ):
            with pytest.raises(kind):
                await client.get(URL)
            assert town.arrived == []


# ── The client's proxy= ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("form", "where"), [(str, PROXY), ("URL", PROXY), ("Proxy", PROXY), ("Proxy", TLS_PROXY)]
)
async def test_a_client_takes_what_the_librarys_takes(
    lib: Library,
    visit: Visit,
    autojump_clock: object,
    contexts: Contexts,
    form: Any,
    where: str,
) -> None:
    if form == "Proxy":
        context = contexts[0] if where == TLS_PROXY else None
        proxy = lib.client.Proxy(
            where, auth=(NAME, PASSWORD), headers={"X-Token": TOKEN}, ssl_context=context
        )
    else:
        make = str if form is str else lib.client.URL
        proxy = make(with_login(where))
    async with visit(credentials=(NAME, PASSWORD)) as town:
        async with lib.ours.AsyncClient(proxy=proxy, verify=contexts[0]) as client:
            for url in (f"{URL}/a", f"{URL}/b", f"{TLS_URL}/c", f"{TLS_URL}/d"):
                assert (await client.get(url)).text == f"GET {url[-2:]} "
        asked = (town.proxy if where == PROXY else town.tls_proxy).requests
        targets = [request.target for request in asked]
        assert targets == [f"{URL}/a", f"{URL}/b", "one.test:443"]
        token = TOKEN if form == "Proxy" else None
        assert [request.header("x-token") for request in asked] == [token] * 3
        # What is forwarded may be passed on. Nothing that is for the proxy is in the tunnel.
        inside = town.origin.requests[2:]
        assert [request.header("x-token") for request in inside] == [None] * 2
        assert [request.header("proxy-authorization") for request in inside] == [None] * 2


async def test_credentials_in_a_proxys_url_are_decoded(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    for make in (str, lib.client.URL, lib.client.Proxy):
        async with visit(credentials=("a@b", "p:/ %")) as town:
            proxy = make("http://a%40b:p%3A%2F%20%25@proxy.test:3128")
            async with lib.ours.AsyncClient(proxy=proxy) as client:
                assert (await client.get(URL)).status_code == 200
            assert len(town.proxy.requests) == 1


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5"])
@pytest.mark.parametrize("form", [str, "URL", "Proxy"])
async def test_a_socks_proxy_of_a_client_resolves_the_names(
    lib: Library, visit: Visit, autojump_clock: object, form: Any, scheme: str
) -> None:
    make = form if form is str else getattr(lib.client, form)
    async with visit(credentials=(NAME, PASSWORD)) as town:
        proxy = make(f"{scheme}://{LOGIN}socks.test")
        async with lib.ours.AsyncClient(proxy=proxy) as client:
            assert (await client.get(URL)).text == "GET / "
        [asked] = town.socks.requests
        assert (asked.version, asked.host, asked.is_name) == (5, "one.test", True)
        assert (asked.username, asked.password) == (NAME, PASSWORD)


async def test_what_a_pool_takes_means_in_a_client_what_it_means_to_a_pool(
    lib: Library, visit: Visit, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("all_proxy", "http://elsewhere.test")
    async with visit() as town:
        for proxy in (
            Proxy(PROXY, tunnel=True),
            DIRECT,
            lambda origin: PROXY,
            Proxy(SOCKS),
            ProxyRules(https=PROXY),
        ):
            async with lib.ours.AsyncClient(proxy=proxy) as client:
                assert (await client.get(URL)).text == "GET / "
        assert town.went_through == ["one.test:80", f"{URL}/"]
        assert [request.is_name for request in town.socks.requests] == [False]


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        f"{LOGIN}proxy.test:3128",
        f"gopher://{LOGIN}proxy.test",
        f"http://{LOGIN}proxy.test:port",
        f"http://{LOGIN}proxy.test/path",
        f"socks5:// {LOGIN}proxy.test",
    ],
)
def test_a_proxy_that_can_not_be_used_is_refused_and_not_quoted(lib: Library, proxy: str) -> None:
    with pytest.raises(ValueError, match="proxy") as caught:
        lib.ours.AsyncClient(proxy=proxy)
    assert "QXZ" not in "".join(traceback.format_exception(caught.value))


def test_what_is_no_proxy_is_refused(lib: Library) -> None:
    for wrong in (3128, ["http://proxy.test"], b"http://proxy.test"):
        with pytest.raises(TypeError, match="proxy must be"):
            lib.ours.AsyncClient(proxy=wrong)


def test_what_a_proxy_of_the_library_can_not_have_here(
    lib: Library, client_ssl_context: ssl.SSLContext
) -> None:
    for url, options, said in (
        (SOCKS, {"headers": {"X-Token": TOKEN}}, "SOCKS has none"),
        (PROXY, {"ssl_context": client_ssl_context}, "for https:// proxies only"),
        (PROXY, {"auth": (NAME, "\n" + PASSWORD)}, "control characters"),
        (PROXY, {"headers": {"Host": TOKEN}}, "'host' can't be among a proxy's"),
    ):
        with pytest.raises(ValueError, match=said) as caught:
            lib.ours.AsyncClient(proxy=lib.client.Proxy(url, **options))
        assert "QXZ" not in str(caught.value)


# ── The environment ────────────────────────────────────────────────────────────────────────────


async def through(lib: Library, town: Town, url: str, **options: Any) -> str:
    """Which proxy a request of a new client goes through."""
    before = len(town.proxy.requests), len(town.socks.requests)
    async with lib.ours.AsyncClient(timeout=3, **options) as client:
        response = await client.get(url)
    assert response.status_code == 200
    after = len(town.proxy.requests), len(town.socks.requests)
    return {(0, 0): "none", (1, 0): "http", (0, 1): "socks"}[
        after[0] - before[0], after[1] - before[1]
    ]


@pytest.mark.parametrize(
    ("variables", "plain", "secure"),
    [
        ({}, "none", "none"),
        ({"HTTP_PROXY": PROXY}, "http", "none"),
        ({"https_proxy": PROXY}, "none", "http"),
        ({"ALL_PROXY": "proxy.test:3128"}, "http", "http"),
        ({"ALL_PROXY": PROXY, "HTTPS_PROXY": SOCKS}, "http", "socks"),
        ({"HTTP_PROXY": PROXY, "http_proxy": SOCKS}, "socks", "none"),
        ({"HTTP_PROXY": PROXY, "http_proxy": ""}, "none", "none"),
        # https://httpoxy.org: in a CGI program that variable is a field of the client's.
        ({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}, "none", "none"),
        ({"http_proxy": PROXY, "REQUEST_METHOD": "GET"}, "http", "none"),
        ({"ALL_PROXY": PROXY, "NO_PROXY": "other.test, one.test"}, "none", "none"),
        ({"ALL_PROXY": PROXY, "NO_PROXY": ".test"}, "none", "none"),
        ({"ALL_PROXY": PROXY, "no_proxy": "one.test:443"}, "http", "none"),
        ({"ALL_PROXY": PROXY, "no_proxy": "one"}, "http", "http"),
        ({"ALL_PROXY": PROXY, "no_proxy": "*"}, "none", "none"),
    ],
)
async def test_the_environment_says_which_proxy(
    lib: Library,
    visit: Visit,
    autojump_clock: object,
    contexts: Contexts,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    plain: str,
    secure: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    async with visit() as town:
        assert await through(lib, town, URL) == plain
        assert await through(lib, town, TLS_URL, verify=contexts[0]) == secure
        assert await through(lib, town, URL, trust_env=False) == "none"


@pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY"])
async def test_a_socks_proxy_of_the_environment_resolves_the_names(
    lib: Library, visit: Visit, autojump_clock: object, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, SOCKS)
    async with visit() as town:
        assert await through(lib, town, URL) == "socks"
        [asked] = town.socks.requests
        assert (asked.host, asked.is_name) == ("one.test", True)


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "[::1]"])
async def test_this_machine_is_reached_directly_unless_a_proxy_is_named(
    lib: Library, visit: Visit, autojump_clock: object, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Where the library itself sends it to the proxy, whose machine that would be."""
    monkeypatch.setenv("ALL_PROXY", PROXY)
    async with visit() as town:
        for name in ("localhost", "a.localhost"):
            town.network.host(name, "127.0.0.1")
        for address in ("127.0.0.1", "::1"):
            town.network.listen(address, 80, town.origin)
        assert await through(lib, town, f"http://{host}/") == "none"
        assert await through(lib, town, f"http://{host}/", proxy=PROXY) == "http"


async def test_an_explicit_proxy_goes_before_the_environment(
    lib: Library, visit: Visit, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "what can't be used")
    monkeypatch.setenv("no_proxy", "*")
    async with visit() as town:
        assert await through(lib, town, URL, proxy=PROXY) == "http"


def test_a_client_that_does_not_trust_the_environment_reads_nothing_of_it(
    lib: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreadable(dict[str, str]):
        def items(self) -> Any:
            raise AssertionError

        __getitem__ = __iter__ = get = items  # type: ignore[assignment]

    monkeypatch.setattr("os.environ", Unreadable())
    # The library reads the variables of OpenSSL for a context that it makes.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lib.ours.AsyncClient(trust_env=False, verify=context)
    lib.ours.AsyncClient(proxy=PROXY, verify=context)
    with pytest.raises(AssertionError):
        lib.ours.AsyncClient(verify=context)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_variable_that_can_not_be_used_is_named_and_not_quoted(
    lib: Library, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"http://{LOGIN}proxy.test:port")
    with pytest.raises(ValueError, match=rf"^{name} in the environment can't be used") as caught:
        lib.ours.AsyncClient()
    assert "QXZ" not in "".join(traceback.format_exception(caught.value))
    lib.ours.AsyncClient(trust_env=False)


# ── Mounts ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("by_environment", [False, True])
async def test_mounts_go_before_the_proxy_and_none_is_the_direct_way(
    lib: Library,
    visit: Visit,
    autojump_clock: object,
    monkeypatch: pytest.MonkeyPatch,
    by_environment: bool,
) -> None:
    def elsewhere(request: Any) -> Any:
        return lib.client.Response(200, text="mounted")

    options: dict[str, Any] = {"proxy": PROXY}
    if by_environment:
        monkeypatch.setenv("ALL_PROXY", PROXY)
        options = {}
    async with visit() as town:
        mounts = {
            "all://mounted.test": lib.client.MockTransport(elsewhere),
            "http://one.test": None,
            "http://socks.test": lib.ours.TriopoolTransport(proxy="socks5h://socks.test"),
        }
        town.network.host("three.test", ADDRESS)
        town.network.listen(SOCKS_ADDRESS, 80, town.origin)
        async with lib.ours.AsyncClient(mounts=mounts, **options) as client:
            assert (await client.get("http://mounted.test")).text == "mounted"
            assert (await client.get(f"{URL}/direct")).text == "GET /direct "
            assert (await client.get("http://socks.test/socks")).text == "GET /socks "
            assert (await client.get("http://three.test/proxy")).text == "GET /proxy "
            # One pool for what goes directly, and for what goes through the proxy.
            assert town.pools[-1].statistics().open == 2
        assert town.went_through == ["http://three.test/proxy"]
        assert [request.host for request in town.socks.requests] == ["socks.test"]


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.__name__)
async def test_a_mount_of_none_is_the_direct_way_behind_a_patch_too(
    lib: Library, visit: Visit, autojump_clock: object, patch: Patch
) -> None:
    async with (
        visit() as town,
        lib.ours.AsyncClient(proxy=PROXY, mounts={"http://one.test": None}) as client,
    ):
        town.network.host("three.test", ADDRESS)
        with patch(lib, lambda request: None):
            assert (await client.get(f"{URL}/direct")).text == "GET /direct "
            assert (await client.get("http://three.test/proxy")).text == "GET /proxy "
        assert (await client.get(f"{URL}/direct")).text == "GET /direct "
        assert town.went_through == ["http://three.test/proxy"]


async def test_a_mount_for_everything_goes_before_the_proxy(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    async with (
        visit() as town,
        lib.ours.AsyncClient(proxy=PROXY, mounts={"all://": None}) as client,
    ):
        await client.get(URL)
        assert (town.went_through, town.arrived) == ([], ["/"])


async def test_a_mount_of_none_wants_its_client_open(lib: Library) -> None:
    client = lib.ours.AsyncClient(proxy=PROXY, mounts={"all://": None})
    with pytest.raises(RuntimeError, match="the pool of this transport is not open"):
        await client.get(URL)


# ── Errors ─────────────────────────────────────────────────────────────────────────────────────


async def failing(
    lib: Library, kind: str, url: str = TLS_URL, *, proxy: Any = PROXY, **options: Any
) -> Any:
    """Ask, and check the error."""
    transport = lib.ours.TriopoolTransport(proxy=proxy)
    async with lib.client.AsyncClient(transport=transport, timeout=5) as client:
        with pytest.raises(lib.client.TransportError) as caught:
            await client.get(url, **options)
    error = caught.value
    assert type(error) is getattr(lib.client, kind)
    assert str(error) == str(error.__cause__)
    assert error.request.url == url
    return error


async def test_a_proxy_that_can_not_be_reached(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    async with visit() as town:
        town.network.refuse(PROXY_ADDRESS, 3128)
        town.network.host("many.test", PROXY_ADDRESS, "192.0.2.99")
        for url in (URL, TLS_URL):
            for proxy in (PROXY, "http://nowhere.test", "http://many.test:3128"):
                error = await failing(lib, "ConnectError", url, proxy=proxy)
                assert type(error.__cause__) is triopool.ProxyError
                assert "can't be reached" in str(error)


async def test_a_proxy_whose_certificate_is_not_trusted(
    lib: Library, visit: Visit, autojump_clock: object, contexts: Contexts
) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with visit() as town:
        proxy = Proxy(TLS_PROXY, ssl_context=stranger)
        error = await failing(lib, "ConnectError", proxy=proxy)
        assert "TLS with the proxy https://two.test" in str(error)
        # Its first address does not answer, and the second has the wrong certificate.
        town.network.host("two.test", "192.0.2.99", TLS_PROXY_ADDRESS)
        error = await failing(lib, "ConnectError", proxy=proxy)
        assert isinstance(error.__cause__.__cause__, ExceptionGroup)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([Receive(), Send(b"HTTP/1.1 403 Forbidden\r\n\r\n")], "refused a tunnel.*403 Forbidden"),
        ([Receive(), Send(b"HTTP/1.1 407 No\r\n\r\n")], r"407 No: it wants credentials"),
        ([Receive(), Send(b"nonsense\r\n\r\n")], "sent"),
        ([Receive(), Send(b"HTTP/1.1 200")], "in the middle of its answer"),
        ([Receive()], "closed the connection without an answer"),
        ([Receive(), Reset()], "closed the connection without an answer"),
        ([Send(b"hello")], "sent what is not legal"),
        ([Receive(), Send(b"HTTP/1.1 200 OK\r\n\r\nearly")], "before it was asked"),
    ],
)
async def test_a_proxy_that_does_not_open_a_tunnel(
    lib: Library, visit: Visit, autojump_clock: object, steps: list[Any], said: str
) -> None:
    async with visit() as town:
        town.network.listen(PROXY_ADDRESS, 3128, script(*steps))
        error = await failing(lib, "ProxyError")
        assert type(error.__cause__) is triopool.ProxyError
        assert re.search(said, str(error))
        # An address that can't be reached does not make it a matter of the network.
        town.network.host("proxy.test", "192.0.2.99", PROXY_ADDRESS)
        await failing(lib, "ProxyError")


async def test_a_socks_proxy_that_refuses(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    async def refuse(request: SOCKSRequest) -> int:
        return 2

    async with visit() as town:
        town.network.listen(SOCKS_ADDRESS, 1080, socks_proxy(town.network, refuse))
        error = await failing(lib, "ProxyError", proxy=SOCKS)
        assert "its rules don't allow it" in str(error)
        # What a chain's second proxy is called can't be looked up: nobody has refused anything.
        chain = Proxy("http://nowhere.test", via=SOCKS)
        await failing(lib, "ConnectError", proxy=chain)


async def test_a_proxy_that_is_slow(lib: Library, visit: Visit, autojump_clock: object) -> None:
    async with visit() as town:
        town.network.listen(PROXY_ADDRESS, 3128, script(Receive(), KeepOpen()))
        error = await failing(lib, "ConnectTimeout")
        assert type(error.__cause__) is triopool.ConnectTimeout
        assert "waiting for http://proxy.test:3128 to open a tunnel" in str(error)
        town.network.hang(PROXY_ADDRESS, 3128)
        await failing(lib, "ConnectTimeout", URL)


async def test_behind_a_proxy_the_origins_faults_are_the_origins(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    async with visit() as town:
        # The pool's own context does not trust it.
        error = await failing(lib, "ConnectError")
        assert type(error.__cause__) is triopool.TLSError
        assert town.went_through == ["one.test:443"]


async def test_what_is_forwarded_and_refused_is_a_response(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    async with (
        visit(credentials=(NAME, PASSWORD)) as town,
        lib.ours.AsyncClient(proxy=PROXY) as client,
    ):
        assert (await client.get(URL)).status_code == 407
        assert town.arrived == []


@pytest.mark.parametrize(
    ("url", "proxy"),
    [("http://[fe80::1%eth0]/", PROXY), ("http://[2001:db8::1]/", "socks4a://socks.test")],
)
async def test_what_a_proxy_can_not_be_asked_for(
    lib: Library, visit: Visit, autojump_clock: object, url: str, proxy: str
) -> None:
    async with visit() as town:
        transport = lib.ours.TriopoolTransport(proxy=proxy)
        async with lib.client.AsyncClient(transport=transport) as client:
            with pytest.raises(lib.client.LocalProtocolError, match="can't reach") as caught:
                await client.get(url)
        assert type(caught.value.__cause__) is triopool.InvalidURL
        assert (town.proxy.connections, town.socks.connections) == (0, 0)


# ── Secrets ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("through_a_proxy", [False, True])
async def test_credentials_for_a_proxy_are_no_fields_of_a_request(
    lib: Library, visit: Visit, autojump_clock: object, through_a_proxy: bool
) -> None:
    options = {"proxy": PROXY} if through_a_proxy else {}
    headers = {"PROXY-authorization": f"Basic {TOKEN}"}
    async with (
        visit() as town,
        lib.ours.AsyncClient(**options) as client,
        lib.ours.AsyncClient(headers=headers, **options) as other,
    ):
        for asked in (client.get(URL, headers=headers), other.get(URL)):
            with pytest.raises(lib.client.LocalProtocolError, match="reach the origin") as caught:
                await asked
            assert type(caught.value.__cause__) is triopool.LocalProtocolError
            assert "QXZ" not in str(caught.value)
        assert (town.arrived, town.went_through) == ([], [])


async def test_a_request_that_is_meant_for_a_proxy_may_have_them(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    async with visit(credentials=(NAME, PASSWORD)) as town:
        value = triopool.BasicAuth(NAME, PASSWORD).field_value()
        async with lib.ours.AsyncClient() as client:
            response = await client.get(
                "http://proxy.test:3128",
                headers={"Host": "one.test", "Proxy-Authorization": value},
                extensions={"target": f"{URL}/a".encode()},
            )
        assert response.text == "GET /a "
        assert town.arrived == ["/a"]


async def test_credentials_stand_in_no_text(
    lib: Library,
    visit: Visit,
    autojump_clock: object,
    caplog: pytest.LogCaptureFixture,
    contexts: Contexts,
) -> None:
    texts: list[str] = []

    async def trace(name: str, info: dict[str, Any]) -> None:
        texts.append(f"{name} {info}")

    async with visit(credentials=("other", "login")) as town:
        proxies = [
            lib.client.Proxy(with_login(PROXY), headers={"X-Token": TOKEN}),
            with_login(SOCKS),
            Proxy(TLS_PROXY, auth=(NAME, PASSWORD), ssl_context=contexts[0]),
            Proxy(with_login("http://nowhere.test")),
        ]
        for proxy in proxies:
            async with lib.ours.AsyncClient(proxy=proxy) as client:
                with (
                    caplog.at_level(logging.DEBUG),
                    pytest.raises(lib.client.TransportError) as caught,
                ):
                    await client.get(TLS_URL, extensions={"trace": trace})
                error = caught.value
                texts += [str(error), repr(error), *traceback.format_exception(error)]
                texts += [repr(client), repr(vars(client)), repr(town.pools[-1].statistics())]
                texts += [repr(error.__cause__), str(error.__cause__)]
        plugged = {"resolver": town.network.resolve, "socket_factory": town.network.socket}
        instruments = [LoggingInstrument()]
        with caplog.at_level(logging.DEBUG):
            transport = lib.ours.TriopoolTransport(
                proxy=with_login(PROXY), instruments=instruments, **plugged
            )
            async with lib.client.AsyncClient(transport=transport) as client:
                response = await client.get(URL, extensions={"trace": trace})
        assert response.status_code == 407
        texts += [repr(response), repr(response.request), repr(transport)]
    assert caplog.text.count("proxy.test")
    for text in (*texts, caplog.text):
        assert "QXZ" not in text
        assert ENCODED not in text


# ── What is told of a connection ───────────────────────────────────────────────────────────────


async def test_a_trace_tells_of_the_way(
    lib: Library, visit: Visit, autojump_clock: object, contexts: Contexts
) -> None:
    proxy = Proxy(TLS_PROXY, ssl_context=contexts[0])
    seen = []
    async with visit() as town:
        transport = lib.ours.TriopoolTransport(proxy=proxy, ssl_context=contexts[0])
        async with lib.client.AsyncClient(transport=transport) as client:
            for url in (URL, TLS_URL):
                trace = Trace()
                await client.get(url, extensions=trace.extensions)
                assert trace[DIAL[0]] == {"host": "two.test", "port": 443}
                seen.append([info for name, info in trace.events if name == TLS[0]])
        town.network.refuse(TLS_PROXY_ADDRESS, 443)
        trace = Trace()
        async with lib.client.AsyncClient(
            transport=lib.ours.TriopoolTransport(proxy=proxy)
        ) as client:
            with pytest.raises(lib.client.ConnectError):
                await client.get(URL, extensions=trace.extensions)
        assert trace.names == [DIAL[0], "connection.connect_tcp.failed"]
        assert trace[DIAL[0]] == {"host": "two.test", "port": 443}
    to_the_proxy, to_the_origin = {"server_hostname": "two.test"}, {"server_hostname": "one.test"}
    assert seen == [[to_the_proxy], [to_the_proxy, to_the_origin]]


async def test_an_upgrade_goes_by_tunnel(
    lib: Library, visit: Visit, autojump_clock: object
) -> None:
    async with visit() as town:
        switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
        town.network.listen(ADDRESS, 80, script(Receive(), Send(switch + b"hello"), KeepOpen()))
        headers = {"Connection": "upgrade", "Upgrade": "x"}
        async with (
            lib.ours.AsyncClient(proxy=PROXY) as client,
            client.stream("GET", "ws://one.test", headers=headers) as response,
        ):
            stream = response.extensions["network_stream"]
            assert await stream.read(99) == b"hello"
            assert stream.get_extra_info("server_addr") == (PROXY_ADDRESS, 3128)
        assert town.went_through == ["one.test:80"]


# ── On loopback ────────────────────────────────────────────────────────────────────────────────


async def test_a_proxy_of_the_environment_on_loopback(
    lib: Library, monkeypatch: pytest.MonkeyPatch, contexts: Contexts, no_leaked_sockets: None
) -> None:
    """Real sockets up to the proxy; what is behind it is in memory."""
    async with Network() as network:
        network.host("one.test", ADDRESS)
        network.listen(ADDRESS, 80, http_server(echo))
        network.listen(ADDRESS, 443, http_server(echo), ssl_context=contexts[1])
        proxy = http_proxy(network, credentials=(NAME, PASSWORD))
        async with tcp(proxy) as url:
            monkeypatch.setenv("ALL_PROXY", with_login(url))
            async with lib.ours.AsyncClient(verify=contexts[0]) as client:
                assert (await client.get(f"{URL}/a")).text == "GET /a "
                assert (await client.post(f"{TLS_URL}/b", content=b"c")).text == "POST /b c"
        assert [request.target for request in proxy.requests] == [f"{URL}/a", "one.test:443"]


async def test_proxies_that_others_wrote(
    lib: Library,
    tinyproxy: Tinyproxy,
    closed_microsocks: Microsocks,
    contexts: Contexts,
    no_leaked_sockets: None,
) -> None:
    socks = closed_microsocks.url("socks5", credentials="ada:s3cret")
    async with (
        tcp(http_server(echo)) as plain,
        tcp(http_server(echo), contexts[1]) as secure,
    ):
        for proxy in (tinyproxy.url(), socks):
            async with lib.ours.AsyncClient(proxy=proxy, verify=contexts[0]) as client:
                for url in (plain, secure):
                    assert (await client.get(f"{url}/a")).text == "GET /a "
        async with lib.ours.AsyncClient(proxy=closed_microsocks.url()) as client:
            with pytest.raises(lib.client.ProxyError, match="wants credentials"):
                await client.get(plain)
