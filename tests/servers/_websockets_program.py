"""A program: the server of the websockets package, on two ports that the system chooses.

Its argument is a PEM file with key and certificate chain. It prints its ports, as JSON, once it
listens, and runs until it is terminated. What it does depends on the path:

- ``/early`` sends the message "early" together with the 101, then it is as any other;
- ``/refuse`` refuses, with 403;
- ``/bye`` closes after the first message;
- every other path sends back what it gets.
"""

from __future__ import annotations

import json
import logging
import socket
import ssl
import sys
import threading

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

# Linux only. Elsewhere 101 and message are two writes, and it is up to the kernel whether they
# arrive at once.
CORK = getattr(socket, "TCP_CORK", None)


def cork(connection: ServerConnection, on: bool) -> None:
    if CORK is not None:
        connection.socket.setsockopt(socket.IPPROTO_TCP, CORK, on)


def decide(connection: ServerConnection, request: Request) -> Response | None:
    if request.path == "/refuse":
        return connection.respond(403, "no room here\n")
    if request.path == "/early":
        cork(connection, True)
    return None


def converse(connection: ServerConnection) -> None:
    assert connection.request is not None
    path = connection.request.path
    if path == "/early":
        connection.send("early")
        cork(connection, False)
    for message in connection:
        connection.send(message)
        if path == "/bye":
            return


def main() -> None:
    # It would tell of every client that goes without a farewell: some tests do just that.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1])
    ports = {}
    threads = []
    for name, tls in {"plain": None, "tls": context}.items():
        server = serve(
            converse,
            "127.0.0.1",
            0,
            ssl=tls,
            process_request=decide,
            max_size=None,
            compression=None,
        )
        ports[name] = server.socket.getsockname()[1]
        threads.append(threading.Thread(target=server.serve_forever))
        threads[-1].start()
    print(json.dumps(ports), flush=True)
    # CPython 3.12 starts no more threads once the main one has come to its end.
    for thread in threads:
        thread.join()


main()
