"""What a response tells of itself and of its request."""

from __future__ import annotations

from typing import Any

import pytest
from exchange.world import Answering, ok, serving

from triopool import LoggingInstrument, Origin, RequestInfo
from triopool.abc import Instrument
from triopool.testing import Reply, Request, http_server

URL = "http://192.0.2.1"


@pytest.mark.parametrize(
    ("status", "fields", "is_redirect", "is_error"),
    [
        (200, {"Location": "/a"}, False, False),
        (301, {"Location": "/a"}, True, False),
        (302, {}, False, False),
        (304, {"Location": "/a"}, False, False),
        (308, {"location": ""}, True, False),
        (400, {}, False, True),
        (599, {}, False, True),
        (999, {}, False, True),
    ],
)
async def test_a_response_says_whether_it_leads_elsewhere_or_is_an_error(
    status: int, fields: dict[str, str], is_redirect: bool, is_error: bool, autojump_clock: object
) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(status=status, headers=fields)

    async with serving(http_server(respond)) as (pool, _):
        response = await pool.get(URL)
    assert response.is_redirect is is_redirect
    assert response.is_error is is_error


async def test_the_facts_of_its_request_have_nothing_secret_in_their_repr(
    autojump_clock: object,
) -> None:
    moved = ok(b"", b"Location: /there?token=two").replace(b"200 OK", b"303 See Other")
    async with serving(Answering(moved, ok())) as (pool, _):
        response = await pool.post(
            "http://ada:secret@192.0.2.1/here?token=one",
            content=b"secret",
            headers={"X-Key": "secret"},
            follow_redirects=True,
        )
    request = response.request
    origin = Origin("http", "192.0.2.1", 80)
    assert request == RequestInfo("GET", origin, "/there?token=two", 1, redirects=1)
    assert response.history[0].request.method == "POST"
    assert "token" not in repr(request)
    assert "secret" not in repr(request)


@pytest.mark.parametrize("instruments", [[], [Instrument()], [LoggingInstrument()]])
async def test_the_time_that_it_took(instruments: list[Any], autojump_clock: object) -> None:
    async def respond(request: Request) -> Reply:
        return Reply(body=[b"a", b"b"], delay=2, gap=5)

    async with serving(http_server(respond), instruments=instruments) as (pool, _):
        response = await pool.get(URL)
        assert response.elapsed == pytest.approx(2)
        assert response.request.id == bool(instruments)
