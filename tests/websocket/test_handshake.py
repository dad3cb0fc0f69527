"""The handshake: what is sent, and which answers are accepted."""

from __future__ import annotations

import base64
import importlib
import sys
from typing import Any

import pytest
import trio

import triopool
from triopool.websocket import HandshakeError, WebSocket, connect

from .world import TEXT, URL, Peer, echo, frame, serving


async def test_what_is_asked_for(autojump_clock: trio.abc.Clock) -> None:
    peers: list[Peer] = []

    async def serve(peer: Peer) -> None:
        peers.append(peer)
        await echo(peer)

    async with serving(serve) as pool:
        for url in (URL, "http://192.0.2.1/chat", "WS://192.0.2.1/chat"):
            async with connect(
                pool, url, headers={"X-Mine": "yes"}, params={"a": "b"}, auth=("ada", "x")
            ) as ws:
                assert isinstance(ws, WebSocket)
                assert (ws.response.status_code, ws.subprotocol, ws.closed) == (101, None, None)
                assert isinstance(ws, trio.abc.Channel)
    for peer in peers:
        assert peer.head.startswith(b"GET /chat?a=b HTTP/1.1\r\n")
        assert peer.field("Upgrade") == "websocket"
        assert peer.field("Connection") == "Upgrade"
        assert peer.field("Sec-WebSocket-Version") == "13"
        assert len(base64.b64decode(peer.field("Sec-WebSocket-Key"))) == 16
        assert peer.field("X-Mine") == "yes"
        assert peer.field("Authorization").startswith("Basic ")
        with pytest.raises(KeyError):
            peer.field("Sec-WebSocket-Protocol")
    assert len({peer.field("Sec-WebSocket-Key") for peer in peers}) == 3


async def test_a_subprotocol_is_chosen(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        assert peer.field("Sec-WebSocket-Protocol") == "chat.v2, chat.v1"
        await peer.send(peer.answer("Sec-WebSocket-Protocol: chat.v1"))
        await peer.echo()

    async with (
        serving(serve) as pool,
        connect(pool, URL, subprotocols=["chat.v2", "chat.v1"]) as ws,
    ):
        assert ws.subprotocol == "chat.v1"


@pytest.mark.parametrize(
    ("lines", "status", "words"),
    [
        (["Upgrade: chat"], None, "switched to another protocol"),
        (["Connection: upgrade, x", "Upgrade: h2c"], None, "switched to another protocol"),
        (["Connection: x"], None, "another protocol|not legal"),
        (["Sec-WebSocket-Accept: AAAA"], None, "did not understand"),
        (["Sec-WebSocket-Extensions: permessage-deflate"], None, "extension"),
        (["Sec-WebSocket-Protocol: other"], None, "subprotocol"),
        (["Sec-WebSocket-Protocol: one", "Sec-WebSocket-Protocol: one"], None, "subprotocol"),
        (["Content-Length: 0"], "200 OK", "answered with 200, and not 101"),
        (["Content-Length: 0", "Location: /"], "302 Found", "answered with 302, and not 101"),
    ],
)
async def test_what_the_server_may_not_answer(
    lines: list[str], status: str | None, words: str, autojump_clock: trio.abc.Clock
) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept(*lines, **({} if status is None else {"status": status}))
        await peer.stream.receive_some()

    async with serving(serve, max_connections=1) as pool:
        for _ in range(2):
            # One of the parsers is as strict as we are, and was there first.
            with pytest.raises(triopool.RemoteProtocolError, match=words) as caught:
                async with connect(pool, URL, subprotocols=["one"]):
                    raise AssertionError
            assert isinstance(caught.value, HandshakeError) or "legal" in words
            assert pool.statistics().busy == 0


async def test_a_refusal_is_a_status_error(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        await peer.stream.receive_some()

    async with serving(serve) as pool:
        with pytest.raises(triopool.StatusError, match="403") as caught:
            async with connect(pool, URL):
                raise AssertionError
        assert caught.value.response.status_code == 403


async def test_upper_case_and_more_words_are_fine(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept("Upgrade: WebSocket", "Connection: keep-alive, Upgrade")
        await peer.echo()

    async with serving(serve) as pool, connect(pool, URL) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


async def test_a_message_may_come_with_the_handshake(autojump_clock: trio.abc.Clock) -> None:
    async def serve(peer: Peer) -> None:
        await peer.read_head()
        await peer.send(peer.answer() + frame(TEXT, b"early"))
        await peer.echo()

    async with serving(serve) as pool, connect(pool, URL) as ws:
        assert await ws.receive() == "early"


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (TypeError, "no option 'content'", {"content": b"x"}),
        (TypeError, "no option 'follow_redirects'", {"follow_redirects": True}),
        (TypeError, "not a single one", {"subprotocols": "chat"}),
        (ValueError, "has to be a token", {"subprotocols": ["a b"]}),
        (ValueError, "header 'upgrade'", {"headers": {"Upgrade": "x"}}),
        (ValueError, "header 'sec-websocket-key'", {"headers": {"Sec-WebSocket-Key": "x"}}),
        (TypeError, "can't be None", {"max_message_bytes": None}),
        (ValueError, "max_message_bytes", {"max_message_bytes": 0}),
        (ValueError, "ping_interval", {"ping_interval": 0}),
        (ValueError, "ping_timeout", {"ping_timeout": -1}),
        (TypeError, "close_timeout", {"close_timeout": "1"}),
    ],
)
async def test_what_can_not_be_asked_for(
    error: type[Exception], words: str, options: Any, autojump_clock: trio.abc.Clock
) -> None:
    async with serving() as pool:
        with pytest.raises(error, match=words):
            connect(pool, URL, **options)
        with pytest.raises(triopool.InvalidURL):
            connect(pool, "ftp://192.0.2.1/")
        assert pool.statistics().dialled == 0


async def test_a_block_can_be_entered_once(autojump_clock: trio.abc.Clock) -> None:
    async with serving() as pool:
        block = connect(pool, URL)
        async with block:
            pass
        with pytest.raises(RuntimeError, match="entered already"):
            await block.__aenter__()


def test_without_wsproto_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wsproto", None)
    monkeypatch.delitem(sys.modules, "triopool.websocket")
    with pytest.raises(ImportError, match=r"pip install 'triopool\[websocket\]'"):
        importlib.import_module("triopool.websocket")


def test_public_classes_say_where_they_are_found() -> None:
    import triopool.websocket

    for name in triopool.websocket.__all__:
        value = getattr(triopool.websocket, name)
        if isinstance(value, type):
            assert value.__module__ == "triopool.websocket"
