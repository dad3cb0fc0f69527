"""The server that all clients ask: a real one, in processes of its own, faster than any of them.

nginx where it is installed, else granian, which comes from the package registry. Either has, plain
and with TLS:

    /2000       2,000 bytes
    /bytes/N    N bytes, for each N of the sizes that were asked for: a file, sent by the kernel
    /upload     reads a body, keeps nothing of it, and answers when all of it has been read: with
                the length that was announced, and how many bytes were read, perhaps with the head

It listens on every address of this machine, so that http://127.x.y.z is the same server by another
name. Linux has 16 million of those: as many origins as anybody could want. Beside it runs a proxy
that leads to it, in a process of its own (:mod:`benchmarks.detour`).

Nothing is logged, and idle connections are left open for an hour. (But granian closes one after a
minute.)
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trustme

from . import descriptors, detour, granian_server, nginx_server
from .answers import SIZES, body, check_upload
from .programs import Place, ask


class Server(NamedTuple):
    """A running server.

    Attributes:
      name: what it is, and which version, as "nginx 1.22.1".
      http: its URL, without a slash at the end.
      https: the same, with TLS.
      certificate: the file with the authority to trust.
      proxy: the URL of a proxy that leads to it.
      relay_http: its URL by way of the relay, which is where that proxy is.
      relay_https: the same, with TLS.
    """

    name: str
    http: str
    https: str
    certificate: str
    proxy: str
    relay_http: str
    relay_https: str


@contextmanager
def serve(sizes: Sequence[int] = SIZES) -> Iterator[Server]:
    """Run the server until the block ends.

    Args:
      sizes: those that there shall be a /bytes/N for.

    Raises:
      RuntimeError: there is none, or it does not start.
    """
    if nginx_server.is_installed():
        run = nginx_server.run
    elif granian_server.is_installed():
        run = granian_server.run
    else:
        raise RuntimeError("the benchmarks need nginx, or: pip install granian")
    descriptors.raise_limit()
    with tempfile.TemporaryDirectory(prefix="triopool-") as directory:
        authority = trustme.CA()
        place = _furnish(Path(directory), sizes, authority)
        certificate = place.directory / "authority.pem"
        authority.cert_pem.write_to_path(certificate)
        with run(place) as (name, plain, tls), detour.run(plain, tls) as way:
            _check(name, plain)
            yield Server(
                name,
                http=f"http://127.0.0.1:{plain}",
                https=f"https://127.0.0.1:{tls}",
                certificate=str(certificate),
                proxy=f"http://127.0.0.1:{way.proxy}",
                relay_http=f"http://127.0.0.1:{way.plain}",
                relay_https=f"https://127.0.0.1:{way.tls}",
            )


def _furnish(directory: Path, sizes: Sequence[int], authority: trustme.CA) -> Place:
    files = directory / "www"
    (files / "bytes").mkdir(parents=True)
    (files / "2000").write_bytes(body(2000))
    for size in sizes:
        (files / "bytes" / str(size)).write_bytes(body(size))
    pem = directory / "server.pem"
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    leaf.private_key_and_cert_chain_pem.write_to_path(pem)
    return Place(directory, files, pem)


def _check(name: str, port: int) -> None:
    """See that it answers as the top of this file says, before anybody is measured by it."""
    if (answer := ask(port, "GET", "/2000")) != body(2000):
        raise RuntimeError(f"{name} serves something else: {answer[:100]!r}")
    check_upload(ask(port, "POST", "/upload", body(100_000)), 100_000)
