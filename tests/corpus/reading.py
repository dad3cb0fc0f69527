"""Read a response with h11 alone, and with the scanner before it."""

from __future__ import annotations

from collections.abc import Sequence

import h11

from triopool._protocol.heads import NotLegal
from triopool._protocol.scanner import Scanner

Told = list[object]


def new_scanner() -> Scanner:
    """One whose doubts nobody asks for."""
    return Scanner(lambda why: None)


def read(pieces: Sequence[bytes], method: str, scanner: Scanner | None) -> tuple[Told, bool]:
    """What h11 makes of a response up to its end, and whether it refuses it.

    Args:
      scanner: what has to be passed before; None for h11 alone.
    """
    protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 30)
    protocol.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    protocol.send(h11.EndOfMessage())
    if scanner is not None:
        scanner.start(method.encode())
    told: Told = []
    body = bytearray()
    try:
        for piece in pieces:
            if scanner is None:
                protocol.receive_data(piece)
            else:
                scanner.put(piece)
            while True:
                some = scanner.take() if scanner is not None else b""
                if some:
                    protocol.receive_data(some)  # type: ignore[arg-type]
                event = protocol.next_event()
                if isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    return [*told, bytes(body), event.headers.raw_items()], False
                elif isinstance(event, h11.Response | h11.InformationalResponse):
                    told.append((event.status_code, event.headers.raw_items(), event.reason))
                elif scanner is not None and scanner.paused:
                    scanner.resume()
                else:
                    # What the scanner gives is whole: Connection.next_event() rests on that.
                    assert not some
                    break
    except (h11.RemoteProtocolError, NotLegal):
        return [*told, bytes(body)], True
    return [*told, bytes(body)], False
