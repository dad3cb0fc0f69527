"""One run against a server that sends what it likes, and what has to be true of it.

:func:`play` is what every fuzzer here calls, whatever makes up the cases: Hypothesis, with
responses that are nearly right, or atheris, with whatever leads to new code.

A case is a request, and what the server does to it. On the first connection it answers with the
bytes of the case, cut into pieces. To everything else it gives a proper answer, which repeats the
token that came with the request; no case can know a token. So when the pool has been harmed, or a
piece has been taken for another request's answer, the requests that follow show it.

What is sent *after* a request can't be told from its answer; HTTP/1.1 has no means for that. So
the server stops misbehaving on a connection as soon as the next request has come on it: what it had
sent by then must never be taken for the answer. The time between two pieces is never that of a
timeout. There is no latency in the network, and no piece is sent in the moment in which the client
acts.
"""

from __future__ import annotations

import itertools
import math
import ssl
import traceback
import warnings
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field

import h11
import trio
from exchange.world import nothing_held
from parsers.reading import END, Story, differences
from trio.testing import MockClock

from triopool import (
    ConnectionPool,
    LeasedConnection,
    Progress,
    Response,
    StatusError,
    Timeouts,
    TriopoolError,
    WriteError,
)
from triopool._transport.wire import LARGEST_RECEIVE_SIZE
from triopool.testing import Network

KINDS = ("get", "head", "post", "upload", "iterator", "expect", "upgrade", "connect")
HOWS = ("request", "stream", "lease")
WHENS = ("asked", "head", "accepted", "idle")
ENDS = ("keep", "eof", "close", "reset")
GAPS = (0.00137, 0.0213, 0.737, 2.9)

MAX_RAW_BYTES = 192 * 1024
"""The most that a server sends, and what the network holds, in a direction. If the server had to
wait for the client to read, it would send in the moment in which the client acts."""

MAX_BODY_BYTES = 256 * 1024
UPLOAD_BYTES = 400_000
"""More than the network and a server's first look at it hold."""

ENOUGH_SECONDS = 3000.0
"""More virtual time than any case can take: twenty redirects, as slow as the timeouts allow."""

ENOUGH_STEPS = 1_000_000
"""More steps of Trio's scheduler than any case takes. Virtual time does not pass while a task spins
from checkpoint to checkpoint."""

_HOSTS = {"a.example": "192.0.2.1", "b.example": "192.0.2.2"}
_URL = "http://a.example"
_SSL_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Case:
    """A request, and what the server does to it.

    Attributes:
      raw: what the server sends.
      kind: the request.
      how: by what it is sent: ``request()``, ``stream()``, or a lease, with a second one behind.
      when: the server sends when it has read the whole request, or its head, or at once when it
        has accepted the connection, or while the connection is idle, after a proper answer.
      cuts: where *raw* is cut.
      gap: which of GAPS lies between two pieces.
      end: what comes after the last piece.
      reused: whether the request meets a connection that has served another one.
      repeat: whether the server does it to each request, as far as it is asked for ``/fuzz``.
      deaf: whether the server does not read an upload before it has sent everything.
      follow: ``follow_redirects``.
      decode: ``decode``.
      limit: ``max_body_bytes``; None for MAX_BODY_BYTES.
      leave: how many bytes of the body are read before it is left; None to read it all.
      piece: how many bytes are read at once; None for what is there.
      cancel: after how many milliseconds the request is cancelled; None for never.
      waiter: whether another request waits for the only connection meanwhile.
      slow: whether the body is read so slowly that much has come before it is looked at.
    """

    raw: bytes
    kind: str = "get"
    how: str = "request"
    when: str = "asked"
    cuts: tuple[int, ...] = ()
    gap: int = 0
    end: str = "keep"
    reused: bool = False
    repeat: bool = False
    deaf: bool = False
    follow: bool = False
    decode: bool = True
    limit: int | None = None
    leave: int | None = None
    piece: int | None = None
    cancel: int | None = None
    waiter: bool = False
    slow: bool = False

    @property
    def pieces(self) -> list[bytes]:
        raw = self.raw[:MAX_RAW_BYTES]
        at = [0, *sorted({cut for cut in self.cuts if 0 < cut < len(raw)}), len(raw)]
        return [raw[start:end] for start, end in itertools.pairwise(at)]

    # ── For fuzzers that know bytes only ───────────────────────────────────────────────────────

    @classmethod
    def from_bytes(cls, data: bytes) -> Case:
        """Make a case of any bytes: some for the options, the rest is what the server sends."""
        options = data[:_OPTION_BYTES].ljust(_OPTION_BYTES, b"\0")
        flags, leave, piece, cancel, limit = options[5], *options[6:10]
        raw = data[_OPTION_BYTES:]
        return cls(
            raw,
            kind=KINDS[options[0] % len(KINDS)],
            how=HOWS[options[1] % len(HOWS)],
            when=WHENS[options[2] % len(WHENS)],
            end=ENDS[options[3] % len(ENDS)],
            gap=options[4] % len(GAPS),
            reused=bool(flags & 1),
            repeat=bool(flags & 2),
            deaf=bool(flags & 4),
            follow=bool(flags & 8),
            decode=not flags & 16,
            limit=None if not limit else (limit - 1) ** 2,
            leave=None if not leave else (leave - 1) ** 2,
            piece=piece**2 or None,
            cancel=cancel or None,
            waiter=bool(flags & 32),
            slow=bool(flags & 64),
            cuts=tuple(cut for cut in options[10:] if cut),
        )

    def to_bytes(self) -> bytes:
        """What :meth:`from_bytes` makes this case of; numbers are rounded."""
        switches = (self.reused, self.repeat, self.deaf, self.follow, not self.decode)
        switches += (self.waiter, self.slow)
        cuts = [cut for cut in self.cuts if 0 < cut < 256][:6]
        return (
            bytes(
                [
                    KINDS.index(self.kind),
                    HOWS.index(self.how),
                    WHENS.index(self.when),
                    ENDS.index(self.end),
                    self.gap,
                    sum(switch << at for at, switch in enumerate(switches)),
                    _root(self.leave),
                    math.isqrt(self.piece or 0) & 0xFF,
                    min(self.cancel or 0, 255),
                    _root(self.limit),
                    *cuts,
                    *[0] * (6 - len(cuts)),
                ]
            )
            + self.raw
        )


_OPTION_BYTES = 16


def _root(number: int | None) -> int:
    return 0 if number is None else min(math.isqrt(number) + 1, 255)


# ── The server ─────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Asked:
    """A request that has come, at least its head."""

    method: str
    target: str
    token: str


class _Server:
    """Misbehaves once, or as often as the case says, and else answers as it should.

    Attributes:
      misbehaved: how often the bytes of the case have been sent, or begun to be.
      asked: how often each token has come.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.misbehaved = 0
        self.asked: Counter[str] = Counter()
        self._sending = 0

    async def quiet(self) -> None:
        """Wait until nothing of the case is under way."""
        while self._sending:
            await trio.sleep(0.5)

    async def __call__(self, stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            line = _Line(stream, nursery, self.asked)
            with suppress(EOFError):
                await self._serve(line)
            nursery.cancel_scope.cancel()

    async def _serve(self, line: _Line) -> None:
        case = self.case
        if case.when == "accepted" and not self.misbehaved:
            await self._misbehave(line, before=1)
            await line.next_request()  # which has had its answer
            await line.end_of_request()
        while True:
            asked = await line.next_request()
            if self._is_meant(asked) and case.when in ("asked", "head"):
                if case.when == "asked" and not self._is_deaf:
                    await line.end_of_request()
                    await self._misbehave(line)
                else:
                    await self._misbehave(line)
                    await line.end_of_request()
                continue
            await line.end_of_request()
            await line.send(_answer(asked))
            if case.when == "idle" and not self.misbehaved:
                await self._misbehave(line)

    def _is_meant(self, asked: _Asked) -> bool:
        meant = asked.target.startswith("/fuzz") or asked.method == "CONNECT"
        return meant and (self.case.repeat or not self.misbehaved)

    @property
    def _is_deaf(self) -> bool:
        # The head and as much as fits into the buffers: an upload only is more than that.
        return self.case.deaf and self.case.kind in ("upload", "iterator")

    async def _misbehave(self, line: _Line, before: int = 0) -> None:
        """Send what the case says; *before* so many of the requests that are still to come."""
        self.misbehaved += 1
        self._sending += 1
        line.is_deaf = self._is_deaf
        try:
            for number, piece in enumerate(self.case.pieces):
                # Not in the moment in which the client acts; see above.
                if number or not before:
                    await trio.sleep(GAPS[self.case.gap] if number else GAPS[0])
                if line.waiting > before:
                    return
                await line.send(piece)
            await trio.sleep(GAPS[0])
            if line.waiting > before:
                return
        finally:
            line.is_deaf = False
            self._sending -= 1
        await line.end(self.case.end)


class _Line:
    """One connection, with a task that reads what comes."""

    def __init__(
        self, stream: trio.SocketStream, nursery: trio.Nursery, asked: Counter[str]
    ) -> None:
        self.is_deaf = False
        self._asked = asked
        self._stream = stream
        self._heads: deque[_Asked] = deque()
        self._ends = 0
        self._over = False
        self._news = trio.Event()
        nursery.start_soon(self._read)

    @property
    def waiting(self) -> int:
        """How many requests there are behind the one that is being answered."""
        return len(self._heads)

    async def next_request(self) -> _Asked:
        while not self._heads:
            await self._wait()
        return self._heads.popleft()

    async def end_of_request(self) -> None:
        while not self._ends:
            await self._wait()
        self._ends -= 1

    async def _wait(self) -> None:
        if self._over:
            raise EOFError
        await self._news.wait()

    async def send(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def end(self, end: str) -> None:
        if end == "keep":
            return
        if end == "eof":
            await self._stream.send_eof()
            await trio.sleep_forever()
        if end == "reset":
            self._stream.socket.reset()  # type: ignore[attr-defined]
        raise EOFError

    async def _read(self) -> None:
        trailing = b""
        try:
            while True:
                trailing = await self._read_request(trailing)
        except h11.RemoteProtocolError:
            # After an upgrade it is not HTTP any more.
            while await self._stream.receive_some():
                pass
        except EOFError:
            pass
        finally:
            self._over = True
            self._tell()

    async def _read_request(self, received: bytes) -> bytes:
        protocol = h11.Connection(h11.SERVER)
        if received:
            protocol.receive_data(received)
        while True:
            event = protocol.next_event()
            if isinstance(event, h11.Request):
                self._heads.append(_asked(event))
                self._asked[self._heads[-1].token] += 1
                self._tell()
            elif isinstance(event, h11.EndOfMessage):
                self._ends += 1
                self._tell()
                return protocol.trailing_data[0]
            elif event is h11.NEED_DATA:
                while self.is_deaf:
                    await trio.sleep(0.01)
                data = await self._stream.receive_some()
                if not data:
                    raise EOFError
                protocol.receive_data(data)

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()


def _asked(event: h11.Request) -> _Asked:
    tokens = [value.decode() for name, value in event.headers if name == b"token"]
    return _Asked(event.method.decode(), event.target.decode(), ", ".join(tokens))


def _answer(asked: _Asked) -> bytes:
    body = b"for " + asked.token.encode()
    head = f"HTTP/1.1 200 OK\r\nToken: {asked.token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if asked.method == "HEAD" else body)


# ── The client ─────────────────────────────────────────────────────────────────────────────────


_ASKINGS = {"get": "GET", "head": "HEAD", "upgrade": "upgrade", "connect": "CONNECT"}
"""As which request the parsers get what a case sends; others are a POST."""


def play(case: Case) -> str:
    """Run a case; return in a word how the request ended.

    Raises:
      Exception: a promise was broken; AssertionError, most of the time.
    """
    end = [END] if case.end == "eof" else []
    pieces = [piece for piece in case.pieces if piece]
    found = differences(Story(_ASKINGS.get(case.kind, "POST"), [[*pieces, *end]]))
    assert not found, "\n".join(found)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return trio.run(_main, case, clock=MockClock(autojump_threshold=0))


async def _main(case: Case) -> str:
    guard = Guard()
    trio.lowlevel.add_instrument(guard)
    with guard.scope:
        outcome = await _play(case)
    assert not guard.scope.cancelled_caught, "it hangs" if guard.steps > 0 else "it spins"
    return outcome


class Guard(trio.abc.Instrument):
    """Ends what hangs, and what spins: there, no time passes."""

    def __init__(self) -> None:
        self.steps = ENOUGH_STEPS
        self.scope = trio.CancelScope(deadline=trio.current_time() + ENOUGH_SECONDS)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps -= 1
        if self.steps == 0:
            self.scope.cancel()


async def _play(case: Case) -> str:
    server = _Server(case)
    async with Network(buffer_size=MAX_RAW_BYTES) as network:
        for host, address in _HOSTS.items():
            network.host(host, address)
            network.listen(address, 80, server)
        async with ConnectionPool(
            resolver=network.resolve,
            socket_factory=network.socket,
            # With one of them, a slot that is lost is a request that hangs.
            max_connections=1,
            # Nobody speaks TLS here. To load the usual context takes a thread, and real time.
            ssl_context=_SSL_CONTEXT,
            timeouts=Timeouts(pool=20, connect=10, write=7, read=5),
        ) as pool:
            client = _Client(case, pool, server)
            outcome = await client.run()
            await server.quiet()
            await trio.sleep(1)  # for what is drained
            nothing_held(pool, network)
            retried = pool.statistics().retried
            for target in ("/next/1", "/next/2"):
                await client.expect_answer(target)
            # All was quiet: there was nothing that a glance at the connection could not see.
            assert pool.statistics().retried == retried
            nothing_held(pool, network)
        assert not network.open_sockets
    return outcome


class _Upload:
    """A body that can be sent once."""

    def __init__(self) -> None:
        self.begun = self.closed = False
        self._left = UPLOAD_BYTES

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self.begun = True
        await trio.lowlevel.checkpoint()
        if not self._left:
            raise StopAsyncIteration
        self._left -= 50_000
        return bytes(50_000)

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class _Client:
    case: Case
    pool: ConnectionPool
    server: _Server
    uploads: list[_Upload] = field(default_factory=list)
    informational: int = 0
    _tokens: int = 0

    async def run(self) -> str:
        case = self.case
        if case.when == "idle" or (case.reused and case.when != "accepted"):
            await self.expect_answer("/before")
            if case.when == "idle":
                await self.server.quiet()
        if not case.waiter:
            return await self._ask_and_look()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_in_line)
            return await self._ask_and_look()

    async def _wait_in_line(self) -> None:
        await trio.sleep(0.0001)
        await self.expect_answer("/waiter")

    async def _ask_and_look(self) -> str:
        case, outcome = self.case, "cancelled"
        after = math.inf if case.cancel is None else case.cancel / 1000 + 0.00071
        with trio.move_on_after(after):
            try:
                outcome = await self._ask()
            except TriopoolError as exc:
                outcome = type(exc).__name__
                _look_at_error(exc)
        assert self.informational <= (20 * 21 if case.follow else 20)
        assert all(upload.closed or not upload.begun for upload in self.uploads)
        if case.when == "idle" and case.cancel is None and case.limit is None:
            # Nobody had asked for these bytes, so they are nobody's answer.
            assert outcome in ("its answer", "left early", "upgraded")
        return outcome

    async def expect_answer(self, target: str) -> None:
        """Ask the well-behaved part of the server."""
        token = self._new_token()
        patience = Timeouts(pool=None, read=5)
        response = await self.pool.get(_URL + target, headers={"Token": token}, timeouts=patience)
        _check_answer(response, token)

    def _new_token(self) -> str:
        self._tokens += 1
        return f"4b1cf66f1b{self._tokens}"

    # ── The request ────────────────────────────────────────────────────────────────────────────

    async def _ask(self) -> str:
        if self.case.how == "lease":
            async with self.pool.lease(_URL) as lease:
                outcome = await self._ask_by(lease)
                await self._ask_again(lease)
                return outcome
        return await self._ask_by(self.pool)

    async def _ask_again(self, lease: LeasedConnection) -> None:
        token = self._new_token()
        try:
            response = await lease.request("GET", "/second", headers={"Token": token})
        except WriteError:
            assert not lease.is_usable
        else:
            _check_answer(response, token)

    async def _ask_by(self, asker: ConnectionPool | LeasedConnection) -> str:
        token = self._new_token()
        try:
            return await self._ask_with(asker, token)
        finally:
            if not self.case.follow:
                is_safe = self.case.kind in ("get", "head", "upgrade")
                assert self.server.asked[token] <= (4 if is_safe else 1), "sent too often"

    async def _ask_with(self, asker: ConnectionPool | LeasedConnection, token: str) -> str:
        case = self.case
        method = {"get": "GET", "head": "HEAD", "upgrade": "GET", "connect": "CONNECT"}
        options = {
            "headers": {"Token": token} | ({"Upgrade": "echo"} if case.kind == "upgrade" else {}),
            "content": self._content(),
            "target": "c.example:443" if case.kind == "connect" else None,
            "expect_continue": case.kind == "expect",
            "follow_redirects": case.follow,
            "decode": case.decode,
            "max_body_bytes": MAX_BODY_BYTES if case.limit is None else case.limit,
            "on_informational": self._on_informational,
            "on_progress": self._on_progress,
        }
        arguments = (method.get(case.kind, "POST"), _URL + "/fuzz")
        if self._at_once:
            response = await asker.request(*arguments, **options)
        else:
            async with AsyncExitStack() as stack:
                response = await stack.enter_async_context(asker.stream(*arguments, **options))
                _look_at_head(response)
                assert case.when != "idle" or response.headers["token"] == token
                if response.upgraded is not None:
                    return await self._talk(response.upgraded)
                left_early = await self._read(response)
            if left_early:
                return "left early"
        return self._look_at(response, token)

    @property
    def _at_once(self) -> bool:
        """Whether it is ``request()``, which does not take what may become another protocol."""
        return self.case.how == "request" and self.case.kind not in ("upgrade", "connect")

    def _content(self) -> bytes | _Upload | None:
        match self.case.kind:
            case "post" | "expect":
                return b"field=value"
            case "upload":
                return bytes(UPLOAD_BYTES)
            case "iterator":
                self.uploads.append(_Upload())
                return self.uploads[-1]
        return None

    def _on_informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert 100 <= status < 200
        self.informational += 1

    def _on_progress(self, progress: Progress) -> None:
        assert 0 <= progress.sent <= UPLOAD_BYTES
        assert progress.received >= 0

    # ── What came ──────────────────────────────────────────────────────────────────────────────

    async def _read(self, response: Response) -> bool:
        """Read the body piece by piece; return whether it was left before its end."""
        case, size = self.case, 0
        while case.leave is None or size < case.leave:
            if case.slow and not size:
                await trio.sleep(0.1234)
            piece = await response.receive_some(case.piece)
            assert len(piece) <= min(case.piece or math.inf, LARGEST_RECEIVE_SIZE)
            if not piece:
                return False
            size += len(piece)
            assert size <= (MAX_BODY_BYTES if case.limit is None else case.limit)
        return True

    async def _talk(self, stream: trio.abc.Stream) -> str:
        try:
            with trio.move_on_after(3.3):
                await stream.send_all(b"ping")
                while piece := await stream.receive_some(self.case.piece):
                    assert len(piece) <= (self.case.piece or math.inf)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return "upgraded, and broken"
        if self.case.leave is None:
            await stream.aclose()
        return "upgraded"

    def _look_at(self, response: Response, token: str) -> str:
        _look_at_head(response)
        if self._at_once:
            _look_at_body(response)
            assert len(response.content) <= (
                MAX_BODY_BYTES if self.case.limit is None else self.case.limit
            )
        is_own = response.headers.get("token") == token
        if response.history and not self.case.repeat:
            # The server misbehaved once, and this is the answer to what it redirected to.
            assert is_own
        if is_own:
            assert response.status_code == 200
            if self._at_once and response.method != "HEAD":
                assert response.content == b"for " + token.encode()
        return "its answer" if is_own else f"{response.status_code // 100}xx"


def _check_answer(response: Response, token: str) -> None:
    assert response.status_code == 200
    assert response.headers.getall("token") == [token]
    assert response.content == b"for " + token.encode()


def _look_at_head(response: Response) -> None:
    """Nothing that a server says makes these raise."""
    assert 101 <= response.status_code <= 999
    assert response.http_version
    assert isinstance(response.reason, str)
    assert len(response.raw_headers) <= 256
    assert len(response.headers) == len(response.raw_headers)
    assert len(response.trailers) <= 256
    assert response.url.startswith("http")
    assert response.connection.origin.scheme == "http"
    assert repr(response).isprintable()
    assert response.encoding
    assert len(response.history) <= 20
    try:
        response.raise_for_status()
    except StatusError as exc:
        _look_at_error(exc)


def _look_at_body(response: Response) -> None:
    assert isinstance(response.text, str)
    # RecursionError is the json module's own answer to "[[[[...".
    with suppress(ValueError, RecursionError):
        response.json()


def _look_at_error(error: TriopoolError) -> None:
    """What is told is short and legible, whatever the server sent; and so is the traceback."""
    assert str(error).isprintable()
    assert len(str(error)) < 500
    shown = traceback.format_exception_only(error)
    assert len("".join(shown)) < 2000
    cause = error.__cause__
    while cause is not None:
        assert len(str(cause)) < 2000
        cause = cause.__cause__
