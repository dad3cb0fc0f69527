"""SSLKEYLOGFILE: the keys of our own contexts, for those who want to read what a program sends."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from servers import server_certificate
from trio.testing import MockClock

from triopool import TLSError
from triopool._dial import trust
from triopool.testing import Network

from .helpers import hello_server, pool_on, server_context

ADDRESS = "192.0.2.1"


def serve(network: Network, ca: trustme.CA) -> None:
    network.host("one.test", ADDRESS)
    context = server_context(server_certificate(ca))
    network.listen(ADDRESS, 443, hello_server(), ssl_context=context)


def kinds(path: Path) -> set[str]:
    """Which secrets a file has: the first words of its lines, but for comments."""
    lines = path.read_text().splitlines()
    return {line.partition(" ")[0] for line in lines if not line.startswith("#")}


async def test_the_keys_of_each_connection_are_written_where_sslkeylogfile_says(
    autojump_clock: MockClock, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    async with Network() as network:
        serve(network, ca)
        async with pool_on(network) as pool:
            await pool.get("https://one.test/")
            assert {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} <= kinds(
                tmp_path / "keys"
            )
            size = (tmp_path / "keys").stat().st_size
            await pool.warm_up("https://one.test/", 2)
    assert (tmp_path / "keys").stat().st_size > size


async def test_so_they_are_where_truststore_verifies(
    autojump_clock: MockClock, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    async with Network() as network:
        serve(network, ca)
        async with pool_on(network) as pool:
            with pytest.raises(TLSError):  # It trusts another authority.
                await pool.get("https://one.test/")
    assert "SERVER_HANDSHAKE_TRAFFIC_SECRET" in kinds(tmp_path / "keys")


async def test_a_context_of_the_callers_is_left_as_it_is(
    autojump_clock: MockClock,
    ca: trustme.CA,
    client_ssl_context: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    async with Network() as network:
        serve(network, ca)
        async with pool_on(network, ssl_context=client_ssl_context) as pool:
            await pool.get("https://one.test/")
    assert not (tmp_path / "keys").exists()


async def test_a_file_that_can_t_be_written_is_an_oserror_and_nothing_is_sent(
    autojump_clock: MockClock, ca: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "nowhere" / "keys"))
    async with Network() as network:
        serve(network, ca)
        async with pool_on(network) as pool:
            with pytest.raises(FileNotFoundError, match="nowhere"):
                await pool.get("https://one.test/")
            assert pool.statistics().open == 0
        assert not network.events("connect")


@pytest.mark.parametrize(("switch", "is_heard"), [("-B", True), ("-E", False)])
def test_a_python_that_ignores_its_environment_ignores_that_too(
    tmp_path: Path, switch: str, is_heard: bool
) -> None:
    root = str(Path(trust.__file__).parent.parent.parent)
    program = (
        f"import sys; sys.path.insert(0, {root!r}); import triopool._dial.trust as trust; "
        "trust.default_context()"
    )
    environ = {**os.environ, "SSLKEYLOGFILE": str(tmp_path / "keys")}
    subprocess.run([sys.executable, switch, "-c", program], env=environ, check=True, timeout=60)
    assert (tmp_path / "keys").exists() == is_heard
