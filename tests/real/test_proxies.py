"""The proxies that the tests start do what the tests need of them, asked without a pool.

What fails here is a fixture, a configuration, or a new version of a proxy, and not triopool.
"""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from servers import (
    FORBIDDEN_PORT,
    MICROSOCKS_CREDENTIALS,
    SQUID_CREDENTIALS,
    TINYPROXY_CREDENTIALS,
    Dante,
    Microsocks,
    Nginx,
    Squid,
    Tinyproxy,
    TLSFront,
    run_dante,
    run_microsocks,
    run_squid,
    run_tinyproxy,
    run_tls_front,
)

from .helpers import PATIENCE

pytestmark = pytest.mark.usefixtures("no_leaked_sockets")


def basic(credentials: tuple[str, str]) -> dict[str, str]:
    encoded = base64.b64encode(":".join(credentials).encode()).decode()
    return {"Proxy-Authorization": f"Basic {encoded}"}


class Asker:
    """Asks an HTTP proxy, request after request."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        if context is not None:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self._answers: list[http.client.HTTPResponse] = []

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *_: object) -> None:
        for answer in self._answers:
            answer.close()
        self.sock.close()

    def ask(
        self, method: str, target: str, fields: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        host = target.removeprefix("http://").partition("/")[0] or "a"
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in (fields or {}).items()]
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode())
        self._answers.append(http.client.HTTPResponse(self.sock, method=method))
        self._answers[-1].begin()
        return self._answers[-1]


def nobody_listens() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


# ── squid ──────────────────────────────────────────────────────────────────────────────────────


def test_squid_forwards_and_keeps_connections_across_origins(squid: Squid, nginx: Nginx) -> None:
    with Asker(squid.ports["open"]) as asker:
        for name in ("one.test", "two.test", "127.0.0.1"):
            response = asker.ask("GET", f"http://{name}:{nginx.ports['plain']}/2000?{name}")
            assert (response.status, len(response.read())) == (200, 2000)
            assert "squid" in str(response.getheader("Via"))
        port = asker.sock.getsockname()[1]
    while len(squid.requests(f"{port} GET")) < 3:
        time.sleep(0.01)


def test_squid_opens_tunnels(squid: Squid, nginx: Nginx) -> None:
    with Asker(squid.ports["open"]) as asker:
        assert asker.ask("CONNECT", f"one.test:{nginx.ports['plain']}").status == 200
        response = asker.ask("GET", "/2000")
        assert len(response.read()) == 2000
        assert response.getheader("Via") is None


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_squid_wants_credentials(squid: Squid, nginx: Nginx, method: str) -> None:
    address = f"one.test:{nginx.ports['plain']}"
    target = address if method == "CONNECT" else f"http://{address}/"
    statuses = []
    for fields in ({}, basic(("ada", "wrong")), basic(SQUID_CREDENTIALS)):
        with Asker(squid.ports["closed"]) as asker:
            response = asker.ask(method, target, fields)
            statuses.append(response.status)
            if response.status == 407:
                assert response.getheader("Proxy-Authenticate") == 'Basic realm="triopool"'
    assert statuses == [407, 407, 200]


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
@pytest.mark.parametrize(("host", "status"), [("forbidden.test", 403), ("one.test", 503)])
def test_squid_refuses(squid: Squid, method: str, host: str, status: int) -> None:
    address = f"{host}:{nobody_listens()}"
    with Asker(squid.ports["open"]) as asker:
        target = address if method == "CONNECT" else f"http://{address}/"
        assert asker.ask(method, target).status == status


def test_squid_behind_tls(
    squid_tls: TLSFront, nginx: Nginx, client_ssl_context: ssl.SSLContext
) -> None:
    for server, status in (("open", 200), ("closed", 407)):
        with Asker(squid_tls.ports[server], client_ssl_context) as asker:
            response = asker.ask("CONNECT", f"one.test:{nginx.ports['plain']}")
            assert response.status == status


# ── tinyproxy ──────────────────────────────────────────────────────────────────────────────────


def test_tinyproxy_forwards_and_closes(tinyproxy: Tinyproxy, nginx: Nginx) -> None:
    with Asker(tinyproxy.port) as asker:
        response = asker.ask("GET", nginx.url("/2000"))
        assert (response.status, len(response.read())) == (200, 2000)
        assert asker.sock.recv(1) == b""


def test_tinyproxy_opens_tunnels(tinyproxy: Tinyproxy, nginx: Nginx) -> None:
    with Asker(tinyproxy.port) as asker:
        response = asker.ask("CONNECT", f"127.0.0.1:{nginx.ports['plain']}")
        assert (response.status, response.version) == (200, 10)
        assert len(asker.ask("GET", "/2000").read()) == 2000


@pytest.mark.parametrize("method", ["GET", "CONNECT"])
def test_tinyproxy_wants_credentials(
    closed_tinyproxy: Tinyproxy, nginx: Nginx, method: str
) -> None:
    address = f"127.0.0.1:{nginx.ports['plain']}"
    target = address if method == "CONNECT" else f"http://{address}/"
    statuses = []
    for fields in ({}, basic(("ada", "wrong")), basic(TINYPROXY_CREDENTIALS)):
        with Asker(closed_tinyproxy.port) as asker:
            statuses.append(asker.ask(method, target, fields).status)
    assert statuses == [407, 401, 200]


@pytest.mark.parametrize(("host", "status"), [("forbidden.test", 403), ("127.0.0.1", 500)])
def test_tinyproxy_refuses(tinyproxy: Tinyproxy, host: str, status: int) -> None:
    with Asker(tinyproxy.port) as asker:
        assert asker.ask("CONNECT", f"{host}:{nobody_listens()}").status == status


# ── SOCKS ──────────────────────────────────────────────────────────────────────────────────────


def ask_socks5(
    port: int, host: str | bytes, to: int, credentials: tuple[str, str] | None = None
) -> bytes | int:
    """The body of a GET; or the code with which it was refused."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
        sock.sendall(b"\5\1\2" if credentials else b"\5\1\0")
        _, method = sock.recv(2)
        if method == 0xFF:
            return 0xFF
        if credentials is not None:
            name, password = (text.encode() for text in credentials)
            said = bytes([1, len(name)]) + name + bytes([len(password)]) + password
            sock.sendall(said)
            if sock.recv(2)[1]:
                return 0xFF
        if isinstance(host, bytes):
            address = b"\3" + bytes([len(host)]) + host
        else:
            address = b"\1" + socket.inet_aton(host)
        sock.sendall(b"\5\1\0" + address + to.to_bytes(2, "big"))
        code = sock.recv(10)[1]
        return code or get(sock)


def get(sock: socket.socket) -> bytes:
    sock.sendall(b"GET /2000 HTTP/1.1\r\nHost: a\r\n\r\n")
    response = http.client.HTTPResponse(sock)
    response.begin()
    return response.read()


@pytest.mark.parametrize("host", ["127.0.0.1", b"localhost"])
def test_microsocks_opens_tunnels(microsocks: Microsocks, nginx: Nginx, host: str | bytes) -> None:
    body = ask_socks5(microsocks.port, host, nginx.ports["plain"])
    assert isinstance(body, bytes)
    assert len(body) == 2000


def test_microsocks_wants_credentials(closed_microsocks: Microsocks, nginx: Nginx) -> None:
    port, to = closed_microsocks.port, nginx.ports["plain"]
    assert ask_socks5(port, "127.0.0.1", to) == 0xFF
    assert ask_socks5(port, "127.0.0.1", to, ("ada", "wrong")) == 0xFF
    assert isinstance(ask_socks5(port, "127.0.0.1", to, MICROSOCKS_CREDENTIALS), bytes)


def test_microsocks_says_what_failed(microsocks: Microsocks) -> None:
    assert ask_socks5(microsocks.port, "127.0.0.1", nobody_listens()) == 5


@pytest.mark.parametrize("host", ["127.0.0.1", b"localhost"])
def test_dante_opens_tunnels(dante: Dante, nginx: Nginx, host: str | bytes) -> None:
    assert isinstance(ask_socks5(dante.ports["open"], host, nginx.ports["plain"]), bytes)


def test_dante_wants_credentials(dante: Dante, nginx: Nginx) -> None:
    port, to = dante.ports["closed"], nginx.ports["plain"]
    assert ask_socks5(port, "127.0.0.1", to) == 0xFF
    assert ask_socks5(port, "127.0.0.1", to, ("ada", "wrong")) == 0xFF


def test_dante_refuses(dante: Dante) -> None:
    assert ask_socks5(dante.ports["open"], "127.0.0.1", FORBIDDEN_PORT) == 2
    assert ask_socks5(dante.ports["open"], "127.0.0.1", nobody_listens()) == 5


def test_dante_speaks_socks4_and_not_4a(dante: Dante, nginx: Nginx) -> None:
    port = nginx.ports["plain"].to_bytes(2, "big")
    for address, name, code in (("127.0.0.1", b"", 90), ("0.0.0.1", b"localhost\0", 91)):
        with socket.create_connection(("127.0.0.1", dante.ports["open"]), PATIENCE) as sock:
            sock.sendall(b"\4\1" + port + socket.inet_aton(address) + b"\0" + name)
            assert sock.recv(8)[1] == code
            if code == 90:
                assert len(get(sock)) == 2000


# ── Processes ──────────────────────────────────────────────────────────────────────────────────


def descendants() -> set[int]:
    """The processes below this one that have not ended."""
    below: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = status.read_text().partition(" (")
        except OSError:
            continue  # it has ended meanwhile
        state, parent = rest.rpartition(")")[2].split()[:2]
        if state != "Z":
            below.setdefault(int(parent), []).append(int(pid))
    found: set[int] = set()
    to_see = [os.getpid()]
    while to_see:
        children = below.get(to_see.pop(), [])
        found.update(children)
        to_see += children
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", [None, signal.SIGKILL])
@pytest.mark.parametrize("program", ["squid", "tinyproxy", "dante", "microsocks", "tls front"])
def test_a_proxy_leaves_no_process_behind(
    program: str,
    how: signal.Signals | None,
    ca: trustme.CA,
    tmp_path: Path,
    reachable_directory: Callable[[], Path],
) -> None:
    """Also where a test has killed it, or fails."""
    before = descendants()
    run = {
        "squid": lambda: run_squid(reachable_directory()),
        "tinyproxy": lambda: run_tinyproxy(tmp_path, credentials=True),
        "dante": lambda: run_dante(reachable_directory()),
        "microsocks": lambda: run_microsocks(tmp_path, credentials=True),
        "tls front": lambda: run_tls_front(tmp_path, ca, {"open": 1}),
    }[program]
    started: set[int] = set()

    def fail_with_it() -> None:
        with run() as running:  # type: ignore[attr-defined]
            started.update(descendants() - before)
            assert running.process.pid in started
            if how is not None:
                running.process.send_signal(how)
            raise LookupError("a failing test")

    with pytest.raises(LookupError):
        fail_with_it()
    deadline = time.monotonic() + PATIENCE
    while any(map(is_running, started)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
