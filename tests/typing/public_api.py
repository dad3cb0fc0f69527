"""The types of the public API, as a user's type checker sees them. Never run: see CONTRIBUTING.md.

``assert_type`` pins what a call returns. Each ``type: ignore`` marks a mistake that has to be
reported: mypy warns of an ignore that is not needed, and so does pyright by the line below.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Unpack, assert_type

import trio

import triopool
from triopool.abc import (
    AddressInfo,
    Instrument,
    NowaitSocket,
    ProxyChooser,
    Resolver,
    SocketFactory,
)
from triopool.testing import (
    HTTPProxy,
    HTTPServer,
    Network,
    NetworkSocket,
    Reply,
    Request,
    SOCKSProxy,
    SOCKSRequest,
    Sweep,
    Tunnel,
    VictimResult,
    cancel_sweep,
    http_proxy,
    http_server,
    script,
    socks_proxy,
)

URL = "https://www.example.org/"


async def requests(pool: triopool.ConnectionPool) -> None:
    response = await pool.request("GET", URL)
    assert_type(response, triopool.Response)
    assert_type(response.status_code, int)
    assert_type(response.reason, str)
    assert_type(response.http_version, str)
    assert_type(response.headers["content-type"], str)
    assert_type(response.headers.getall("set-cookie"), list[str])
    assert_type(response.raw_headers, list[tuple[bytes, bytes]])
    assert_type(response.trailers["checksum"], str)
    assert_type(response.url, str)
    assert_type(response.content, bytes)
    assert_type(response.text, str)
    assert_type(response.json(), Any)
    assert_type(response.encoding, str)
    assert_type(response.is_success, bool)
    assert_type(response.method, str)
    assert_type(response.connection.id, int)
    assert_type(response.connection.reused, bool)
    assert_type(response.connection.http_parser, str)
    assert_type(response.raise_for_status(), triopool.Response)
    assert_type(response.is_error, bool)
    assert_type(response.is_redirect, bool)
    assert_type(response.elapsed, float)
    assert_type(response.request, triopool.RequestInfo)
    assert_type(response.links["next"], triopool.Link)
    assert_type(response.links["next"].url, str)

    assert_type(await pool.get(URL, params={"q": "x"}), triopool.Response)
    assert_type(await pool.head(URL), triopool.Response)
    assert_type(await pool.post(URL, json={"a": [1, None]}), triopool.Response)
    assert_type(await pool.put(URL, content=b"x"), triopool.Response)
    assert_type(await pool.patch(URL, content="x"), triopool.Response)
    assert_type(await pool.delete(URL), triopool.Response)
    assert_type(await pool.options(URL), triopool.Response)


async def streams(pool: triopool.ConnectionPool) -> None:
    async with pool.stream("GET", URL) as response:
        async for text in response.iter_text():
            assert_type(text, str)
        async for line in response.iter_lines(max_line_length=100):
            assert_type(line, str)
        async for it in response.iter_json_lines(max_line_bytes=None):
            assert_type(it, Any)
        async for event in response.iter_events(max_event_length=100, last_event_id="7"):
            assert_type(event, triopool.ServerSentEvent)
        await response.save_to(Path("a"), on_progress=lambda now: now.received, fsync=False)
    async with pool.events(URL, last_event_id="7", reconnect_after=1, headers={}) as events:
        assert_type(events, triopool.EventSource)
        assert_type(events.last_event_id, str)
        assert_type(events.response, triopool.Response | None)
        async for event in events:
            assert_type(event.data, str)
            assert_type(event.retry, float | None)
            assert_type(event.json(), Any)
    assert_type(await pool.download(URL, "a", resume=True, decode=False), triopool.Response)
    pool.events(URL, timeout=3)  # type: ignore[call-arg]
    await pool.download(URL, b"a")  # type: ignore[arg-type]


async def kit() -> None:
    async def respond(request: Request) -> Reply:
        assert_type(request.json(), Any)
        return Reply(json={"a": 1}, headers={"b": "c"})

    async with Network() as network, network.pool(max_connections=2) as pool:
        assert_type(pool, triopool.ConnectionPool)
        assert_type(network.serve("http://a.test", respond), HTTPServer)
        network.serve("http://b.test", Reply(status=404), connect_delay=1)


async def every_argument(pool: triopool.ConnectionPool) -> None:
    def informational(status_code: int, headers: list[tuple[bytes, bytes]]) -> None: ...

    def progress(so_far: triopool.Progress) -> None:
        assert_type(so_far.sent, int)
        assert_type(so_far.to_receive, int | None)

    await pool.request(
        "POST",
        URL,
        params=[("a", "1"), ("a", "2")],
        headers={"accept": "text/html"},
        content=b"",
        timeouts=triopool.Timeouts(pool=1, connect=2.5, write=None),
        server_hostname="other.example.org",
        idempotent=True,
        target="*",
        auth=("name", "password"),
        expect_continue=True,
        follow_redirects=triopool.Redirects(limit=3, allow_downgrade=True),
        decode=False,
        on_informational=informational,
        on_progress=progress,
        max_body_bytes=1 << 20,
    )
    await pool.request("GET", URL, headers=[("accept", "text/html")])
    await pool.request("GET", URL, headers=[(b"accept", b"text/html")])
    await pool.request("GET", URL, params={"page": 1, "tag": ["a", "b"]})


async def sessions(pool: triopool.ConnectionPool) -> None:
    api = pool.session(
        base_url=URL,
        confined=False,
        headers={"X-Mine": "1", "X-Not": None},
        params={"key": 1},
        auth=("name", "password"),
        timeouts=triopool.Timeouts(5),
        proxy=triopool.DIRECT,
        follow_redirects=True,
        decode=False,
        max_body_bytes=None,
        retry=triopool.Retry(
            attempts=5,
            on=(triopool.ConnectError, 503),
            backoff=0.1,
            max_backoff=5,
            jitter=1,
            max_retry_after=30,
            budget=triopool.RetryBudget(ratio=0.1, burst=5, per_second=0),
        ),
        cookies=True,
    )
    assert_type(api, triopool.Session)
    assert_type(api.base_url, str | None)
    assert_type(api.retry, triopool.Retry | None)
    assert_type(api.session(cookies=api.cookies), triopool.Session)
    assert_type(await api.get("x", headers={"X-Mine": None}), triopool.Response)
    assert_type(await api.post("x", json=1, idempotent=True, retry=None), triopool.Response)
    await api.get("x", headers=[("X-Mine", None), (b"X-Other", b"1")])
    await api.get("x", headers={"X-Mine": b"1"})
    async with api.stream("GET", "x", auth=None) as response:
        assert_type(response, triopool.Response)
    async with api.lease() as connection:
        assert_type(connection, triopool.LeasedConnection)
        assert_type(await connection.get("x"), triopool.Response)
    async with api.events("x", retry=None, headers={"X-Mine": None}) as events:
        assert_type(events, triopool.EventSource)
    assert_type(await api.download("x", "a", resume=True, retry=None), triopool.Response)
    await api.warm_up(n=3, timeouts=triopool.Timeouts(3))
    pool.session(timeout=3)  # type: ignore[call-arg]
    await api.get("x", retry=3)  # type: ignore[arg-type]
    await pool.get(URL, retry=None)  # type: ignore[call-arg]
    triopool.Retry(on=(OSError,))  # type: ignore[arg-type]

    cookies = triopool.Cookies(is_public_suffix=lambda domain: "." not in domain)
    assert_type([cookie.name for cookie in cookies], list[str])
    assert_type(len(cookies), int)
    await cookies.load("cookies.txt")
    await cookies.save(Path("cookies.txt"))
    cookies.clear()


async def wrapped_session(
    api: triopool.Session, path: str, **options: Unpack[triopool.SessionRequestOptions]
) -> triopool.Response:
    return await api.get(path, **options)


def a_session_for(
    pool: triopool.ConnectionPool, **options: Unpack[triopool.SessionOptions]
) -> triopool.Session:
    return pool.session(**options)


async def wrapped(
    pool: triopool.ConnectionPool, path: str, **options: Unpack[triopool.RequestOptions]
) -> triopool.Response:
    return await pool.get(f"{URL}{path}", **options)


async def use_wrapped(pool: triopool.ConnectionPool) -> None:
    await wrapped(pool, "", timeouts=None)
    await pool.request("GET", URL, **triopool.RequestOptions(timeouts=None))
    await wrapped(pool, "", timeout=3)  # type: ignore[call-arg]


async def bodies(pool: triopool.ConnectionPool, stream: trio.abc.ReceiveStream) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x"

    await pool.post(URL, content=b"x")
    await pool.post(URL, content="x")
    await pool.post(URL, content=chunks())
    await pool.post(URL, content=chunks)
    await pool.post(URL, content=stream)
    await pool.post(URL, content=None)
    await pool.post(URL, content=Path("file"))
    await pool.post(URL, content=trio.Path("file"))
    await pool.post(URL, form={"a": 1, "b": ["x", None]})
    await pool.post(URL, multipart={"a": Path("file"), "b": triopool.Part(b"x", filename="x.bin")})
    await pool.post(URL, multipart=[("a", "x"), ("a", triopool.Part(chunks))])
    await pool.post(URL, content=1)  # type: ignore[arg-type]


async def credentials(pool: triopool.ConnectionPool) -> None:
    await pool.get(URL, auth=triopool.BasicAuth("name", "password"))
    await pool.get(URL, auth=triopool.BearerAuth("token"))
    await pool.get(URL, auth="token")  # type: ignore[arg-type]


async def redirects(pool: triopool.ConnectionPool) -> None:
    try:
        response = await pool.get(URL, follow_redirects=True)
    except triopool.RedirectError as exc:
        assert_type(exc.response, triopool.Response)
    else:
        assert_type(response.history, tuple[triopool.Response, ...])


async def upgrades(pool: triopool.ConnectionPool) -> None:
    async with pool.stream("GET", URL, headers={"Upgrade": "echo"}) as response:
        assert_type(response.upgraded, triopool.UpgradedStream | None)
        if response.upgraded is not None:
            stream: trio.abc.Stream = response.upgraded
            assert_type(await response.upgraded.receive_some(1), bytes)
            await stream.aclose()


async def streaming(pool: triopool.ConnectionPool) -> None:
    async with pool.stream("GET", URL) as response:
        assert_type(response, triopool.Response)
        async for chunk in response:
            assert_type(chunk, bytes)
        assert_type(await response.receive_some(), bytes)
        assert_type(await response.receive_some(1024), bytes)
        assert_type(await response.read(), bytes)
        stream: trio.abc.ReceiveStream = response
        await stream.aclose()


async def leases(pool: triopool.ConnectionPool) -> None:
    async with pool.lease(URL) as connection:
        assert_type(connection, triopool.LeasedConnection)
        assert_type(connection.info, triopool.ConnectionInfo)
        assert_type(connection.is_usable, bool)
        assert_type(await connection.request("GET", URL), triopool.Response)
        assert_type(await connection.post(URL, json=1), triopool.Response)
        async with connection.stream("GET", URL) as response:
            assert_type(response, triopool.Response)


async def operations(pool: triopool.ConnectionPool) -> None:
    await pool.warm_up(URL, 3)
    await pool.drain()
    pool.close_idle()
    assert_type(pool.retire(), int)
    pool.retire(lambda connection: connection.origin.host == "example.org")
    assert_type(pool.max_connections, int | None)
    pool.max_connections = 10
    statistics = pool.statistics()
    assert_type(statistics.open, int)
    assert_type(statistics.oldest_wait, float)
    assert_type(statistics.http_parser, str)
    for key, figures in statistics.origins.items():
        assert_type(key.origin.host, str)
        assert_type(figures.idle, int)


class Counter(Instrument):
    def reused(self, connection: triopool.ConnectionInfo) -> None:
        assert_type(connection.id, int)

    def closed(self, connection: triopool.ConnectionInfo, reason: triopool.CloseReason) -> None: ...

    def request_connected(
        self,
        request: triopool.RequestInfo,
        connection: triopool.ResponseConnection,
        seconds: float,
    ) -> None:
        assert_type(request.id, int)
        assert_type(request.redirected_from, int | None)

    def response_ended(
        self,
        request: triopool.RequestInfo,
        response: triopool.ResponseInfo,
        end: triopool.ResponseEnd,
    ) -> None:
        assert_type(end.outcome, triopool.Outcome)
        assert_type(end.body_bytes, int)
        assert_type(end.seconds, float)
        assert_type(end.error, BaseException | None)


class WrongCounter(Instrument):
    def reused(self, connection: int) -> None: ...  # type: ignore[override]


def make_socket(address: AddressInfo) -> socket.socket:
    assert_type(address.family, int)
    return socket.socket(address.family, address.type, address.proto)


async def make_trio_socket(address: AddressInfo) -> trio.socket.SocketType:
    return trio.socket.socket(address.family, address.type, address.proto)


def make_socket_for_aiohttp(
    address: tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]],
) -> socket.socket:
    return socket.socket(address[0])


def make_nothing(address: AddressInfo) -> None: ...


async def resolve(host: str, port: int) -> Sequence[AddressInfo]:
    return [AddressInfo(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port))]


def acts_at_once(network: Network, address: AddressInfo) -> None:
    quick: NowaitSocket = network.socket(address)
    assert_type(quick.send_nowait(b""), int)
    assert_type(quick.recv_nowait(1), bytes)


async def contexts(pool: triopool.ConnectionPool, context: ssl.SSLContext) -> None:
    await pool.get(URL, ssl_context=context)
    await pool.warm_up(URL, ssl_context=context)
    async with pool.lease(URL, ssl_context=context) as connection:
        await connection.request("GET", "/")
    assert_type(
        triopool.PoolKey(triopool.Origin("https", "a", 1)).ssl_context, ssl.SSLContext | None
    )
    triopool.ConnectionPool(pins={"a.example": "sha256/x", "b.example": "sha256/y"})
    triopool.ConnectionPool(pins={"a.example": ["sha256/x", "sha256/y"]})
    triopool.ConnectionPool(pins=["sha256/x"])  # type: ignore[arg-type]
    assert_type(triopool.__version__, str)


async def pools(context: ssl.SSLContext) -> None:
    factories: list[SocketFactory] = [make_socket, make_trio_socket, make_socket_for_aiohttp]
    resolver: Resolver = resolve
    pool = triopool.ConnectionPool(
        max_connections=100,
        max_connections_per_origin=None,
        max_waiting=None,
        idle_timeout=15,
        max_lifetime=None,
        max_requests_per_connection=None,
        timeouts=triopool.Timeouts(),
        ssl_context=context,
        tls_resumption=False,
        socket_factory=factories[0],
        local_address="127.0.0.1",
        resolver=resolver,
        dns_ttl=10.0,
        happy_eyeballs_delay=0.25,
        unix_socket=None,
        instruments=[Counter(), triopool.LoggingInstrument()],
    )
    async with pool as entered:
        assert_type(entered, triopool.ConnectionPool)

    assert_type(triopool.Timeouts(5), triopool.Timeouts)
    triopool.Timeouts(None, read=5.5)
    triopool.Timeouts(each=5)  # type: ignore[call-arg]
    guarded = triopool.OnlyPublic(refuse=["192.0.2.1"], allow=[], socket_factory=factories[0])
    triopool.ConnectionPool(socket_factory=guarded)
    triopool.ConnectionPool(socket_factory=triopool.only_public)

    triopool.ConnectionPool(http_parser="auto")
    triopool.ConnectionPool(http_parser="httptools")
    triopool.ConnectionPool(http_parser="llhttp")  # type: ignore[arg-type]
    triopool.ConnectionPool(timeout=3)  # type: ignore[call-arg]
    triopool.ConnectionPool(socket_factory=make_nothing)  # type: ignore[arg-type]
    triopool.ConnectionPool(resolver=make_socket)  # type: ignore[arg-type]
    triopool.ConnectionPool(instruments=[Counter])  # type: ignore[list-item]
    with pool:  # type: ignore[attr-defined]
        pass


def proxies(context: ssl.SSLContext) -> None:
    proxy = triopool.Proxy(
        "https://proxy.example.org",
        auth=("name", "password"),
        headers={"X-Region": "eu"},
        ssl_context=context,
        server_hostname="other.example.org",
        tunnel=True,
        share_connections=False,
        unix_socket=Path("/run/proxy"),
        via=None,
    )
    triopool.Proxy("http://proxy", auth=triopool.BearerAuth("token"), via="socks5h://127.0.0.1")
    assert_type(proxy.url, str)
    assert_type(proxy.origin, triopool.Origin)
    assert_type(proxy.via, triopool.Proxy | None)
    assert_type({proxy: 1}[proxy], int)

    rules = triopool.ProxyRules(http=proxy, https="http://proxy", no_proxy="localhost")
    triopool.ProxyRules(http=triopool.DIRECT, loopback=True)
    triopool.ProxyRules.from_environment({"http_proxy": "http://proxy"}, loopback=True)
    assert_type(triopool.ProxyRules.from_environment(), triopool.ProxyRules)
    origin = triopool.Origin("http", "example.org", 80)
    answer = rules(origin)
    if answer is not triopool.DIRECT:
        assert_type(answer, triopool.Proxy)

    def choose(origin: triopool.Origin) -> triopool.Proxy | triopool.Direct:
        return proxy if origin.host.endswith(".onion") else triopool.DIRECT

    def name(origin: triopool.Origin) -> str:
        return "http://proxy"

    def forget(origin: triopool.Origin) -> None: ...

    choosers: list[ProxyChooser] = [rules, choose, name, lambda origin: triopool.DIRECT]
    choosers.append(forget)  # type: ignore[arg-type]
    triopool.Proxy("http://proxy", auth="token")  # type: ignore[arg-type]
    triopool.Proxy("http://proxy", via=triopool.DIRECT)  # type: ignore[arg-type]
    triopool.ProxyRules(http=None)  # type: ignore[arg-type]
    proxy.tunnel = False  # type: ignore[misc]


def told_of_proxies(
    key: triopool.PoolKey, info: triopool.ConnectionInfo, request: triopool.RequestInfo
) -> None:
    assert_type(key.proxy, triopool.Proxy | None)
    assert_type(key.forwarded, bool)
    assert_type(request.proxy, str | None)
    if info.proxy is not None:
        assert_type(info.proxy, triopool.ProxyInfo)
        assert_type(info.proxy.url, str)
        assert_type(info.proxy.tls, triopool.TLSInfo | None)
        assert_type(info.proxy.forwards, bool)


async def mistakes(pool: triopool.ConnectionPool) -> None:
    await pool.request("GET", URL, timeout=3)  # type: ignore[call-arg]
    await pool.get(URL, timeout=3)  # type: ignore[call-arg]
    pool.lease(URL, timeout=3)  # type: ignore[call-arg]
    await pool.request(URL)  # type: ignore[call-arg]
    await pool.request("GET", URL, timeouts=3)  # type: ignore[arg-type]
    print(pool.get(URL).status_code)  # type: ignore[attr-defined]
    await pool.stream("GET", URL)  # type: ignore[misc]
    triopool.Timeouts(connect="3")  # type: ignore[arg-type]
    pool.statistics().open = 1  # type: ignore[misc]
    (await pool.get(URL)).content = b""  # type: ignore[misc]


async def errors(pool: triopool.ConnectionPool) -> None:
    try:
        await pool.get(URL)
    except triopool.StatusError as error:
        assert_type(error.response, triopool.Response)
    except triopool.ProxyError as error:
        assert_type(error.proxy, str)
        assert_type(error.status_code, int | None)
        assert_type(error.headers, list[tuple[bytes, bytes]])
    except triopool.ConnectTimeout as error:
        assert_type(error.origin, triopool.Origin | None)
        assert_type(error.seconds, float | None)
        connect_error: triopool.ConnectError = error
        too_slow: trio.TooSlowError = error
        print(connect_error, too_slow)
    except triopool.TriopoolError as error:
        assert_type(error.phase, str | None)


async def scenario(sweep: Sweep) -> None:
    async def respond(request: Request) -> Reply:
        assert_type(request.header("host"), str | None)
        return Reply(headers={"Content-Type": "text/plain"}, body=b"hello")

    async with Network() as network:
        network.listen("192.0.2.1", 80, http_server(respond))
        async with triopool.ConnectionPool(
            resolver=network.resolve, socket_factory=network.socket
        ) as pool:
            result = await sweep.victim(pool.get, "http://192.0.2.1/")
            assert_type(result, VictimResult[triopool.Response])


async def proxies_of_a_test(network: Network) -> None:
    async def respond(request: Request) -> Reply | None:
        return Reply(status=403) if request.method == "CONNECT" else None

    async def always(request: Request) -> Reply:
        return Reply(status=503)

    async def refuse(request: SOCKSRequest) -> int | None:
        assert_type(request.is_name, bool)
        return 5 if request.port == 81 else None

    proxy = http_proxy(network, respond, credentials=("ada", "pass"))
    assert_type(proxy, HTTPProxy)
    assert_type(proxy.requests, list[Request])
    assert_type(proxy.open_sockets, tuple[NetworkSocket, ...])
    http_proxy(network, always, credentials="token")
    network.listen("192.0.2.9", 3128, proxy)
    socks = socks_proxy(network, refuse, credentials=("ada", "pass"))
    assert_type(socks, SOCKSProxy)
    assert_type(socks.requests, list[SOCKSRequest])
    network.listen("192.0.2.9", 1080, socks)
    network.listen("192.0.2.9", 81, script(Tunnel(network, "192.0.2.1", 80)))
    assert_type(await network.connect("192.0.2.1", 80), trio.SocketStream)
    http_proxy(network, refuse)  # type: ignore[arg-type]
    socks_proxy(network, credentials="token")  # type: ignore[arg-type]


def sweep() -> None:
    assert_type(cancel_sweep(scenario), int)
    cancel_sweep(scenario, happens=("other", 0.1, "cancel"), share=0.5, seed=1)
    cancel_sweep(scenario, happens=("others",))  # type: ignore[arg-type]
    cancel_sweep(sweep)  # type: ignore[arg-type]


async def streams_of_ones_own(pool: triopool.ConnectionPool, api: triopool.Session) -> None:
    async with pool.connect("https://www.example.org:993", timeouts=triopool.Timeouts(3)) as stream:
        assert_type(stream, trio.abc.Stream)
    pool.connect(URL, headers={})  # type: ignore[call-arg]
    async with api.connect(proxy=triopool.DIRECT) as stream:
        assert_type(stream, trio.abc.Stream)


class Adding(Instrument):
    def attempt_started(self, record: triopool.RequestRecord) -> list[tuple[str, str]]:
        assert_type(record.request, triopool.RequestInfo)
        assert_type(record.connection, triopool.ResponseConnection | None)
        assert_type(record.response, triopool.ResponseInfo | None)
        assert_type(record.end, triopool.ResponseEnd | None)
        return [("traceparent", "00-...")]

    def request_ended(self, record: triopool.RequestRecord) -> None:
        assert_type(record.error, BaseException | None)

    def idled(self, connection: triopool.ConnectionInfo) -> None: ...
