"""What a pool keeps of the requests that it has sent, and that nothing else keeps any of it."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inside import is_kept, preparations

from triopool import ConnectionPool, InvalidURL, LocalProtocolError, Timeouts
from triopool._request.places import MAX_PLACES
from triopool._request.preparations import MAX_CHARACTERS, MAX_KEPT, Preparations
from triopool._request.url import parse
from triopool.httpx import TriopoolTransport

from .world import URL, Answering, ok, serving

USUAL = Timeouts()


async def test_what_asks_for_nothing_special_is_prepared_once(autojump_clock: object) -> None:
    server = Answering()
    async with serving(server) as (pool, _):
        for _ in range(3):
            await pool.get(f"{URL}/a")
        await pool.request("get", f"{URL}/a")
        first, second, third, lower = (request.headers for request in server.requests)
        assert len(preparations(pool)) == 2
    assert first == second == third == lower


@pytest.mark.parametrize(
    "rest",
    ["/?q=1", "/?", "/#top", "/@", "/" + "x" * MAX_CHARACTERS],
    ids=["query", "empty query", "fragment", "at", "long"],
)
def test_what_may_hold_a_secret_or_is_long_is_not_kept(rest: str) -> None:
    kept = Preparations(USUAL)
    for _ in range(2):
        kept.plain("GET", URL + rest)
    kept.plain("GET", "http://name:secret@192.0.2.1/")
    assert not len(kept)
    kept.plain("GET", f"{URL}/path")
    assert len(kept) == 1


def test_the_oldest_gives_way_when_there_are_too_many() -> None:
    kept = Preparations(USUAL)
    for number in range(MAX_KEPT + 10):
        kept.plain("GET", f"{URL}/{number}")
    assert len(kept) == MAX_KEPT
    assert not is_kept(kept, "GET", f"{URL}/9")
    assert is_kept(kept, "GET", f"{URL}/10")


async def test_special_requests_and_redirects_are_not_kept(autojump_clock: object) -> None:
    moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /elsewhere\r\n\r\n"
    server = Answering(moved)
    async with serving(server) as (pool, _):
        await pool.get(f"{URL}/from", follow_redirects=True)
        await pool.get(URL, headers={"User-Agent": "me"})
        await pool.get(URL, params={"a": "b"})
        await pool.post(URL, json={})
        assert not len(preparations(pool))
    assert [request.target for request in server.requests][:2] == ["/from", "/elsewhere"]


def test_what_leads_to_one_place_is_checked_once() -> None:
    places = Preparations(USUAL).places
    known = places.parse(f"{URL}:81/a?b")
    assert len(places) == 1
    for rest in ("", "/", "/a?b=c", "?b", "/?", "/@/%20;x", "/a#SECRET", "/#"):
        assert places.parse(f"{URL}:81{rest}") == parse(f"{URL}:81{rest}")
        assert places.parse(f"{URL}:81{rest}").origin is known.origin
    assert places.parse(f"{URL}:81/a?b", {"c": 1}) == parse(f"{URL}:81/a?b&c=1")
    assert len(places) == 1


@given(st.text(st.sampled_from("aZ0.-_:/@[]%?#\\ \t\x7f\u00e9\ud800&=+;"), max_size=20))
@settings(max_examples=300, derandomize=True, database=None)
def test_a_known_place_is_found_in_the_very_urls_that_lead_there(rest: str) -> None:
    places = Preparations(USUAL).places
    places.parse("http://a.example:80/")
    for url in (f"http://a.example:80{rest}", f"http://a.example{rest}"):
        expected: Any = None
        with contextlib.suppress(InvalidURL):
            expected = parse(url)
        for _ in range(2):
            if expected is None:
                with pytest.raises(InvalidURL):
                    places.parse(url)
            else:
                assert places.parse(url) == expected


def test_no_more_places_are_remembered_than_allowed() -> None:
    kept = Preparations(USUAL)
    for number in range(MAX_PLACES + 10):
        kept.plain("GET", f"http://{number}.example/?q")
    assert len(kept.places) == 2 * 10


async def test_the_fields_of_a_known_place_are_those_of_the_first_request(
    autojump_clock: object,
) -> None:
    server = Answering()
    async with serving(server) as (pool, _):
        for number in range(2):
            await pool.get(f"{URL}/{number}?a=b")
            await pool.get(URL, params={"n": number}, decode=False)
            await pool.request("OPTIONS", URL, target="*")
            await pool.get(URL, headers={"X": str(number)})
            await pool.post(URL, content=b"x")
        with pytest.raises(LocalProtocolError, match="the target has characters"):
            await pool.get(URL, target="/a b")
        with pytest.raises(InvalidURL):
            await pool.get(f"{URL}:0/?q")
    first, second = server.requests[:5], server.requests[5:]
    for one, other in zip(first, second, strict=True):
        names = [name.lower() for name, _ in one.headers]
        assert names == [name.lower() for name, _ in other.headers]
        assert names[:3] == ["host", "accept", "user-agent"]
        assert one.header("host") == "192.0.2.1"
    assert [request.target for request in second[:3]] == ["/1?a=b", "/?n=1", "*"]


async def test_they_go_with_their_pool(autojump_clock: object) -> None:
    async with serving(Answering()) as (pool, _):
        await pool.get(URL)
        kept = weakref.ref(preparations(pool))
    del pool
    gc.collect()
    assert kept() is None


def who_keeps(reversed_text: str) -> list[str]:
    """What refers to a string with this text in it, anywhere in the process.

    (Reversed, so that neither the question nor its source is among the answers.)
    """
    gc.collect()
    text = reversed_text[::-1]
    raw = text.encode()
    found = []
    stack: list[Any] = gc.get_objects()
    seen = {id(thing) for thing in stack}
    while stack:
        thing = stack.pop()
        for held in gc.get_referents(thing):
            if isinstance(held, str | bytes):
                if (text if isinstance(held, str) else raw) in held:
                    found.append(f"{held!r:.80} in a {type(thing).__name__}")
            elif id(held) not in seen:
                seen.add(id(held))
                stack.append(held)
    return found


async def test_no_secret_stays_in_memory_when_the_pool_has_gone(autojump_clock: object) -> None:
    reversed_secret = "tset-siht-fo-t3rc3s"

    async def use(secret: str) -> None:
        location = f"Location: /elsewhere?token={secret}".encode()
        moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n" + location + b"\r\n\r\n"
        async with serving(Answering(moved, moved)) as (pool, _):
            await pool.get(f"{URL}/?token={secret}", follow_redirects=True)
            await pool.get(f"{URL}/{secret}")
            await pool.get(f"{URL}/#{secret}")
            await pool.get(URL, params={"token": secret})
            await pool.get(URL.replace("//", f"//name:{secret}@"))
            await pool.get(URL, headers={"User-Agent": secret})
            await pool.get(URL, headers={"Accept-Language": secret})
            transport = TriopoolTransport(pool)
            async with httpx.AsyncClient(transport=transport, trust_env=False) as client:
                await client.get(URL, headers={"User-Agent": secret})

    await use(reversed_secret[::-1])
    assert not who_keeps(reversed_secret)


async def test_redirects_to_long_locations_leave_nothing_behind(autojump_clock: object) -> None:
    moved = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: /%b\r\n\r\n"
    reversed_location = "noitacol-gnol"

    async def use(text: bytes) -> None:
        async with serving(Answering(moved % (text * 1000), ok())) as (pool, _):
            await pool.get(URL, follow_redirects=True)
            assert not len(preparations(pool))

    await use(reversed_location[::-1].encode())
    assert not who_keeps(reversed_location)


async def test_two_pools_keep_nothing_in_common() -> None:
    one, other = ConnectionPool(), ConnectionPool()
    assert preparations(one) is not preparations(other)
