"""OpenSSL's own server, which can be told to change keys, and to renegotiate."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trustme
from servers import require_program, server_certificate

from triopool import ConnectionPool

PATIENCE = 20.0


class Server:
    """``openssl s_server``: shows what it gets, and sends what is typed.

    A line of one letter is an order: K to change keys and have the peer change its own, r to
    renegotiate.
    """

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._shown = bytearray()

    async def watch(self) -> None:
        assert self._process.stdout is not None
        async for data in self._process.stdout:
            self._shown += data

    async def has_shown(self, text: bytes) -> bytes:
        """Wait until it has shown *text*; return what comes behind that, up to the line's end."""
        while b"\n" not in (rest := bytes(self._shown).partition(text)[2]):
            await trio.sleep(0.01)
        return rest.partition(b"\n")[0]

    async def type(self, text: bytes) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(text)

    async def answer(self, number: int) -> None:
        await self.has_shown(b"GET /%d " % number)
        await self.type(b"HTTP/1.1 200 OK\nContent-Length: 4\n\nab\n")


@pytest.fixture
async def start(ca: trustme.CA, tmp_path: Path) -> AsyncIterator[object]:
    require_program("openssl")
    pem = tmp_path / "server.pem"
    server_certificate(ca).private_key_and_cert_chain_pem.write_to_path(str(pem))
    command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-crlf", "-cert", str(pem)]
    async with trio.open_nursery() as nursery:

        async def start(*options: str) -> tuple[Server, str]:
            process = await trio.lowlevel.open_process(
                [*command, "-key", str(pem), *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            processes.append(process)
            server = Server(process)
            nursery.start_soon(server.watch)
            address = await server.has_shown(b"ACCEPT 127.0.0.1:")
            return server, f"https://127.0.0.1:{address.strip().decode()}"

        processes: list[trio.Process] = []
        yield start
        for process in processes:
            process.kill()
            await process.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("order", "options"), [(b"K\n", ["-tls1_3"]), (b"k\n", ["-tls1_3"]), (b"r\n", ["-tls1_2"])]
)
async def test_new_keys_on_an_idle_connection_do_not_make_it_stale(
    client_ssl_context: ssl.SSLContext,
    start: object,
    order: bytes,
    options: list[str],
    no_leaked_sockets: None,
) -> None:
    with trio.fail_after(PATIENCE):
        server, url = await start(*options)  # type: ignore[operator]
        async with ConnectionPool(ssl_context=client_ssl_context) as pool:
            for number in range(4):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(server.answer, number)
                    assert (await pool.get(f"{url}/{number}")).content == b"ab\r\n"
                await server.type(order)
                await trio.sleep(0.1)
            statistics = pool.statistics()
            assert (statistics.dialled, statistics.reused, statistics.stale) == (1, 3, 0)
