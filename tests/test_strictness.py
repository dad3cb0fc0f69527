"""The servers' strictness: what is no request is noticed, however it comes."""

from __future__ import annotations

import h11
import pytest
from strictness import Audit, NotARequest, Requests

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody"
CHUNKED = b"PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"


def read(raw: bytes, step: int) -> Requests:
    requests = Requests()
    for at in range(0, len(raw), step):
        requests.feed(raw[at : at + step])
    return requests


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_requests_are_read_one_behind_the_other(step: int) -> None:
    requests = read(GET + POST + CHUNKED + GET, step)
    assert [received.head.target for received in requests.requests] == ["/a", "/b", "/c", "/a"]
    assert [bytes(received.body) for received in requests.requests] == [b"", b"body", b"one", b""]
    assert all(received.complete for received in requests.requests)
    assert requests.requests[0].head.field("host") == "a"


def test_it_reads_what_h11_writes() -> None:
    ours = h11.Connection(h11.CLIENT)
    head = h11.Request(
        method="POST", target="/", headers=[("Host", "a"), ("Transfer-Encoding", "chunked")]
    )
    events = [head, h11.Data(data=bytes(1000)), h11.Data(data=b"x"), h11.EndOfMessage()]
    requests = read(b"".join(ours.send(event) or b"" for event in events), 100)
    assert requests.requests[0].body == bytes(1000) + b"x"


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize(
    "raw",
    [
        b"\r\n" + GET,
        POST + b"x" * 30,
        POST + b"\0",
        POST + b"\r\n\r\n",
        POST + b" " + GET,
        CHUNKED + b"0\r\n\r\n",
        POST[:-2] + GET * 2,
        POST.replace(b"4", b"400") + GET * 4,
        CHUNKED.replace(b"3\r\n", b"2\r\n"),
        CHUNKED.replace(b"3\r\n", b"400\r\n") + GET * 8,
        CHUNKED.replace(b"3\r\n", b"3 \r\n"),
        POST.replace(b"4", b"+4"),
        POST.replace(b"Host: a", b"Host: a\r\nHost: b"),
        POST.replace(b"Host: a", b"Content-Length: 4\r\nHost: a"),
        CHUNKED.replace(b"Host: a", b"Content-Length: 4\r\nHost: a"),
        CHUNKED.replace(b"chunked", b"gzip"),
        GET.replace(b"Host: a", b"Accept: */*"),
        GET.replace(b"1.1", b"1.0"),
        GET.replace(b"/a", b"/a b"),
        GET.replace(b": a", b": a\r\n folded"),
    ],
)
def test_what_is_no_request_is_noticed(raw: bytes, step: int) -> None:
    with pytest.raises(NotARequest):
        read(raw, step)


def test_what_follows_a_switch_is_another_protocol() -> None:
    raw = GET.replace(b"Host", b"Upgrade: x\r\nHost") + b"\0\0\0"
    assert read(raw, 1000).switched


def test_an_audit_tells_what_was_wrong_once_for_each_connection() -> None:
    audit = Audit()
    audit.sent("tls", "to a", b"\x16\x03\x01")
    audit.sent("good", "to b", GET)
    audit.sent("bad", "to c", POST + b"\0")
    audit.sent("bad", "to c", b"\0")
    (finding,) = audit.findings
    assert finding.startswith("to c: the client sent behind 1 requests what does not begin one")
