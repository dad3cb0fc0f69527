"""Where tests look into private parts of the package: a function each, and nowhere else.

When a private name moves, this file changes and no test does. (The tests of the slot engine stand
beside it and have helpers of their own: ``tests/slots/fakes.py``.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import trio

from triopool import ConnectionPool, Response, Timeouts
from triopool._charset import _known
from triopool._dial.names import Names
from triopool._dial.system_resolver import SystemResolver
from triopool._pool_key import PoolKey
from triopool._reading.saving import NewFile
from triopool._request.preparations import Preparations
from triopool._slots.invariants import check
from triopool._transport.layer import Layer
from triopool._transport.tls import TLSStream
from triopool.abc import AddressInfo
from triopool.testing import Network, NetworkSocket

# ── The pool ───────────────────────────────────────────────────────────────────────────────────


def check_slots(pool: ConnectionPool) -> None:
    """See that the slot engine's invariants hold."""
    check(pool._slots)


def tasks_of(pool: ConnectionPool) -> list[str]:
    """The names of the tasks that the pool runs: its keepers, and dials, drains, look-ups."""
    return sorted(task.name for task in nursery_of(pool).child_tasks)


def nursery_of(pool: ConnectionPool) -> trio.Nursery:
    """Where they run."""
    nursery = pool._nursery._nursery
    assert nursery is not None
    return nursery


def core_pool_of(client: Any) -> Any:
    """What the transport of a client of httpx has in the place of a pool of httpcore."""
    return client._transport._pool


def close_transport(transport: Any) -> None:
    """What its aclose() does, but for the checkpoint: that needs a run."""
    transport._lifetime.close()


def connections(pool: ConnectionPool) -> list[Any]:
    """Those that are open: idle, or held by a request."""
    return [slot.connection for slot in pool._slots.books.bounds.slots if slot.connection]


async def acquire(pool: ConnectionPool, key: PoolKey, timeouts: Timeouts) -> Any:
    """A lease, as a request gets it."""
    return await pool._slots.acquire(key, timeouts)


def preparations(pool: ConnectionPool) -> Preparations:
    """What the pool keeps of the requests that it has sent."""
    return pool._client.preparations


def is_kept(kept: Preparations, method: str, url: str) -> bool:
    return (method, url) in kept._kept


def listener_of(response: Response) -> Any:
    """What is told how the response's request goes."""
    return response._delivery.exchange.sending.listener


def open_watches(pool: ConnectionPool) -> Any:
    """The requests that are still watched for the pool's instruments."""
    return pool._client._watches.open


def deadlines_kept(pool: ConnectionPool) -> int:
    """How many entries the keeper of deadlines has, dead ones included."""
    return len(pool._deadlines)


# ── The dial ───────────────────────────────────────────────────────────────────────────────────


def answers_kept(names: Names) -> int:
    return len(names._answers)


def lookups_under_way(names: Names) -> int:
    return len(names._lookups)


def places_taken(resolver: SystemResolver) -> int:
    """How many look-ups have a place at the system's resolver."""
    return resolver._places.borrowed_tokens


# ── Connections ────────────────────────────────────────────────────────────────────────────────


def wire_of(connection: Any) -> Any:
    """The socket below HTTP and TLS."""
    return connection._wire


def not_parsed_yet(connection: Any) -> bytes:
    """What has come, and has not been looked at."""
    return bytes(connection._parser.scanner._data)


def frame_and_write(connection: Any, piece: bytes, *, last: bool) -> None:
    """As ``send()`` does, without its checkpoint: for tests without Trio."""
    connection._owed = b"".join(connection._parser.frame(piece, last=last))
    connection._owes_the_end = last
    connection._write_now()


def let_write_clock_run_out(connection: Any) -> None:
    connection._write_clock.run_out()


def send_by(wire: Any, send: Any) -> Any:
    """Let a wire send with *send*, where it does so without waiting; what it sent with before."""
    before = wire._nowait.send
    wire._nowait = wire._nowait._replace(send=send)
    return before


# ── Bytes ──────────────────────────────────────────────────────────────────────────────────────


def stream_of(connection: Any) -> Any:
    """What a connection speaks on: the wire, or the topmost TLS."""
    return connection._stream


def layer_below(stream: TLSStream) -> Layer:
    return stream._below


def charsets_known() -> frozenset[str]:
    return _known()


# ── Files ──────────────────────────────────────────────────────────────────────────────────────


def before_each_write_of_a_file(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[], object]
) -> None:
    """Call *call*, in the thread that writes a block of what is saved."""
    write = NewFile._write

    def calling(file: NewFile, pieces: Sequence[bytes]) -> None:
        call()
        write(file, pieces)

    monkeypatch.setattr(NewFile, "_write", calling)


# ── The in-memory network ──────────────────────────────────────────────────────────────────────


def socket_of(kind: type[NetworkSocket], network: Network, address: AddressInfo) -> NetworkSocket:
    """A socket of a test's own kind: :meth:`Network.socket` makes plain ones."""
    return kind(network._kernel, address)


def is_clients(sock: NetworkSocket) -> bool:
    return not sock._server_side


def remote_of(sock: NetworkSocket) -> Any:
    """To whom it was connected; unlike ``getpeername()`` also when the connection has ended."""
    return sock._remote


def slip_in(sock: NetworkSocket, data: bytes) -> None:
    """Let *data* have arrived, without waking a task that waits for it."""
    sock._end._received += data
