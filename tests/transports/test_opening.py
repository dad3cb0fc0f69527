"""Whose pool it is, when it is open, and what is imported for it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

import triopool
from triopool import ConnectionPool
from triopool.testing import Network, http_server

from .world import ADDRESS, LIBRARIES, URL, Library, echo, serving

OTHER = dict(zip(LIBRARIES, reversed(LIBRARIES), strict=True))


# ── A pool of its own ──────────────────────────────────────────────────────────────────────────


async def test_a_client_opens_and_leaves_the_pool_of_its_transport(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(echo)) as w:
        assert w.pool.is_open
        response = await w.client.get(f"{URL}/a?b=c")
        assert response.text == "GET /a?b=c "
        assert w.pool.statistics().idle == 1
    assert not w.pool.is_open


async def test_the_options_of_a_transport_are_those_of_a_pool(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(echo), max_connections=7, max_idle=0) as w:
        assert w.pool.max_connections == 7
        await w.client.get(URL)
        assert w.pool.statistics().open == 0
    with pytest.raises(ValueError, match="max_connections must be at least 1"):
        lib.ours.TriopoolTransport(max_connections=0)
    with pytest.raises(TypeError, match="timeouts= has no meaning here"):
        lib.ours.TriopoolTransport(timeouts=triopool.Timeouts())
    with pytest.raises(TypeError, match="max_conections"):
        lib.ours.TriopoolTransport(max_conections=1)


async def test_a_client_outside_of_its_block_is_told_what_to_write(lib: Library) -> None:
    client = lib.client.AsyncClient(transport=lib.ours.TriopoolTransport())
    with pytest.raises(RuntimeError, match="the pool of this transport is not open") as caught:
        await client.get(URL)
    message, ours = str(caught.value), f"triopool.{lib.name}.TriopoolTransport"
    assert "async with triopool.ConnectionPool() as pool:" in message
    assert f"client = {lib.name}.AsyncClient(transport={ours}(pool=pool))" in message
    assert f"client = {lib.name}.AsyncClient(transport={ours}(lifetime='run'))" in message
    await client.aclose()  # There is nothing to be closed, and that is no error.
    await client.aclose()


async def test_a_transport_of_the_other_library_says_so(
    lib: Library, autojump_clock: object
) -> None:
    async with ConnectionPool() as pool:
        transport = lib.ours.TriopoolTransport(pool)
        other = Library.of(OTHER[lib.name])
        client = other.client.AsyncClient(transport=transport)
        with pytest.raises(TypeError, match=rf"is one of {lib.name}, .* client of {other.name}"):
            await client.get(URL)


async def test_a_client_of_ours_is_told_with_its_own_name_what_to_write(lib: Library) -> None:
    client = lib.ours.AsyncClient(trust_env=False)
    with pytest.raises(RuntimeError, match="the pool of this transport is not open") as caught:
        await client.get(URL)
    assert f"client = triopool.{lib.name}.AsyncClient(pool=pool)" in str(caught.value)
    assert f"client = triopool.{lib.name}.AsyncClient(lifetime='run')" in str(caught.value)


async def test_what_a_client_is_told_to_write_works(lib: Library, autojump_clock: object) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 80, http_server(echo))
        names = {"triopool": triopool, lib.name: lib.client}
        for make in (lib.ours.TriopoolTransport, lambda: lib.ours.AsyncClient(trust_env=False)):
            made = make()
            transport = made if make is lib.ours.TriopoolTransport else None
            client = lib.client.AsyncClient(transport=made) if transport else made
            with pytest.raises(RuntimeError) as caught:
                await client.get(URL)
            lend, for_run = re.findall("client = (.*)", str(caught.value))
            async with ConnectionPool(socket_factory=network.socket) as pool:
                lent = eval(lend, names | {"pool": pool})
                assert (await lent.get(f"http://{ADDRESS}/")).text == "GET / "
            assert isinstance(eval(for_run, names), lib.client.AsyncClient)


async def test_a_client_may_be_closed_inside_of_its_block_and_more_than_once(
    lib: Library, autojump_clock: object
) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 80, http_server(echo))
        transport = lib.ours.TriopoolTransport(socket_factory=network.socket)
        async with lib.client.AsyncClient(transport=transport) as client:
            await client.get(f"http://{ADDRESS}/")
            await client.aclose()
            assert not network.open_sockets
            await client.aclose()
            await transport.aclose()
            with pytest.raises(RuntimeError, match="the client has been closed"):
                await client.get(f"http://{ADDRESS}/")
            with pytest.raises(RuntimeError, match="not open"):
                await transport.handle_async_request(lib.client.Request("GET", URL))
        await client.aclose()


def test_what_comes_behind_the_closing_of_a_client_goes_on(lib: Library) -> None:
    """An SDK that is entered closes its client when it is left, perhaps in the client's own block.

    A run of its own: pytest-trio takes a test that is cancelled for one that has passed.
    """
    reached: list[str] = []

    async def main() -> None:
        async with lib.ours.AsyncClient(trust_env=False, verify=False) as client:
            await client.aclose()
            reached.append("closed")
            await trio.sleep(0.01)
            reached.append("in the block")
        reached.append("left")
        await trio.sleep(0.01)

    trio.run(main)
    assert reached == ["closed", "in the block", "left"]


async def test_closing_a_client_ends_its_requests_under_way(
    lib: Library, autojump_clock: object
) -> None:
    errors: list[BaseException] = []

    async def ask(client: Any) -> None:
        with pytest.raises(lib.client.TransportError) as caught:
            await client.get(URL)
        errors.append(caught.value)

    async with Network() as network, trio.open_nursery() as nursery:
        network.host("one.test", ADDRESS)
        network.hang(ADDRESS, 80)
        transport = lib.ours.TriopoolTransport(
            socket_factory=network.socket, resolver=network.resolve
        )
        async with lib.client.AsyncClient(transport=transport, timeout=None) as client:
            nursery.start_soon(ask, client)
            await trio.sleep(1)
            await client.aclose()
    assert [type(error.__cause__) for error in errors] == [triopool.PoolClosed]


class Odd(Exception):
    pass


async def test_what_is_raised_in_the_block_of_a_client_arrives_as_itself(
    lib: Library, autojump_clock: object
) -> None:
    async def use() -> None:
        async with Network() as network:
            transport = lib.ours.TriopoolTransport(socket_factory=network.socket)
            async with lib.client.AsyncClient(transport=transport):
                raise Odd

    with pytest.raises(Odd):
        await use()


async def test_a_cancelled_client_leaves_its_pool(lib: Library, autojump_clock: object) -> None:
    async with Network() as network:
        network.hang(ADDRESS, 80)
        transport = lib.ours.TriopoolTransport(socket_factory=network.socket)
        with trio.move_on_after(1) as scope:
            async with lib.client.AsyncClient(transport=transport, timeout=None) as client:
                await client.get(f"http://{ADDRESS}/")
        assert scope.cancelled_caught
        assert not network.open_sockets
        assert not transport.pool.is_open


async def test_one_transport_may_be_mounted_more_than_once(
    lib: Library, autojump_clock: object
) -> None:
    async with Network() as network:
        network.host("one.test", ADDRESS)
        network.listen(ADDRESS, 80, http_server(echo))
        transport = lib.ours.TriopoolTransport(
            socket_factory=network.socket, resolver=network.resolve
        )
        mounts = {"http://one.test": transport, "http://two.test": transport}
        async with lib.client.AsyncClient(transport=transport, mounts=mounts) as client:
            assert (await client.get(URL)).text == "GET / "
            assert (await client.get(f"http://{ADDRESS}/")).text == "GET / "
        assert not transport.pool.is_open
        assert not network.open_sockets
        with pytest.raises(RuntimeError, match="entered only once"):
            await transport.__aenter__()


@pytest.mark.parametrize("closed_first", [False, True])
async def test_a_client_of_several_transports_of_ours(
    lib: Library, autojump_clock: object, closed_first: bool
) -> None:
    """The library leaves them in the order in which it has entered them: Trio's is the reverse."""
    async with Network() as network:
        network.listen(ADDRESS, 80, http_server(echo))
        plugged = {"socket_factory": network.socket, "resolver": network.resolve}
        outer, first, *others = [lib.ours.TriopoolTransport(**plugged) for _ in range(4)]
        for number in (1, 2, 3):
            network.host(f"{number}.test", ADDRESS)
        mounts = {"http://2.test": others[0], "http://3.test": others[1]}
        async with outer:
            nurseries = [*trio.lowlevel.current_task().child_nurseries]
            async with lib.client.AsyncClient(transport=first, mounts=mounts) as client:
                for number in (1, 2, 3):
                    assert (await client.get(f"http://{number}.test/")).text == "GET / "
                if closed_first:
                    await client.aclose()
            assert not any(one.pool.is_open for one in (first, *others))
            assert outer.pool.is_open
            assert not network.open_sockets
            # Nothing of them is left around what the task does next.
            assert trio.lowlevel.current_task().child_nurseries == nurseries
        assert not outer.pool.is_open


async def test_a_transport_that_is_open_in_another_task_is_not_shared(lib: Library) -> None:
    async def enter() -> None:
        with pytest.raises(RuntimeError, match=r"lend it: .*TriopoolTransport\(pool=pool\)"):
            await transport.__aenter__()

    transport = lib.ours.TriopoolTransport()
    async with transport, trio.open_nursery() as nursery:
        nursery.start_soon(enter)
    assert not transport.pool.is_open


# ── A pool that is lent ────────────────────────────────────────────────────────────────────────


async def test_a_lent_pool_is_shared_and_stays_open(lib: Library, autojump_clock: object) -> None:
    async with Network() as network:
        network.listen(ADDRESS, 80, http_server(echo))
        url = f"http://{ADDRESS}/"
        async with ConnectionPool(socket_factory=network.socket, max_connections=1) as pool:
            transport = lib.ours.TriopoolTransport(pool)
            assert transport.pool is pool
            async with (
                lib.client.AsyncClient(transport=transport) as one,
                lib.ours.AsyncClient(pool=pool, trust_env=False) as two,
            ):
                assert (await one.get(url)).text == "GET / "
                assert (await two.get(url)).text == "GET / "
                assert (await pool.get(url)).text == "GET / "
            await one.aclose()
            await transport.aclose()
            # A client that has nothing to open needs no block.
            client = lib.client.AsyncClient(transport=transport)
            assert (await client.get(url)).text == "GET / "
            await client.aclose()
            assert (await pool.get(url)).text == "GET / "
            assert (pool.statistics().dialled, pool.statistics().reused) == (1, 4)


async def test_a_lent_pool_that_is_not_open_is_told_as_what_it_is(lib: Library) -> None:
    client = lib.client.AsyncClient(transport=lib.ours.TriopoolTransport(ConnectionPool()))
    with pytest.raises(RuntimeError, match="async with ConnectionPool"):
        await client.get(URL)
    async with ConnectionPool() as pool:
        pass
    async with lib.client.AsyncClient(transport=lib.ours.TriopoolTransport(pool)) as client:
        with pytest.raises(lib.client.TransportError, match="the pool was closed") as caught:
            await client.get(URL)
    assert isinstance(caught.value.__cause__, triopool.PoolClosed)


def test_what_is_lent_has_to_be_a_pool(lib: Library) -> None:
    for given in (ConnectionPool, ConnectionPool().session(), "http://a.test"):
        with pytest.raises(TypeError, match=r"pool must be a triopool\.ConnectionPool, not "):
            lib.ours.TriopoolTransport(given)


def test_a_lent_pool_takes_no_options(lib: Library) -> None:
    with pytest.raises(TypeError, match="either a pool, or the options of one"):
        lib.ours.TriopoolTransport(ConnectionPool(), max_connections=1)


# ── Imports ────────────────────────────────────────────────────────────────────────────────────


def run(*lines: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-W", "error", "-c", "\n".join(lines)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_triopool_imports_neither_library() -> None:
    names = [*LIBRARIES, "httpcore", "httpcore2", "triopool.httpx", "triopool.httpx2"]
    assert run("import sys, triopool", f"print([n for n in {names} if n in sys.modules])") == "[]"


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_one_library_is_used_where_the_other_is_absent(name: str) -> None:
    other = OTHER[name]
    absent = [other, other.replace("httpx", "httpcore")]
    printed = run(
        "import sys",
        f"sys.modules |= dict.fromkeys({absent})",
        f"import triopool.{name}",
        f"print(triopool.{name}.AsyncClient.__mro__[1].__module__)",
        f"print([n for n in ['triopool.{other}', *{absent}] if sys.modules.get(n)])",
    )
    assert printed.splitlines() == [name, "[]"]


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("part", ["httpx", "httpcore"])
def test_an_absent_library_is_told_with_what_to_install(
    name: str, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name.replace("httpx", part), None)
    monkeypatch.delitem(sys.modules, f"triopool.{name}", raising=False)
    with pytest.raises(ImportError, match=rf"pip install 'triopool\[{name}\]'") as caught:
        importlib.import_module(f"triopool.{name}")
    assert isinstance(caught.value.__cause__, ImportError)


def test_both_modules_are_the_same_but_for_names() -> None:
    folder = Path(triopool.__file__).parent
    one, two = ((folder / f"{name}.py").read_text(encoding="utf-8") for name in LIBRARIES)
    one, two = (text.replace("from ._httpx.", "from .") for text in (one, two))
    swapped = one.replace("httpx2", "@").replace("httpx", "httpx2").replace("@", "httpx")
    assert swapped.replace("httpcore", "httpcore2") == two
