"""Servers that check every byte they get, and answer as each request's plan says.

What a server does to a request depends on the seed, the request's token, and on how often it has
come; so whatever order things happen in, its plan is the same. An answer proves which request it is
to: it repeats the token, and tells what the request's body was. An answer to nobody (a *stray* one)
has a token that nobody has; it is delivered only in a moment in which no request is on its way, so
that a pool that looks before it sends can't take it for an answer.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import trio
from strictness import Head, NotARequest, Received, Requests

from triopool.testing import NetworkSocket

from .world import MOMENTS, Watch, Way, World

NOBODY = "nobody"
SLOW_BYTES = 700
SOCKETS_ROOM = 0.005
"""How long an answer waits, in seconds, before it is tried again on a socket without room."""


@dataclass(frozen=True)
class Plan:
    """What is done to one request.

    Attributes:
      when: whether it is answered when its head has come, or when all of it has.
      delay: how long the answer takes.
      gap: how much later each piece of the answer comes.
      pieces: how many there are.
      informational: how many 103 go before it.
      asks: whether 100 Continue is sent when the head has come: ``"no"``, ``"yes"``, or
        ``"with"``: in one segment with the answer.
      framing: how the answer tells its length.
      ending: what becomes of the connection: ``"keep"``; ``"close"``, said and done; ``"fin"``,
        ``"eof"`` (half-closed), ``"rst"``: not said, *lull* later.
      fault: what is wrong with it, or None.
      at: where in the answer that is, as a fraction.
    """

    when: str = "end"
    delay: float = 0.0
    gap: float = 0.0
    pieces: int = 1
    informational: int = 0
    asks: str = "yes"
    framing: str = "length"
    status: int = 200
    size: int = 0
    ending: str = "keep"
    lull: float = 0.0
    fault: str | None = None
    at: float = 0.0


FAULTS = (
    *("cut", "reset", "silent", "stalled", "garbage", "longer", "behind", "deaf", "slow", "drop"),
    *("stray",) * 6,
)


def plan_for(world: World, token: str, attempt: int, has_body: bool) -> Plan:
    if world.honest:
        return Plan(delay=1.0 if token.startswith("full") else 0.0)
    choose = random.Random(f"{world.seed}/{token}/{attempt}")
    fault = choose.choice(FAULTS) if choose.random() < 0.35 else None
    return Plan(
        when="head" if has_body and choose.random() < 0.45 else "end",
        delay=choose.choice(MOMENTS),
        gap=choose.choice(MOMENTS[:4]),
        pieces=choose.choice((1, 1, 1, 2, 3, 7)),
        informational=choose.choice((0, 0, 0, 1, 2)),
        asks=choose.choice(("no", "yes", "yes", "with", "with")),
        framing=choose.choice(("length", "length", "chunked", "until close")),
        status=choose.choice((200, 200, 200, 200, 204, 304, 404, 500)),
        size=choose.choice((0, 1, 50, 50, 3000, 70_000, 150_000)),
        ending=choose.choice(("keep",) * 7 + ("close", "fin", "eof", "rst")),
        lull=choose.choice(MOMENTS),
        fault=fault,
        at=choose.random(),
    )


def expected_body(token: str, attempt: int, digest: str, size: int) -> bytes:
    proof = f"token={token};attempt={attempt};digest={digest};".encode()
    return proof + b"." * size


@dataclass
class Visit:
    """One request's coming to one server.

    Attributes:
      answered_at: when the last byte of a whole answer to it was delivered.
    """

    token: str
    attempt: int
    plan: Plan
    received: Received
    watch: Watch
    answered_at: float | None = None

    @property
    def closes(self) -> bool:
        """Whether the server closes the connection behind its answer."""
        asked = self.received.head.field("connection") == "close"
        return asked or self.plan.ending != "keep" or self.plan.framing == "until close"

    @property
    def must_succeed(self) -> bool:
        """Whether the client, once it has been answered, can't but get its answer."""
        # A reset takes with it what the client has not read; so does a close with an upload unread.
        polite = self.plan.ending != "rst" and (self.plan.when == "end" or not self.closes)
        return polite and self.plan.fault in (None, "stray", "slow", "behind")


class Servers:
    """All servers of a cycle.

    Attributes:
      visits: by token, each time its request came.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.visits: dict[str, list[Visit]] = {}

    async def __call__(self, stream: trio.SocketStream) -> None:
        await self.serve(stream)

    async def serve(
        self,
        stream: trio.SocketStream,
        data: bytes = b"",
        *,
        forwards: str | None = None,
        way: Way = (),
        leads_to: str | None = None,
    ) -> None:
        """Serve a connection, from which a proxy has read *data* already.

        Args:
          stream: the connection.
          data: what has come.
          forwards: the credentials that each request has to have, and the form of a request to a
            proxy with them; None for an origin, which must not be given any.
          way: how the connection has come here.
          leads_to: the host for which a proxy was told to open it; None if none was.
        """
        sock = stream.socket
        assert isinstance(sock, NetworkSocket)
        line = _Line(self, sock, f"c{sock.getpeername()[1]}", forwards, way, leads_to)
        while data := data or bytes(await stream.receive_some(line.appetite)):
            line.take(data)
            await line.digest_it()
            data = b""
        line.end()


class _Line:
    """One connection of a server."""

    def __init__(
        self,
        servers: Servers,
        sock: NetworkSocket,
        name: str,
        forwards: str | None,
        way: Way,
        leads_to: str | None,
    ) -> None:
        self.name = name
        self._forwards = forwards
        self._way = way
        self._leads_to = leads_to
        self._servers = servers
        self._world = servers.world
        self._socket = sock
        self._watch = self._world.watches[sock.getpeername()[1]]
        self._requests = Requests()
        self._seen = 0
        self._done = 0
        # What is to be sent next, and when; only the first one is in flight.
        self._outbox: deque[tuple[float, Callable[[], bytes | None]]] = deque()
        self._due = trio.current_time()
        self._rest = b""
        self._visit: Visit | None = None
        # Why no further request may come; None while one may.
        self._spoilt: str | None = None

    # ── Receiving ──────────────────────────────────────────────────────────────────────────────

    @property
    def appetite(self) -> int | None:
        return SLOW_BYTES if self._fault == "slow" else None

    @property
    def _fault(self) -> str | None:
        return None if self._visit is None else self._visit.plan.fault

    def take(self, data: bytes | bytearray) -> None:
        try:
            self._requests.feed(data)
        except NotARequest as exc:
            self._world.find("bytes", f"{self.name}: {exc}")
            self._die()
            return
        requests = self._requests.requests
        while self._done < len(requests):
            if self._seen == self._done:
                self._begin(requests[self._seen])
                self._seen += 1
            if not requests[self._done].complete:
                return
            self._complete(requests[self._done])
            self._done += 1

    async def digest_it(self) -> None:
        """Before it reads on."""
        if self._fault == "slow":
            await trio.sleep(0.01)
        elif self._fault == "deaf":
            await trio.sleep(3.0)

    def end(self) -> None:
        """The client has closed the connection."""
        self._world.tell(f"{self.name}: the client has closed")
        self._outbox.clear()

    def _begin(self, received: Received) -> None:
        world, head = self._world, received.head
        self._check_form(head)
        token = head.target.rpartition("/")[2]
        if self._way != (due := world.ways.get(token, self._way)):
            world.find("way", f"{self.name}: {token} came through {self._way}, and not {due}")
        visits = self._servers.visits.setdefault(token, [])
        if self._spoilt is not None:
            world.find("unfit", f"{self.name}: {token} was sent on a connection {self._spoilt}")
        if self._visit is not None and self._visit.answered_at is None:
            world.find(
                "unfit", f"{self.name}: {token} was sent before {self._visit.token} was answered"
            )
        if visits and head.field("repeatable") == "no":
            world.find("twice", f"{token} came twice, and can't be repeated")
        has_body = (head.field("content-length") or "0") != "0" or head.field("transfer-encoding")
        plan = plan_for(world, token, len(visits) + 1, bool(has_body))
        if plan.fault == "longer" and (head.method == "HEAD" or plan.status in (204, 304)):
            plan = replace(plan, fault=None)  # What is longer than nothing is no fault there.
        visit = Visit(token, len(visits) + 1, plan, received, self._watch)
        visits.append(visit)
        self._visit = visit
        world.counts["requests"] += 1
        world.tell(f"{self.name}: {head.method} {token} came: {plan}")
        self._due = trio.current_time()
        waits = head.field("expect") == "100-continue"
        if plan.fault == "drop":
            self._last("rst", after=plan.delay)
        elif plan.when == "head" or plan.fault == "deaf":
            self._answer(visit)
        elif waits and plan.asks != "no":
            self._put(plan.delay / 2, b"HTTP/1.1 100 Continue\r\n\r\n")

    def _check_form(self, head: Head) -> None:
        """What is asked of a proxy is a URL, with credentials; an origin gets neither."""
        given = head.field("proxy-authorization")
        if given != self._forwards:
            self._world.find("secret", f"{self.name}: other credentials for a proxy than were due")
        start = f"http://{head.field('host')}/" if self._forwards else "/"
        if head.target.rpartition("/")[0] + "/" != start:
            self._world.find("bytes", f"{self.name}: {head.target} in the wrong form")
        # Who is told an address knows no name for it.
        if self._leads_to not in (None, head.field("host")) and head.field("host") != "both.test":
            self._world.find("way", f"{self.name}: for {head.field('host')}, not {self._leads_to}")

    def _complete(self, received: Received) -> None:
        visit = self._visit
        assert visit is not None
        digest = _digest(received)
        if (told := received.head.field("digest")) != digest:
            size = len(received.body)
            self._world.find("body", f"{visit.token}: a body of {size} bytes, but not {told}'s")
        if visit.plan.when == "end" and visit.plan.fault not in ("deaf", "drop"):
            self._due = max(self._due, trio.current_time())
            self._answer(visit)

    # ── Answering ──────────────────────────────────────────────────────────────────────────────

    def _answer(self, visit: Visit) -> None:
        plan, head = visit.plan, visit.received.head
        if plan.fault == "silent":
            return
        raw, self_contained = answer(visit)
        before = b"".join(
            b"HTTP/1.1 103 Early Hints\r\nNumber: %d\r\n\r\n" % i for i in range(plan.informational)
        )
        if plan.asks == "with" and plan.when == "head":
            before += b"HTTP/1.1 100 Continue\r\n\r\n"
        elif before:
            self._put(plan.delay / 2, before)
            before = b""
        raw = before + raw
        if plan.fault == "garbage":
            raw = b"HTTP/1.1 2x0 OK" + raw[16:]
        if plan.fault == "behind":
            raw += _stray_answer()
        if plan.fault in ("cut", "reset", "stalled"):
            raw = raw[: int(plan.at * len(raw))]
        size = max(1, -(-len(raw) // plan.pieces))
        pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
        for number, piece in enumerate(pieces):
            self._put(plan.gap if number else plan.delay, piece)
        if plan.fault in ("cut", "reset"):
            self._last("rst" if plan.fault == "reset" else "fin")
        if plan.fault in ("stalled", "garbage", "longer"):
            self._put(0.0, lambda: self._spoil(f"whose answer was {plan.fault}"))
        if plan.fault in ("stalled", "cut", "reset", "garbage", "longer"):
            return
        self._put(0.0, lambda: self._answered(visit))
        if plan.fault == "behind":
            self._put(0.0, lambda: self._spoil("with bytes behind its answer"))
        if not self_contained or plan.ending == "close" or head.field("connection") == "close":
            self._last("fin")
        elif plan.ending != "keep":
            self._last(plan.ending, after=plan.lull)
        elif plan.fault == "stray":
            self._put(plan.lull, self._stray)

    def _put(self, after: float, what: bytes | Callable[[], bytes | None]) -> None:
        self._due += after
        self._outbox.append((self._due, (lambda: what) if isinstance(what, bytes) else what))
        if len(self._outbox) == 1:
            self._world.post(self._due, self._pump)

    def _pump(self) -> None:
        """Deliver what is due, as far as there is room."""
        while self._outbox and not self._socket.closed:
            if not self._rest:
                due, make = self._outbox[0]
                if due > trio.current_time():
                    self._world.post(due, self._pump)
                    return
                self._rest = make() or b""
            if self._rest and not self._deliver():
                self._world.post(trio.current_time() + SOCKETS_ROOM, self._pump)
                return
            if self._outbox:
                self._outbox.popleft()

    def _deliver(self) -> bool:
        try:
            while self._rest:
                self._rest = self._rest[self._socket.send_nowait(self._rest) :]
                self._watch.delivered()
        except BlockingIOError:
            return False
        except OSError:
            self._die()
        return True

    def _answered(self, visit: Visit) -> None:
        visit.answered_at = trio.current_time()
        self._world.tell(f"{self.name}: {visit.token} has been answered")

    def _spoil(self, why: str) -> None:
        self._spoilt = why

    @property
    def _nobody_asks(self) -> bool:
        """No request is here, or under way."""
        answered = self._visit is None or self._visit.answered_at is not None
        read = self._done == self._seen and not self._requests.pending
        return answered and read and not self._socket.is_readable()

    def _stray(self) -> bytes | None:
        if not self._nobody_asks:
            return None
        self._world.tell(f"{self.name}: sends a stray answer")
        self._world.counts["strays"] += 1
        self._spoil("with a stray answer on it")
        return _stray_answer()

    def _last(self, how: str, after: float = 0.0) -> None:
        def end() -> None:
            self._world.tell(f"{self.name}: {how}")
            if how == "eof":
                if self._nobody_asks:
                    self._spoil("whose server had said that it was through")
                    self._socket.shutdown(1)
                    self._watch.delivered()
            elif how == "rst":
                self._socket.reset()
            else:
                self._socket.close()

        self._put(after, end)

    def _die(self) -> None:
        self._rest = b""
        self._outbox.clear()
        self._socket.close()


def _digest(received: Received) -> str:
    return hashlib.sha256(received.body).hexdigest()[:16]


def answer(visit: Visit) -> tuple[bytes, bool]:
    """The answer of *visit*'s plan, if nothing were wrong with it; and whether it tells its end."""
    plan, head = visit.plan, visit.received.head
    digest = _digest(visit.received) if visit.received.complete else "-"
    body = expected_body(visit.token, visit.attempt, digest, plan.size)
    if plan.status in (204, 304) or head.method == "HEAD":
        body = b""
    fields = [
        f"Token: {visit.token}",
        f"Attempt: {visit.attempt}",
        f"Size: {plan.size}",
        f"Body-Was: {digest}",
    ]
    bodiless = not body
    ends = True
    if plan.status != 204:
        more = 10 if plan.fault == "longer" else 0
        if bodiless or plan.framing == "length" or plan.fault == "longer":
            if plan.status != 304:
                fields.append(f"Content-Length: {len(body) + more}")
        elif plan.framing == "chunked":
            fields.append("Transfer-Encoding: chunked")
            body = _chunked(body)
        else:
            ends = False
    if plan.ending == "close":
        fields.append("Connection: close")
    line = f"HTTP/1.1 {plan.status} Told"
    return "\r\n".join([line, *fields, "", ""]).encode() + body, ends


def _chunked(body: bytes) -> bytes:
    size = max(1, len(body) // 3)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def _stray_answer() -> bytes:
    body = expected_body(NOBODY, 1, "-", 0)
    return b"HTTP/1.1 200 OK\r\nToken: nobody\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
