"""What a proxy may say that is nearly right, for Hypothesis and as seeds."""

from __future__ import annotations

import dataclasses
import itertools

from hypothesis import strategies as st
from proxies.test_connect import NONSENSE, TUNNELS
from proxies.test_socks import FIXTURES

from .proxies import HOWS, KINDS, ProxyCase, properly
from .responses import FIELDS, INFORMATIONAL, STATUS_LINES, mostly
from .target import ENDS, GAPS

CHALLENGES = [
    b"Proxy-Authenticate: Basic realm=x", b'Proxy-Authenticate: Digest realm="a, b", nonce=c',
    b"Proxy-Authenticate: Negotiate, NTLM abc==", b'Proxy-Authenticate: Basic "', b"Via: 1.1 p",
    b'Proxy-Authenticate: "' + b'\\"' * 500, b"Proxy-Authenticate: ," + b"\xff" * 300,
    b"Proxy-Authenticate: " + b"Basic, " * 100, b"Proxy-Status: p; error=dns_error",
    b"Proxy-Status: \x01\x1b[31m" + b"x" * 300, b"Location: http://b.example/",
    b"Proxy-Connection: close", b"Connection: close", b"Proxy-Authentication-Info: x",
]  # fmt: skip

REFUSALS = [
    b"HTTP/1.1 407 Proxy Authentication Required", b"HTTP/1.0 403 Filtered", b"HTTP/1.1 302 Found",
    b"HTTP/1.1 401 Unauthorized", b"HTTP/1.1 502 \xe9\x1b[31m" + b"x" * 200, b"HTTP/1.1 503 ",
    b"HTTP/1.1 999 ?", b"HTTP/1.1 407", b"HTTP/1.1 101 Switching Protocols",
]  # fmt: skip

SOCKS_WORDS = [
    b"\x05\0", b"\x05\x02", b"\x05\xff", b"\x05\x01", b"\x01\0", b"\x01\x01", b"\x05\0\0\x01",
    b"\x05\x04", b"\x05\xf0", b"\x05\0\0\x03", b"\x05\0\0\x03\xff", b"\x05\0\0\x04", b"\x05\0\0\0",
    b"\x05\0\0\x09", b"\0\x5a", b"\0\x5b", b"\x04\x5a", b"\0\x5d", bytes(6), bytes(18), b"x" * 255,
    b"HT", b"HTTP/1.1 400 x\r\n\r\n", b"\x16\x03\x01\0\x05hello", b"SSH-2.0-x\r\n", b"\xff",
]  # fmt: skip

HEADS = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nContent-Length: 5", b"HTTP/1.0 200 Established",
    b"HTTP/1.1 204 x\r\nTransfer-Encoding: chunked", b"HTTP/1.1 299 \r\nA: b\r\n c",
]  # fmt: skip

CONNECT_ANSWERS = [*TUNNELS.values(), *(answer for answer, _ in NONSENSE.values())]
SOCKS_ANSWERS = [fixture.answers for fixture in FIXTURES.values()]

few = st.integers(0, 3)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """An answer to CONNECT, in which at most some things are wrong."""
    before = draw(mostly([], st.lists(st.sampled_from(INFORMATIONAL), max_size=3)))
    if draw(st.integers(0, 30)) == 0:
        before = [INFORMATIONAL[0]] * draw(st.integers(19, 22))
    line = draw(st.sampled_from(HEADS) | st.sampled_from(REFUSALS) | st.sampled_from(STATUS_LINES))
    fields = draw(st.lists(st.sampled_from(CHALLENGES) | st.sampled_from(FIELDS), max_size=3))
    if draw(st.integers(0, 30)) == 0:
        fields += [b"A: " + b"x" * 250] * draw(st.integers(250, 260))
    newline = draw(mostly(b"\r\n", st.just(b"\n")))
    behind = draw(mostly(b"", st.sampled_from([b"x", b"\r\n", b"\x16\x03", HEADS[0] * 9])))
    return b"".join([*before, newline.join([line, *fields, b"", b""]), behind])


answers_to_connect = heads() | heads() | st.sampled_from(CONNECT_ANSWERS)
answers_of_socks = (
    st.lists(st.sampled_from(SOCKS_WORDS), max_size=6).map(b"".join)
    | st.sampled_from(SOCKS_ANSWERS)
    | st.binary(max_size=20)
)
noise = st.binary(max_size=100)


@st.composite
def said(draw: st.DrawFn) -> ProxyCase:
    """What a proxy of some kind says: its proper answers, with at most one that is not."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    answers = list(KINDS[kind].answers)
    wrong = draw(st.integers(0, len(answers)))
    if wrong < len(answers):
        likely = answers_to_connect if answers[wrong].startswith(b"HTTP") else answers_of_socks
        answers[wrong] = draw(likely | likely | answers_to_connect | answers_of_socks | noise)
        if draw(few) == 0:
            del answers[wrong + 1 :]
    ends = list(itertools.accumulate(map(len, answers)))
    raw = b"".join(answers)
    if draw(few) == 0:
        raw = raw[: draw(st.integers(0, len(raw)))]
    if draw(few) == 0:
        raw += draw(noise | answers_to_connect | answers_of_socks)
    cuts = {*ends[:-1], *draw(st.lists(st.integers(1, 300), max_size=4))}
    cuts = {cut for cut in cuts if 0 < cut < len(raw)}
    at = [0, *sorted(cuts)]
    waits = [number for number, start in enumerate(at) if start in ends[:-1]]
    return ProxyCase(raw, kind, tuple(sorted(cuts)), draw(mostly(tuple(waits), st.just(()))))


@st.composite
def proxy_cases(draw: st.DrawFn) -> ProxyCase:
    return dataclasses.replace(
        draw(said()),
        gap=draw(mostly(0, st.integers(0, len(GAPS) - 1))),
        end=draw(mostly("keep", st.sampled_from(ENDS))),
        repeat=draw(st.booleans()),
        endless=draw(mostly(False, st.booleans())),
        early=draw(mostly(False, st.booleans())),
        how=draw(st.sampled_from(HOWS)),
        addresses=draw(st.integers(1, 3)),
        cancel=draw(mostly(None, st.integers(0, 40))),
    )


def seeds() -> list[ProxyCase]:
    """At least one case for each thing that a proxy may say."""
    cases = [properly(kind) for kind in KINDS]
    cases += [dataclasses.replace(case, waits=(), cuts=()) for case in cases]
    for kind in ("connect", "connect, credentials"):
        raws = [*CONNECT_ANSWERS, *(line + b"\r\n\r\n" for line in (*REFUSALS, *STATUS_LINES))]
        raws += [HEADS[0] + b"\r\n" + field + b"\r\n\r\n" for field in (*CHALLENGES, *FIELDS)]
        raws += [REFUSALS[0] + b"\r\n" + field + b"\r\n\r\n" for field in CHALLENGES]
        cases += [ProxyCase(raw, kind) for raw in raws]
    for fixture in FIXTURES.values():
        ends = tuple(itertools.accumulate(len(turn.answer) for turn in fixture.turns))
        waits = tuple(range(1, len(ends)))
        names = ("socks4", "socks4a") if fixture.version == 4 else ("socks5", "socks5h")
        kinds = [kind for kind in KINDS if kind.partition(",")[0] in names]
        cases += [ProxyCase(fixture.answers, kind, ends[:-1], waits) for kind in kinds]
    cases += [ProxyCase(raw, kind) for raw in SOCKS_WORDS for kind in ("socks4a", "socks5")]
    return cases


def words() -> list[bytes]:
    pieces = [*CHALLENGES, *REFUSALS, *SOCKS_WORDS, *HEADS, *STATUS_LINES, *INFORMATIONAL]
    return [piece for piece in pieces if 0 < len(piece) < 64]
