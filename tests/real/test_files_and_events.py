"""Files that nginx has, fetched in parts; and events from hypercorn, over as many connections."""

from __future__ import annotations

import os
import ssl
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
import trio
from servers import Nginx

from triopool import ConnectionPool, Progress, ReadError, Timeouts

from .helpers import PATIENCE, nothing_is_held, until

Server = Literal["plain", "tls"]
both = pytest.mark.parametrize("server", ["plain", "tls"])
pytestmark = pytest.mark.usefixtures("no_leaked_sockets")


class Relay:
    """Stands before a server, and cuts each connection in turn after so many bytes of answers."""

    def __init__(self, url: str, *cuts: int) -> None:
        self._port = int(url.rpartition(":")[2])
        self._cuts = list(cuts)

    async def __call__(self, client: trio.SocketStream) -> None:
        left = self._cuts.pop(0) if self._cuts else sys.maxsize
        server = await trio.open_tcp_stream("127.0.0.1", self._port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._forward, client, server)
            while data := await server.receive_some(min(left, 2**16)):
                await client.send_all(data)
                left -= len(data)
                if not left:
                    break
            nursery.cancel_scope.cancel()

    async def _forward(self, client: trio.SocketStream, server: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            async for data in client:
                await server.send_all(data)
            await server.send_eof()


@asynccontextmanager
async def cut_short(url: str, *cuts: int) -> AsyncIterator[str]:
    """The URL of a relay before a server."""
    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, Relay(url, *cuts), 0, host="127.0.0.1")
        )
        scheme, port = url.partition(":")[0], listeners[0].socket.getsockname()[1]
        yield f"{scheme}://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


def large(nginx: Nginx) -> bytes:
    return Path(nginx.directory, "www", "large").read_bytes()


class Enough(Exception):
    pass


def statuses(nginx: Nginx, tag: str) -> list[str]:
    return [line.split()[-1] for line in nginx.requests(tag)]


def give_up_at(count: int) -> Any:
    def look(now: Progress) -> None:
        if now.received >= count:
            raise Enough

    return look


@both
async def test_a_file_of_nginx_is_gone_on_with_where_the_connection_broke(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server, tmp_path: Path
) -> None:
    whole, tag = large(nginx), uuid.uuid4().hex
    cuts = [len(whole) // 3, len(whole) // 2]
    seen: list[Progress] = []
    with trio.fail_after(PATIENCE):
        async with (
            cut_short(nginx.url("", server=server), *cuts) as url,
            ConnectionPool(ssl_context=client_ssl_context) as pool,
        ):
            files = pool.session(base_url=url)
            response = await files.download(
                f"large?{tag}", tmp_path / "large", on_progress=seen.append
            )
            nothing_is_held(pool)
    assert response.status_code == 206
    assert response.headers["Content-Range"].endswith(f"-{len(whole) - 1}/{len(whole)}")
    assert (tmp_path / "large").read_bytes() == whole
    assert os.listdir(tmp_path) == ["large"]
    await until(lambda: sorted(statuses(nginx, tag)) == ["200", "206", "206"])
    assert {now.to_receive for now in seen} == {len(whole)}
    assert seen[-1].received == len(whole)


@both
async def test_what_was_kept_of_a_file_is_gone_on_with_in_another_run(
    nginx: Nginx, client_ssl_context: ssl.SSLContext, server: Server, tmp_path: Path
) -> None:
    whole = large(nginx)
    tag = uuid.uuid4().hex
    url, path = nginx.url(f"/large?{tag}", server=server), tmp_path / "large"
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        with pytest.raises(Enough):
            await pool.download(url, path, resume=True, on_progress=give_up_at(len(whole) // 2))
        nothing_is_held(pool)
    assert os.listdir(tmp_path) == ["large.part"]
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        response = await pool.download(url, path, resume=True)
    assert response.status_code == 206
    assert int(response.headers["Content-Length"]) < len(whole)
    assert path.read_bytes() == whole
    assert os.listdir(tmp_path) == ["large"]


async def test_a_file_that_has_changed_meanwhile_comes_as_a_whole(
    nginx: Nginx, tmp_path: Path
) -> None:
    """nginx compares If-Range with its ETag, which is made of length and time."""
    url, path = nginx.url(f"/store/{uuid.uuid4().hex}"), tmp_path / "file"
    old, new = os.urandom(500_000), os.urandom(600_000)
    async with ConnectionPool() as pool:
        (await pool.put(url, content=old)).raise_for_status()
        with pytest.raises(Enough):
            await pool.download(url, path, resume=True, on_progress=give_up_at(200_000))
        (await pool.put(url, content=new)).raise_for_status()
        response = await pool.download(url, path, resume=True)
        assert response.status_code == 200
        assert path.read_bytes() == new
        await pool.delete(url)
        nothing_is_held(pool)


async def test_a_file_is_saved_as_a_whole_or_not_at_all(nginx: Nginx, tmp_path: Path) -> None:
    path = tmp_path / "large"
    with trio.fail_after(PATIENCE):
        async with cut_short(nginx.url(""), 500_000) as url, ConnectionPool() as pool:
            async with pool.stream("GET", f"{url}/large") as response:
                with pytest.raises(ReadError):
                    await response.save_to(path)
            nothing_is_held(pool)
            assert not os.listdir(tmp_path)
            async with pool.stream("GET", f"{url}/large") as response:
                await response.save_to(path)
            nothing_is_held(pool)
    assert path.read_bytes() == large(nginx)


@pytest.fixture(params=["hypercorn", "hypercorn_tls"])
def hypercorns(request: pytest.FixtureRequest) -> str:
    """The URL of hypercorn, without TLS and with it."""
    url: str = request.getfixturevalue(request.param)
    return url


async def test_events_of_hypercorn_go_on_over_one_connection_after_the_other(
    hypercorns: str, client_ssl_context: ssl.SSLContext
) -> None:
    async with ConnectionPool(ssl_context=client_ssl_context) as pool:
        api = pool.session(base_url=f"{hypercorns}/", timeouts=Timeouts(PATIENCE))
        with trio.fail_after(PATIENCE):
            async with api.events("events") as events:
                seen = [(event.id, event.data) async for event in events]
                assert events.last_event_id == "6"
        nothing_is_held(pool)
        assert seen == [(str(number), f"event\n{number}") for number in range(1, 7)]
        # To leave it early gives the connection up, and not the server.
        async with api.events("events", last_event_id="4") as events:
            assert (await anext(events)).id == "5"
            assert pool.statistics().busy == 1
        assert pool.statistics().busy == 0
        assert (await api.get("")).is_success
