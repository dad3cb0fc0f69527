"""CONNECT: what is sent, what opens a tunnel, and what is said when nothing does."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from typing import Any

import h11
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from triopool import LocalProtocolError, ProxyError
from triopool._dial.hops import travel
from triopool._dial.tunnel import Tunnel
from triopool._protocol.connect import Connect
from triopool.testing import KeepOpen, Network, Receive, Reset, Send, Wait, script

from .helpers import PORT, PROXY, Outcome, Turn, errand, line_to, outcome, proxy, report, run

URL = "http://p.example:3128"
ASKED = b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\nUser-Agent: us\r\n\r\n"
FIELDS = [(b"User-Agent", b"us")]
ADA = (b"Proxy-Authorization", b"Basic YWRhOnNlY3JldA==")
OK = b"HTTP/1.1 200 OK\r\n\r\n"


def step(*more: tuple[bytes, bytes]) -> Tunnel:
    return Tunnel(errand(URL), "a.example", 80, [*FIELDS, *more])


async def asked_and_answered(answer: bytes, cuts: Sequence[int] = (), **options: Any) -> Outcome:
    return await outcome(proxy([Turn(ASKED, answer)], cuts, **options), step())


# ── What is sent ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("host", "port", "authority"),
    [
        ("a.example", 80, b"a.example:80"),
        ("a.example", 443, b"a.example:443"),
        ("192.0.2.7", 8080, b"192.0.2.7:8080"),
        ("2001:db8::7", 443, b"[2001:db8::7]:443"),
    ],
)
def test_the_port_is_always_told_and_nothing_but_the_fields_of_the_proxy(
    host: str, port: int, authority: bytes
) -> None:
    assert Connect(host, port, [*FIELDS, ADA, (b"X-Who", b"we")]).request == (
        b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n"
        b"User-Agent: us\r\nProxy-Authorization: Basic YWRhOnNlY3JldA==\r\nX-Who: we\r\n\r\n"
    )


@pytest.mark.parametrize("field", [(b"X", b"a\r\nEvil: b"), (b"a b", b"c"), (b"Host", b"evil")])
def test_a_field_that_is_not_legal_is_refused_before_anything_is_open(field: Any) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        Connect("a.example", 443, [field])
    assert "evil" not in str(caught.value).lower()


def test_a_server_of_h11_reads_what_is_sent() -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(Connect("::1", 443, [*FIELDS, ADA]).request)
    event = server.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (b"CONNECT", b"[::1]:443")
    assert dict(event.headers)[b"host"] == b"[::1]:443"


# ── What opens a tunnel ────────────────────────────────────────────────────────────────────────

TUNNELS = {
    "200": OK,
    "HTTP/1.0": b"HTTP/1.0 200 Connection established\r\n\r\n",
    "201": b"HTTP/1.1 201 Created\r\n\r\n",
    "204": b"HTTP/1.1 204 \r\n\r\n",
    "299": b"HTTP/1.1 299 Odd\r\nProxy-Agent: x\r\n\r\n",
    "no reason": b"HTTP/1.1 200\r\n\r\n",
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    "no length at all": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "an old coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    "close": b"HTTP/1.0 200 OK\r\nConnection: close\r\nProxy-Connection: close\r\n\r\n",
    "100 before": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "several before": b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" * 3 + OK,
    "bare LF": b"HTTP/1.1 200 OK\nA: b\n\n",
    "folded": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("answer", TUNNELS.values(), ids=TUNNELS)
async def test_any_2xx_opens_a_tunnel_and_its_framing_is_ignored(
    autojump_clock: MockClock, answer: bytes
) -> None:
    assert str(await asked_and_answered(answer)) == "a tunnel"
    for cuts in (range(1, len(answer)), *([cut] for cut in range(1, len(answer)))):
        assert str(await asked_and_answered(answer, cuts)) == "a tunnel"


@pytest.mark.parametrize("answer", TUNNELS.values(), ids=TUNNELS)
async def test_a_head_that_breaks_off_is_no_2xx(autojump_clock: MockClock, answer: bytes) -> None:
    for size in range(len(answer)):
        result = str(await asked_and_answered(answer, stop_after=size))
        if size:
            where = f"in the middle of its answer to CONNECT, after {size} bytes"
        else:
            where = "without an answer to CONNECT"
        assert result == f"the proxy {URL} closed the connection {where}"


@pytest.mark.parametrize("answer", TUNNELS.values(), ids=TUNNELS)
@pytest.mark.parametrize("behind", [b"x", b"\r\n", OK, b"\x16\x03\x01\x00\x05hello"])
async def test_a_byte_behind_the_head_is_an_error(
    autojump_clock: MockClock, answer: bytes, behind: bytes
) -> None:
    expected = f"the proxy {URL} sent something before it was asked for anything"
    assert str(await asked_and_answered(answer + behind)) == expected


def test_what_h11_takes_for_a_tunnel_is_one() -> None:
    """The two agree, but where h11 heeds what has to be ignored."""
    only_ours = []
    for name, answer in TUNNELS.items():
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="CONNECT", target="a:80", headers=[("Host", "a:80")]))
        client.send(h11.EndOfMessage())
        client.receive_data(answer)
        try:
            while client.their_state is not h11.SWITCHED_PROTOCOL:
                client.next_event()
        except h11.RemoteProtocolError:
            only_ours.append(name)
    assert only_ours == ["two lengths", "no length at all", "an old coding"]


# ── Refusals ───────────────────────────────────────────────────────────────────────────────────

REFUSED = f"the proxy {URL} refused a tunnel to http://a.example:80: "
WANTS = "it wants credentials"
HOW = "in its URL, or with Proxy(auth=)"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"403 Forbidden\r\n", "403 Forbidden"),
        (b"403 \r\n", "403"),
        (b"403\r\n", "403"),
        (b"301 Moved\r\nLocation: http://b.example/\r\n", "301 Moved"),
        (b"401 Unauthorized\r\nWWW-Authenticate: Basic\r\n", "401 Unauthorized"),
        (b"599 ?\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "599 ?"),
        (b"503 Busy\r\nTransfer-Encoding: odd\r\n", "503 Busy"),
        (b"403 a\tb\x80\x9b31m\r\n", r"403 a\x09b\x80\x9b31m"),
        (b"403 " + b"x" * 100 + b"\r\n", "403 " + "x" * 100),
        (b"403 " + b"x" * 101 + b"\r\n", "403 " + "x" * 99 + "…"),
        (
            b"502 Bad Gateway\r\nProxy-Status: squid; error=dns_error\r\n",
            "502 Bad Gateway (Proxy-Status: squid; error=dns_error)",
        ),
        (
            b"502 No\r\nproxy-status: a\r\nProxy-Status: b\x01" + b"c" * 200 + b"\r\n",
            r"502 No (Proxy-Status: a, b\x01" + "c" * (99 - 8) + "…)",
        ),
        (b"407 Login\r\n", f"407 Login: {WANTS}: {HOW}"),
        (
            b"407 Login\r\nProxy-Authenticate: Basic realm=x\r\n",
            f"407 Login: {WANTS} (it offers Basic): {HOW}",
        ),
        (
            b'407 L\r\nProxy-Authenticate: Digest realm="a, Evil b", qop="auth", nonce=x\r\n'
            b"Proxy-Authenticate: Negotiate, NTLM TlRMTVNTUAAC==\r\n"
            b"Proxy-Authenticate: Negotiate\r\n",
            f"407 L: {WANTS} (it offers Digest, Negotiate, NTLM): {HOW}",
        ),
        (
            b'407 L\r\nProxy-Authenticate: Basic realm="a\\", Evil \r\n',
            f"407 L: {WANTS} (it offers Basic): {HOW}",
        ),
        (b'407 L\r\nProxy-Authenticate: =, ,"x"\r\n', f"407 L: {WANTS}: {HOW}"),
        (
            b"407 L\r\nProxy-Authenticate: " + b"x" * 300 + b"\r\n",
            f"407 L: {WANTS} (it offers {'x' * 99}…): {HOW}",
        ),
        (
            b"407 L\r\nProxy-Authenticate: Basic\r\nProxy-Status: p; error=y\r\n",
            f"407 L (Proxy-Status: p; error=y): {WANTS} (it offers Basic): {HOW}",
        ),
    ],
)
async def test_any_other_final_status_is_an_error_that_says_why(
    autojump_clock: MockClock, answer: bytes, says: str
) -> None:
    """At once, whatever its body."""
    head = b"HTTP/1.1 " + answer + b"\r\n"
    for behind in (b"", b"the body"):
        result = await asked_and_answered(head + behind)
        assert str(result) == REFUSED + says
        assert result.error is not None
        assert result.error.status_code == int(answer[:3])
        assert result.error.proxy == URL
    for cuts in (range(1, len(head)), *([cut] for cut in range(1, min(len(head), 150)))):
        assert str(await asked_and_answered(head, cuts)) == REFUSED + says


async def test_credentials_that_are_refused_are_told_as_that(autojump_clock: MockClock) -> None:
    asked = ASKED[:-2] + ADA[0] + b": " + ADA[1] + b"\r\n\r\n"
    for more in (b"", b"Proxy-Authenticate: Basic\r\n"):
        server = proxy([Turn(asked, b"HTTP/1.1 407 Login\r\n" + more + b"\r\n")])
        result = await outcome(server, step(ADA))
        assert str(result) == f"{REFUSED}407 Login: it does not accept these credentials"
        assert "YWRh" not in str(result) + repr(result.error) + repr(step(ADA))


async def test_the_fields_of_a_refusal_are_there_as_they_were_sent(
    autojump_clock: MockClock,
) -> None:
    answer = (
        b"HTTP/1.1 100 Continue\r\nNot: this\r\n\r\n"
        b"HTTP/1.1 503 Busy\r\nRetry-After:   7  \r\nX-a: b: c\r\nX-A:\r\n\r\nX-B: of the body"
    )
    error = (await asked_and_answered(answer)).error
    assert error is not None
    assert error.headers == [(b"Retry-After", b"7"), (b"X-a", b"b: c"), (b"X-A", b"")]


def test_an_error_of_another_kind_has_no_status() -> None:
    error = ProxyError("x")
    assert (error.proxy, error.status_code, error.headers) == ("", None, [])


# ── Nonsense, and bounds ───────────────────────────────────────────────────────────────────────

NONSENSE = {
    "SSH": (b"SSH-2.0-OpenSSH\r\n", "what is not legal HTTP/1.1: it does not begin with 'HTTP/'"),
    "SOCKS": (b"\x00\x5b\0\0\0\0\0\0", "what is not legal HTTP/1.1: it does not begin with"),
    "TLS": (b"\x15\x03\x01\x00\x02\x02\x0a", "a TLS record and no response: is it an https port?"),
    "a status": (b"HTTP/1.1 99 No\r\n\r\n", "what is not legal HTTP/1.1: its status"),
    "a low status": (b"HTTP/1.1 099 No\r\n\r\n", "what is not legal HTTP/1.1: its status is less"),
    "no colon": (b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n", "what is not legal HTTP/1.1: a line of 6"),
    "a name": (b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n", "what is not legal HTTP/1.1: the name of a"),
    "NUL": (b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n", "what is not legal HTTP/1.1: the value of"),
    "101": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        "101 Switching Protocols, which was not asked for",
    ),
    "21 before": (
        b"HTTP/1.1 100 Continue\r\n\r\n" * 21 + OK,
        "more than 20 informational responses",
    ),
    "long": (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70_000, "a head of more than 65536 bytes"),
    "long together": (
        (b"HTTP/1.1 103 X\r\nA: " + b"x" * 20_000 + b"\r\n\r\n") * 4,
        "a head of more than 65536 bytes",
    ),
    "fields": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 257 + b"\r\n", "257 fields, more than 256"),
    "fields together": (
        (b"HTTP/1.1 103 X\r\n" + b"A: b\r\n" * 100 + b"\r\n") * 3,
        "300 fields, more than 256",
    ),
}


@pytest.mark.parametrize(("answer", "says"), NONSENSE.values(), ids=NONSENSE)
async def test_what_is_no_answer_is_told_as_that_and_not_quoted(
    autojump_clock: MockClock, answer: bytes, says: str
) -> None:
    result = await asked_and_answered(answer)
    assert str(result).startswith(f"the proxy {URL} sent {says}")
    assert "secret" not in str(result)
    assert result.error is not None
    assert result.error.__cause__ is None
    if len(answer) < 200:
        for cuts in (range(1, len(answer)), *([cut] for cut in range(1, len(answer)))):
            assert f"the proxy {URL} sent {says}" in str(await asked_and_answered(answer, cuts))


@pytest.mark.parametrize("number", [20, 0])
async def test_as_many_1xx_as_are_allowed_pass(autojump_clock: MockClock, number: int) -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\n" * number + OK
    assert str(await asked_and_answered(answer)) == "a tunnel"


async def test_an_answer_without_end_takes_no_memory(autojump_clock: MockClock) -> None:
    sent = 0

    async def pour(stream: trio.abc.Stream) -> None:
        nonlocal sent
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"A: " + b"x" * 1000)
            sent += 1000

    tracemalloc.start()
    try:
        assert "a head of more than 65536 bytes" in str(await outcome(pour, step()))
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    assert sent < 300_000


# ── What breaks ────────────────────────────────────────────────────────────────────────────────


async def answer_and_close(conversation: Any) -> None:
    """In one step, so that the end is here with the answer."""
    conversation.stream.socket.send_nowait(OK)
    conversation.stream.socket.close()


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([Receive(), Reset()], "closed the connection without an answer to CONNECT: .*reset"),
        (
            [Receive(), Send(OK[:9]), Wait(1.0), Reset()],
            "closed the connection in the middle of its answer to CONNECT, after 9 bytes: .*reset",
        ),
        ([Receive(), answer_and_close], "closed the tunnel at once$"),
    ],
)
async def test_a_connection_that_breaks_is_told_with_its_reason(
    autojump_clock: MockClock, steps: list[Any], says: str
) -> None:
    result = await outcome(script(*steps), step())
    assert result.error is not None
    with pytest.raises(ProxyError, match=f"the proxy {URL} {says}"):
        raise result.error


async def test_a_proxy_that_never_answers_is_waited_for_as_long_as_the_dial_has(
    autojump_clock: MockClock,
) -> None:
    notes: list[str] = []
    async with Network() as network:
        network.listen(PROXY, PORT, script(Receive(), Send(OK[:5]), KeepOpen()))
        line = await line_to(network)
        with trio.move_on_after(7.0) as scope:
            await travel(line, [step()], report(notes))
        assert scope.cancelled_caught
        assert notes == [f"waiting for {URL} to open a tunnel"]
        assert not network.open_sockets


# ── Anything at all ────────────────────────────────────────────────────────────────────────────

_bits = st.sampled_from(
    [
        *(
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.0 200\r\n",
            b"HTTP/1.1 100 C\r\n",
            b"HTTP/1.1 407 L\r\n",
        ),
        *(b"\r\n", b"\n", b"A: b\r\n", b" c\r\n", b"Content-Length: 3\r\n", b"\r\n\r\n"),
        *(b"Proxy-Authenticate: Basic\r\n", b"Proxy-Status: x\r\n", b"\x05\x00", b"\x00"),
    ]
)
_answers = st.lists(_bits | st.binary(min_size=1, max_size=8), max_size=8)


@settings(max_examples=300)
@given(_answers, st.booleans(), st.booleans())
def test_whatever_a_proxy_answers_there_is_a_tunnel_or_an_error(
    answers: list[bytes], stays: bool, at_once: bool
) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some()
        if at_once:
            await stream.send_all(b"".join(answers))
        else:
            for answer in answers:
                await stream.send_all(answer)
                await trio.sleep(0.1)
        if stays:
            await trio.sleep_forever()

    async def play() -> None:
        async with Network() as network:
            network.listen(PROXY, PORT, serve)
            line = await line_to(network)
            said = ""
            with trio.move_on_after(60) as waited:
                try:
                    await travel(line, [step(ADA)], report())
                except ProxyError as exc:
                    said = str(exc)
                else:
                    assert len(network.open_sockets) == 1
                    line.close()
            assert not network.open_sockets
            assert "YWRh" not in said
            assert said.isprintable()
            assert stays or not waited.cancelled_caught

    run(play)
