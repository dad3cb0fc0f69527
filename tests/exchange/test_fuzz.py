"""Whatever a server sends: no hang, no foreign error, no slot lost, no answer mistaken."""

from __future__ import annotations

import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from triopool import Timeouts, TriopoolError

from .test_responses import REFUSED, SHAPES
from .world import URL, Answer, Answering, nothing_held, serving

LEGAL = [shape.raw for shape in SHAPES.values()] + list(REFUSED.values())
WORDS = [
    b"HTTP/1.1 ", b"200 OK", b"100 Continue", b"304 x", b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n",
    b"Content-Length: ", b"Transfer-Encoding: chunked", b"Connection: close", b"5", b"-1", b"\0",
    b"Keep-Alive: timeout=0", b": ", b" ", b"\t", b"hello", b"ffffffffffffffff", b";", b"\xff",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A legal response with a few pieces of it dropped, doubled or replaced."""
    raw = draw(st.sampled_from(LEGAL))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 20)))
        put = draw(st.sampled_from([b"", raw[start:end] * 2]) | st.sampled_from(WORDS))
        raw = raw[:start] + put + raw[end:]
    return raw


noise = st.binary(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=20).map(b"".join)


@settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@example(raw=b"", cut=0, end="reset", method="GET", leave=False)
@given(
    raw=mutated() | noise,
    cut=st.integers(0, 100),
    end=st.sampled_from(["keep", "close", "reset"]),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
    leave=st.booleans(),
)
def test_no_server_can_do_harm(raw: bytes, cut: int, end: str, method: str, leave: bool) -> None:
    async def main() -> None:
        server = Answering(Answer([raw[:cut], raw[cut:]], end))
        async with serving(server, max_connections=1, timeouts=Timeouts(read=3)) as (pool, network):
            error = ""
            try:
                if leave:
                    async with pool.stream(method, URL + "/1") as response:
                        await response.receive_some(1)
                else:
                    await pool.request(method, URL + "/1")
            except TriopoolError as exc:
                error = str(exc)
            assert len(error) < 500
            assert error.isprintable()
            await trio.sleep(0.1)
            nothing_held(pool, network)
            assert pool.statistics().retried == 0
            for target in (b"/2", b"/3"):
                assert (await pool.get(URL + target.decode())).content == target

    async def within_reason() -> None:
        with trio.fail_after(60):
            await main()

    trio.run(within_reason, clock=MockClock(autojump_threshold=0))
