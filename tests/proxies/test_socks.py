"""SOCKS 4, 4a, 5 and 5h: each dialogue to the byte, in whatever pieces it comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from triopool import ProxyError
from triopool._dial.hops import travel
from triopool._dial.socks import AnotherAddress, Socks, can_be_asked_for, socks4, socks5
from triopool.testing import KeepOpen, Network, ReceiveBytes, Reset, Send, Wait, script

from .helpers import PORT, PROXY, Turn, errand, line_to, outcome, proxy, report, run

URL = "socks5h://p.example:1080"
ADA = ("ada", "secret")

HELLO, NO_PASSWORD = b"\x05\x01\x00", b"\x05\x00"
HELLO_ADA, PASSWORD = b"\x05\x02\x00\x02", b"\x05\x02"
LOGIN = b"\x01\x03ada\x06secret"
NAME = b"\x05\x01\x00\x03\x09a.example\x00\x50"
GRANTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"

NAME_4 = b"\x04\x01\x00\x50\x00\x00\x00\x01\x00a.example\x00"
GRANTED_4 = b"\x00\x5a" + bytes(6)


class Fixture(NamedTuple):
    """A dialogue, and what comes of it.

    Attributes:
      says: the end of the error; None for a tunnel.
      decided: how many bytes of the answers suffice; None for all.
    """

    version: int
    turns: Sequence[Turn]
    says: str | None = None
    decided: int | None = None
    host: str = "a.example"
    credentials: tuple[str, str] | None = None

    @property
    def step(self) -> Socks:
        return Socks(errand(URL), self.version, [self.host], 80, self.credentials)

    @property
    def answers(self) -> bytes:
        return b"".join(turn.answer for turn in self.turns)

    @property
    def bytes_to_decide(self) -> int:
        return len(self.answers) if self.decided is None else self.decided

    @property
    def message(self) -> str:
        return "a tunnel" if self.says is None else f"the proxy {URL} {self.says}"


def five(asked: bytes, answer: bytes, **options: Any) -> Fixture:
    return Fixture(5, [Turn(HELLO, NO_PASSWORD), Turn(asked, answer)], **options)


def first(answer: bytes, says: str, version: int = 5, **options: Any) -> Fixture:
    asked = HELLO if version == 5 else NAME_4
    if "credentials" in options:
        asked = HELLO_ADA
    return Fixture(version, [Turn(asked, answer)], says, 2, **options)


def refused(code: bytes, why: str) -> Fixture:
    says = f"refused to connect to http://a.example:80: {why}"
    return five(NAME, b"\x05" + code + b"\x00\x01" + bytes(6), says=says, decided=4)


def refused_4(answer: bytes, why: str) -> Fixture:
    return first(answer, f"refused to connect to http://a.example:80: {why}", 4)


def login(answer: bytes, *more: Turn, **options: Any) -> Fixture:
    turns = [Turn(HELLO_ADA, PASSWORD), Turn(LOGIN, answer), *more]
    return Fixture(5, turns, credentials=ADA, **options)


FIXTURES = {
    "a name": five(NAME, GRANTED),
    "an IPv4 address": five(b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x50", GRANTED, host="192.0.2.7"),
    "an IPv6 address": five(
        b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x07\x00\x50",
        GRANTED,
        host="2001:db8::7",
    ),
    "bound to an IPv6 address": five(NAME, b"\x05\x00\x00\x04" + bytes(18)),
    "bound to a name": five(NAME, b"\x05\x00\x00\x03\x03foo\x12\x34"),
    "bound to an empty name": five(NAME, b"\x05\x00\x00\x03\x00\x12\x34"),
    "bound to a long name": five(NAME, b"\x05\x00\x00\x03\xff" + b"x" * 255 + b"\x12\x34"),
    "bound to an address of kind 0": five(NAME, b"\x05\x00\x00\x00" + bytes(6)),
    "bound to an unknown kind": five(
        NAME, b"\x05\x00\x00\x09", says="answered with an address of an unknown kind (9)"
    ),
    "no password, though there is one": Fixture(
        5, [Turn(HELLO_ADA, NO_PASSWORD), Turn(NAME, GRANTED)], credentials=ADA
    ),
    "a password": login(b"\x01\x00", Turn(NAME, GRANTED)),
    "a password, and a careless answer": login(b"\x05\x00", Turn(NAME, GRANTED)),
    "a wrong password": login(b"\x01\x01", says="does not accept these credentials"),
    "a wrong password, told in detail": login(
        b"\x01\xffgo away", says="does not accept these credentials", decided=4
    ),
    "an empty password": Fixture(
        5,
        [Turn(HELLO_ADA, PASSWORD), Turn(b"\x01\x03ada\x00", b"\x01\x00"), Turn(NAME, GRANTED)],
        credentials=("ada", ""),
    ),
    "credentials beyond ASCII": Fixture(
        5,
        [
            Turn(HELLO_ADA, PASSWORD),
            Turn(b"\x01\x03\xc3\xa9a\x02\xc3\x9f", b"\x01\x00"),
            Turn(NAME, GRANTED),
        ],
        credentials=("éa", "ß"),
    ),
    "credentials wanted": first(b"\x05\xff", "wants credentials: in its URL, or with Proxy(auth=)"),
    "credentials wanted without asking what is offered": first(
        b"\x05\x02", "wants credentials: in its URL, or with Proxy(auth=)"
    ),
    "other credentials wanted": first(
        b"\x05\xff",
        "lets nobody in, neither with a name and a password nor without",
        credentials=ADA,
    ),
    "GSSAPI wanted": first(
        b"\x05\x01", "wants a kind of authentication (0x01) that was not offered"
    ),
    "HTTP": first(
        b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered with HTTP: is it an http:// proxy?"
    ),
    "SOCKS 4 in place of 5": first(
        b"\x00\x5b" + bytes(6), "answered with SOCKS 4: is it a socks4:// proxy?"
    ),
    "SOCKS 4, carelessly, in place of 5": first(
        b"\x04\x5b" + bytes(6), "answered with SOCKS 4: is it a socks4:// proxy?"
    ),
    "something else": first(
        b"SSH-2.0\r\n", "answered with what is no SOCKS 5 (the first byte is 0x53)"
    ),
    "something else, later": five(
        NAME,
        b"\x07\x00\x00\x01",
        says="answered with what is no SOCKS 5 (the first byte is 0x07)",
        decided=4,
    ),
    "failed": refused(b"\x01", "it has failed, and does not say why"),
    "rules": refused(b"\x02", "its rules don't allow it"),
    "network": refused(b"\x03", "the network is unreachable"),
    "host": refused(b"\x04", "the host is unreachable"),
    "connection": refused(b"\x05", "the connection was refused"),
    "time": refused(b"\x06", "it took too long"),
    "command": refused(b"\x07", "it does not know this command"),
    "kind": refused(b"\x08", "it does not know this kind of address"),
    "Tor's own": refused(b"\xf0", "code 240"),
    "a refusal of two bytes": five(
        NAME,
        b"\x05\x04",
        says="refused to connect to http://a.example:80: the host is unreachable",
    ),
    "4: an address": Fixture(
        4, [Turn(b"\x04\x01\x00\x50\xc0\x00\x02\x07\x00", GRANTED_4)], host="192.0.2.7"
    ),
    "4: the address of all zeros": Fixture(
        4, [Turn(b"\x04\x01\x00\x50\x00\x00\x00\x00\x00", GRANTED_4)], host="0.0.0.0"
    ),
    "4: a user": Fixture(
        4,
        [Turn(b"\x04\x01\x00\x50\xc0\x00\x02\x07ada\x00", GRANTED_4)],
        host="192.0.2.7",
        credentials=("ada", ""),
    ),
    "4a: a name": Fixture(4, [Turn(NAME_4, GRANTED_4)]),
    "4a: a careless answer": Fixture(4, [Turn(NAME_4, b"\x04\x5a" + b"\xff" * 6)]),
    "4a: rejected": refused_4(b"\x00\x5b" + bytes(6), "it was rejected, or has failed"),
    "4a: identd": refused_4(
        b"\x00\x5c" + bytes(6), "it wants an identd that answers on our machine"
    ),
    "4a: another user": refused_4(b"\x00\x5d", "our identd names another user"),
    "4a: unknown": refused_4(b"\x00\x63" + bytes(6), "code 99"),
    "4a: HTTP": first(b"HTTP/1.0 400 No\r\n\r\n", "answered with HTTP: is it an http:// proxy?", 4),
    "4a: SOCKS 5": first(b"\x05\xff", "answered with SOCKS 5: is it a socks5:// proxy?", 4),
    "4a: something else": first(
        b"\x16\x03\x01", "answered with what is no SOCKS 4 (the first byte is 0x16)", 4
    ),
}

each = pytest.mark.parametrize("fixture", FIXTURES.values(), ids=FIXTURES)


@each
async def test_a_dialogue_comes_to_its_end(autojump_clock: MockClock, fixture: Fixture) -> None:
    assert str(await outcome(proxy(fixture.turns), fixture.step)) == fixture.message


@each
async def test_answers_come_in_any_pieces(autojump_clock: MockClock, fixture: Fixture) -> None:
    size = len(fixture.answers)
    splits: list[Sequence[int]] = [range(1, size), *([cut] for cut in range(1, size))]
    for cuts in splits:
        assert str(await outcome(proxy(fixture.turns, cuts), fixture.step)) == fixture.message


@each
async def test_an_answer_that_breaks_off_is_told_as_that_unless_it_has_said_enough(
    autojump_clock: MockClock, fixture: Fixture
) -> None:
    for size in range(len(fixture.answers)):
        result = str(await outcome(proxy(fixture.turns, stop_after=size), fixture.step))
        if size >= fixture.bytes_to_decide:
            assert result == fixture.message
        elif size:
            assert result == (
                f"the proxy {URL} closed the connection in the middle of its answer, "
                f"after {size} bytes"
            )
        else:
            assert result == f"the proxy {URL} closed the connection without an answer"


@each
async def test_what_comes_behind_an_answer_is_nobodys(
    autojump_clock: MockClock, fixture: Fixture
) -> None:
    *before, last = fixture.turns
    more = proxy([*before, Turn(last.asked, last.answer + b"x")])
    result = str(await outcome(more, fixture.step))
    if fixture.says is None:
        assert result == f"the proxy {URL} sent something before it was asked for anything"
    else:
        assert result == fixture.message


@pytest.mark.parametrize("name", ["a name", "a password"])
async def test_a_proxy_that_speaks_before_its_turn_is_not_believed(
    autojump_clock: MockClock, name: str
) -> None:
    """Nobody can say then which answer is for what."""
    fixture = FIXTURES[name]
    server = script(Send(fixture.answers), KeepOpen())
    line_is_answered = []

    async with Network() as network:
        network.listen(PROXY, PORT, server)
        line = await line_to(network)
        await trio.sleep(1.0)
        with pytest.raises(ProxyError, match="sent something before it was asked for anything"):
            await travel(line, [fixture.step], report())
        line_is_answered.append(line.answered)
        assert not network.open_sockets
    assert line_is_answered == [True]  # It is the proxy, and no other address of it is tried.


# ── What breaks ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([ReceiveBytes(3), Reset()], "closed the connection without an answer: .*reset by peer"),
        (
            [ReceiveBytes(3), Send(b"\x05"), Wait(1.0), Reset()],
            "closed the connection in the middle of its answer, after 1 bytes: .*reset by peer",
        ),
        ([ReceiveBytes(3)], "closed the connection without an answer$"),
    ],
)
async def test_a_connection_that_breaks_is_told_with_its_reason(
    autojump_clock: MockClock, steps: list[Any], says: str
) -> None:
    result = await outcome(script(*steps), FIXTURES["a name"].step)
    assert result.error is not None
    with pytest.raises(ProxyError, match=f"the proxy {URL} {says}"):
        raise result.error
    assert (result.error.__cause__ is not None) == ("reset" in says)


async def test_a_proxy_that_has_gone_before_it_is_asked_is_told_as_that(
    autojump_clock: MockClock,
) -> None:
    for end in ("close", "reset"):
        async with Network() as network:
            network.listen(PROXY, PORT, script(KeepOpen()))
            line = await line_to(network)
            await trio.sleep(1.0)
            getattr(network.open_server_sockets[0], end)()
            with pytest.raises(ProxyError, match="closed the connection without an answer"):
                await travel(line, [FIXTURES["a name"].step], report())
            assert not line.answered  # Another address of the proxy may do.


async def test_a_tunnel_that_ends_with_the_answer_is_none(autojump_clock: MockClock) -> None:
    async def serve(stream: Any) -> None:
        await stream.receive_some(100)
        stream.socket.send_nowait(GRANTED_4)
        stream.socket.close()

    result = await outcome(serve, Socks(errand(URL), 4, ["192.0.2.7"], 80))
    assert str(result) == f"the proxy {URL} closed the tunnel at once"


async def test_a_tunnel_that_breaks_with_the_answer_is_none(autojump_clock: MockClock) -> None:
    """To close with something unread is a reset, which comes behind the answer."""

    async def serve(stream: Any) -> None:
        await stream.receive_some(3)
        stream.socket.send_nowait(GRANTED_4)
        stream.socket.close()

    result = await outcome(serve, Socks(errand(URL), 4, ["192.0.2.7"], 80))
    assert str(result).startswith(f"the proxy {URL} closed the tunnel at once: [Errno 104] Conn")


# ── One address after the other ────────────────────────────────────────────────────────────────


async def test_a_refused_address_is_followed_by_the_next_on_a_new_line(
    autojump_clock: MockClock,
) -> None:
    step = Socks(errand(URL), 4, ["192.0.2.7", "192.0.2.8"], 80)
    no = proxy([Turn(b"\x04\x01\x00\x50\xc0\x00\x02\x07\x00", b"\x00\x5b")])
    yes = proxy([Turn(b"\x04\x01\x00\x50\xc0\x00\x02\x08\x00", GRANTED_4)])
    with pytest.raises(AnotherAddress):
        await outcome(no, step)
    assert str(await outcome(yes, step)) == "a tunnel"


async def test_the_reasons_of_all_addresses_are_told(autojump_clock: MockClock) -> None:
    step = Socks(errand(URL), 4, ["192.0.2.7", "192.0.2.8"], 80)
    with pytest.raises(AnotherAddress):
        await outcome(script(ReceiveBytes(9), Send(b"\x00\x5b"), KeepOpen()), step)
    last = script(ReceiveBytes(9), Send(b"\x00\x63"), KeepOpen())
    assert str(await outcome(last, step)) == (
        f"the proxy {URL} refused to connect to http://a.example:80: "
        "192.0.2.7: it was rejected, or has failed; 192.0.2.8: code 99"
    )


# ── What can't be asked ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("address", ["2001:db8::1", "0.0.0.1", "0.0.0.255", "fe80::1%eth0"])
def test_addresses_that_mean_nothing_to_socks_4(address: str) -> None:
    assert not can_be_asked_for(4, address)


@pytest.mark.parametrize("address", ["192.0.2.1", "0.0.0.0", "0.0.1.1"])
def test_addresses_that_can_be_told_to_all(address: str) -> None:
    assert can_be_asked_for(4, address)
    assert can_be_asked_for(5, address)


def test_a_zone_means_nothing_to_any_proxy() -> None:
    assert can_be_asked_for(5, "fe80::1")
    assert not can_be_asked_for(5, "fe80::1%eth0")


@pytest.mark.parametrize(
    "dialogue",
    [
        socks5("a.example", 80, ("x" * 256, "")),
        socks5("a.example", 80, ("", "é" * 128)),
        socks5("a.example", 80, ("a\0b", "")),
        socks5("a.example", 80, ("", "\ud800")),
        socks5("x" * 256, 80),
        socks4("a.example", 80, "a\0evil"),
        socks4("a\0evil", 80),
        socks4("x" * 256, 80),
        socks4("2001:db8::1", 80),
    ],
)
def test_nothing_that_does_not_fit_is_sent_and_nothing_secret_is_told(dialogue: Any) -> None:
    with pytest.raises(ValueError, match=r"SOCKS|characters") as caught:
        next(dialogue)
    assert type(caught.value) is ValueError
    assert caught.value.__cause__ is None
    assert not {"evil", "é", "\ud800"} & {*str(caught.value)}


async def test_a_step_shows_no_credentials(autojump_clock: MockClock) -> None:
    step = Socks(errand(URL), 5, ["a.example"], 80, ADA)
    assert "ada" not in f"{step!r} {step}"
    assert "secret" not in f"{step!r} {step}"


# ── Anything at all ────────────────────────────────────────────────────────────────────────────


@settings(max_examples=150)
@given(st.sampled_from([4, 5]), st.lists(st.binary(min_size=1, max_size=20), max_size=6), st.data())
def test_whatever_a_proxy_says_there_is_a_tunnel_or_an_error(
    version: int, answers: list[bytes], data: Any
) -> None:
    likely = st.sampled_from([NO_PASSWORD, PASSWORD, b"\x01\x00", GRANTED, GRANTED_4, b""])
    begun = data.draw(st.lists(likely, max_size=3))
    stays = data.draw(st.booleans())

    async def serve(stream: trio.abc.Stream) -> None:
        await stream.receive_some(1000)
        for answer in (*begun, *answers):
            await stream.send_all(answer)
            await trio.sleep(0.1)
        if stays:
            await trio.sleep_forever()

    credentials = data.draw(st.sampled_from([None, ADA]))
    step = Socks(errand(URL), version, ["a.example"], 80, credentials)

    async def play() -> None:
        async with Network() as network:
            network.listen(PROXY, PORT, serve)
            line = await line_to(network)
            said = ""
            with trio.move_on_after(60) as waited:
                try:
                    await travel(line, [step], report())
                except ProxyError as exc:
                    said = str(exc)
                else:
                    assert len(network.open_sockets) == 1
                    line.close()
            assert not network.open_sockets
            assert "secret" not in said
            assert stays or not waited.cancelled_caught

    run(play)


@settings(max_examples=300)
@given(
    st.sampled_from([socks5, socks4]),
    st.text(max_size=300) | st.sampled_from(["a.example", "192.0.2.1", "::1"]),
    st.integers(0, 65535),
    st.text(max_size=300),
    st.text(max_size=300),
)
def test_what_is_sent_says_what_was_meant_or_nothing_is_sent(
    make: Any, host: str, port: int, user: str, password: str
) -> None:
    """Read as a proxy reads it: nothing in a name can be taken for something else."""
    if make is socks4:
        dialogue = socks4(host, port, user)
        try:
            asked, _ = next(dialogue)
        except ValueError:
            return
        assert asked[:4] == b"\x04\x01" + port.to_bytes(2, "big")
        found, _, rest = asked[8:].partition(b"\0")
        assert found == user.encode()
        if asked[4:7] == b"\0\0\0" and asked[7]:
            name, _, rest = rest.partition(b"\0")
            assert name == host.encode()
        assert rest == b""
        return
    dialogue = socks5(host, port, (user, password))
    try:
        assert next(dialogue) == (HELLO_ADA, 2)
    except ValueError:
        return
    asked, _ = dialogue.send(PASSWORD)
    at = 2 + asked[1]
    assert asked[2:at] == user.encode()
    assert asked[at + 1 :] == password.encode()
    assert asked[at] == len(asked[at + 1 :])
    asked, _ = dialogue.send(b"\x01\x00")
    assert asked[-2:] == port.to_bytes(2, "big")
    if asked[3] == 3:
        assert asked[5:-2] == host.encode()
        assert asked[4] == len(asked[5:-2])
