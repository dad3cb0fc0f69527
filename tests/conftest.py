"""Fixtures for every test: certificates, real servers, and the house's hygiene."""

from __future__ import annotations

import os
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
import sweeping
import trustme
from inside import is_clients, remote_of
from pages.server import serving
from servers import (
    Dante,
    Haproxy,
    Microsocks,
    Nginx,
    Squid,
    Tinyproxy,
    TLSFront,
    WebSocketServer,
    open_sockets,
    run_dante,
    run_haproxy,
    run_microsocks,
    run_nginx,
    run_squid,
    run_tinyproxy,
    run_tls_front,
    run_websockets,
    serve_hypercorn,
    server_certificate,
)
from strictness import Audit

from triopool._protocol.parsers import choose_parser
from triopool.testing import NetworkSocket

# On CI the same examples every time: a change is not to be blamed for what it did not do. Elsewhere
# Hypothesis is free to find something new. A deadline per example would measure the machine.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--sweep-all",
        action="store_true",
        help="try all points of the sweeps with two events in one tick, not a twentieth of them",
    )
    parser.addoption(
        "--http-parser",
        choices=("auto", "h11"),
        default="auto",
        help="what pools read with that name no parser; 'h11' as where httptools is not installed",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--sweep-all"):
        sweeping.share = 1.0
    if config.getoption("--http-parser") == "h11":
        # From here on no import finds it. triopool looks for it once a pool is made.
        assert "httptools" not in sys.modules, "a conftest.py has imported it already"
        sys.modules["httptools"] = None  # type: ignore[assignment]


def pytest_report_header() -> str:
    return f"triopool reads with {choose_parser('auto').name}"


_EXHAUSTIVE = {
    "corpus/test_corpus.py",
    "corpus/test_cost.py",
    "dial/test_sweep.py",
    "exchange/test_cancel_sweep.py",
    "fuzz/test_fuzz.py",
    "fuzz/test_proxies.py",
    "parsers/test_alike_everywhere.py",
    "pool/test_sweep.py",
    "proxies/test_pool_sweep.py",
    "proxies/test_remains.py",
    "proxies/test_sweep.py",
    "real/test_through_proxies.py",
    "session/test_sweep.py",
    "slots/test_machine.py",
    "slots/test_sweep.py",
    "soak/test_soak.py",
    "test_benchmark_budget.py",
    "test_benchmarks.py",
    "transports/test_cancel_sweep.py",
}
"""Tests that try a scenario at each of its points, or thousands of cases; and those of the
benchmarks, which need an extra. They take half of the time, and reach no line that the others
don't: so they run where they are asked for, as CI does (``-m exhaustive``), and it does not measure
the coverage of these. Single ones in other files are marked there."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).as_posix() in _EXHAUSTIVE:
            item.add_marker(pytest.mark.exhaustive)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how many moments the cancel sweeps tried: nothing else shows that one has shrunk."""
    if tally := sweeping.tally:
        points, scenarios = sum(tally.values()), len(tally)
        terminalreporter.write_line(f"cancel sweeps: {points} points in {scenarios} scenarios")


@pytest.fixture(autouse=True)
def sigint_is_not_ignored() -> Iterator[None]:
    """Many a test presses control-C. Started by nohup, or with "&", Python leaves it ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


_NOT_HTTP = {"testing", "dial", "proxies", "soak", "fuzz/test_proxies.py"}
"""Tests that send bytes of their own over the network, or have strict servers of their own."""


@pytest.fixture(autouse=True)
def only_requests_are_sent(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Fail the test if a client sends anything but requests over the in-memory network.

    Also what no server reads, or what one reads without a look at it. TLS is left to the servers.
    """
    path = request.path.relative_to(Path(__file__).parent)
    if not _NOT_HTTP.isdisjoint((path.parts[0], path.as_posix())):
        yield
        return
    audit, send = Audit(), NetworkSocket.send_nowait

    def read_along(sock: NetworkSocket, data: bytes | bytearray | memoryview) -> int:
        count = send(sock, data)
        if is_clients(sock):
            audit.sent(sock, f"to {remote_of(sock)}", bytes(data[:count]))
        return count

    # send() comes by here too.
    monkeypatch.setattr(NetworkSocket, "send_nowait", read_along)
    yield
    assert not audit.findings, "\n".join(audit.findings)


@pytest.fixture
def no_leaked_sockets() -> Iterator[None]:
    """Fail the test if it leaves a socket open that was not open before."""
    try:
        before = open_sockets()
    except FileNotFoundError:
        pytest.skip("needs /dev/fd to list the open sockets")
    yield
    leaked = open_sockets() - before
    assert not leaked, f"sockets left open, as (descriptor, inode): {sorted(leaked)}"


# ── TLS ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """The URL, without a slash at the end, of the server for our pages: see ``pages/server.py``."""
    async with serving() as url:
        yield url


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """The certificate authority of this test run."""
    return trustme.CA()


@pytest.fixture
def client_ssl_context(ca: trustme.CA) -> ssl.SSLContext:
    """Trusts the test run's authority, and nobody else. A new one for each test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ca.configure_trust(context)
    return context


@pytest.fixture
def server_ssl_context(ca: trustme.CA) -> ssl.SSLContext:
    """For a server of the test's own, as localhost, 127.0.0.1, ::1, one.test or two.test."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_certificate(ca).configure_cert(context)
    return context


# ── Servers ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def nginx(ca: trustme.CA) -> Iterator[Nginx]:
    """A running nginx, see :class:`servers.Nginx`; skips the test where nginx is not installed."""
    # Not pytest's own directory: on some systems its path is too long for a Unix socket.
    with (
        tempfile.TemporaryDirectory(prefix="triopool-") as directory,
        run_nginx(Path(directory), ca) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def haproxy(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Haproxy]:
    """A running haproxy, see :class:`servers.Haproxy`; skips the test where it is not installed."""
    with run_haproxy(tmp_path_factory.mktemp("haproxy"), ca) as running:
        yield running


@pytest.fixture(scope="session")
def websockets(
    ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WebSocketServer]:
    """A running server of the websockets package, see :class:`servers.WebSocketServer`."""
    with run_websockets(tmp_path_factory.mktemp("websockets"), ca) as running:
        yield running


@pytest.fixture
async def hypercorn() -> AsyncIterator[str]:
    """The URL, without a slash at the end, of hypercorn serving :func:`servers.app`."""
    async with serve_hypercorn() as url:
        yield url


@pytest.fixture
async def hypercorn_tls(ca: trustme.CA, tmp_path: Path) -> AsyncIterator[str]:
    """As *hypercorn*, with TLS: trusted by *client_ssl_context*."""
    certificate = tmp_path / "server.pem"
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(certificate)
    async with serve_hypercorn(certificate) as url:
        yield url


# ── Proxies ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def reachable_directory() -> Iterator[Callable[[], Path]]:
    """Makes directories in which a server can work that drops to another account.

    pytest's own are for nobody else.
    """
    with ExitStack() as stack:

        def make() -> Path:
            name = stack.enter_context(tempfile.TemporaryDirectory(prefix="triopool-"))
            os.chmod(name, 0o755)
            return Path(name)

        yield make


@pytest.fixture(scope="session")
def squid(reachable_directory: Callable[[], Path]) -> Iterator[Squid]:
    """A running squid, see :class:`servers.Squid`; skips the test where it is not installed."""
    with run_squid(reachable_directory()) as running:
        yield running


@pytest.fixture(scope="session")
def squid_tls(
    squid: Squid, ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TLSFront]:
    """A haproxy that speaks TLS for *squid*, see :class:`servers.TLSFront`."""
    directory = tmp_path_factory.mktemp("squid-tls")
    with run_tls_front(directory, ca, squid.ports) as running:
        yield running


@pytest.fixture(scope="session")
def tinyproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tinyproxy]:
    """A running tinyproxy, see :class:`servers.Tinyproxy`, for everybody."""
    with run_tinyproxy(tmp_path_factory.mktemp("tinyproxy"), credentials=False) as running:
        yield running


@pytest.fixture(scope="session")
def closed_tinyproxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tinyproxy]:
    """A running tinyproxy that wants credentials."""
    with run_tinyproxy(tmp_path_factory.mktemp("tinyproxy"), credentials=True) as running:
        yield running


@pytest.fixture(scope="session")
def dante(reachable_directory: Callable[[], Path]) -> Iterator[Dante]:
    """A running dante, see :class:`servers.Dante`; skips the test where it is not installed."""
    with run_dante(reachable_directory()) as running:
        yield running


@pytest.fixture(scope="session")
def microsocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Microsocks]:
    """A running microsocks, see :class:`servers.Microsocks`, for everybody."""
    with run_microsocks(tmp_path_factory.mktemp("microsocks"), credentials=False) as running:
        yield running


@pytest.fixture(scope="session")
def closed_microsocks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Microsocks]:
    """A running microsocks that wants credentials."""
    with run_microsocks(tmp_path_factory.mktemp("microsocks"), credentials=True) as running:
        yield running
