"""Responses that are nearly right, for Hypothesis: what random bytes would hardly ever come to."""

from __future__ import annotations

import gzip
import importlib
import zlib
from collections.abc import Callable
from typing import Any

import brotli
from exchange.test_responses import REFUSED, SHAPES
from hypothesis import strategies as st

from triopool._decoding import import_first

from .target import ENDS, GAPS, HOWS, KINDS, WHENS, Case

_zstd: Any = import_first(importlib.import_module, "compression.zstd", "backports.zstd")


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # the same each time


ENCODERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": _gzip,
    b"x-gzip": _gzip,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": _zstd.compress,
    b"identity": bytes,
    b"compress": bytes,
}

BOMB_BYTES = 32 * 1024 * 1024
_BOMBED = bytes(BOMB_BYTES)
BOMBS = {
    b"gzip": _gzip(_BOMBED),
    b"deflate": zlib.compress(_BOMBED),
    b"br": brotli.compress(_BOMBED, quality=1),
    b"zstd": _zstd.compress(_BOMBED),
    b"gzip, gzip": _gzip(_gzip(_BOMBED)),
    b"br, zstd": _zstd.compress(brotli.compress(_BOMBED, quality=1)),
}
"""What stands for BOMB_BYTES, by its Content-Encoding."""

LEGAL = [shape.raw for shape in SHAPES.values()] + list(REFUSED.values())

WORDS = [
    b"HTTP/1.1 ", b"200 OK", b"100 Continue", b"304 x", b"\r\n", b"\n", b"\r\n\r\n", b"0\r\n\r\n",
    b"Content-Length: ", b"Transfer-Encoding: chunked", b"Connection: close", b"5", b"-1", b"\0",
    b"Keep-Alive: timeout=0", b": ", b" ", b"\t", b"hello", b"ffffffffffffffff", b";", b"\xff",
]  # fmt: skip

STATUS_LINES = [
    b"HTTP/1.1 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 205 Reset Content",
    b"HTTP/1.1 206 Partial Content", b"HTTP/1.1 304 Not Modified", b"HTTP/1.1 404 Not Found",
    b"HTTP/1.1 401 Unauthorized", b"HTTP/1.1 408 Request Timeout", b"HTTP/1.1 413 Too Large",
    b"HTTP/1.1 417 Expectation Failed", b"HTTP/1.1 500 x", b"HTTP/1.1 200", b"HTTP/1.1 200 ",
    b"HTTP/1.1 999 \xe9\x1b[31m", b"HTTP/1.1 199 x", b"HTTP/1.0 200 OK", b"HTTP/2.0 200 OK",
    b"HTTP/1.1 099 x", b"HTTP/1.1 1000 x", b"http/1.1 200 OK", b"HTTP/1.1  200 OK", b"ICY 200 OK",
    b"HTTP/1.1 200 " + b"x" * 300,
]  # fmt: skip

REDIRECTING = [b"HTTP/1.1 %d See" % status for status in (300, 301, 302, 303, 305, 307, 308)]

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

INFORMATIONAL = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 199 x\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 100 Continue\n\n",
    SWITCHING,
]

LOCATIONS = [
    b"/fuzz", b"/fuzz/again", b"/elsewhere", b"", b"?q", b"#f", b"//b.example/x",
    b"http://b.example/", b"http://a.example:80/fuzz", b"https://a.example/",
    b"http://nowhere.example/", b"http://", b"http://192.0.2.9/", b"ftp://a.example/",
    b"javascript:alert(1)", b"http://u:p@b.example/", b"http://[::1/", b"http://[v1.x]/",
    b"http://a.example:99999/", b"http://a.example:0/", b"\xff\xfe", b"/\xc3\xbc?\xe9", b"/a b",
    b"/%zz", b"http://xn--a/", b"http://\xe2\x84\x80.example/", b"/\\b", b"http://127.1/",
    b"http://[v1." + b"x" * 3000 + b"]/", b"/" + b"\xf3" * 99, b"http:/fuzz", b"http:fuzz",
    b"../../..", b";", b"//", b"///", b"http://@/", b"/" + b"x" * 3000,
]  # fmt: skip

FIELDS = [
    b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade", b"Upgrade: echo",
    b"Keep-Alive: timeout=1", b"Keep-Alive: timeout=0",
    b"Keep-Alive: max=0, timeout=99999999999999", b"Keep-Alive: timeout=\xb2",
    b"Keep-Alive: ,=,timeout", b"Content-Type: text/html; charset=utf-16",
    b"Content-Type: text/plain; charset=punycode",
    b"Content-Type: text/plain; charset=unicode_escape",
    b"Content-Type: text/plain; charset=\"hex\"", b"Content-Type: a; charset*=utf-8''utf-8",
    b"Content-Type: ;;charset=\xe9", b"Content-Type: x/y; charset=idna", b"Set-Cookie: a=\xe9",
    b"X: a\r\n folded", b"X:", b":", b"X : y", b" X: y", b"X: \0", b"X: y\rz", b"X\xe9: y",
    b"Trailer: X", b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 5, 5",
    b"Content-Length: +5", b"Content-Length: 99999999999999999999", b"Content-Length: \xb2",
    b"Content-Length: 3000000000", b"Content-Length: 005", b"Content-Length: ",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: identity",
    b"Content-Encoding: gzip", b"Content-Encoding: ,", b"Content-Encoding: br, gzip, zstd",
    b"Content-Encoding: \xe9", b"WWW-Authenticate: Basic", b"Token: 4b1cf66f1",
    b"Proxy-Connection: keep-alive", b"X: " + b"y" * 5000,
]  # fmt: skip

PAYLOADS = [
    b"", b"hello", b"\n", b"{}", b'{"a": [1, 2]}', b"[" * 3000, b"\xff\xfe\x00", b"a-\xff",
    b"\\q", b"x" * 3000, bytes(70_000), b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
]  # fmt: skip

TRAILERS = [b"", b"X: y\r\n", b"Content-Length: 5\r\n", b"X\r\n", b" x\r\n", b"X: y\n"]

STRAY = [
    b"\r\n",
    b"x",
    b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"0\r\n\r\n",
]

few = st.integers(0, 3)


def mostly(usual: Any, others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda one: others if one == 4 else st.just(usual))


@st.composite
def mutated(draw: st.DrawFn, raws: st.SearchStrategy[bytes]) -> bytes:
    """A response with a few pieces of it dropped, doubled or replaced."""
    raw = draw(raws)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(raw)))
        end = draw(st.integers(start, min(len(raw), start + 20)))
        put = draw(st.sampled_from([b"", raw[start:end] * 2]) | st.sampled_from(WORDS))
        raw = raw[:start] + put + raw[end:]
    return raw


@st.composite
def bodies(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Fields that describe a body, and the body: encoded, or not, rightly or not quite."""
    payload = draw(st.sampled_from(PAYLOADS) | st.binary(max_size=100))
    if draw(few):
        return [], payload
    codings = draw(st.lists(st.sampled_from(sorted(ENCODERS)), min_size=1, max_size=3))
    encoding = b", ".join(codings)
    if draw(st.integers(0, 9)) == 0:
        encoding = draw(st.sampled_from(sorted(BOMBS)))
        payload = BOMBS[encoding]
    else:
        for coding in codings:
            payload = ENCODERS[coding](payload)
    match draw(st.integers(0, 5)):
        case 0:
            payload = payload[: draw(st.integers(0, len(payload)))]
        case 1:
            at = draw(st.integers(0, len(payload)))
            payload = payload[:at] + draw(st.binary(min_size=1, max_size=3)) + payload[at + 1 :]
        case 2:
            payload += draw(st.binary(max_size=20) | st.just(payload))
    return [b"Content-Encoding: " + encoding], payload


@st.composite
def chunked(draw: st.DrawFn, payload: bytes) -> bytes:
    size = draw(st.sampled_from([1, 7, 1000, 100_000])) if len(payload) < 500 else 20_000
    odd = [b";a=b", b' ; a="\r"', b";" + b"x" * 2000, b"\t"]
    extension = draw(mostly(b"", st.sampled_from(odd)))
    form = draw(mostly(b"%x", st.sampled_from([b"%X", b"000%x", b"0x%x", b"+%x", b"%x "])))
    chunks = [
        (form % len(payload[at : at + size]))
        + extension
        + b"\r\n"
        + payload[at : at + size]
        + b"\r\n"
        for at in range(0, len(payload), size)
    ]
    last = draw(
        mostly(b"0\r\n", st.sampled_from([b"0;x\r\n", b"", b"f" * 16 + b"\r\n", b"-1\r\n"]))
    )
    return b"".join([*chunks, last, draw(mostly(b"", st.sampled_from(TRAILERS))), b"\r\n"])


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """A final response, in which at most some things are wrong."""
    fields, payload = draw(bodies())
    line = draw(mostly(STATUS_LINES[0], st.sampled_from(STATUS_LINES)))
    if draw(few) == 0:
        line = draw(st.sampled_from(REDIRECTING))
        location = draw(st.sampled_from(LOCATIONS) | st.binary(max_size=30))
        fields = [*fields, *[b"Location: " + location] * draw(st.sampled_from([1, 1, 1, 2]))]
    fields = fields + draw(st.lists(mostly(b"X: y", st.sampled_from(FIELDS)), max_size=2))
    match draw(st.integers(0, 4)):
        case 0 | 1:
            off = draw(st.sampled_from([0, 0, 0, 0, 1, -1, 10, 100_000]))
            fields = [*fields, b"Content-Length: %d" % max(len(payload) + off, 0)]
        case 2 | 3:
            fields = [*fields, b"Transfer-Encoding: chunked"]
            payload = draw(chunked(payload))
    newline = draw(st.sampled_from([b"\r\n"] * 7 + [b"\n"]))
    return newline.join([line, *draw(st.permutations(fields)), b"", payload])


@st.composite
def conversations(draw: st.DrawFn) -> bytes:
    """All that comes on a connection: informational responses, a final one, what is too much."""
    before = draw(mostly([], st.lists(st.sampled_from(INFORMATIONAL), max_size=3)))
    if draw(st.integers(0, 30)) == 0:
        before = [INFORMATIONAL[0]] * draw(st.integers(19, 22))
    behind = draw(st.just(b"") | st.sampled_from(STRAY) | responses() | st.binary(max_size=20))
    return b"".join([*before, draw(responses()), behind])


@st.composite
def filling(draw: st.DrawFn) -> bytes:
    """A response that ends where a read of the client does, or near to it; and some bytes more."""
    size = 65536 * draw(st.integers(1, 2)) + draw(mostly(0, st.integers(-2, 2)))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %6d\r\n\r\n"
    body = bytes(size - len(head % 0))
    return head % len(body) + body + draw(st.sampled_from(STRAY))


noise = st.binary(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=20).map(b"".join)
raws = (
    conversations()
    | conversations()
    | st.tuples(conversations(), st.floats(0, 1)).map(lambda it: it[0][: int(len(it[0]) * it[1])])
    | mutated(conversations())
    | mutated(st.sampled_from(LEGAL))
    | filling()
    | noise
)


cases = st.builds(
    Case,
    raws,
    kind=st.just("get") | st.sampled_from(KINDS),
    how=st.sampled_from(HOWS),
    when=mostly("asked", st.sampled_from(WHENS)),
    cuts=st.lists(st.integers(1, 400), max_size=5).map(tuple),
    gap=mostly(0, st.integers(0, len(GAPS) - 1)),
    end=mostly("keep", st.sampled_from(ENDS)),
    reused=st.booleans(),
    repeat=mostly(False, st.booleans()),
    deaf=st.booleans(),
    follow=st.booleans(),
    decode=mostly(True, st.booleans()),
    limit=mostly(None, st.integers(0, 20) | st.just(65536)),
    leave=st.none() | st.sampled_from([0, 0, 1, 2, 5, 20, 65536]),
    piece=mostly(None, st.integers(1, 10) | st.just(1 << 20)),
    cancel=mostly(None, st.integers(0, 40)),
    waiter=st.booleans(),
    slow=mostly(False, st.booleans()),
)
