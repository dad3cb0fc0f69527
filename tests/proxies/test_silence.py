"""No credentials of a proxy in any text, whatever becomes of a request through it.

Messages, notes, causes, reprs, names of tasks, figures, what instruments are told, what is logged.
"""

from __future__ import annotations

import base64
import logging
import pprint
from collections.abc import AsyncIterator, Callable
from typing import Any

import h11
import pytest
import trio
from inside import preparations
from trio.testing import MockClock

from triopool import LoggingInstrument, Proxy, ProxyRules, Timeouts, TriopoolError
from triopool.abc import Instrument
from triopool.testing import (
    Close,
    KeepOpen,
    Receive,
    ReceiveBytes,
    ReceiveRequest,
    Reply,
    Request,
    Reset,
    Send,
    http_proxy,
    in_turn,
    script,
    socks_proxy,
)

from .world import HTTP, SECURE, A, B, Contexts, World, contexts, lent, world

NAME, PASSWORD, TOKEN = "QXname", "QXpassword", "QXtoken"
LOGIN = (NAME, PASSWORD)
USERINFO = f"{NAME}:{PASSWORD}@"
SECRETS = [
    "qx",
    *(
        base64.b64encode(text.encode()).decode().rstrip("=")[:6].lower()
        for text in (NAME, PASSWORD, TOKEN)
    ),
]

FORWARDED = Proxy(HTTP, auth=LOGIN, headers={"X-Token": TOKEN})
TUNNEL = Proxy(HTTP, auth=LOGIN, headers={"X-Token": TOKEN}, tunnel=True)
BEARER = Proxy(HTTP, headers={"Proxy-Authorization": f"Bearer {TOKEN}"}, tunnel=True)
SOCKS = Proxy(f"socks5h://{USERINFO}socks.test")
SOCKS_4 = Proxy(f"socks4a://{NAME}@socks.test")
CHAIN = Proxy(HTTP, auth=LOGIN, tunnel=True, via=SOCKS)


@pytest.fixture(scope="module")
def made() -> Contexts:
    return contexts()


class Everything(Instrument):
    """Remembers all facts of all events."""

    def __init__(self) -> None:
        self.told: list[object] = []


def _remember(self: Everything, *facts: object, **more: object) -> None:
    self.told += [*facts, *more.values()]


for _hook in [name for name in vars(Instrument) if not name.startswith("_")]:
    setattr(Everything, _hook, _remember)


class TaskNames(trio.abc.Instrument):
    def __init__(self) -> None:
        self.names: list[str] = []

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self.names.append(task.name)


def keeps_quiet(text: str) -> None:
    found = [secret for secret in SECRETS if secret in text.lower()]
    assert not found, f"{found} in: {text}"


def keeps_quiet_when_raised(exc: BaseException) -> None:
    """The error, all that it came from, its notes and attributes."""
    links = [exc]
    for link in links:
        following = [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
        links += [one for one in following if one is not None and one not in links]
        notes = getattr(link, "__notes__", ())
        for text in (str(link), repr(link), repr(link.args), *notes, pprint.pformat(vars(link))):
            keeps_quiet(text)


class Stage:
    """A world in which something goes wrong, and ears everywhere."""

    def __init__(self, w: World, heard: Everything) -> None:
        self.w = w
        self.heard = heard
        self.errors: list[BaseException] = []

    async def get(self, url: str, **options: Any) -> None:
        try:
            response = await self.w.pool.get(url, **options)
            keeps_quiet(repr(response.connection))
            keeps_quiet(repr(response))
            keeps_quiet(repr(response.headers))
            self.figures()
            response.raise_for_status()
        except (TriopoolError, ValueError, TypeError) as exc:
            self.errors.append(exc)

    def figures(self) -> None:
        statistics = self.w.pool.statistics()
        for text in (repr(statistics), pprint.pformat(statistics), repr(self.w.pool)):
            keeps_quiet(text)
        for key in statistics.origins:
            keeps_quiet(f"{key} {key!r}")


@pytest.fixture
async def stage(
    autojump_clock: MockClock, made: Contexts, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[Stage]:
    """At the end all that was heard is looked at."""
    caplog.set_level(logging.DEBUG)
    names = TaskNames()
    trio.lowlevel.add_instrument(names)
    heard = Everything()
    async with world(
        made, instruments=[heard, LoggingInstrument()], timeouts=Timeouts(connect=2.0, read=2.0)
    ) as w:
        shown = Stage(w, heard)
        yield shown
        shown.figures()
    trio.lowlevel.remove_instrument(names)
    assert any("triopool dial to" in name for name in names.names)
    keeps_quiet("\n".join(names.names))
    assert "triopool" in {record.name for record in caplog.records}
    keeps_quiet(caplog.text)
    for record in caplog.records:
        keeps_quiet(f"{record.getMessage()} {record.args!r}")
    assert heard.told
    for fact in heard.told:
        keeps_quiet(f"{fact} {fact!r}")
        if isinstance(fact, BaseException):
            keeps_quiet_when_raised(fact)
    for exc in shown.errors:
        keeps_quiet_when_raised(exc)


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

WRONG: dict[str, Callable[[World], Any]] = {
    "it is not there": lambda w: None,
    "silent": lambda w: script(KeepOpen()),
    "closes at once": lambda w: script(),
    "closes then": lambda w: script(Receive(), Close()),
    "resets": lambda w: script(ReceiveBytes(1), Reset()),
    "nonsense": lambda w: script(ReceiveBytes(3), Send(b"nonsense\r\n\r\n"), KeepOpen()),
    "HTTP": lambda w: script(ReceiveBytes(3), Send(b"HTTP/1.1 400 x\r\n\r\n"), KeepOpen()),
    "half": lambda w: script(Receive(), Send(b"HTTP/1.1 200"), Close()),
    "early bytes": lambda w: script(Receive(), Send(b"HTTP/1.1 200 OK\r\n\r\nmore"), KeepOpen()),
    "407": lambda w: http_proxy(w.network, credentials=("other", "login")),
    "403": lambda w: http_proxy(w.network, _forbid),
    "502": lambda w: http_proxy(w.network, _bad_gateway),
    "no such user": lambda w: socks_proxy(w.network, credentials=("other", "login")),
    "wants another kind": lambda w: script(ReceiveBytes(3), Send(b"\5\3"), KeepOpen()),
    "wants none": lambda w: script(ReceiveBytes(3), Send(b"\5\xff"), KeepOpen()),
    "login is refused": lambda w: script(
        ReceiveBytes(4), Send(b"\5\2"), ReceiveBytes(3), Send(b"\1\1"), KeepOpen()
    ),
    "user is refused": lambda w: script(ReceiveBytes(12), Send(b"\0\x5d"), KeepOpen()),
    "goes stale": lambda w: in_turn(
        script(ReceiveRequest(), Send(ANSWER), ReceiveRequest(), Close()), script()
    ),
}


async def _forbid(request: Request) -> Reply:
    return Reply(status=403)


async def _bad_gateway(request: Request) -> Reply:
    return Reply(status=502, headers={"Proxy-Status": "p; error=x"}, drop=True)


PROXIES: dict[str, Any] = {
    "forwarded": FORWARDED,
    "tunnel": TUNNEL,
    "bearer": BEARER,
    "SOCKS5": SOCKS,
    "SOCKS4a": SOCKS_4,
    "chain": CHAIN,
    "as a URL": f"http://{USERINFO}proxy.test:3128",
    "forwarded by the second": Proxy(HTTP, auth=LOGIN, via=SOCKS),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("proxy", PROXIES)
async def test_whatever_goes_wrong_at_a_proxy(
    autojump_clock: MockClock, stage: Stage, proxy: str, wrong: str
) -> None:
    w = stage.w
    server = WRONG[wrong](w)
    for address, port in (("192.0.2.9", 3128), ("192.0.2.10", 1080)):
        if server is None:
            w.network.refuse(address, port)
        else:
            w.network.listen(address, port, Lenient(server))
    for url in (f"{A}/x", f"{A}/x", f"{SECURE}/x"):
        await stage.get(url, proxy=PROXIES[proxy])
    assert stage.errors
    assert not w.a.requests + w.b.requests


class Lenient:
    """A server that takes what is not for it: what is sent to the wrong kind is not looked at."""

    def __init__(self, server: Any) -> None:
        self._server = server

    async def __call__(self, stream: Any) -> None:
        try:
            await self._server(stream)
        except* (h11.RemoteProtocolError, AssertionError):
            pass


async def test_errors_of_tls(autojump_clock: MockClock, stage: Stage, made: Contexts) -> None:
    w = stage.w
    await stage.get(f"{A}/", proxy=Proxy("https://proxy.test:3129", auth=LOGIN))
    proxy = lent(made, auth=LOGIN, server_hostname="other.test")
    for url in (A, SECURE):
        await stage.get(f"{url}/", proxy=proxy)
    w.network.listen("192.0.2.9", 3129, script(Send(b"no TLS"), KeepOpen()))
    await stage.get(f"{A}/", proxy=lent(made, auth=LOGIN))
    assert len(stage.errors) == 4


async def test_errors_of_waiting_and_of_leaving(autojump_clock: MockClock, stage: Stage) -> None:
    w = stage.w
    w.network.listen("192.0.2.9", 3128, script(ReceiveRequest(), KeepOpen()))
    w.pool.max_connections = 1
    noted: list[BaseException] = []

    async def give_up() -> None:
        try:
            await w.pool.get(f"{B}/", proxy=TUNNEL)
        except trio.Cancelled as exc:
            noted.append(exc)
            raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: stage.get(f"{A}/", proxy=FORWARDED))
        await trio.sleep(0.5)
        nursery.start_soon(lambda: stage.get(f"{B}/", proxy=TUNNEL, timeouts=Timeouts(pool=0.5)))
        nursery.start_soon(lambda: stage.get(f"{B}/", proxy=SOCKS, timeouts=Timeouts(pool=0.5)))
        with trio.move_on_after(0.3):
            await give_up()
    assert len(stage.errors) == 3
    [cancelled] = noted
    assert any("triopool was waiting" in note for note in cancelled.__notes__)
    keeps_quiet_when_raised(cancelled)


async def test_what_was_cancelled_in_the_middle_of_an_exchange(
    autojump_clock: MockClock, stage: Stage
) -> None:
    w = stage.w
    w.network.listen("192.0.2.9", 3128, script(ReceiveRequest(), KeepOpen()))
    for proxy in (FORWARDED, TUNNEL):
        with trio.move_on_after(1.0):
            try:
                await w.pool.get(f"{A}/", proxy=proxy)
            except trio.Cancelled as exc:
                keeps_quiet_when_raised(exc)
                raise


async def test_errors_of_leases(autojump_clock: MockClock, stage: Stage) -> None:
    w = stage.w
    w.network.listen("192.0.2.9", 3128, Lenient(script(ReceiveRequest(), Send(ANSWER))))
    async with w.pool.lease(f"{A}/", proxy=FORWARDED) as connection:
        keeps_quiet(repr(connection.info))
        await connection.request("GET", "/")
        several: list[dict[str, Any]] = [{}, {"proxy": FORWARDED}, {"headers": {"Upgrade": "x"}}]
        for options in several:
            try:
                await connection.request("GET", "/", **options)
            except Exception as exc:
                stage.errors.append(exc)
        try:
            await connection.request("GET", f"{B}/")
        except ValueError as exc:
            stage.errors.append(exc)
    assert len(stage.errors) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        f"gopher://{USERINFO}p",
        f"{USERINFO}p",
        f"http://{USERINFO}p/path",
        f"http://{USERINFO}p:99999",
        f"http://{USERINFO}",
        f"http://{USERINFO}[::1",
        f"http://p?{TOKEN}",
        f"socks5://{NAME}{'x' * 300}:{PASSWORD}@p",
        f"socks4://{USERINFO}p",
        LOGIN,
        {NAME: PASSWORD},
        NAME.encode(),
    ],
)
async def test_a_proxy_that_cant_be_used(
    autojump_clock: MockClock, stage: Stage, wrong: Any
) -> None:
    await stage.get(f"{A}/", proxy=wrong)
    assert len(stage.errors) == 1
    await stage.w.get(f"{A}/x")  # So that there is something to be heard.


async def test_a_chooser_and_rules(autojump_clock: MockClock) -> None:
    for proxy in (
        ProxyRules(http=FORWARDED, https=TUNNEL),
        lambda origin: (NAME, PASSWORD),
        lambda origin: f"gopher://{USERINFO}p",
    ):
        async with world(proxy=proxy) as w:
            w.network.refuse("192.0.2.9", 3128)
            keeps_quiet(repr(w.pool))
            try:
                await w.pool.get(f"{A}/")
            except (TypeError, ValueError, TriopoolError) as exc:
                keeps_quiet_when_raised(exc)


async def test_no_field_of_a_proxy_is_among_a_requests_own(autojump_clock: MockClock) -> None:
    """What is kept of a request shows none either."""
    async with world(proxy=FORWARDED) as w:
        w.network.listen("192.0.2.9", 3128, script(*[ReceiveRequest(), Send(ANSWER)] * 2))
        for _ in range(2):
            response = await w.pool.get(f"{A}/")
        kept = preparations(w.pool)
        request = kept.plain("GET", f"{A}/")
        for thing in (request, request.key, request.fields, response, response.connection, kept):
            keeps_quiet(repr(thing))
