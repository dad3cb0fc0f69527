"""A body whose end is the end of the connection: over TLS it needs a close_notify (RFC 9112
section 9.8).

Against the standard library's own TLS: what ``trio.SSLStream`` makes of an end is part of the
question.
"""

from __future__ import annotations

import contextlib
import ssl

import pytest
import trustme
from servers import server_certificate

from triopool import ConnectionPool, ReadError

from .helpers import openssl_server, server_context

UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nhello"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Server:
    """Answers one request on each connection, and ends it."""

    def __init__(self, answer: bytes, *, cut: bool) -> None:
        self._answer = answer
        self._cut = cut

    def __call__(self, secure: ssl.SSLSocket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            data = secure.recv(65536)
            if not data:
                return
            received += data
        secure.sendall(self._answer)
        if not self._cut:
            # Sends the close_notify. The client's, which is waited for, does not come.
            with contextlib.suppress(ssl.SSLError):
                secure.unwrap()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("answer", [UNTIL_CLOSE, UNTIL_CLOSE.removesuffix(b"hello")])
async def test_a_body_that_was_cut_without_a_close_notify_is_a_read_error(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext, version: ssl.TLSVersion, answer: bytes
) -> None:
    context = server_context(server_certificate(ca))
    context.maximum_version = version
    with openssl_server(context, Server(answer, cut=True)) as port:
        async with ConnectionPool(ssl_context=client_ssl_context) as pool:
            with pytest.raises(ReadError, match="without TLS's close_notify") as caught:
                await pool.get(f"https://127.0.0.1:{port}/")
            assert caught.value.phase == "read"
            size = len(answer) - answer.index(b"\r\n\r\n") - 4
            assert f"after {size} bytes of the body, whose length was not told" in str(caught.value)

            # It stays an error, for whoever reads on.
            async with pool.stream("GET", f"https://127.0.0.1:{port}/") as response:
                if size:
                    assert await response.receive_some() == b"hello"
                for _ in range(2):
                    with pytest.raises(ReadError):
                        await response.receive_some()
            assert pool.statistics().open == 0


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_body_that_ends_with_a_close_notify_is_whole(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext, version: ssl.TLSVersion
) -> None:
    context = server_context(server_certificate(ca))
    context.maximum_version = version
    with openssl_server(context, Server(UNTIL_CLOSE, cut=False)) as port:
        async with ConnectionPool(ssl_context=client_ssl_context) as pool:
            assert (await pool.get(f"https://127.0.0.1:{port}/")).content == b"hello"


@pytest.mark.parametrize(
    ("method", "answer", "body"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        ("GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", b""),
        (
            "GET",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"hello",
        ),
        ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
    ],
    ids=["length", "no length", "chunked", "HEAD", "204", "304"],
)
async def test_a_body_that_tells_its_own_end_needs_no_close_notify(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext, method: str, answer: bytes, body: bytes
) -> None:
    context = server_context(server_certificate(ca))
    with openssl_server(context, Server(answer, cut=True)) as port:
        async with ConnectionPool(ssl_context=client_ssl_context) as pool:
            response = await pool.request(method, f"https://127.0.0.1:{port}/")
            assert response.content == body
