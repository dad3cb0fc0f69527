"""The short ways: ``serve``, ``pool``, ``Reply(json=)``, ``Request.json()``, the fixture."""

from __future__ import annotations

import dataclasses
import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import triopool
import triopool.testing
from triopool import ConnectError, ResolveError, only_public
from triopool.testing import HTTPServer, Network, Reply, Request
from triopool.testing.fixtures import network as network

# ── Servers and pools ──────────────────────────────────────────────────────────────────────────


async def where(request: Request) -> Reply:
    return Reply(json={"host": request.header("host"), "target": request.target}, delay=2)


async def test_a_server_answers_for_an_origin(network: Network, autojump_clock: object) -> None:
    server = network.serve("http://a.test", where, connect_delay=0.5)
    assert isinstance(server, HTTPServer)
    async with network.pool(max_connections=1) as pool:
        response = await pool.get("http://a.test/b?c")
        assert response.json() == {"host": "a.test", "target": "/b?c"}
        assert response.headers["content-type"] == "application/json"
        assert trio.current_time() == 2.5
        assert pool.max_connections == 1
    assert [request.target for request in server.requests] == ["/b?c"]


async def test_a_reply_is_the_answer_to_all_requests(
    network: Network, autojump_clock: object
) -> None:
    network.serve("http://a.test:8080/", Reply(status=404))
    async with network.pool() as pool:
        assert (await pool.get("http://a.test:8080/a")).status_code == 404
        assert (await pool.get("http://a.test:8080/b")).status_code == 404
        with pytest.raises(ConnectError):
            await pool.get("http://a.test/")


async def test_each_host_has_an_address_of_its_own(
    network: Network, autojump_clock: object
) -> None:
    for number, url in enumerate(["http://a.test", "http://a.test:81", "http://B.test"]):
        network.serve(url, Reply(json=number))
    async with network.pool() as pool:
        responses = [
            await pool.get(url) for url in ["http://a.test", "http://a.test:81", "http://b.test"]
        ]
    assert [response.json() for response in responses] == [0, 1, 2]
    addresses = [response.connection.remote_address for response in responses]
    assert addresses == [("198.18.0.1", 80), ("198.18.0.1", 81), ("198.18.0.2", 80)]


async def test_a_host_that_has_addresses_keeps_them(
    network: Network, autojump_clock: object
) -> None:
    network.host("a.test", "2001:db8::1", "192.0.2.1")
    network.host("b.test", lookup_delay=1)  # It does not exist, until it is served.
    network.serve("http://a.test", Reply())
    network.serve("http://b.test", Reply())
    network.refuse("2001:db8::1", 80)
    async with network.pool() as pool:
        response = await pool.get("http://a.test")
        assert response.connection.remote_address == ("192.0.2.1", 80)
        began = trio.current_time()
        await pool.get("http://b.test")
        assert trio.current_time() - began == 1
        with pytest.raises(ResolveError):
            await pool.get("http://c.test")


@pytest.mark.parametrize("url", ["http://192.0.2.7", "http://[2001:db8::7]:81"])
async def test_an_address_is_its_own_host(
    url: str, network: Network, autojump_clock: object
) -> None:
    network.serve(url, Reply(body=b"here"))
    async with network.pool() as pool:
        assert (await pool.get(url)).content == b"here"


async def test_https_is_served_with_a_context(
    network: Network,
    autojump_clock: object,
    client_ssl_context: ssl.SSLContext,
    server_ssl_context: ssl.SSLContext,
) -> None:
    network.serve("https://one.test", Reply(body=b"here"), ssl_context=server_ssl_context)
    async with network.pool(ssl_context=client_ssl_context) as pool:
        response = await pool.get("https://one.test/")
    assert response.content == b"here"
    assert response.connection.tls is not None


async def test_what_the_network_brings_can_be_replaced(
    network: Network, autojump_clock: object
) -> None:
    network.serve("http://a.test", Reply())
    async with network.pool(socket_factory=only_public) as pool:
        with pytest.raises(ConnectError, match=r"198\.18\.0\.1"):
            await pool.get("http://a.test")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("a.test", "that of an origin, as http://a.test, not 'a.test'"),
        ("ftp://a.test", "that of an origin"),
        ("http://", "that of an origin"),
        ("http://a.test:99999", "[Pp]ort"),
        ("http://a.test/b", "leave everything else out"),
        ("http://a.test?b", "leave everything else out"),
        ("http://a.test#b", "leave everything else out"),
        ("http://a@a.test", "leave everything else out"),
        ("https://a.test", "https needs an ssl_context"),
    ],
)
async def test_what_is_not_an_origin_can_not_be_served(url: str, message: str) -> None:
    async with Network() as network:
        with pytest.raises(ValueError, match=message):
            network.serve(url, where)


async def test_other_mistakes_are_told(server_ssl_context: ssl.SSLContext) -> None:
    wrong: Any = None
    async with Network() as network:
        with pytest.raises(TypeError, match="url must be a str"):
            network.serve(wrong, where)
        with pytest.raises(TypeError, match="respond must be callable"):
            network.serve("http://a.test", wrong)
        with pytest.raises(ValueError, match="an ssl_context is for https"):
            network.serve("http://a.test", where, ssl_context=server_ssl_context)


# ── JSON ───────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_may_be_json() -> None:
    reply = Reply(json={"a": [1, "ä"]})
    assert reply.body == b'{"a": [1, "\\u00e4"]}'
    assert reply.headers == (("Content-Type", "application/json"),)
    assert reply == Reply(body=reply.body, headers=reply.headers)
    assert dataclasses.replace(reply, delay=1.0).body == reply.body
    assert Reply(json=False).body == b"false"
    assert Reply(json=None).body == b""
    own = {"content-type": "application/problem+json"}
    assert Reply(json={}, headers=own).headers == tuple(own.items())


def test_a_reply_has_one_body() -> None:
    with pytest.raises(ValueError, match="give one of them"):
        Reply(json={}, body=b"a")
    with pytest.raises(TypeError, match="not JSON serializable"):
        Reply(json=object())


async def test_a_request_may_be_json(network: Network, autojump_clock: object) -> None:
    server = network.serve("http://a.test", Reply())
    async with network.pool() as pool:
        await pool.post("http://a.test", json={"a": 1})
        await pool.post("http://a.test", content=b"spam")
    first, second = server.requests
    assert first.json() == {"a": 1}
    with pytest.raises(ValueError, match="Expecting value"):
        second.json()


# ── The fixture ────────────────────────────────────────────────────────────────────────────────

CONFTEST = 'pytest_plugins = ["triopool.testing.fixtures"]\n'
PROGRAM = """
import pytest
from triopool import Timeouts
from triopool.testing import Reply

@pytest.mark.trio
async def test_it_works(network, autojump_clock):
    network.serve("http://a.test", Reply(body=b"here", delay=1000))
    async with network.pool(timeouts=Timeouts(None)) as pool:
        assert (await pool.get("http://a.test")).content == b"here"

@pytest.mark.trio
async def test_a_handler_that_fails_fails_the_test(network):
    async def respond(request):
        raise ZeroDivisionError

    network.serve("http://a.test", respond)
    async with network.pool() as pool:
        await pool.get("http://a.test")
"""


def test_the_fixture_works_in_a_project_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    here = {**os.environ, "PYTHONPATH": str(Path(triopool.__file__).parent.parent)}
    shown = subprocess.run(
        command, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=60
    )
    assert "1 failed, 1 passed" in shown.stdout, shown.stdout + shown.stderr
    assert "ZeroDivisionError" in shown.stdout


def test_the_kit_imports_no_pytest_unless_asked() -> None:
    """Its files are looked at, because trio.testing imports pytest where it is installed."""
    folder = Path(triopool.testing.__file__).parent
    found = [file.name for file in folder.glob("*.py") if "import pytest" in file.read_text()]
    assert found == ["fixtures.py"]
    program = "import sys, triopool.testing; print('triopool.testing.fixtures' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert shown.stdout.strip() == "False", shown.stderr
