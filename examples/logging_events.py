"""See what the pool does: a line of log for each event, and an instrument of one's own."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from typing import Any

import trio
from _server import reply, serve

import triopool


class Health(triopool.abc.Instrument):
    """Counts how responses and connections end, and complains of long waits.

    Override the hooks you need. They are plain functions, called in the middle of things: be quick,
    and hand over to a task (by a memory channel's ``send_nowait``, say) what takes long.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.closed_because: Counter[str] = Counter()
        self.responses: Counter[str] = Counter()

    def request_connected(
        self,
        request: triopool.RequestInfo,
        connection: triopool.ResponseConnection,
        seconds: float,
    ) -> None:
        if seconds > self.patience:
            print(f"request {request.id} waited {seconds * 1000:.0f} ms for a connection")

    def closed(self, connection: triopool.ConnectionInfo, reason: triopool.CloseReason) -> None:
        self.closed_because[reason.value] += 1

    def response_ended(
        self,
        request: triopool.RequestInfo,
        response: triopool.ResponseInfo,
        end: triopool.ResponseEnd,
    ) -> None:
        # The status alone does not say whether the body arrived.
        self.responses[f"{response.status_code} {end.outcome.value}"] += 1


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["path"] == "/slow":
        await trio.sleep(0.2)
    await reply(send, b"hello\n", 404 if scope["path"] == "/missing" else 200)


async def main() -> None:
    logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s")
    logging.getLogger("triopool").setLevel(logging.DEBUG)
    health = Health(patience=0.1)

    async with (
        serve(app) as url,
        triopool.ConnectionPool(
            max_connections=1,
            # The one line that it takes. Query strings are never logged, for they may be secret.
            instruments=[triopool.LoggingInstrument(), health],
        ) as pool,
    ):
        await pool.get(f"{url}/?token=secret")
        await pool.get(f"{url}/missing")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pool.get, f"{url}/slow")
            nursery.start_soon(pool.get, f"{url}/slow")
        with trio.move_on_after(0.05):
            await pool.get(f"{url}/slow")
        await pool.get(url, headers={"Connection": "close"})

    print("responses:", dict(health.responses))
    print("connections closed:", dict(health.closed_because))


if __name__ == "__main__":
    trio.run(main)
