"""Which parser a pool takes, and where it says so."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from exchange.world import URL, Answering, ok, pieces, serving

from triopool import ConnectionPool, PoolStatistics, RemoteProtocolError
from triopool._protocol import scanner
from triopool._protocol.parsers import choose_parser

from .reading import PARSERS

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n0\r\nX: y\r\n\r\n"
OURS = "triopool._protocol.httptools_parser"


@pytest.fixture
def without_httptools(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is not installed."""
    monkeypatch.setitem(sys.modules, "httptools", None)
    monkeypatch.delitem(sys.modules, OURS, raising=False)


@pytest.mark.usefixtures("both_parsers")
def test_httptools_is_taken_where_it_is_installed() -> None:
    assert choose_parser("auto").name == "httptools"
    assert choose_parser("auto") == choose_parser("httptools")
    assert choose_parser("h11").name == "h11"


@pytest.mark.usefixtures("without_httptools")
def test_h11_is_taken_where_httptools_is_not_installed() -> None:
    assert choose_parser("auto") == choose_parser("h11")
    assert choose_parser("auto").name == "h11"


@pytest.mark.usefixtures("without_httptools")
def test_whoever_asks_for_httptools_without_it_is_told_what_to_install() -> None:
    with pytest.raises(ImportError, match=re.escape("pip install 'triopool[fast]'")) as caught:
        ConnectionPool(http_parser="httptools")
    assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.parametrize("wrong", ["llhttp", "H11", "", None, True, ["h11"]])
def test_there_is_no_other(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="http_parser must be 'auto', 'h11' or"):
        ConnectionPool(http_parser=wrong)


@pytest.mark.parametrize("name", PARSERS)
async def test_a_pool_and_its_connections_say_which_one_they_have(
    autojump_clock: object, name: Any
) -> None:
    async with serving(Answering(), http_parser=name) as (pool, _):
        response = await pool.get(URL)
        assert response.connection.http_parser == name
        assert pool.statistics().http_parser == name
        async with pool.lease(URL) as lease:
            assert lease.info.http_parser == name
    assert pool.statistics().http_parser == name
    assert isinstance(pool.statistics(), PoolStatistics)


async def test_a_pool_that_was_not_told_says_what_it_has_chosen(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        response = await pool.get(URL)
        assert response.connection.http_parser == choose_parser("auto").name
        assert pool.statistics().http_parser == choose_parser("auto").name


@pytest.mark.parametrize("name", PARSERS)
async def test_each_parser_serves_a_pool(autojump_clock: object, name: Any) -> None:
    """In a few words what the whole suite says of one of them, whichever it was run with."""
    answers = [ok(b"one"), ok(b"two"), CHUNKED]
    async with serving(Answering(*answers), http_parser=name) as (pool, _):
        first = await pool.post(URL, content=b"hello")
        second = await pool.post(URL, content=pieces(b"hel", b"lo"))
        third = await pool.get(URL)
        assert [first.content, second.content, third.content] == [b"one", b"two", b"three"]
        assert dict(third.trailers) == {"X": "y"}
        assert third.connection.reused


# ── The last line of defence ───────────────────────────────────────────────────────────────────

NOT_CLEAN = [
    b"HTTP/1.1 200 OK\r\nX y: z\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX\0: y\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: y\0\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 103 x\r\nno colon\r\n\r\n",
]


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("raw", NOT_CLEAN)
async def test_a_parser_refuses_a_head_that_our_own_rules_let_pass(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch, name: Any, raw: bytes
) -> None:
    """No such head is known: so a rule is taken away."""
    monkeypatch.setattr(scanner, "CLEAN_HEAD", re.compile(b"(?s:.*)"))
    async with serving(Answering(raw), http_parser=name) as (pool, _):
        with pytest.raises(RemoteProtocolError, match=r"(h11|llhttp) refuses its head"):
            await pool.get(URL)
