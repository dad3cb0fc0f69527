"""Each of our errors as the one of the library that says the same."""

from __future__ import annotations

import inspect
import ssl
import traceback
from typing import Any

import pytest
import trio

import triopool
from triopool.testing import KeepOpen, Receive, ReceiveRequest, Reset, Send, http_server, script

from .world import ADDRESS, TLS_URL, URL, Contexts, Library, echo, ok, serving

TABLE = {
    "PoolTimeout": "PoolTimeout",
    "PoolFull": "PoolTimeout",
    "PoolClosed": "TransportError",
    "ConnectError": "ConnectError",
    "ConnectTimeout": "ConnectTimeout",
    "ResolveError": "ConnectError",
    "TLSError": "ConnectError",
    "ProxyError": "ProxyError",
    "WriteError": "WriteError",
    "WriteTimeout": "WriteTimeout",
    "ReadError": "ReadError",
    "ReadTimeout": "ReadTimeout",
    "LocalProtocolError": "LocalProtocolError",
    "RemoteProtocolError": "RemoteProtocolError",
    "InvalidURL": "LocalProtocolError",
    "TriopoolError": "TransportError",
    # Redirects and statuses are the library's affair: these do not come up.
    "RedirectError": "TransportError",
    "StatusError": "TransportError",
}


def test_the_table_has_all_of_ours() -> None:
    ours = {
        name
        for name, kind in vars(triopool).items()
        if inspect.isclass(kind) and issubclass(kind, triopool.TriopoolError)
    }
    assert ours == set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_each_error_becomes_the_most_specific_one(lib: Library, name: str) -> None:
    kind = getattr(triopool, name)
    arguments = (
        ["what happened", None] if name in ("RedirectError", "StatusError") else ["what happened"]
    )
    translated = lib.ours.TriopoolTransport.errors.translate(kind(*arguments))
    assert type(translated) is getattr(lib.client, TABLE[name])
    assert isinstance(translated, lib.client.TransportError)
    assert str(translated) == "what happened"


async def failing(
    lib: Library, kind: str, cause: type[BaseException], w: Any, url: str = URL, **options: Any
) -> Any:
    """Ask, and check the error."""
    request = w.client.build_request("GET", url, **options)
    with pytest.raises(lib.client.TransportError) as caught:
        await w.client.send(request)
    error = caught.value
    assert type(error) is getattr(lib.client, kind)
    assert type(error.__cause__) is cause
    assert str(error) == str(error.__cause__)
    assert error.request is request
    assert not isinstance(error, BaseExceptionGroup)
    return error


async def test_a_refused_connection(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(echo)) as w:
        w.network.refuse(ADDRESS, 80)
        error = await failing(lib, "ConnectError", triopool.ConnectError, w)
        assert "refused" in str(error).lower()
        assert isinstance(error.__cause__.__cause__, OSError)


async def test_a_host_that_nobody_knows(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(echo)) as w:
        error = await failing(lib, "ConnectError", triopool.ResolveError, w, "http://nowhere.test/")
        assert "nowhere.test" in str(error)


async def test_a_certificate_that_is_not_trusted(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    async with serving(lib, http_server(echo), (stranger, contexts[1])) as w:
        error = await failing(lib, "ConnectError", triopool.TLSError, w, TLS_URL)
        assert "certificate" in str(error)


async def test_a_pool_with_no_room_to_wait(lib: Library, autojump_clock: object) -> None:
    server = script(
        ReceiveRequest(), Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), KeepOpen()
    )
    async with (
        serving(lib, server, max_connections=1, max_waiting=0) as w,
        w.client.stream("GET", URL),
    ):
        await failing(lib, "PoolTimeout", triopool.PoolFull, w)


@pytest.mark.parametrize(
    ("steps", "kind", "cause"),
    [
        ([Reset()], "ReadError", triopool.ReadError),
        ([Send(b"nonsense\r\n\r\n")], "RemoteProtocolError", triopool.RemoteProtocolError),
        ([Send(ok(b"a", b"X: y\x00"))], "RemoteProtocolError", triopool.RemoteProtocolError),
    ],
)
async def test_an_answer_that_is_none(
    lib: Library,
    autojump_clock: object,
    steps: list[Any],
    kind: str,
    cause: type[BaseException],
) -> None:
    async with serving(lib, script(Receive(), *steps)) as w:
        await failing(lib, kind, cause, w)
        assert w.pool.statistics().open == 0


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", ok(b"a")[:-1]])
async def test_an_end_of_file_is_what_either_of_two_clauses_catches(
    lib: Library, autojump_clock: object, answer: bytes
) -> None:
    """The library has RemoteProtocolError for it, and we have ReadError, as for a reset."""
    async with serving(lib, script(Receive(), Send(answer))) as w:
        for kind in (lib.client.RemoteProtocolError, lib.client.ReadError):
            with pytest.raises(kind, match="closed the connection") as caught:
                await w.client.get(URL)
            assert type(caught.value.__cause__) is triopool.ReadError
            assert type(caught.value).__name__ == "RemoteProtocolError"
        assert w.pool.statistics().open == 0


@pytest.mark.parametrize("traced", [False, True])
async def test_cancelled_is_never_touched(
    lib: Library, autojump_clock: object, traced: bool
) -> None:
    async def trace(name: str, info: dict[str, Any]) -> None:
        pass

    extensions = {"trace": trace} if traced else {}
    async with serving(lib, script(Receive(), KeepOpen())) as w:
        with trio.CancelScope(deadline=1) as scope:
            with pytest.raises(trio.Cancelled) as caught:
                await w.client.get(URL, extensions=extensions)
            assert type(caught.value) is trio.Cancelled
            raise caught.value
        assert scope.cancelled_caught
        assert w.pool.statistics().open == 0


async def test_cancelled_while_dialling_is_no_group(lib: Library, autojump_clock: object) -> None:
    async with serving(lib, http_server(echo)) as w:
        w.network.hang(ADDRESS, 80)
        with trio.move_on_after(1) as scope:
            with pytest.raises(trio.Cancelled) as caught:
                await w.client.get(URL)
            assert type(caught.value) is trio.Cancelled
            raise caught.value
        assert scope.cancelled_caught
        await trio.sleep(10)  # The dial goes on for a while, for whoever asks next.
        assert w.pool.statistics().open == 0


async def test_what_is_printed_tells_both_stories_once(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(echo)) as w:
        w.network.refuse(ADDRESS, 80)
        with pytest.raises(lib.client.ConnectError) as caught:
            await w.client.get(URL)
        printed = "".join(traceback.format_exception(caught.value))
        assert "During handling of the above exception" not in printed
        assert printed.count("was the direct cause") == 2
