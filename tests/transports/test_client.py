"""``triopool.httpx.AsyncClient``: the arguments that ``transport=`` would lose."""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from servers import Nginx

import triopool
from triopool import ConnectionPool
from triopool.testing import KeepOpen, Network, ReceiveRequest, Send, http_server, script

from .world import ADDRESS, Library, echo, tcp

pytestmark = pytest.mark.usefixtures("no_proxies")


@pytest.fixture
def given(lib: Library, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options of the pool that a client makes, as they are given."""
    seen: dict[str, Any] = {}

    class Pool(ConnectionPool):
        def __init__(self, **options: Any) -> None:
            seen.update(options)
            super().__init__(**options)

    monkeypatch.setattr("triopool._httpx.transport.ConnectionPool", Pool)
    return seen


# ── Limits ─────────────────────────────────────────────────────────────────────────────────────


def test_the_limits_are_those_of_the_library(lib: Library, given: dict[str, Any]) -> None:
    lib.ours.AsyncClient(trust_env=False)
    del given["ssl_context"]
    assert given == {"max_connections": 100, "max_idle": 20, "idle_timeout": 5.0}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, (None, None, 5.0)),
        ({"max_connections": 3, "max_keepalive_connections": 2}, (3, 2, 5.0)),
        ({"keepalive_expiry": None}, (None, None, None)),
        ({"max_keepalive_connections": 0}, (None, 0, 5.0)),
        # Kept for no time is not kept.
        ({"max_keepalive_connections": 9, "keepalive_expiry": 0}, (None, 0, None)),
    ],
)
def test_limits_are_carried_over(
    lib: Library, given: dict[str, Any], limits: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    lib.ours.AsyncClient(limits=lib.client.Limits(**limits))
    assert (given["max_connections"], given["max_idle"], given["idle_timeout"]) == expected


def test_limits_of_another_kind_are_refused(lib: Library) -> None:
    with pytest.raises(TypeError, match=rf"limits must be a {lib.name}\.Limits, not 100"):
        lib.ours.AsyncClient(limits=100)


def test_limits_of_the_other_library_are_told_as_such(lib: Library) -> None:
    other = {"httpx": "httpx2", "httpx2": "httpx"}[lib.name]
    with pytest.raises(TypeError, match=rf"limits must be a {lib.name}\.Limits, not .*") as caught:
        lib.ours.AsyncClient(limits=Library.of(other).client.Limits())
    assert f"import Limits from {lib.name}, or take triopool.{other}.AsyncClient" in str(
        caught.value
    )


async def test_limits_hold(lib: Library, no_leaked_sockets: None) -> None:
    head = Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
    limits = lib.client.Limits(max_connections=2)
    async with (
        tcp(script(ReceiveRequest(), head, KeepOpen())) as url,
        lib.ours.AsyncClient(limits=limits, timeout=None) as client,
        client.stream("GET", url),
        client.stream("GET", url),
    ):
        with pytest.raises(lib.client.PoolTimeout):
            await client.get(url, timeout=0.05)


# ── TLS ────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def deprecated() -> Iterator[None]:
    """What the library has to say about its own arguments."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def test_a_context_of_the_callers_is_used_as_it_is(
    lib: Library, given: dict[str, Any], client_ssl_context: ssl.SSLContext
) -> None:
    class Untouchable(ssl.SSLContext):
        def set_alpn_protocols(self, *arguments: Any) -> None:
            raise AssertionError

        load_cert_chain = load_verify_locations = set_alpn_protocols  # type: ignore[assignment]

    context = Untouchable(ssl.PROTOCOL_TLS_CLIENT)
    lib.ours.AsyncClient(verify=context)
    assert given["ssl_context"] is context
    with pytest.raises(TypeError, match="load_cert_chain"):
        lib.ours.AsyncClient(verify=context, cert="client.pem")


@pytest.mark.parametrize("lent", [False, True])
async def test_the_protocol_is_negotiated_with_a_context_of_our_own(
    lib: Library,
    lent: bool,
    client_ssl_context: ssl.SSLContext,
    server_ssl_context: ssl.SSLContext,
    no_leaked_sockets: None,
) -> None:
    server_ssl_context.set_alpn_protocols(["h2", "http/1.1"])
    verify = client_ssl_context if lent else False
    async with (
        tcp(http_server(echo), server_ssl_context) as url,
        lib.ours.AsyncClient(verify=verify) as client,
    ):
        response = await client.get(url)
        ssl_object = response.extensions["network_stream"].get_extra_info("ssl_object")
        assert ssl_object.selected_alpn_protocol() == (None if lent else "http/1.1")


def test_by_default_everything_is_verified(lib: Library, given: dict[str, Any]) -> None:
    lib.ours.AsyncClient()
    assert given["ssl_context"].verify_mode == ssl.CERT_REQUIRED
    assert given["ssl_context"].check_hostname


def test_verify_false_verifies_nothing(lib: Library, given: dict[str, Any]) -> None:
    lib.ours.AsyncClient(verify=False)
    assert given["ssl_context"].verify_mode == ssl.CERT_NONE
    assert not given["ssl_context"].check_hostname


def test_a_file_of_authorities_is_trusted(
    lib: Library, given: dict[str, Any], ca: trustme.CA, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(file)
    with deprecated():
        lib.ours.AsyncClient(verify=str(file))
    assert len(given["ssl_context"].get_ca_certs()) == 1


def test_the_environment_names_authorities_unless_it_is_not_trusted(
    lib: Library,
    given: dict[str, Any],
    ca: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    lib.ours.AsyncClient()
    assert len(given["ssl_context"].get_ca_certs()) == 1
    file.unlink()
    with pytest.raises(FileNotFoundError):
        lib.ours.AsyncClient()
    lib.ours.AsyncClient(trust_env=False)


async def test_a_certificate_of_the_clients_is_shown(
    lib: Library, ca: trustme.CA, tmp_path: Path, no_leaked_sockets: None
) -> None:
    file = tmp_path / "client.pem"
    ca.issue_cert("client@one.test").private_key_and_cert_chain_pem.write_to_path(file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with deprecated():
        made = lib.ours.AsyncClient(verify=False, cert=str(file))
    async with tcp(http_server(echo), context) as url, made as client:
        assert (await client.get(url)).text == "GET / "


async def test_verify_is_what_decides_whom_to_trust(
    lib: Library, nginx: Nginx, client_ssl_context: ssl.SSLContext, no_leaked_sockets: None
) -> None:
    url = nginx.url("/2000", server="tls")
    async with lib.ours.AsyncClient() as client:
        with pytest.raises(lib.client.ConnectError) as caught:
            await client.get(url)
        assert isinstance(caught.value.__cause__, triopool.TLSError)
    for verify in (False, client_ssl_context):
        async with lib.ours.AsyncClient(verify=verify) as client:
            assert len((await client.get(url)).content) == 2000


# ── What can't be honoured ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"http1": False}, ValueError, "http1= has to be True"),
        ({"transport": None}, TypeError, "transport= is what this class is about"),
        ({"verfy": False}, TypeError, "verfy"),
    ],
)
def test_what_can_not_be_honoured_is_refused(
    lib: Library, options: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        lib.ours.AsyncClient(**options)


@pytest.mark.parametrize("name", ["AsyncClient", "TriopoolTransport"])
def test_http2_is_warned_of_where_it_is_asked_for(lib: Library, name: str) -> None:
    with pytest.warns(lib.ours.HTTP2Warning, match="triopool speaks HTTP/1.1") as caught:
        getattr(lib.ours, name)(http2=True)
    [warning] = caught
    assert warning.filename == __file__
    assert issubclass(lib.ours.HTTP2Warning, UserWarning)


async def test_a_client_that_asked_for_http2_speaks_http_1(
    lib: Library, autojump_clock: object
) -> None:
    server = http_server(echo)
    async with Network() as network, ConnectionPool(socket_factory=network.socket) as pool:
        network.listen(ADDRESS, 80, server)
        with pytest.warns(lib.ours.HTTP2Warning):
            client = lib.ours.AsyncClient(pool=pool, http2=True)
        response = await client.get(f"http://{ADDRESS}/")
        assert (response.text, response.http_version) == ("GET / ", "HTTP/1.1")


def test_what_asks_for_nothing_special_is_taken(lib: Library) -> None:
    lib.ours.AsyncClient(http1=True, http2=False, proxy=None)


def test_what_is_about_connections_is_not_for_a_lent_pool(lib: Library) -> None:
    pool = ConnectionPool()
    for options in (
        {"verify": False},
        {"cert": "a.pem"},
        {"limits": lib.client.Limits()},
        {"proxy": "http://user:SECRET@proxy.test"},
    ):
        with pytest.raises(TypeError, match=rf"{next(iter(options))}: .* the pool's affair"):
            lib.ours.AsyncClient(pool=pool, **options)


# ── The rest is the library's ──────────────────────────────────────────────────────────────────


async def test_all_other_arguments_are_the_librarys(lib: Library, autojump_clock: object) -> None:
    hooked: list[str] = []

    async def hook(request: Any) -> None:
        hooked.append(str(request.url))

    def elsewhere(request: Any) -> Any:
        return lib.client.Response(418)

    server = http_server(echo)
    async with Network() as network:
        network.listen(ADDRESS, 80, server)
        async with (
            ConnectionPool(socket_factory=network.socket) as pool,
            lib.ours.AsyncClient(
                pool=pool,
                auth=("user", "pass"),
                base_url=f"http://{ADDRESS}/api",
                cookies={"a": "1"},
                default_encoding="latin-1",
                event_hooks={"request": [hook]},
                follow_redirects=True,
                headers={"X-A": "b"},
                max_redirects=3,
                mounts={"all://mounted.test": lib.client.MockTransport(elsewhere)},
                params={"q": "1"},
                timeout=3,
                trust_env=False,
            ) as client,
        ):
            assert isinstance(client, lib.client.AsyncClient)
            assert (await client.get("/x")).text == "GET /api/x?q=1 "
            assert (await client.get("http://mounted.test/")).status_code == 418
            assert (client.timeout.read, client.max_redirects) == (3, 3)
    [request] = server.requests
    assert request.header("authorization") == "Basic dXNlcjpwYXNz"
    assert (request.header("cookie"), request.header("x-a")) == ("a=1", "b")
    assert hooked == [f"http://{ADDRESS}/api/x?q=1", "http://mounted.test/?q=1"]


async def test_a_client_owns_its_pool(lib: Library, no_leaked_sockets: None) -> None:
    client = lib.ours.AsyncClient()
    with pytest.raises(RuntimeError, match="async with"):
        await client.get("http://127.0.0.1/")
    async with lib.ours.AsyncClient() as client:
        with pytest.raises(KeyError):
            raise KeyError
    with pytest.raises(RuntimeError, match="closed"):
        await client.get("http://127.0.0.1/")
