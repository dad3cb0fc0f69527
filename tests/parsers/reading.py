"""One connection with a parser of our choice, and no network: what it makes of what a server sends.

Everything that can be seen of a connection is told, with how much had arrived by then: so two
parsers are alike if they tell the same, and neither may know a thing later than the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple, TypeAlias

from inside import frame_and_write

from triopool import ConnectionInfo, Origin, PoolKey, Timeouts, TriopoolError
from triopool._deadlines import Deadlines
from triopool._protocol.connection import HTTP1Connection
from triopool._protocol.h11_parser import H11Parser
from triopool._protocol.heads import Doubt
from triopool._protocol.parser import DoesNotFit, Parser
from triopool._protocol.request_head import RequestHead, make_head
from triopool._protocol.scanner import Stage

MakeParser: TypeAlias = Callable[[Doubt], Parser]
Seen: TypeAlias = list[tuple[object, ...]]

PARSERS: dict[str, MakeParser] = {"h11": H11Parser}
"""Those that are installed here."""
with suppress(ImportError):
    from triopool._protocol.httptools_parser import HttptoolsParser

    PARSERS["httptools"] = HttptoolsParser

END = b""
"""As a piece: the server has ended the connection."""

ORIGIN = Origin("http", "a.example", 80)
KEY = PoolKey(ORIGIN, None)
INFO = ConnectionInfo(1, ORIGIN, None, None, None, 0.0)
NO_LIMITS = Timeouts(read=None, write=None)
NO_DEADLINES = Deadlines()


class Asking(NamedTuple):
    """A request, as it is framed.

    Attributes:
      method: with its own target for CONNECT.
      fields: besides Host.
      body: all of it; None if pieces are to come.
      pieces: those.
      ends: whether the last one ends the body.
    """

    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes | None = b""
    pieces: tuple[bytes, ...] = ()
    ends: bool = True


ASKINGS = {
    "GET": Asking(),
    "HEAD": Asking("HEAD"),
    "CONNECT": Asking("CONNECT"),
    "upgrade": Asking(fields=(("Connection", "Upgrade"), ("Upgrade", "other"))),
    "close": Asking(fields=(("Connection", "keep-alive, Close"),)),
    "POST": Asking("POST", (("Content-Length", "5"),), b"hello"),
    "chunked": Asking("POST", (("Transfer-Encoding", "chunked"),), None, (b"hel", b"lo")),
    "unfinished": Asking("POST", (("Content-Length", "5"),), None, (b"hel",), ends=False),
}


def head_of(asking: Asking) -> RequestHead:
    target = "b.example:80" if asking.method == "CONNECT" else "/"
    return make_head(asking.method, target, [("Host", "a.example"), *asking.fields])


class Wire:
    """Stands for the one below a connection: takes everything, gives what the test has put in.

    Attributes:
      sent: what was written.
      coming: what will be read; END for the end.
      closed: whether it was.
    """

    def __init__(self) -> None:
        self.sent = bytearray()
        self.coming: deque[bytes] = deque()
        self.closed = False
        self.look_before_write = False
        self.on_progress: object = None

    @property
    def bytes_sent(self) -> int:
        return len(self.sent)

    def send_now(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    async def receive_some(self, most: int | None = None) -> bytes:
        piece = self.coming.popleft()
        if most is not None and most < len(piece):
            self.coming.appendleft(piece[most:])
        return piece[:most]

    def is_readable(self) -> bool:
        return bool(self.coming)

    def close(self) -> None:
        self.closed = True


def run(step: Coroutine[Any, Any, None]) -> None:
    """Run what never waits, without Trio."""
    try:
        step.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


class Driver:
    """One connection, used by one exchange after the other.

    Attributes:
      seen: all that could be seen of it.
    """

    def __init__(self, make_parser: MakeParser) -> None:
        self.wire = Wire()
        self.seen: Seen = []

        def make(doubt: Doubt) -> Parser:
            self.parser = make_parser(doubt)
            return self.parser

        wire: Any = self.wire  # as much of one as is used
        self.connection = HTTP1Connection(wire, None, INFO, KEY, NO_DEADLINES, make)

    def exchange(self, asking: Asking, pieces: Sequence[bytes], head: RequestHead) -> bool:
        """Send a request, and read what comes; whether another one may follow."""
        self.wire.coming.extend(pieces)
        try:
            self._ask(asking, head)
            while not self._read_head():
                if not self._receive():
                    return False
            if self.connection.upgraded is not None:
                self._see("switched", bytes(self.connection.upgraded.lead))
                return False
            while not self._read_body():
                if not self._receive():
                    return False
            run(self.connection.finish())
        except (TriopoolError, DoesNotFit) as exc:
            self._see(type(exc), str(exc), repr(exc.__cause__), repr(exc.__context__))
            self.connection.abandon()
        limit = self.connection.idle_limit
        self._see("finished", self.connection.spent, limit, bytes(self.wire.sent))
        return self.connection.spent is None

    def _ask(self, asking: Asking, head: RequestHead) -> None:
        connection = self.connection
        connection.start(ORIGIN, head, asking.body, NO_LIMITS, reused=False, just_seen=False)
        for number, piece in enumerate(asking.pieces, 1):
            last = asking.ends and number == len(asking.pieces)
            frame_and_write(connection, piece, last=last)

    def _receive(self) -> bool:
        """Let something come, as :meth:`HTTP1Connection.receive` does; whether there is more."""
        scanner = self.parser.scanner
        if scanner.stage is Stage.CHUNKS and scanner.paused:
            scanner.resume()
            return True
        if not self.wire.coming:
            self._see("waits", self.connection.spent, self.connection.worth_draining)
            return False
        run(self.connection.receive())
        return True

    def _read_head(self) -> bool:
        while (head := self.connection.next_head()) is not None:
            self._see(*head._replace(read_fields=None), head.read_fields())  # type: ignore[arg-type]
            is_final = head.status_code >= 200 or self.connection.upgraded is not None
            if is_final:
                self._see(self.connection.worth_draining, self.connection.spent)
                return True
        return False

    def _read_body(self) -> bool:
        body = b""
        connection = self.connection
        try:
            while piece := connection.take():
                body += piece
        finally:
            self._see("body", body, self.parser.body_bytes)
        if piece is None:
            self._see("ended", connection.trailers)
            assert connection.take() is None
        return piece is None

    def _see(self, *facts: object) -> None:
        self.seen.append((self.connection.bytes_received, *facts))


class Story(NamedTuple):
    """What is sent both ways on one connection, until it ends.

    Attributes:
      asking: the name of the request, which is the same each time.
      exchanges: for each request what comes; END for the end of the connection.
    """

    asking: str
    exchanges: Sequence[Sequence[bytes]]


@cache
def _head_for(parser: str, asking: str) -> RequestHead:
    """One for each parser: a head keeps what that has made of it."""
    return head_of(ASKINGS[asking])


def read(story: Story, parser: str) -> Seen:
    """What can be seen of it with one parser."""
    asking = ASKINGS[story.asking]
    head = _head_for(parser, story.asking)
    driver = Driver(PARSERS[parser])
    for pieces in story.exchanges:
        if not driver.exchange(asking, pieces, head):
            break
    return driver.seen


def differences(story: Story) -> list[str]:
    """Where what is seen differs: empty if the parsers are alike."""
    one, other = (read(story, parser) for parser in PARSERS)
    if one == other:
        return []
    found = [f"{a} != {b}" for a, b in zip(one, other, strict=False) if a != b]
    return [str(story), *found, f"{len(one)} and {len(other)} things seen"]


# ── Both ───────────────────────────────────────────────────────────────────────────────────────

SHORT, LONG = 600, 5_000
"""What is shorter is split at each point, and comes byte by byte."""


def assert_alike(stories: Iterable[Story]) -> None:
    for story in stories:
        found = differences(story)
        assert not found, "\n".join(found)


def whole(raw: bytes) -> Iterator[Story]:
    """As the answer to each kind of request, twice, and with the end of the connection."""
    for asking in ASKINGS if len(raw) <= LONG else ("GET", "HEAD", "close"):
        yield Story(asking, [[raw], [raw, END]])


def cut(raw: bytes, step: int = 1, first: int = 1) -> Iterator[Story]:
    """In two, and cut short, at each point."""
    for at in range(first, len(raw), step):
        yield Story("GET", [[raw[:at], raw[at:], END]])
        yield Story("GET", [[raw[:at], END]])


def bytewise(raw: bytes) -> Iterator[Story]:
    yield Story("GET", [[*(raw[at : at + 1] for at in range(len(raw))), END]])
