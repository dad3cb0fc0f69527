"""What stays the library's, and works over our connections."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from triopool.testing import Reply, Request, http_server

from .world import TLS_URL, URL, Contexts, Library, echo, serving


def fields(**values: str) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in values.items()]


# ── Redirects ──────────────────────────────────────────────────────────────────────────────────


async def redirecting(request: Request) -> Reply:
    """``/302/where`` redirects there, with a body that nobody asked for."""
    if match := re.fullmatch(r"/(30\d)(/.*)", request.target):
        return Reply(int(match[1]), fields(Location=match[2]), b"moved")
    return await echo(request)


async def test_redirects_are_followed_on_one_connection(
    lib: Library, autojump_clock: object
) -> None:
    async with serving(lib, http_server(redirecting), max_connections=1) as w:
        response = await w.client.get(f"{URL}/301/302/there", follow_redirects=True)
        assert response.text == "GET /there "
        assert [one.status_code for one in response.history] == [301, 302]
        assert w.pool.statistics().dialled == 1
        response = await w.client.get(f"{URL}/301/there")
        assert response.next_request.url.path == "/there"


@pytest.mark.parametrize(("status", "expected"), [(303, b"GET /there "), (307, b"PUT /there body")])
async def test_redirects_take_a_body_along_or_drop_it(
    lib: Library, autojump_clock: object, status: int, expected: bytes
) -> None:
    async with serving(lib, http_server(redirecting)) as w:
        response = await w.client.put(
            f"{URL}/{status}/there", content=b"body", follow_redirects=True
        )
        assert response.content == expected


async def test_a_generator_can_not_be_sent_to_where_a_redirect_leads(
    lib: Library, autojump_clock: object
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"body"

    async with serving(lib, http_server(redirecting)) as w:
        with pytest.raises(lib.client.StreamConsumed):
            await w.client.put(f"{URL}/307/there", content=body(), follow_redirects=True)
        assert w.pool.statistics().busy == 0
        response = await w.client.put(f"{URL}/303/there", content=body(), follow_redirects=True)
        assert response.content == b"GET /there "


async def test_redirects_without_end_end(lib: Library, autojump_clock: object) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(302, fields(Location="/"), b"moved")

    async with serving(lib, http_server(respond), max_connections=1) as w:
        with pytest.raises(lib.client.TooManyRedirects):
            await w.client.get(URL, follow_redirects=True)
        assert w.pool.statistics().dialled == 1


# ── Cookies, credentials, hooks ────────────────────────────────────────────────────────────────


async def test_cookies_are_kept_and_sent(lib: Library, autojump_clock: object) -> None:
    async def respond(request: Request) -> Reply:
        text = (request.header("cookie") or "").encode()
        return Reply(200, [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/")], text)

    async with serving(lib, http_server(respond)) as w:
        first, second = [await w.client.get(URL) for _ in range(2)]
        assert (first.text, second.text) == ("", "a=1; b=2")
        assert dict(w.client.cookies) == {"a": "1", "b": "2"}


async def test_digest_asks_twice_on_one_connection(lib: Library, autojump_clock: object) -> None:
    async def respond(request: Request) -> Reply:
        given = request.header("authorization")
        if given is None:
            challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=MD5'
            return Reply(401, fields(WWW_Authenticate=challenge), b"who are you?")
        parts = dict(re.findall(r'(\w+)="?([^",]+)', given))

        def digest(*texts: str) -> str:
            return hashlib.md5(":".join(texts).encode()).hexdigest()

        secret = digest("user", "r", "pass")
        what = digest(request.method, request.target)
        expected = digest(secret, "n", parts["nc"], parts["cnonce"], "auth", what)
        return Reply(200 if parts["response"] == expected else 403, (), request.body)

    async with serving(lib, http_server(respond), max_connections=1) as w:
        auth = lib.client.DigestAuth("user", "pass")
        for _ in range(2):
            response = await w.client.post(f"{URL}/x", content=b"body", auth=auth)
            assert (response.status_code, response.content) == (200, b"body")
        assert w.pool.statistics().dialled == 1


async def test_an_auth_flow_may_read_request_and_response(
    lib: Library, autojump_clock: object
) -> None:
    class Echoing(lib.client.Auth):  # type: ignore[misc,name-defined]
        requires_request_body = True
        requires_response_body = True

        def auth_flow(self, request: Any) -> Any:
            request.headers["X-Signature"] = hashlib.sha256(request.content).hexdigest()
            response = yield request
            request.headers["X-Answer"] = response.text
            yield request

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    server = http_server(echo)
    async with serving(lib, server) as w:
        response = await w.client.post(URL, content=body(), auth=Echoing())
        assert response.text == "POST / ab"
        assert server.requests[1].header("x-answer") == "POST / ab"
        assert server.requests[1].header("x-signature") == hashlib.sha256(b"ab").hexdigest()


async def test_event_hooks_see_request_and_response(lib: Library, autojump_clock: object) -> None:
    seen: list[str] = []

    async def asked(request: Any) -> None:
        seen.append(request.method)

    async def answered(response: Any) -> None:
        seen.append((await response.aread()).decode())

    hooks = {"event_hooks": {"request": [asked], "response": [answered]}}
    async with serving(lib, http_server(echo), client=hooks) as w:
        await w.client.get(URL)
    assert seen == ["GET", "GET / "]


async def test_a_hook_that_raises_frees_the_slot(lib: Library, autojump_clock: object) -> None:
    async def check(response: Any) -> None:
        response.raise_for_status()

    async def respond(request: Request) -> Reply:
        return Reply(500, (), b"x" * 1_000_000)

    hooks = {"event_hooks": {"response": [check]}}
    async with serving(lib, http_server(respond), client=hooks) as w:
        with pytest.raises(lib.client.HTTPStatusError):
            await w.client.get(URL)
        assert w.pool.statistics().open == 0


# ── Bodies ─────────────────────────────────────────────────────────────────────────────────────


async def test_forms_with_files(lib: Library, autojump_clock: object) -> None:
    server = http_server(echo)
    async with serving(lib, server) as w:
        for _ in range(2):
            await w.client.post(
                URL, data={"a": "1"}, files={"f": ("name.txt", io.BytesIO(b"x" * 200_000))}
            )
    for request in server.requests:
        assert (request.header("content-type") or "").startswith("multipart/form-data; boundary=")
        assert request.header("content-length") == str(len(request.body))
        assert b'name="f"; filename="name.txt"' in request.body
        assert b"x" * 200_000 in request.body


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity"])
async def test_bodies_are_decoded_and_are_raw_where_asked_for(
    lib: Library, autojump_clock: object, encoding: str
) -> None:
    text = b"text" * 10_000
    encoded = {"gzip": gzip.compress(text), "deflate": zlib.compress(text)}.get(encoding, text)

    async def respond(request: Request) -> Reply:
        pieces = [encoded[i : i + 50] for i in range(0, len(encoded), 50)]
        return Reply(200, fields(Content_Encoding=encoding), pieces, chunked=True)

    async with serving(lib, http_server(respond)) as w:
        assert (await w.client.get(URL)).content == text
        async with w.client.stream("GET", URL) as response:
            assert b"".join([piece async for piece in response.aiter_raw()]) == encoded


async def test_many_requests_at_once_share_the_slots(
    lib: Library, autojump_clock: object, contexts: Contexts
) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(body=request.target.encode() * 1000, delay=0.1)

    answers: dict[int, bytes] = {}
    async with serving(lib, http_server(respond), contexts, max_connections=5) as w:

        async def ask(number: int) -> None:
            answers[number] = (await w.client.get(f"{TLS_URL}/{number}")).content

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(ask, number)
        statistics = w.pool.statistics()
        assert (statistics.dialled, statistics.idle) == (5, 5)
    assert answers == {number: b"/%d" % number * 1000 for number in range(50)}
