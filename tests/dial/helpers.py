"""Addresses, servers and pools for the tests of the dial."""

from __future__ import annotations

import contextlib
import datetime
import functools
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from triopool import ConnectionPool
from triopool.abc import AddressInfo
from triopool.testing import HTTPServer, Network, Reply, Request, http_server


def ipv4(last: int, port: int = 80) -> AddressInfo:
    where = (f"192.0.2.{last}", port)
    return AddressInfo(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)


def ipv6(last: int, port: int = 80) -> AddressInfo:
    where = (f"2001:db8::{last}", port, 0, 0)
    return AddressInfo(socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)


async def hello(request: Request) -> Reply:
    return Reply(body=b"hello")


def hello_server() -> HTTPServer:
    return http_server(hello)


@asynccontextmanager
async def pool_on(network: Network, **options: Any) -> AsyncIterator[ConnectionPool]:
    """A pool on an in-memory network; nothing is open when it has been left."""
    options = {"resolver": network.resolve, "socket_factory": network.socket, **options}
    async with ConnectionPool(**options) as pool:
        yield pool
    assert not network.open_sockets, "a socket outlived its pool"


def told(network: Network, *actions: Any) -> list[tuple[float, str, str]]:
    """What the network logged: when, what, and with which address."""
    return [
        (
            event.at,
            event.action,
            event.endpoint if isinstance(event.endpoint, str) else event.endpoint[0],
        )
        for event in network.events(*actions)
    ]


def looked_up(network: Network) -> list[str]:
    return [str(event.endpoint) for event in network.events("resolve")]


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@asynccontextmanager
async def tcp_server(
    handler: Any, host: str = "127.0.0.1", *, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve real connections with *handler*; yields the port."""

    async def serve(stream: trio.SocketStream) -> None:
        if ssl_context is None:
            await handler(stream)
            return
        secure = trio.SSLStream(stream, ssl_context, server_side=True, https_compatible=True)
        await handler(secure)

    async with trio.open_nursery() as nursery:
        start = functools.partial(trio.serve_tcp, serve, 0, host=host)
        listeners = await nursery.start(start)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


# ── Certificates ───────────────────────────────────────────────────────────────────────────────

NOW = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
DAY = datetime.timedelta(days=1)


def bad_certificate(kind: str, ca: trustme.CA) -> trustme.LeafCert:
    """A certificate that is no good for ``one.test``."""
    match kind:
        case "self-signed":
            return self_signed()
        case "wrong host":
            return ca.issue_cert("other.test")
        case "expired":
            return ca.issue_cert("one.test", not_before=NOW - 2 * DAY, not_after=NOW - DAY)
        case "not yet valid":
            return ca.issue_cert("one.test", not_before=NOW + DAY)
        case "unknown CA":
            return trustme.CA().issue_cert("one.test")
    raise ValueError(kind)


def self_signed() -> trustme.LeafCert:
    """A certificate that is its own issuer, as `openssl req -x509` makes them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "one.test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("one.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM)
    return trustme.LeafCert(private, chain, [])


# ── TLS as OpenSSL's own servers speak it ──────────────────────────────────────────────────────

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


class Records:
    """The server's end of a TLS connection, record by record.

    ``trio.SSLStream`` would hide what these tests are about: it sends a record at a time, and keeps
    the session tickets back until it has something else to send.
    """

    def __init__(self, stream: trio.abc.Stream, context: ssl.SSLContext) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def handshake(self) -> None:
        """Shake hands, and send what OpenSSL has to say after it: the session tickets."""
        await self._reading(self.tls.do_handshake)
        await self.flush()

    async def request(self) -> bool:
        """Read one request without a body; False if the client is gone."""
        received = b""
        while b"\r\n\r\n" not in received:
            data = await self._reading(lambda: self.tls.read(65536))
            if not data:
                return False
            received += data
        return True

    def write(self, *records: bytes) -> None:
        """Prepare a record for each; nothing is sent until :meth:`flush`."""
        for record in records:
            self.tls.write(record)

    async def flush(self) -> None:
        await self._stream.send_all(self._outgoing.read())

    async def _reading(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await self._stream.receive_some()
                if not data:
                    return None
                self._incoming.write(data)
            except ssl.SSLZeroReturnError:
                return None


@contextmanager
def openssl_server(
    context: ssl.SSLContext, serve: Callable[[ssl.SSLSocket], None]
) -> Iterator[int]:
    """Serve real connections with the standard library's ssl, in threads; yields the port."""

    def shake_hands_and_serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), plain:
            plain.settimeout(20.0)
            with context.wrap_socket(plain, server_side=True) as secure:
                serve(secure)

    def accept() -> None:
        while True:
            plain, _ = listener.accept()
            if ended.is_set():
                plain.close()
                return
            thread = threading.Thread(target=shake_hands_and_serve, args=[plain])
            threads.append(thread)
            thread.start()

    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield port
        finally:
            ended.set()
            socket.create_connection(("127.0.0.1", port)).close()
            for thread in threads:
                thread.join()


def answer_requests(secure: ssl.SSLSocket) -> None:
    """Answer each request with GOOD, for as long as the client stays."""
    received = b""
    while data := secure.recv(65536):
        received += data
        while b"\r\n\r\n" in received:
            received = received.partition(b"\r\n\r\n")[2]
            secure.sendall(GOOD)
